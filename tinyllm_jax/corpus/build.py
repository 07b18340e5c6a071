"""Builds a corpus: questions joined with the rows of rationale logs, by id and content, never by row order."""

import collections
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tinyllm_jax.corpus import quality, store, tfrecord
from tinyllm_jax.corpus.logrow import LogRow
from tinyllm_jax.corpus.manifest import Manifest
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks.question import Question

Slot = tuple[str, str, str, str]  # split, question id, question key, teacher


def build(task: str, questions: Mapping[str, Sequence[Question]], logs: Sequence[str | os.PathLike],
          out: str | os.PathLike) -> Manifest:
    """Makes a corpus of a task's questions and of what teachers logged about them.

    A log row belongs to the question of its split, id and content; a row of another question, or of one whose content
    has changed since, is counted and left out. An empty rationale has weight 0, any other 1. The corpus's bytes do not
    depend on the order of the logs or of the rows in them.

    Args:
      task: the task of all questions and log rows.
      questions: by split, in the order that the corpus keeps.
      logs: the log files, at least one.
      out: the corpus to write; absent or an empty directory.

    Returns:
      The corpus's manifest; its `report` is what `report.format_report` prints.

    Raises:
      UserError: a log is unreadable, damaged or of another task, two rows of different keys are about the same question
        and teacher, or `out` is not free.
    """
    store.check_free(out)
    known = {(question.split, question.id, question.key): question for part in questions.values() for question in part}
    counts = collections.Counter({"rows": 0, "rows of an unknown or changed question": 0, "rows logged twice": 0,
                                  "bytes of a torn last row": 0})
    chosen: dict[Slot, tuple[LogRow, Path]] = {}
    for log in map(Path, logs):
        for row in _read_log(log, task, counts):
            if (row.split, row.question_id, row.question_key) in known:
                _choose(chosen, row, log, counts)
            else:
                counts["rows of an unknown or changed question"] += 1
    teachers = sorted({row.teacher for row, _ in chosen.values()})
    if not teachers:
        raise UserError(f"no row of {', '.join(map(str, logs)) or 'no log'} is about a question of task '{task}'; give the "
                        f"log and the questions that 'tinyllm teach' had")
    rows = {split: quality.mark_duplicates([_row(question, teachers, chosen) for question in part])
            for split, part in questions.items()}
    report = quality.statistics(rows, teachers) | {"log": dict(counts), "problems": []}
    return store.write_corpus(out, task, teachers, rows, report, "rationale logs")


def _read_log(log: Path, task: str, counts: collections.Counter) -> list[LogRow]:
    end, whole = tfrecord.scan(log)
    counts["bytes of a torn last row"] += log.stat().st_size - end
    counts["rows"] += whole
    rows = []
    for payload in itertools.islice(tfrecord.read_records(log), whole):
        try:
            rows.append(LogRow.from_bytes(payload))
        except UserError as error:
            raise UserError(f"{log}: record {len(rows)}: {error}") from None
        if rows[-1].task != task:
            raise UserError(f"{log}: record {len(rows) - 1} is of task '{rows[-1].task}', not of '{task}'; give the logs of "
                            f"one task")
    return rows


def _choose(chosen: dict[Slot, tuple[LogRow, Path]], row: LogRow, log: Path, counts: collections.Counter) -> None:
    slot = (row.split, row.question_id, row.question_key, row.teacher)
    other, other_log = chosen.setdefault(slot, (row, log))
    if other is row:
        return
    if other.key != row.key:
        first, second = sorted([f"{other_log} (key {other.key[:12]})", f"{log} (key {row.key[:12]})"])
        raise UserError(f"two different rationales of {row.teacher} for question '{row.question_id}' of {row.split}: "
                        f"{first} and {second}; leave one log out, or give the teachers different names")
    counts["rows logged twice"] += 1
    chosen[slot] = min((other, other_log), (row, log), key=lambda pair: pair[0].to_bytes())


def _row(question: Question, teachers: Sequence[str], chosen: Mapping[Slot, tuple[LogRow, Path]]) -> Row:
    slots = ((question.split, question.id, question.key, teacher) for teacher in teachers)
    rows = [chosen[slot][0] for slot in slots if slot in chosen]
    return Row(question, {row.teacher: _rationale(row, question) for row in rows})


def _rationale(row: LogRow, question: Question) -> Rationale:
    flags = quality.flags_of(row.text, question, row.finish_reason)
    return Rationale(
        text=row.text, teacher=row.teacher, model=row.model, revision=row.revision, prompt_hash=row.prompt_hash,
        sampling=row.sampling, forced=row.forced, finish_reason=row.finish_reason, tokens=row.tokens,
        weight=quality.weight_of(flags), flags=flags)
