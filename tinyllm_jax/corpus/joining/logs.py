"""Reads rationale logs for a build: which rows count, and that each teacher's were all made in one way."""

import collections
import dataclasses
import itertools
import json
import os
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path

from tinyllm_jax.corpus import tfrecord
from tinyllm_jax.corpus.logrow import LogRow
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks.question import Question

Slot = tuple[str, str, str]  # a question's split, id and key
Placed = tuple[LogRow, Path]  # a row and the log that it stands in

SHOWN = 4  # settings that an error names
COUNTS = (
    "rows",
    "rows of an unknown or changed question",
    "rows logged twice",
    "failed rows",
    "failed, never made good",
    "bytes of a torn last row",
)


@dataclasses.dataclass(frozen=True)
class Logged:
    """What the logs hold about the questions of a build.

    Attributes:
      rows: by teacher and question the good rows, unforced ones first, each kind in the order of
        their samples.
      sources: by teacher one of its logs.
      counts: the rows read and those left out, by `COUNTS`.
    """

    rows: dict[str, dict[Slot, list[LogRow]]]
    sources: dict[str, str]
    counts: dict[str, int]


def slot_of(question: Question) -> Slot:
    """Where a question's rows belong."""
    return question.split, question.id, question.key


def read_logs(logs: Sequence[str | os.PathLike], task: str, known: Container[Slot]) -> Logged:
    """Reads logs; what it returns does not depend on the order of the logs or of the rows in them.

    Args:
      logs: the files.
      task: the task that every row must be of.
      known: the questions; rows of others are counted and left out.

    Raises:
      UserError: a log is unreadable, damaged or of another task; a teacher's rows were made with
        different settings; or there are rows, and all of them failed.
    """
    counts = collections.Counter(dict.fromkeys(COUNTS, 0))
    good: dict[str, Placed] = {}
    failed: dict[str, str] = {}
    for log in map(Path, logs):
        for row in _read_log(log, task, counts):
            if (row.split, row.question_id, row.question_key) not in known:
                counts["rows of an unknown or changed question"] += 1
            elif row.error:
                counts["failed rows"] += 1
                failed[row.key] = row.error
            else:
                counts["rows logged twice"] += row.key in good
                pairs = (row, log), good.get(row.key, (row, log))
                good[row.key] = min(pairs, key=lambda pair: (pair[0].to_bytes(), pair[1]))
    if failed and not good:
        raise UserError(
            f"all {len(failed)} rows of {', '.join(map(str, logs))} failed, one with: {min(failed.values())}; run "
            f"'tinyllm teach' again"
        )
    counts["failed, never made good"] = len(failed.keys() - good.keys())
    sources = {
        row.teacher: str(log)
        for row, log in sorted(good.values(), key=lambda pair: pair[1], reverse=True)
    }
    return Logged(_by_teacher(good.values()), sources, dict(counts))


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
            raise UserError(
                f"{log}: record {len(rows) - 1} is of task '{rows[-1].task}', not of '{task}'; give the logs of "
                f"one task"
            )
    return rows


def _by_teacher(good: Iterable[Placed]) -> dict[str, dict[Slot, list[LogRow]]]:
    teachers: dict[str, list[Placed]] = collections.defaultdict(list)
    for row, log in sorted(good, key=lambda pair: (pair[0].forced, pair[0].sample, pair[0].key)):
        teachers[row.teacher].append((row, log))
    for teacher, placed in teachers.items():
        _check_one_setting(teacher, placed, _setting)
        for forced in (True, False):
            _check_one_setting(
                teacher, [pair for pair in placed if pair[0].forced == forced], _prompt
            )
    return {teacher: _by_question(placed) for teacher, placed in sorted(teachers.items())}


def _by_question(placed: Sequence[Placed]) -> dict[Slot, list[LogRow]]:
    questions: dict[Slot, list[LogRow]] = collections.defaultdict(list)
    seen: dict[tuple, Placed] = {}
    for row, log in placed:
        slot = (row.split, row.question_id, row.question_key)
        other, other_log = seen.setdefault((slot, row.forced, row.sample), (row, log))
        if other is not row:
            raise UserError(
                f"two different rationales of {row.teacher} for question '{row.question_id}' of {row.split}: "
                f"{other_log} (key {other.key[:12]}) and {log} (key {row.key[:12]}); leave one log out, or give "
                f"the teachers different names"
            )
        questions[slot].append(row)
    return dict(questions)


def _setting(row: LogRow) -> dict:
    """What decides how a row's text was made, apart from its prompt; weights are named as in `logrow.row_key`."""
    return {"model": row.revision or row.model, "seed": row.seed, **_parameters(row.sampling)}


def _prompt(row: LogRow) -> dict:
    return {f"{'forced' if row.forced else 'unforced'} prompt": row.prompt_hash}


def _parameters(sampling: str) -> dict:
    try:
        return dict(json.loads(sampling))
    except (ValueError, TypeError):
        return {"sampling": sampling}


def _check_one_setting(
    teacher: str, placed: Sequence[Placed], setting: Callable[[LogRow], dict]
) -> None:
    """Raises `UserError` where the rows have more than one setting: a mix is never made silently."""
    found: dict[str, list[Placed]] = collections.defaultdict(list)
    for row, log in placed:
        found[json.dumps(setting(row), sort_keys=True)].append((row, log))
    if len(found) < 2:
        return
    settings = [json.loads(text) for text in found]
    names = [
        name
        for name in dict.fromkeys(itertools.chain(*settings))
        if any(other.get(name) != settings[0].get(name) for other in settings)
    ]
    told = sorted(
        f"{_logs(pairs)} ({', '.join(f'{name} {_short(one.get(name))}' for name in names)}: {len(pairs):,} "
        f"row{'s' * (len(pairs) > 1)})"
        for one, pairs in zip(settings, found.values())
    )
    more = f" and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    raise UserError(
        f"the rows of teacher '{teacher}' were not all made in one way: {' and '.join(told[:SHOWN])}{more}; give "
        f"the logs of one way with --log, or give the teacher another name when you change it"
    )


def _logs(pairs: Sequence[Placed]) -> str:
    logs = sorted({str(log) for _, log in pairs})
    return logs[0] + (f" and {len(logs) - 1} more" if logs[1:] else "")


def _short(value) -> str:
    text = (
        "none"
        if value is None
        else value
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False)
    )
    return text if len(text) <= 40 else f"{text[:12]}…"
