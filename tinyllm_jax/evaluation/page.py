"""The report as one HTML page: no script, nothing fetched, and every text that a model or dataset wrote is escaped."""

from collections.abc import Sequence

from tinyllm_jax.evaluation import charts
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
from tinyllm_jax.evaluation.results import METRICS, Prediction
from tinyllm_jax.evaluation.stats import Paired
from tinyllm_jax.style import document
from tinyllm_jax.style import escape as _e

READING = """
<dl>
<dt>Likelihood</dt><dd>The student reads the question and gives every choice a probability; the likeliest one is its answer.
<i>Per token</i> divides by the choice's length first, so that long choices are not at a disadvantage.</dd>
<dt>Exact and normalised match</dt><dd>The student writes its answer freely. It must equal the right choice to the letter, or
after lower-casing and dropping articles and punctuation. A bare letter, "(b)", matches neither: the notes count these.</dd>
<dt>The band</dt><dd>The 95&nbsp;% (Wilson) interval: how far another draw of as many questions could move the accuracy. The
upright ticks are the baselines. The interval does not cover training's own luck: another seed gives another student.</dd>
<dt>p</dt><dd>The exact McNemar test: how often two equally good students would differ by at least this much on these
questions. It is not corrected for the number of comparisons.</dd>
</dl>"""


def html_page(
    title: str, students: Sequence[StudentReport], samples: Sequence[Sample] = (), gap: str = ""
) -> str:
    """The whole report as a self-contained page.

    Args:
      title: plain text, as all texts here.
      students: in the order in which they are shown, all on one task and split.
      samples: questions to show in full, each with whatever students were asked to explain.
      gap: a sentence on what the difference between students means on this task.

    Raises:
      UserError: no students, two of one name, or different tasks or splits.
    """
    check(students)
    result = students[0].result
    sections = [
        ("Accuracies", _accuracies(students)),
        ("Pair by pair", _pairs(students)),
        ("Training", _training(students)),
        ("What kind of gap this is", gap and f"<p>{_e(gap)}</p>"),
        ("Sample questions", "".join(_sample(sample, students) for sample in samples)),
        ("How to read this page", READING),
        ("Notes", _notes(students)),
    ]
    kicker = f"{result.task} · {result.split} · {result.n:,} questions"
    return document(title, kicker, verdict(students), sections)


def _accuracies(students: Sequence[StudentReport]) -> str:
    marks = baselines(students[0].result)
    head = "".join(f"<th scope='col'>{_e(heading)}</th>" for heading in METRICS.values())
    rows = "".join(_student_row(i, student, marks) for i, student in enumerate(students))
    lines = "".join(
        f"<tr class='baseline'><th scope='row'>{_e(name)}</th><td class='number' colspan='{len(METRICS)}'>"
        f"{percent(rate)}</td></tr>"
        for name, rate in marks.items()
    )
    return (
        f"<div class='wide'><table><thead><tr><th scope='col'>student</th>{head}</tr></thead>"
        f"<tbody>{rows}{lines}</tbody></table></div>"
        "<p class='small'>Accuracy in %, with its 95 % interval; the scale of each bar is 0 to 100 %. "
        "A baseline stands for all four columns: it names one of the choices.</p>"
    )


def _student_row(index: int, student: StudentReport, marks: dict[str, float]) -> str:
    cells = []
    for metric in METRICS:
        accuracy = student.result.accuracy(metric)
        rate, limits = interval(accuracy).split(" ", 1)
        bar = charts.interval_bar(accuracy, index, marks)
        cells.append(
            f"<td><span class='number'><b>{rate}</b> <span class='small'>{limits}</span></span>{bar}</td>"
        )
    about = f"<span class='small'>{_e(student.about)}</span>" if student.about else ""
    key = f"<span class='key s{index % charts.SERIES}'></span>"
    return f"<tr><th scope='row'>{key}{_e(student.name)}{about}</th>{''.join(cells)}</tr>"


def _pairs(students: Sequence[StudentReport]) -> str:
    tables = []
    for first, second, tests in comparisons(students):
        rows = "".join(_pair_row(METRICS[metric], test) for metric, test in tests.items())
        head = (
            "",
            f"only {first.name} right",
            f"only {second.name} right",
            "difference in points",
            "exact McNemar test",
        )
        cells = "".join(f"<th scope='col'>{_e(cell)}</th>" for cell in head)
        tables.append(
            f"<div class='wide'><table><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table></div>"
        )
    return "".join(tables)


