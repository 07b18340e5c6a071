"""A study's tables: worked out once, and written as text and as Markdown."""

import dataclasses
import itertools
import statistics as plain
from collections.abc import Mapping, Sequence

import numpy as np

from tinyllm_jax.evaluation.report import HEADLINE, p_value
from tinyllm_jax.evaluation.results import Result
from tinyllm_jax.evaluation.stats import Majority
from tinyllm_jax.studies import published, statistics
from tinyllm_jax.studies.runner import Done
from tinyllm_jax.studies.statistics import Difference, Mean
from tinyllm_jax.studies.study import Cell, Study

SHOWN_POINTS = 0.03  # the difference whose price in answers a table names


@dataclasses.dataclass(frozen=True)
class Line:
    """One method in one table.

    Attributes:
      method: its name.
      weight: the weight of its rationales that was chosen on validation; None: the base's.
      rates: the test accuracy of each seed, a fraction.
      accuracy: their mean with its interval.
      calibration: the expected calibration error, a fraction.
      against_baseline: the paired test against the baseline; None for itself.
      against_teacher: the paired test against the best single teacher's student; None where there
        is none, or for itself.
      seconds: the mean time in steps.
      flops: the mean of what training takes, see `throughput.model_flops`; 0 where that was not
        logged.
      curves: of each seed the rows of its metrics.jsonl.
    """

    method: str
    weight: float | None
    rates: dict[int, float]
    accuracy: Mean
    calibration: float
    against_baseline: Difference | None
    against_teacher: Difference | None
    seconds: float
    flops: float
    curves: tuple[list[dict], ...]


@dataclasses.dataclass(frozen=True)
class Table:
    """The methods on one task, with one student and one fraction of the labels.

    Attributes:
      task, student, fraction: which.
      questions: the test questions of one seed.
      lines: the methods that are tested, in the study's order.
      best_teacher: the best student of a single teacher by its mean; "" where there is none.
      chance: the accuracy of picking at random.
      majority: the training split's commonest answer as a baseline, of the first seed.
      contributions: by teacher how much better the students of all teachers are than those of all
        but this one; of the teachers that some method leaves out.
      waiting: the methods without a tested cell.
    """

    task: str
    student: str
    fraction: float
    questions: int
    lines: tuple[Line, ...]
    best_teacher: str
    chance: float
    majority: Majority | None
    contributions: dict[str, Difference]
    waiting: tuple[str, ...]

    @property
    def title(self) -> str:
        """The table's heading."""
        part = "" if self.fraction == 1 else f", {100 * self.fraction:g} % of the labels"
        return f"{self.task}{', ' + self.student if self.student else ''}{part}"


def tables(study: Study, done: Done) -> list[Table]:
    """Works out every table that has a tested cell."""
    found = []
    for task, student, fraction in itertools.product(
        study.corpora, study.students, study.fractions
    ):
        cells: dict[str, dict[int, Cell]] = {}
        for cell in done.tested:
            if (cell.task, cell.student, cell.fraction) == (task, student, fraction):
                cells.setdefault(cell.method, {})[cell.seed] = cell
        if cells:
            found.append(_table(study, done, cells))
    return found


def _table(study: Study, done: Done, cells: dict[str, dict[int, Cell]]) -> Table:
    answers = {
        method: {
            seed: _answers(study, cell, done.tested[cell].result) for seed, cell in some.items()
        }
        for method, some in cells.items()
    }
    rates = {
        method: {seed: float(np.mean(list(a.values()))) for seed, a in some.items()}
        for method, some in answers.items()
    }
    single = [
        method
        for method in cells
        if not study.methods[method].policy and _names_one(study.methods[method].teachers)
    ]
    best = max(single, key=lambda method: plain.mean(rates[method].values()), default="")
    against_baseline = _tests(answers, study.baseline)
    against_teacher = _tests(answers, best)
    lines = []
    for method in study.methods:
        if method in cells:
            some = cells[method]
            first = next(iter(some.values()))
            lines.append(
                Line(
                    method,
                    first.weight,
                    rates[method],
                    statistics.mean(answers[method]),
                    _calibration([done.tested[cell].result for cell in some.values()]),
                    against_baseline.get(method),
                    against_teacher.get(method),
                    plain.mean(done.trained[cell]["seconds_in_steps"] for cell in some.values()),
                    plain.mean(
                        _flops(done.tested[cell].curve, study.run(cell).batch_size)
                        for cell in some.values()
                    ),
                    tuple(done.tested[cell].curve for cell in some.values()),
                )
            )
    result = done.tested[first].result
    terms = {
        method: frozenset(done.tested[cell].terms)
        for method, some in cells.items()
        for cell in some.values()
        if study.methods[method].policy == "" and not study.methods[method].overrides
    }
    return Table(
        first.task,
        first.student,
        first.fraction,
        result.n,
        tuple(lines),
        best,
        result.chance,
        result.majority,
        _contributions(answers, terms),
        tuple(method for method in study.methods if method not in cells),
    )


