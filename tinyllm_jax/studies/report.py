"""A study's report in Markdown, and the sentences that the page has too."""

import statistics as plain
from collections.abc import Sequence

from tinyllm_jax.evaluation.report import p_value
from tinyllm_jax.studies import published, statistics
from tinyllm_jax.studies.runner import Done
from tinyllm_jax.studies.statistics import Difference, Mean
from tinyllm_jax.studies.study import Study
from tinyllm_jax.studies.tables import Line, Table, tables

SHOWN_POINTS = 0.03  # the difference whose price in answers a table names


def verdict(table: Table) -> list[str]:
    """A table in a few sentences: who is ahead, by what test, and what could not have been seen."""
    best = max(table.lines, key=lambda line: line.accuracy.mean)
    said = [f"{best.method} is right most often: {percent(best.accuracy)} of the test questions."]
    for line, test, other in (
        (best, best.against_baseline, "the baseline"),
        (best, best.against_teacher, f"the best single teacher's student, {table.best_teacher}"),
    ):
        if test:
            side = "ahead of" if test.mean >= 0 else "behind"
            said.append(
                f"{line.method} is {100 * abs(test.mean):.1f} points {side} {other} "
                f"({p_value(test.p)})."
            )
    shares = [line.against_baseline.discordant for line in table.lines if line.against_baseline]
    if shares:
        share = plain.median(shares)
        needed = statistics.answers_needed(SHOWN_POINTS, max(share, SHOWN_POINTS**2))
        has = table.questions * max(len(line.rates) for line in table.lines)
        said.append(
            f"A difference of {100 * SHOWN_POINTS:g} points would need about {needed:,} pairs of "
            f"answers to be shown four times in five ({100 * share:.0f} % of pairs differ here); "
            f"this table has {has:,}."
        )
    if table.waiting:
        said.append(f"Not tested yet: {', '.join(table.waiting)}.")
    return said


def beside(table: Table) -> list[str]:
    """What needs no student of the study, in sentences: guessing, and what is published."""
    said = [f"Picking at random is right in {100 * table.chance:.1f} % of the questions."]
    if table.majority:
        rate = 100 * table.majority.accuracy.rate
        said.append(f"Always answering {table.majority.answer} is right in {rate:.1f} %.")
    told = published.sentence(table.task)
    return [*said, told] if told else said


def markdown(title: str, study: Study, done: Done) -> str:
    """The whole study as Markdown."""
    lines = [f"# {title}", ""]
    for table in tables(study, done):
        lines += [f"## {table.title}", "", *_grid(table, study.baseline)]
        if table.contributions:
            lines += ["", _row(["teacher", "adds to all others", "p"]), _row(["---"] * 3)]
            lines += [
                _row([teacher, *_test_cells(test)]) for teacher, test in table.contributions.items()
            ]
        lines += ["", *beside(table), "", *verdict(table), ""]
    if done.failed:
        lines += ["## Cells that failed", ""]
        lines += [f"- {cell.name}: {reason}" for cell, reason in done.failed.items()]
    lines += [
        "Accuracies by choice likelihood, in %. Intervals: bootstrap over seeds and questions. "
        "Tests: permutation of signs, clustered by question, two-sided, corrected by Holm within "
        "a column.",
        "",
    ]
    return "\n".join(lines)


def _grid(table: Table, baseline: str) -> list[str]:
    """The lines of a table in Markdown: its head, and a row for each method."""
    seeds = sorted({seed for line in table.lines for seed in line.rates})
    heads = ["method", *(f"seed {seed}" for seed in seeds), "mean", "95 % interval", "least"]
    heads += [f"against {baseline}", "p"]
    heads += [f"against {table.best_teacher}", "p"] if table.best_teacher else []
    heads += ["calibration error", "training TFLOP", "seconds"]
    rows = [_row(_cells(line, seeds, bool(table.best_teacher))) for line in table.lines]
    return [_row(heads), _row(["---"] * len(heads)), *rows]


def _cells(line: Line, seeds: Sequence[int], has_teacher: bool) -> list[str]:
    """The cells of one method's row; `has_teacher`: whether the table has a single teacher's."""
    accuracy = line.accuracy
    return [
        line.method if line.weight is None else f"{line.method}, α {line.weight:g}",
        *(f"{100 * line.rates[seed]:.1f}" if seed in line.rates else "" for seed in seeds),
        f"{100 * accuracy.mean:.1f}",
        f"{100 * accuracy.low:.1f} to {100 * accuracy.high:.1f}",
        f"{100 * min(line.rates.values()):.1f}",
        *_test_cells(line.against_baseline),
        *(_test_cells(line.against_teacher) if has_teacher else []),
        f"{100 * line.calibration:.1f}",
        tera(line.flops),
        f"{line.seconds:.0f}",
    ]


def _test_cells(test: Difference | None) -> list[str]:
    return [points(test), p_value(test.p)] if test else ["", ""]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def tera(flops: float) -> str:
    """FLOPs as "12.3", in 10¹²; "" where they are not known."""
    return f"{flops / 1e12:,.3g}" if flops else ""


def points(test: Difference) -> str:
    """A difference as "+3.1 [1.0, 5.2]", in points."""
    return f"{100 * test.mean:+.1f} [{100 * test.low:.1f}, {100 * test.high:.1f}]"


def percent(mean: Mean) -> str:
    """A mean as "61.2 % [56.9, 65.4]"."""
    return f"{100 * mean.mean:.1f} % [{100 * mean.low:.1f}, {100 * mean.high:.1f}]"