def _pair_row(heading: str, test: Paired) -> str:
    found = p_value(test.p) + ("" if test.p < LEVEL else ": not distinguishable")
    cells = (f"{test.first_only:,}", f"{test.second_only:,}", f"{test.points:+.1f}", found)
    return (
        f"<tr><th scope='row'>{_e(heading)}</th>"
        + "".join(f"<td class='number'>{_e(c)}</td>" for c in cells)
        + "</tr>"
    )


def _training(students: Sequence[StudentReport]) -> str:
    losses = {s.name: [(r["step"], r["loss"]) for r in s.metrics if "loss" in r] for s in students}
    accuracies = {
        s.name: [
            (r["step"], 100 * r["validation_accuracy"])
            for r in s.metrics
            if "validation_accuracy" in r
        ]
        for s in students
    }
    figures = [
        ("Validation accuracy", charts.curves(accuracies, unit=" %")),
        ("Training loss (the whole objective)", charts.curves(losses)),
    ]
    for key, where in (("validation_terms", "validation"), ("terms", "training")):
        figures += [
            (f"Loss of {term} on {where} questions", charts.curves(_term(students, key, term)))
            for term in _terms(students, key)
        ]
    shown = "".join(
        f"<figure><figcaption>{_e(caption)}</figcaption>{chart}</figure>"
        for caption, chart in figures
        if chart
    )
    caution = (
        "<p class='small'>A term is what a student learns to write: the answer, or a teacher's rationale. Its loss on "
        "validation questions, in nats a token, tells whether the student has learned what the teacher knows, or only "
        "what it wrote. Whole objectives of different terms cannot be compared.</p>"
    )
    return shown and f"<div class='figures'>{shown}</div>{caution}"


def _terms(students: Sequence[StudentReport], key: str) -> list[str]:
    """The terms whose losses some student's metrics have under `key`."""
    return list(
        dict.fromkeys(term for s in students for row in s.metrics for term in row.get(key, {}))
    )


def _term(
    students: Sequence[StudentReport], key: str, term: str
) -> dict[str, list[tuple[float, float]]]:
    """One term's loss by step, for each student; none for one that does not learn it."""
    return {
        s.name: [(row["step"], row[key][term]) for row in s.metrics if term in row.get(key, {})]
        for s in students
    }


def _sample(sample: Sample, students: Sequence[StudentReport]) -> str:
    question = sample.question
    choices = "".join(
        f"<li{' class=gold' if i == question.gold else ''}>{_e(choice)}{' <b>✓ right</b>' if i == question.gold else ''}</li>"
        for i, choice in enumerate(question.choices)
    )
    context = (
        f"<details><summary>Context</summary><p>{_e(question.context)}</p></details>"
        if question.context
        else ""
    )
    found = [
        (i, s, next((p for p in s.result.predictions if p.id == question.id), None))
        for i, s in enumerate(students)
    ]
    answers = "".join(_answer(i, s, p, sample) for i, s, p in found if p)
    return (
        f"<article><h3>{_e(question.question)}</h3>{context}<ol type='a'>{choices}</ol>"
        f"<div class='answers'>{answers}</div></article>"
    )


def _answer(index: int, student: StudentReport, prediction: Prediction, sample: Sample) -> str:
    chosen = sample.question.choices[prediction.likelihood]
    mark = "✓" if prediction.right("likelihood") else "✗"
    wrote = "✓" if prediction.normalised_match else "✗"
    rationales = "".join(
        f"<dt>Rationale as {_e(target)}</dt><dd class='text'>{_e(text) or '(nothing)'}</dd>"
        for target, text in sample.rationales.get(student.name, {}).items()
    )
    return (
        f"<div class='answer'><h4><span class='key s{index % charts.SERIES}'></span>{_e(student.name)}</h4>"
        f"<dl><dt>Likeliest choice</dt><dd>{mark} {_e(chosen)}</dd>"
        f"<dt>Wrote</dt><dd class='text'>{wrote} {_e(prediction.generated) or '(nothing)'}</dd>{rationales}</dl></div>"
    )


def _notes(students: Sequence[StudentReport]) -> str:
    lines = [f"{student.name}: {counts_line(student.result)}." for student in students]
    return "<ul>" + "".join(f"<li>{_e(line)}</li>" for line in lines) + "</ul>"
