"""Builds a corpus from questions, rationale logs, files of rationales and other corpora's columns.

Everything is joined by id and content, never by row order.
"""

import os
from collections.abc import Mapping, Sequence

from tinyllm_jax.corpus import store
from tinyllm_jax.corpus.joining import choose
from tinyllm_jax.corpus.joining.choose import StatedAnswers
from tinyllm_jax.corpus.joining.logs import Identity, LoggedRows, identity_of, read_logs
from tinyllm_jax.corpus.joining.other_corpora import read_corpora
from tinyllm_jax.corpus.joining.policy import apply_policy, check_policy, policy_report
from tinyllm_jax.corpus.joining.rationale_files import read_files
from tinyllm_jax.corpus.judging.statistics import statistics
from tinyllm_jax.corpus.logrow import LogRow
from tinyllm_jax.corpus.manifest import Manifest
from tinyllm_jax.corpus.schema import Rationale, Row, check_teacher
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks.question import Question

Columns = dict[str, dict[Identity, Rationale]]  # by teacher and question
Stated = dict[str, dict[Identity, StatedAnswers]]  # by teacher and question


def build(
    task: str,
    questions: Mapping[str, Sequence[Question]],
    logs: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    corpora: Sequence[str | os.PathLike] = (),
    policy: str = "keep-all",
    rationales: Mapping[str, str | os.PathLike] | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Makes a corpus of a task's questions and of rationales: logs, files and other corpora.

    A row belongs to the question of its split, id and content; one of another question, or of one
    whose content has changed since, is counted and left out, and so is a failed row. `choose` says
    which of several rows about a question becomes the rationale. The policy gives every rationale
    its weight, those of other corpora too. The corpus's bytes do not depend on the order of logs,
    of the rows in them, of corpora, or of files of rationales.

    Args:
      task: the task of all questions and rows.
      questions: by split, in the order that the corpus keeps.
      logs: the log files; may be empty where there are corpora or files of rationales.
      out: the corpus to write; absent or an empty directory, or with `overwrite` a corpus.
      corpora: directories of finished corpora of the task; each teacher's name occurs in one input
        only.
      policy: one of `policy.POLICIES`.
      rationales: by teacher a file of rationales, as `read_rationales` reads it.
      overwrite: whether a corpus of the task at `out` is replaced.

    Returns:
      The corpus's manifest; its `report` is what `report.format_report` prints.

    Raises:
      UserError: a log, file or corpus is unreadable, damaged or of another task, a teacher's rows
        were made with different settings, a teacher is in two inputs or has a bad name, there is no
        rationale at all, no row of a file joins, the policy is unknown, or `out` is not free.
    """
    check_policy(policy)
    rationales = rationales or {}
    for teacher in rationales:
        check_teacher(teacher)
    store.require_writable(out, task, overwrite)
    known = {identity_of(question): question for part in questions.values() for question in part}
    logged = read_logs(logs, task, known)
    merged = read_corpora(corpora, task, questions)
    in_files = read_files(rationales, questions)
    _check_names(logged.sources, in_files.sources, merged.sources)
    stated = _stated_answers(logged, known)
    columns = merged.rationales | in_files.rationales | _chosen(logged, stated, known)
    if not any(columns.values()):
        _check_answers(stated, known)
        inputs = ", ".join(map(str, [*logs, *corpora])) or "no log"
        raise UserError(
            f"no row of {inputs} is about a question of task '{task}'; give the log and the "
            f"questions that 'tinyllm teach' had"
        )

    teachers = sorted(columns)
    rows = {}
    for split, part in questions.items():
        joined = [_row(question, teachers, columns) for question in part]
        rows[split] = apply_policy(policy, joined)

    report = statistics(rows, teachers)
    report |= {"policy": policy_report(policy, rows, teachers), "problems": []}
    if logs:
        report |= _logs_report(logged, stated, questions)
    if rationales:
        report["rationales"] = in_files.summaries
    if corpora:
        report["corpora"] = merged.summaries
    inputs_by_kind = {
        "rationale logs": logs,
        "files of rationales": rationales,
        "other corpora": corpora,
    }
    source = " and ".join(kind for kind, given in inputs_by_kind.items() if given)
    return store.write_corpus(out, task, teachers, rows, report, source, overwrite)


def _check_names(
    logged: Mapping[str, str], in_files: Mapping[str, str], merged: Mapping[str, list[str]]
) -> None:
    """Raises `UserError` where a teacher is in two inputs; each argument is inputs by teacher."""
    for teacher in sorted({*logged, *in_files, *merged}):
        inputs = [kind[teacher] for kind in (logged, in_files) if teacher in kind]
        inputs += merged.get(teacher, [])
        if len(inputs) > 1:
            raise UserError(
                f"teacher '{teacher}' is in {inputs[0]} and in {inputs[1]}; leave one out, or give "
                f"the teachers different names"
            )


def _stated_answers(logged: LoggedRows, known: Mapping[Identity, Question]) -> Stated:
    """The answers that each teacher's unforced rows state."""
    stated: Stated = {}
    for teacher, by_question in logged.rows.items():
        stated[teacher] = {
            identity: choose.stated_answers(rows, known[identity])
            for identity, rows in by_question.items()
        }
    return stated


def _chosen(logged: LoggedRows, stated: Stated, known: Mapping[Identity, Question]) -> Columns:
    """The rationale of each teacher for each question of which its rows hold one."""
    columns: Columns = {}
    for teacher, by_question in logged.rows.items():
        columns[teacher] = {}
        for identity, rows in by_question.items():
            chosen = choose.rationale(rows, known[identity], stated[teacher][identity])
            if chosen:
                columns[teacher][identity] = chosen
    return columns


def _check_answers(stated: Stated, known: Mapping[Identity, Question]) -> None:
    """Raises `UserError` where there are samples, and none of them states the gold answer."""
    answers = [
        answer == known[identity].answer if answer is not None else None
        for by_question in stated.values()
        for identity, samples in by_question.items()
        for answer in samples.values()
    ]
    if answers:
        raise UserError(
            f"none of the {len(answers):,} unforced rationales states the gold answer: "
            f"{answers.count(False):,} state another, {answers.count(None):,} none that can be "
            f"read; look at the prompt and the stop strings, or choose mode unforced-first"
        )


def _row(question: Question, teachers: Sequence[str], columns: Columns) -> Row:
    """A question with the rationales that there are of it, in the order of `teachers`."""
    identity = identity_of(question)
    wrote = [teacher for teacher in teachers if identity in columns[teacher]]
    return Row(question, {teacher: columns[teacher][identity] for teacher in wrote})


def _logs_report(
    logged: LoggedRows, stated: Stated, questions: Mapping[str, Sequence[Question]]
) -> dict:
    """What the logs add to the report of a build.

    Returns:
      `log`: what was read; `generations`: per teacher all that it wrote; `unforced`: per split and
      teacher its own accuracy, where it has any. There are no times in it, so that a job that was
      stopped and went on makes the same corpus.
    """
    unforced: dict[str, dict] = {}
    for split, part in questions.items():
        for teacher, answers in stated.items():
            accuracy = choose.accuracy(part, answers)
            if accuracy["samples"]:
                unforced.setdefault(split, {})[teacher] = accuracy
    generations = {}
    for teacher, by_question in logged.rows.items():
        generations[teacher] = _totals([row for rows in by_question.values() for row in rows])
    return {"log": logged.counts, "generations": generations, "unforced": unforced}


def _totals(rows: Sequence[LogRow]) -> dict[str, int]:
    """What a teacher read and wrote in all; an unknown number of tokens (-1) counts as none."""
    return {
        "rows": len(rows),
        "prompt_tokens": sum(max(row.prompt_tokens, 0) for row in rows),
        "tokens": sum(max(row.tokens, 0) for row in rows),
        "contexts_cut": sum(row.context_cut > 0 for row in rows),
        "context_words_cut": sum(row.context_cut for row in rows),
    }
