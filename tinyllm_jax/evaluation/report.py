"""Several students side by side: the verdict in words, and the table on the console.

`page.py` shows the same as HTML.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from tinyllm_jax.errors import UserError
from tinyllm_jax.evaluation.results import METRICS, Result
from tinyllm_jax.evaluation.stats import Accuracy, Paired
from tinyllm_jax.tasks import Question

# The metric that decides who is ahead: it is the least harsh on a small student's spelling.
HEADLINE = "likelihood"
LEVEL = 0.05  # the p-value below which a difference is called one


@dataclasses.dataclass(frozen=True)
class StudentReport:
    """What a report shows of one student.

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
    """A question to show in full.

    Attributes:
      question: the question.
      rationales: what students wrote besides their answers: student name → target → text.
    """

    question: Question
    rationales: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)


def check(students: Sequence[StudentReport]) -> None:
    """Checks that students can be compared in one report.

    Raises:
      UserError: there are none, two have one name, or they were evaluated on different tasks or
        splits.
    """
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
    """The report in a few sentences.

    They say who is ahead, whether the questions suffice to say so, which other metrics name another
    student, how the best student compares with knowing nothing, and where choices tied.

    Raises:
      UserError: the students cannot be compared in one report.
    """
    check(students)
    best, *rest = ranked(students)
    if not rest:
        return [_alone(best), _against_baselines(best), *_ties(students)]
    about_best = [_lead(best, rest[0]), *_dissent(best, students), _against_baselines(best)]
    return [*about_best, *_ties(students)]


def _alone(student: StudentReport) -> str:
    """The first sentence of a report on one student: its accuracy."""
    result = student.result
    accuracy = result.accuracy(HEADLINE)
    return (
        f"{_the(student.name)} answers {percent(accuracy.rate)} of {result.n:,} {result.split} "
        f"questions right (95 % interval {100 * accuracy.low:.1f} to {100 * accuracy.high:.1f})."
    )


def _lead(best: StudentReport, second: StudentReport) -> str:
    """The first sentence of a report on several: how far the best is ahead of the second."""
    test = best.result.against(second.result, HEADLINE)
    both = f"{_the(best.name)} and {_the(second.name, 'the')}"
    if test is None:
        return f"{both} answered different questions and cannot be compared."
    high = percent(best.result.accuracy(HEADLINE).rate)
    low = percent(second.result.accuracy(HEADLINE).rate)
    rates = f"{high} against {low} of {best.result.n:,} {best.result.split} questions"
    if test.points == 0:
        return f"{both} are level ({rates})."
    ahead = (
        f"{_the(best.name)} is ahead of {_the(second.name, 'the')} "
        f"by {test.points:.1f} points ({rates})"
    )
    if test.p < LEVEL and test.first_only > test.second_only:
        return f"{ahead}, more than chance explains: {p_value(test.p)}."
    return f"{ahead}, but the two are not distinguishable on these questions: {p_value(test.p)}."


def _dissent(best: StudentReport, students: Sequence[StudentReport]) -> list[str]:
    """A sentence for each metric by which another student than the best is ahead."""
    sentences = []
    for metric, heading in METRICS.items():
        other = ranked(students, metric)[0]
        rate, own = other.result.accuracy(metric).rate, best.result.accuracy(metric).rate
        if metric != HEADLINE and rate > own:
            sentences.append(
                f"By {heading}, {_the(other.name, 'the')} is ahead "
                f"({percent(rate)} against {percent(own)})."
            )
    return sentences


def _against_baselines(student: StudentReport) -> str:
    """The last sentence: whether a student is better than the best baseline."""
    lines = baselines(student.result)
    known = ", ".join(f"{name} gives {percent(rate)}" for name, rate in lines.items())
    accuracy, bar = student.result.accuracy(HEADLINE), max(lines.values())
    if accuracy.low > bar:
        better = "clearly better"
    elif accuracy.high < bar:
        better = "worse"
    else:
        better = "not clearly better"
    return f"{_the(student.name)} is {better} than knowing nothing ({known})."


def _ties(students: Sequence[StudentReport]) -> list[str]:
    """A sentence for each student that finds several choices equally likely."""
    return [
        f"{_the(student.name)} finds several choices equally likely in {ties:,} of "
        f"{student.result.n:,} questions: such a question counts with the right answer's share of "
        "them, and in a test as not answered right."
        for student in students
        if (ties := student.result.counts.get("ties", 0))
    ]


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
        tests = {}
        for metric in METRICS:
            test = first.result.against(second.result, metric)
            if test:
                tests[metric] = test
        if tests:
            pairs.append((first, second, tests))
    return pairs


def table(students: Sequence[StudentReport]) -> str:
    """The students, the baselines and the verdict as aligned plain text, for the console.

    Raises:
      UserError: the students cannot be compared in one report.
    """
    check(students)
    result = students[0].result
    rows = [("", "n", *METRICS.values())]
    for student in students:
        accuracies = [student.result.accuracy(metric) for metric in METRICS]
        rows.append((student.name, f"{student.result.n:,}", *map(interval, accuracies)))
    # A baseline is the same by every metric, and mostly the same for every student.
    rows += dict.fromkeys(row for student in students for row in _baseline_rows(student.result))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    title = f"{result.task}, {result.split}: accuracy in % with its 95 % interval"
    counts = [f"{s.name}: {counts_line(s.result)}" for s in students]
    pairs = ["", *_pair_lines(students), ""] if len(students) > 2 else []
    return "\n".join([title, "", *lines, "", *verdict(students), *pairs, *counts])


def _baseline_rows(result: Result) -> list[tuple[str, ...]]:
    """The rows of the table for students that know nothing."""
    rows = [("chance", f"{result.n:,}") + (f"{100 * result.chance:.1f}",) * len(METRICS)]
    if result.majority:
        found = result.majority.accuracy
        name = f"always {result.majority.answer}"
        rows.append((name, f"{found.n:,}") + (interval(found),) * len(METRICS))
    return rows


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
    """What was cut, tied, unfinished or not writable, and the speed, in one line, with zeros."""
    counts = ", ".join(
        f"{name.replace('_', ' ')} {count:,}" for name, count in result.counts.items()
    )
    speed = f"{result.n / result.seconds:,.1f} questions/s, {result.seconds:,.1f} s"
    return f"{counts}; {speed} and {result.compilation:,.1f} s of compilation"


def interval(accuracy: Accuracy) -> str:
    """An accuracy as "61.2 [56.9, 65.4]", in percent."""
    return f"{100 * accuracy.rate:.1f} [{100 * accuracy.low:.1f}, {100 * accuracy.high:.1f}]"


def percent(rate: float) -> str:
    """A fraction as "61.2 %"."""
    return f"{100 * rate:.1f} %"


def p_value(p: float) -> str:
    """A p-value as "p = 0.40" or "p < 0.001"."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _the(name: str, article: str = "The") -> str:
    """A student's name with its article; a model's path stays as it is."""
    return f"{article} {name}" if name.endswith("student") else name
