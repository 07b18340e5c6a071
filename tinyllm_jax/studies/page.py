"""A study as one HTML page, `pages/templates/study.html`."""

import collections
from collections.abc import Iterable, Sequence

import numpy as np

from tinyllm_jax.evaluation.report import p_value
from tinyllm_jax.pages import charts, render
from tinyllm_jax.studies import report
from tinyllm_jax.studies.cases import cases
from tinyllm_jax.studies.runner import Done
from tinyllm_jax.studies.study import Study
from tinyllm_jax.studies.tables import Line, Table, tables


def html_page(title: str, study: Study, done: Done) -> str:
    """The whole study as a self-contained page.

    Args:
      title: plain text.
      study: the study.
      done: what its directory holds.
    """
    found = tables(study, done)
    return render(
        "study.html",
        title=title,
        kicker=f"{len(done.tested)} students tested",
        verdict=[sentence for table in found for sentence in report.verdict(table)],
        tables=[(table, _figures(table)) for table in found],
        fractions=_by_fraction(found) if len(study.fractions) > 1 else [],
        cases=cases(study, done, found[0]) if found else [],
        baseline=study.baseline,
        failed={cell.name: reason for cell, reason in done.failed.items()},
        beside=report.beside,
        points=report.points,
        percent=report.percent,
        p_value=p_value,
        tera=report.tera,
    )


def _figures(table: Table) -> list[tuple[str, charts.Chart]]:
    """The figures of one table, each the mean over seeds: caption and chart."""
    drawn: list[tuple[str, charts.Chart | None]] = []
    accuracies = {
        line.method: _mean_curve(line.curves, lambda row: row.get("validation_accuracy"), 100)
        for line in table.lines
    }
    drawn.append(("Validation accuracy, mean over seeds", charts.curves(accuracies, unit=" %")))
    costs = {
        line.method: [(line.flops / 1e12, 100 * line.accuracy.mean)] if line.flops else []
        for line in table.lines
    }
    x_title = "TFLOP of training"
    drawn.append(("Test accuracy and its cost", charts.curves(costs, unit=" %", x_title=x_title)))
    for term in _terms(table.lines):
        losses = {
            line.method: _mean_curve(
                line.curves, lambda row, term=term: row.get("validation_terms", {}).get(term)
            )
            for line in table.lines
        }
        drawn.append((f"Loss of {term} on validation questions", charts.curves(losses)))
    return [(caption, chart) for caption, chart in drawn if chart]


def _terms(lines: Sequence[Line]) -> list[str]:
    """The terms that have a validation loss, in the order in which they are met."""
    rows = [row for line in lines for curve in line.curves for row in curve]
    return list(dict.fromkeys(term for row in rows for term in row.get("validation_terms", {})))


def _mean_curve(curves: Iterable[list[dict]], value, factor: float = 1.0) -> charts.Points:
    """The mean over curves of a value by step, where it is known."""
    found = collections.defaultdict(list)
    for rows in curves:
        for row in rows:
            if value(row) is not None:
                found[row["step"]].append(factor * value(row))
    return [(step, float(np.mean(values))) for step, values in sorted(found.items())]


def _by_fraction(tables: Sequence[Table]) -> list[tuple[str, charts.Chart]]:
    """A figure for each task and student: accuracy against the percentage of the labels."""
    groups: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for table in sorted(tables, key=lambda table: table.fraction):
        name = f"{table.task}{', ' + table.student if table.student else ''}"
        for line in table.lines:
            point = (100 * table.fraction, 100 * line.accuracy.mean)
            groups.setdefault(name, {}).setdefault(line.method, []).append(point)
    drawn = [
        (name, charts.curves(series, unit=" %", x_title="% of the labels"))
        for name, series in groups.items()
    ]
    return [(name, chart) for name, chart in drawn if chart]
