"""The report on students as one HTML page, `pages/templates/report.html`."""

from collections.abc import Iterator, Sequence

from tinyllm_jax.evaluation.report import (
    LEVEL,
    Sample,
    StudentReport,
    baselines,
    check,
    comparisons,
    counts_line,
    interval,
    p_value,
    percent,
    verdict,
)
from tinyllm_jax.evaluation.results import METRICS
from tinyllm_jax.pages import charts, render


def html_page(
    title: str, students: Sequence[StudentReport], samples: Sequence[Sample] = (), gap: str = ""
) -> str:
    """The whole report as a self-contained page.

    Args:
      title: plain text, as all texts here.
      students: in the order in which they are shown, all on one task and split.
      samples: questions to show in full, each with whatever students were asked to explain.
      gap: a sentence on what the difference between students means on this task.

    Returns:
      The page as HTML.

    Raises:
      UserError: no students, two of one name, or different tasks or splits.
    """
    check(students)
    result = students[0].result
    return render(
        "report.html",
        title=title,
        kicker=f"{result.task} · {result.split} · {result.n:,} questions",
        verdict=verdict(students),
        students=students,
        metrics=METRICS,
        baselines=_baselines(students),
        comparisons=comparisons(students),
        level=LEVEL,
        figures=[(caption, chart) for caption, chart in _figures(students) if chart],
        samples=samples,
        gap=gap,
        counts_line=counts_line,
        interval=interval,
        p_value=p_value,
        percent=percent,
    )


def _baselines(students: Sequence[StudentReport]) -> dict[str, float]:
    """All baselines of the students: one that differs by their questions names whose it is."""
    found: dict[str, float] = {}
    for student in students:
        for name, rate in baselines(student.result).items():
            if found.setdefault(name, rate) != rate:
                found[f"{name} ({student.name})"] = rate
    return found


def _figures(students: Sequence[StudentReport]) -> Iterator[tuple[str, charts.Chart | None]]:
    """Yields each figure on training: its caption, and its chart where some student has a point."""
    accuracies = {
        student.name: [
            (row["step"], 100 * row["validation_accuracy"])
            for row in student.metrics
            if "validation_accuracy" in row
        ]
        for student in students
    }
    losses = {
        student.name: [(row["step"], row["loss"]) for row in student.metrics if "loss" in row]
        for student in students
    }
    yield "Validation accuracy", charts.curves(accuracies, unit=" %")
    yield "Training loss (the whole objective)", charts.curves(losses)
    for key, where in (("validation_terms", "validation"), ("terms", "training")):
        # The terms of all students, in the order in which they are met.
        rows = [row.get(key, {}) for student in students for row in student.metrics]
        for term in dict.fromkeys(term for terms in rows for term in terms):
            chart = charts.curves(_term_losses(students, key, term))
            yield f"Loss of {term} on {where} questions", chart


def _term_losses(
    students: Sequence[StudentReport], key: str, term: str
) -> dict[str, list[tuple[float, float]]]:
    """One term's loss by step, for each student; no points for one that does not learn it."""
    return {
        student.name: [
            (row["step"], row[key][term]) for row in student.metrics if term in row.get(key, {})
        ]
        for student in students
    }
