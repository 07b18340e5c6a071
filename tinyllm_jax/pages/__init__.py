"""The HTML pages of corpora and evaluations: Jinja2 templates, one style sheet, and charts as SVG.

A page is one file with no script and nothing to fetch; its content security policy forbids both.
Every value that a template shows is escaped, because models and datasets wrote most of them.
"""

import jinja2

SERIES = 6  # colours in the style sheet


def _series_class(index: int) -> str:
    """The CSS classes that give the series of this index its colour, dash pattern and dots.

    From the seventh on, series have the colours again, with hollow dots and dashes of their own.
    """
    return f"s{index % SERIES}" + (" again" if index >= SERIES else "")


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("tinyllm_jax.pages"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters["series"] = _series_class
ENVIRONMENT.filters["thousands"] = "{:,}".format  # 1234 → "1,234"
ENVIRONMENT.filters["fixed"] = "{:.1f}".format  # one decimal


def render(template: str, **values: object) -> str:
    """A page as HTML.

    Args:
      template: the name of a file in `templates`, e.g. "report.html".
      **values: what the template shows. A value that it needs and that is missing raises.
    """
    return ENVIRONMENT.get_template(template).render(values)