def _answers(study: Study, cell: Cell, result: Result) -> dict[str, float]:
    """How right each test question was answered; seeds with questions of their own say so."""
    own = f"{cell.seed} " if "{seed}" in study.corpora[cell.task] else ""
    found = result.by_question(HEADLINE)
    return {f"{own}{question}": right for question, right in found.items()}


def _names_one(teachers: str) -> bool:
    return teachers not in ("", "all", "none") and "+" not in teachers


def _tests(
    answers: Mapping[str, Mapping[int, Mapping[str, float]]], other: str
) -> dict[str, Difference]:
    """Every method against another, on the seeds that both have; corrected for their number."""
    tests = {}
    for method, by_seed in answers.items():
        if not other or method == other:
            continue
        seeds = [seed for seed in by_seed if seed in answers[other]]
        first: dict[str, list[float]] = {}
        second: dict[str, list[float]] = {}
        for seed in seeds:
            for question, right in by_seed[seed].items():
                first.setdefault(question, []).append(right)
            for question, right in answers[other][seed].items():
                second.setdefault(question, []).append(right)
        test = statistics.difference(first, second) if seeds else None
        if test:
            tests[method] = test
    return statistics.holm(tests)


def _contributions(
    answers: Mapping[str, Mapping[int, Mapping[str, float]]], terms: Mapping[str, frozenset[str]]
) -> dict[str, Difference]:
    """What each teacher adds to all others, where a method has all teachers and another all but it.

    Args:
      answers: see `_tests`.
      terms: what each method's students learn to write, of those that differ in nothing else.
    """
    if not terms:
        return {}
    whole = max(terms, key=lambda method: len(terms[method]))
    found = {}
    for method in terms:
        missing = terms[whole] - terms[method]
        if len(missing) == 1 and terms[method] < terms[whole] and len(terms[method]) > 1:
            test = _tests({whole: answers[whole], method: answers[method]}, method).get(whole)
            if test:
                found[next(iter(missing))] = test
    return found


def _flops(curve: Sequence[dict], batch_size: int) -> float:
    """What the steps of a run took together, from the rates that it logged."""
    total, before = 0.0, 0
    for row in curve:
        if "model_flops_per_second" in row:
            questions = batch_size * (row["step"] - before)
            total += questions * row["model_flops_per_second"] / row["questions_per_second"]
            before = row["step"]
    return total


def _calibration(results: Sequence[Result]) -> float:
    """The calibration error of the choices' probabilities, all seeds together."""
    confidence, right = [], []
    for result in results:
        for prediction, ok in zip(result.predictions, result.right(HEADLINE), strict=True):
            confidence.append(prediction.confidence)
            right.append(ok)
    return statistics.calibration_error(np.array(confidence), np.array(right, float))


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
        seeds = sorted({seed for line in table.lines for seed in line.rates})
        heads = ["method", *(f"seed {seed}" for seed in seeds), "mean", "95 % interval", "least"]
        heads += [f"against {study.baseline}", "p"]
        heads += [f"against {table.best_teacher}", "p"] if table.best_teacher else []
        heads += ["calibration error", "training TFLOP", "seconds"]
        lines += [f"## {table.title}", "", _row(heads), _row(["---"] * len(heads))]
        for line in table.lines:
            cells = [line.method if line.weight is None else f"{line.method}, α {line.weight:g}"]
            cells += [f"{100 * line.rates[s]:.1f}" if s in line.rates else "" for s in seeds]
            cells += [f"{100 * line.accuracy.mean:.1f}"]
            cells += [f"{100 * line.accuracy.low:.1f} to {100 * line.accuracy.high:.1f}"]
            cells += [f"{100 * min(line.rates.values()):.1f}"]
            cells += _test_cells(line.against_baseline)
            cells += _test_cells(line.against_teacher) if table.best_teacher else []
            cells += [f"{100 * line.calibration:.1f}", tera(line.flops), f"{line.seconds:.0f}"]
            lines.append(_row(cells))
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
