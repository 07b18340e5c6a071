"""Several students side by side: the verdict in words, and the table on the console. `page.py` makes the same as HTML."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from tinyllm_jax.errors import UserError
from tinyllm_jax.evaluation.results import METRICS, Result
from tinyllm_jax.evaluation.stats import Accuracy, Paired
from tinyllm_jax.tasks import Question

HEADLINE = "likelihood"  # the metric that decides who is ahead: the least harsh on a small student's spelling
LEVEL = 0.05  # the p-value below which a difference is called one


@dataclasses.dataclass(frozen=True)
class StudentReport:
    """One student's row.

    Attributes:
      name: unique in the report, e.g. "multi-teacher student" or "answers-only student".
      result: its evaluation.
      metrics: the rows of its metrics.jsonl: {"step", "loss", "terms": {name: loss}} while
        training, {"step", "validation_accuracy" (a fraction), "validation_terms": {name: loss}} at
        validations; other keys are ignored.
      about: one line about it: size, teachers, steps, seed.
    """

    name: str
    result: Result
    metrics: Sequence[Mapping] = ()
    about: str = ""


@dataclasses.dataclass(frozen=True)
class Sample:
    """A question to show in full, and what each student wrote besides its answer: student name → target → text."""

    question: Question
    rationales: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)


def check(students: Sequence[StudentReport]) -> None:
    """Raises `UserError` unless there are students, with names of their own, all on one task and split."""
    names = [student.name for student in students]
    if not students:
        raise UserError("a report needs at least one student")
    if len(set(names)) < len(names):
        raise UserError(
            f"a report needs a name of its own for each student, not {', '.join(names)}"
        )
    evaluated = sorted({(s.result.task, s.result.split) for s in students})
    if len(evaluated) > 1:
        found = ", ".join(f"{task} {split}" for task, split in evaluated)
        raise UserError(f"a report compares students on one task and split, not on {found}")


def ranked(students: Sequence[StudentReport], metric: str = HEADLINE) -> list[StudentReport]:
    """The students, best first; equal ones keep their order."""
    return sorted(students, key=lambda student: -student.result.accuracy(metric).rate)


def verdict(students: Sequence[StudentReport]) -> list[str]:
    """Who is ahead, whether the questions suffice to say so, and how that compares with knowing nothing: sentences."""
    check(students)
    best, *rest = ranked(students)
    sentences = [_lead(best, rest[0]) if rest else _alone(best)]
    if rest:
        sentences += _dissent(best, students)
    return [*sentences, _against_baselines(best)]


def _alone(student: StudentReport) -> str:
    result = student.result
    accuracy = result.accuracy(HEADLINE)
    return (
        f"{_the(student.name)} answers {percent(accuracy.rate)} of {result.n:,} {result.split} questions right "
        f"(95 % interval {100 * accuracy.low:.1f} to {100 * accuracy.high:.1f})."
    )


def _lead(best: StudentReport, second: StudentReport) -> str:
    high, low = best.result.accuracy(HEADLINE), second.result.accuracy(HEADLINE)
    of = f"{percent(high.rate)} against {percent(low.rate)} of {best.result.n:,} {best.result.split} questions"
    test = best.result.against(second.result, HEADLINE)
    if test is None:
        return f"{_the(best.name)} and {_the(second.name, 'the')} answered different questions and cannot be compared."
    if test.first_only == test.second_only:
        return f"{_the(best.name)} and {_the(second.name, 'the')} are level ({of})."
    ahead = f"{_the(best.name)} is ahead of {_the(second.name, 'the')} by {test.points:.1f} points ({of})"
    if test.p < LEVEL:
        return f"{ahead}, more than chance explains: {p_value(test.p)}."
    return f"{ahead}, but the two are not distinguishable on these questions: {p_value(test.p)}."


def _dissent(best: StudentReport, students: Sequence[StudentReport]) -> list[str]:
    sentences = []
    for metric, heading in METRICS.items():
        other = ranked(students, metric)[0]
        rate, own = other.result.accuracy(metric).rate, best.result.accuracy(metric).rate
        if metric != HEADLINE and rate > own:
            sentences.append(
                f"By {heading}, {_the(other.name, 'the')} is ahead ({percent(rate)} against {percent(own)})."
            )
    return sentences


def _against_baselines(student: StudentReport) -> str:
    lines = baselines(student.result)
    known = ", ".join(f"{name} gives {percent(rate)}" for name, rate in lines.items())
    accuracy, bar = student.result.accuracy(HEADLINE), max(lines.values())
    better = (
        "clearly better"
        if accuracy.low > bar
        else "worse"
        if accuracy.high < bar
        else "not clearly better"
    )
    return f"{_the(student.name)} is {better} than knowing nothing ({known})."


def baselines(result: Result) -> dict[str, float]:
    """The lines of students that know nothing: name → accuracy, a fraction."""
    lines = {"picking at random": result.chance}
    if result.majority:
        lines[f"always answering {result.majority.answer}"] = result.majority.accuracy.rate
    return lines


def comparisons(
    students: Sequence[StudentReport],
) -> list[tuple[StudentReport, StudentReport, dict[str, Paired]]]:
    """Every pair of students that answered the same questions, with its paired test by metric."""
    pairs = []
    for first, second in itertools.combinations(students, 2):
        if first.result.against(second.result, HEADLINE):
            pairs.append(
                (first, second, {m: first.result.against(second.result, m) for m in METRICS})
            )
    return pairs


def table(students: Sequence[StudentReport]) -> str:
    """The students, the baselines and the verdict as aligned plain text, for the console."""
    check(students)
    result = students[0].result
    rows = [["", "n", *METRICS.values()]]
    for student in students:
        found = student.result
        rows.append(
            [
                student.name,
                f"{found.n:,}",
                *(interval(found.accuracy(metric)) for metric in METRICS),
            ]
        )
    rows.append(["chance", f"{result.n:,}", *[f"{100 * result.chance:.1f}"] * len(METRICS)])
    if result.majority:
        line = result.majority
        rows.append(
            [
                f"always {line.answer}",
                f"{line.accuracy.n:,}",
                *[interval(line.accuracy)] * len(METRICS),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows
    ]
    title = f"{result.task}, {result.split}: accuracy in % with its 95 % interval"
    counts = [f"{s.name}: {counts_line(s.result)}" for s in students]
    pairs = ["", *_pair_lines(students), ""] if len(students) > 2 else []
    return "\n".join([title, "", *lines, "", *verdict(students), *pairs, *counts])


def _pair_lines(students: Sequence[StudentReport]) -> list[str]:
    """Every pair of students as "A against B: +3.0 points, p = 0.02", the headline's metric."""
    lines = [f"Pair by pair, {METRICS[HEADLINE]}, exact McNemar test:"]
    for first, second, tests in comparisons(students):
        test = tests[HEADLINE]
        lines.append(
            f"  {first.name} against {second.name}: {test.points:+.1f} points, {p_value(test.p)}"
        )
    return lines


def counts_line(result: Result) -> str:
    """What was cut, unfinished or not writable, and the speed, in one line; zeros are shown too."""
    counts = ", ".join(
        f"{name.replace('_', ' ')} {count:,}" for name, count in result.counts.items()
    )
    return f"{counts}; {result.n / result.seconds:,.1f} questions/s, {result.seconds:,.1f} s"


def interval(accuracy: Accuracy) -> str:
    """An accuracy as "61.2 [56.9, 65.4]", in percent."""
    return f"{100 * accuracy.rate:.1f} [{100 * accuracy.low:.1f}, {100 * accuracy.high:.1f}]"


def percent(rate: float) -> str:
    """A fraction as "61.2 %"."""
    return f"{100 * rate:.1f} %"


def p_value(p: float) -> str:
    """A p-value as "p = 0.40" or "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _the(name: str, article: str = "The") -> str:
    # "The multi-teacher student" reads well; a model's path stays as it is.
    return f"{article} {name}" if name.endswith("student") else name
