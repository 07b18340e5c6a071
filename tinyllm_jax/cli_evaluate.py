"""The command `tinyllm evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl import flags

from tinyllm_jax import cli_devices, cli_students, storage, tasks
from tinyllm_jax.cli_students import Given
from tinyllm_jax.errors import UserError

if TYPE_CHECKING:
    from tinyllm_jax.evaluation.report import Sample, StudentReport

SAMPLES, SAMPLE_TOKENS = 3, 128  # questions whose rationales the page shows, and tokens of each


def define_evaluate(values, argv):
    """The flags of `evaluate`."""
    cli_students.define(values)
    flags.DEFINE_integer(
        "max_answer", 64, "tokens of a generated answer", flag_values=values, lower_bound=1
    )
    flags.DEFINE_string(
        "out", "", "with --student: where to write the results; a workdir keeps its own", values
    )
    flags.DEFINE_string("report", "", "an HTML page to write", values)


def evaluate(values) -> None:
    """Scores students by choice likelihood and by the answers that they write, from checkpoints."""
    if values.report:
        storage.require_writable(values.report, "choose another --report")
    cli_devices.prepare(values.distributed, cli_students.shared_directory(values))
    from tinyllm_jax.evaluation import report

    students = cli_students.given(values)
    _check_out(students, values.out)
    reports = [_evaluate_one(given, values) for given in students]
    samples = _samples(students, values.split) if values.report else []
    if not cli_devices.is_first():
        return
    print(report.table(reports))
    if values.report:
        _write_page(values.report, reports, samples)


def _check_out(students: list[Given], out: str) -> None:
    """Raises `UserError` where the students' results could not be written, before any is asked."""
    if out and len(students) > 1:
        raise UserError(
            "--out takes the results of one student; leave it out, and each workdir keeps its own"
        )
    cli_students.check_names([given.name for given in students])
    for given in students:
        folder = out or (given.workdir and given.workdir / "evaluation")
        if folder:
            file = storage.path(folder) / "results.json"
            storage.require_writable(file, "choose another --out")


def _evaluate_one(given: Given, values) -> StudentReport:
    """Scores one student, and writes its results to --out or its workdir, if it has either."""
    from tinyllm_jax.evaluation import report, results, score

    questions = given.questions(values.split, values.questions)
    result = score.evaluate(
        given.student,
        questions,
        max_answer=values.max_answer,
        batch_size=values.batch_size,
        train_questions=given.questions("train"),
        step=given.step,
    )
    out = values.out
    if not out and given.workdir:
        name = results.directory_name(
            values.split,
            given.corpus.fingerprint,
            len(questions),
            values.max_answer,
            given.step,
        )
        out = given.workdir / "evaluation" / name
    if out and cli_devices.is_first():
        results.write(out, result)
        print(f"wrote {out}")
    return report.StudentReport(given.name, result, given.metrics, given.about)


def _samples(students: list[Given], split: str) -> list[Sample]:
    """The split's first questions, with what each student writes as each of its teachers."""
    from tinyllm_jax.evaluation import report
    from tinyllm_jax.student.writing import write

    questions = students[0].questions(split, SAMPLES)
    rationales: list[dict[str, dict[str, str]]] = [{} for _ in questions]
    for given in students:
        for teacher in given.student.teachers:
            texts = write(given.student, questions, teacher, SAMPLE_TOKENS, len(questions))
            for written, text in zip(rationales, texts, strict=True):
                written.setdefault(given.name, {})[teacher] = text
    return [report.Sample(*pair) for pair in zip(questions, rationales, strict=True)]


def _write_page(path: str, reports: list[StudentReport], samples: list[Sample]) -> None:
    """Writes the HTML page of --report."""
    from tinyllm_jax.evaluation import page, results

    task = reports[0].result.task
    gap = getattr(tasks.TASKS[task], "GAP", "")
    results.write_text(path, page.html_page(f"TinyLLM on {task}", reports, samples, gap))
    print(f"wrote {path}")
