"""The cards (README.md) of exported students and corpora: Jinja2 templates of Markdown.

Every value that a template shows is escaped, because models and datasets wrote many of them; the
filter `code` shows one as it is, in a block of code.
"""

import json
import os
import re

import jinja2

CARD = "README.md"


class _Verbatim(str):
    """A text that is shown as it is: code, and what is Markdown already."""


def escape(text: object) -> str:
    """A value in one line of Markdown that shows it as it is, in a table too."""
    if isinstance(text, _Verbatim):
        return text
    return re.sub(r"([\\`*_{}\[\]<>&#|!~$])", r"\\\1", " ".join(str(text).split()))


def _literal(text: str) -> _Verbatim:
    """A text as a literal of Python, for a block of code."""
    return _Verbatim(json.dumps(text, ensure_ascii=False))


def _code(text: str, language: str = "") -> _Verbatim:
    """A block of code; its fence is longer than any run of backticks in it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return _Verbatim(f"{fence}{language}\n{text.rstrip()}\n{fence}")


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("tinyllm_jax.cards"),
    autoescape=False,  # that would be HTML's; `finalize` escapes Markdown
    finalize=escape,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
ENVIRONMENT.filters["code"] = _code
ENVIRONMENT.filters["literal"] = _literal
ENVIRONMENT.filters["thousands"] = "{:,}".format  # 1234 → "1,234"


def write(directory: os.PathLike, template: str, metadata: dict, **values: object) -> None:
    """Writes the card of a directory.

    Args:
      directory: where it is written, as README.md.
      template: the name of a file in `templates`.
      metadata: what the hub reads: the YAML in front of the text.
      **values: what the template shows. A value that it needs and that is missing raises.
    """
    import yaml
    from etils import epath

    front = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    text = ENVIRONMENT.get_template(template).render(values)
    (epath.Path(directory) / CARD).write_text(f"---\n{front}---\n\n{text}", encoding="utf-8")
