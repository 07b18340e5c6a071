"""Builds a corpus: questions joined with the rows of rationale logs and the columns of other corpora, by id and content,
never by row order.
"""

import os
from collections.abc import Mapping, Sequence

from tinyllm_jax.corpus import store
from tinyllm_jax.corpus.joining import choose, other_corpora
from tinyllm_jax.corpus.joining import logs as logfiles
from tinyllm_jax.corpus.joining import policy as policies
from tinyllm_jax.corpus.joining.choose import Answers
from tinyllm_jax.corpus.joining.logs import Slot, slot_of
from tinyllm_jax.corpus.judging import statistics
from tinyllm_jax.corpus.logrow import LogRow
from tinyllm_jax.corpus.manifest import Manifest
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks.question import Question

Columns = dict[str, dict[Slot, Rationale]]  # by teacher and question


def build(
    task: str,
    questions: Mapping[str, Sequence[Question]],
    logs: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    corpora: Sequence[str | os.PathLike] = (),
    policy: str = "keep-all",
) -> Manifest:
    """Makes a corpus of a task's questions, of what teachers logged about them, and of other corpora's columns.

    A row belongs to the question of its split, id and content; one of another question, or of one
    whose content has changed since, is counted and left out, and so is a failed row. `choose` says
    which of several rows about a question becomes the rationale. The policy gives every rationale
    its weight, those of other corpora too. The corpus's bytes do not depend on the order of logs,
    of the rows in them, or of corpora.

    Args:
      task: the task of all questions and rows.
      questions: by split, in the order that the corpus keeps.
      logs: the log files; may be empty where there are corpora.
      out: the corpus to write; absent or an empty directory.
      corpora: directories of finished corpora of the task; each teacher's name occurs in one input
        only.
      policy: one of `policy.POLICIES`.

    Returns:
      The corpus's manifest; its `report` is what `report.format_report` prints.

    Raises:
      UserError: a log or corpus is unreadable, damaged or of another task, a teacher's rows were
        made with different settings, a teacher is in two inputs, there is no rationale at all, the
        policy is unknown, or `out` is not free.
    """
    policies.check(policy)
    store.check_free(out)
    known = {slot_of(question): question for part in questions.values() for question in part}
    logged = logfiles.read_logs(logs, task, known)
    imported = other_corpora.read_corpora(corpora, task, questions)
    _check_names(logged.sources, imported.sources)
    stated = {
        teacher: {slot: choose.answers(rows, known[slot]) for slot, rows in by_slot.items()}
        for teacher, by_slot in logged.rows.items()
    }
    columns = imported.rationales | _chosen(logged.rows, stated, known)
    if not any(columns.values()):
        inputs = ", ".join(map(str, [*logs, *corpora])) or "no log"
        raise UserError(
            f"no row of {inputs} is about a question of task '{task}'; give the log and the questions that "
            f"'tinyllm teach' had"
        )
    teachers = sorted(columns)
    rows = {
        split: policies.apply(policy, [_row(question, teachers, columns) for question in part])
        for split, part in questions.items()
    }
    report = statistics.statistics(rows, teachers) | {
        "policy": policies.report(policy, rows, teachers),
        "problems": [],
    }
    report |= _logs_report(logged, stated, questions) if logs else {}
    report |= {"corpora": imported.told} if corpora else {}
    source = " and ".join(["rationale logs"] * bool(logs) + ["other corpora"] * bool(corpora))
    return store.write_corpus(out, task, teachers, rows, report, source)


def _check_names(logged: Mapping[str, str], imported: Mapping[str, list[str]]) -> None:
    for teacher, corpora in sorted(imported.items()):
        inputs = corpora if teacher not in logged else [logged[teacher], *corpora]
        if len(inputs) > 1:
            raise UserError(
                f"teacher '{teacher}' is in {inputs[0]} and in {inputs[1]}; leave one out, or give the teachers "
                f"different names"
            )


def _chosen(
    logged: Mapping[str, Mapping[Slot, Sequence[LogRow]]],
    stated: Mapping[str, Mapping[Slot, Answers]],
    known: Mapping[Slot, Question],
) -> Columns:
    columns: Columns = {}
    for teacher, by_slot in logged.items():
        found = {
            slot: choose.rationale(rows, known[slot], stated[teacher][slot])
            for slot, rows in by_slot.items()
        }
        columns[teacher] = {slot: rationale for slot, rationale in found.items() if rationale}
    return columns


def _row(question: Question, teachers: Sequence[str], columns: Columns) -> Row:
    slot = slot_of(question)
    return Row(
        question,
        {teacher: columns[teacher][slot] for teacher in teachers if slot in columns[teacher]},
    )


def _logs_report(
    logged: logfiles.Logged,
    stated: Mapping[str, Mapping[Slot, Answers]],
    questions: Mapping[str, Sequence[Question]],
) -> dict:
    """`log`: what was read. `generations`: per teacher all that it wrote. `unforced`: per split and teacher its own
    accuracy, where it has any. No times: a job that was stopped and went on makes the same
    corpus.
    """
    unforced = {
        split: {
            teacher: told
            for teacher, found in stated.items()
            if (told := choose.accuracy(part, found))["samples"]
        }
        for split, part in questions.items()
    }
    return {
        "log": logged.counts,
        "generations": {
            teacher: _totals([row for rows in by_slot.values() for row in rows])
            for teacher, by_slot in logged.rows.items()
        },
        "unforced": {split: told for split, told in unforced.items() if told},
    }


def _totals(rows: Sequence[LogRow]) -> dict[str, int]:
    return {
        "rows": len(rows),
        "prompt_tokens": sum(max(row.prompt_tokens, 0) for row in rows),
        "tokens": sum(max(row.tokens, 0) for row in rows),
        "contexts_cut": sum(row.context_cut > 0 for row in rows),
        "context_words_cut": sum(row.context_cut for row in rows),
    }
