"""A study's tables: what its tested cells show, worked out once for the text and the page."""

import dataclasses
import itertools
import statistics as plain
from collections.abc import Mapping, Sequence

import numpy as np

from tinyllm_jax.evaluation.report import HEADLINE
from tinyllm_jax.evaluation.results import Result
from tinyllm_jax.evaluation.stats import Majority
from tinyllm_jax.studies import statistics
from tinyllm_jax.studies.runner import Done
from tinyllm_jax.studies.statistics import Difference, Mean
from tinyllm_jax.studies.study import Cell, Study

# Of one method: seed → question → how right it was answered, 0 to 1.
Answers = Mapping[int, Mapping[str, float]]


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
      cells: the tested cells by method and seed.
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
    cells: dict[str, dict[int, Cell]]
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
    """The table of the tested cells of one task, student and fraction, by method and seed."""
    answers = {
        method: {
            seed: _answers(study, cell, done.tested[cell].result) for seed, cell in by_seed.items()
        }
        for method, by_seed in cells.items()
    }
    best_teacher = _best_teacher(study, answers)
    against_baseline = _tests(answers, study.baseline)
    against_teacher = _tests(answers, best_teacher)
    lines = [
        _line(
            study,
            done,
            list(cells[method].values()),
            answers[method],
            against_baseline.get(method),
            against_teacher.get(method),
        )
        for method in study.methods
        if method in cells
    ]
    # All cells of a table have the same test questions, or as many: any of them tells of these.
    shown = next(iter(cells[lines[-1].method].values()))
    result = done.tested[shown].result
    return Table(
        task=shown.task,
        student=shown.student,
        fraction=shown.fraction,
        cells=cells,
        questions=result.n,
        lines=tuple(lines),
        best_teacher=best_teacher,
        chance=result.chance,
        majority=result.majority,
        contributions=_contributions(answers, _terms(study, done, cells)),
        waiting=tuple(method for method in study.methods if method not in cells),
    )


def _line(
    study: Study,
    done: Done,
    cells: Sequence[Cell],
    answers: Answers,
    against_baseline: Difference | None,
    against_teacher: Difference | None,
) -> Line:
    """One method's line, from its tested cells; the tests are those of `Line`."""
    outcomes = [done.tested[cell] for cell in cells]
    flops = [
        _flops(outcome.curve, study.run(cell).batch_size)
        for cell, outcome in zip(cells, outcomes, strict=True)
    ]
    return Line(
        method=cells[0].method,
        weight=cells[0].weight,
        rates=_rates(answers),
        accuracy=statistics.mean(answers),
        calibration=_calibration([outcome.result for outcome in outcomes]),
        against_baseline=against_baseline,
        against_teacher=against_teacher,
        seconds=plain.mean(done.trained[cell]["seconds_in_steps"] for cell in cells),
        flops=plain.mean(flops),
        curves=tuple(outcome.curve for outcome in outcomes),
    )


def _answers(study: Study, cell: Cell, result: Result) -> dict[str, float]:
    """How right each test question was answered; seeds with questions of their own say so."""
    own = f"{cell.seed} " if "{seed}" in study.corpora[cell.task] else ""
    found = result.by_question(HEADLINE)
    return {f"{own}{question}": right for question, right in found.items()}


def _rates(answers: Answers) -> dict[int, float]:
    """The accuracy of each seed, a fraction."""
    return {seed: float(np.mean(list(right.values()))) for seed, right in answers.items()}


def _best_teacher(study: Study, answers: Mapping[str, Answers]) -> str:
    """The method whose students of one single teacher are right most often; "" without any."""
    single = [
        method
        for method in answers
        if not study.methods[method].policy and _names_one(study.methods[method].teachers)
    ]
    return max(single, key=lambda method: plain.mean(_rates(answers[method]).values()), default="")


def _names_one(teachers: str) -> bool:
    """Whether a method's `teachers` are one."""
    return teachers not in ("", "all", "none") and "+" not in teachers


def _terms(
    study: Study, done: Done, cells: Mapping[str, Mapping[int, Cell]]
) -> dict[str, frozenset[str]]:
    """What each method's students learn to write, of the methods that differ in nothing else."""
    return {
        method: frozenset(done.tested[cell].terms)
        for method, by_seed in cells.items()
        for cell in by_seed.values()
        if study.methods[method].policy == "" and not study.methods[method].overrides
    }


def _tests(answers: Mapping[str, Answers], other: str) -> dict[str, Difference]:
    """Every method against another, on the seeds that both have; corrected for their number.

    Args:
      answers: by method.
      other: the other method; "" or one without a tested cell: there is nothing to test.
    """
    tests = {}
    for method, by_seed in answers.items():
        if other not in answers or method == other:
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
    answers: Mapping[str, Answers], terms: Mapping[str, frozenset[str]]
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
