"""Reads rationale logs for a build.

It says which rows of the logs count, and refuses a teacher whose rows were not all made in one way.
"""

import collections
import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

from etils import epath

from tinyllm_jax.corpus import tfrecord
from tinyllm_jax.corpus.logrow import LogRow, read_log
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks.question import ID_LENGTH, Question

Identity = tuple[str, str, str]  # a question's split, id and content hash

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
class LoggedRows:
    """What the logs hold about the questions of a build.

    Attributes:
      rows: by teacher and question the good rows, unforced ones first, each kind in the order of
        their samples.
      sources: by teacher one of its logs.
      counts: the rows read and those left out, by `COUNTS`.
    """

    rows: dict[str, dict[Identity, list[LogRow]]]
    sources: dict[str, str]
    counts: dict[str, int]


@dataclasses.dataclass(frozen=True)
class _Found:
    """A row, and the log that it was found in."""

    row: LogRow
    log: epath.Path


def identity_of(question: Question) -> Identity:
    """What the rows about a question are joined to it by."""
    return question.split, question.id, question.key


def _identity_of_row(row: LogRow) -> Identity:
    return row.split, row.question_id, row.question_key


def with_content_ids(rows: Sequence[LogRow], questions: Iterable[Question]) -> list[LogRow]:
    """The rows, those of a question without an id of its own under the id that it has now.

    Logs of older versions name such a question by its line or row number. Where several questions
    have the same content, they are taken in that order.
    """
    content_ids: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for question in questions:
        if question.id.startswith(question.key[:ID_LENGTH]):
            content_ids[question.split, question.key].append(question.id)
    numbers: dict[tuple[str, str], set[str]] = collections.defaultdict(set)
    for row in rows:
        if row.question_id.isdecimal():
            numbers[row.split, row.question_key].add(row.question_id)
    renamed: dict[Identity, str] = {}
    for (split, key), found in numbers.items():
        present = content_ids.get((split, key), [])
        for number, content_id in zip(sorted(found, key=int), present, strict=False):
            renamed[split, number, key] = content_id
    return [
        dataclasses.replace(row, question_id=renamed.get(_identity_of_row(row), row.question_id))
        for row in rows
    ]


def read_logs(
    logs: Sequence[str | os.PathLike], task: str, known: Mapping[Identity, Question]
) -> LoggedRows:
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
    good: dict[str, _Found] = {}
    failed: dict[str, str] = {}
    read = [(row, log) for log in map(epath.Path, logs) for row in _read_rows(log, task, counts)]
    rows = with_content_ids([row for row, _ in read], known.values())
    for row, (_, log) in zip(rows, read, strict=True):
        if _identity_of_row(row) not in known:
            counts["rows of an unknown or changed question"] += 1
        elif row.failure:
            counts["failed rows"] += 1
            failed[row.key] = row.failure
        elif row.key in good:
            counts["rows logged twice"] += 1
            pair = good[row.key], _Found(row, log)
            good[row.key] = min(pair, key=lambda found: (found.row.to_bytes(), found.log))
        else:
            good[row.key] = _Found(row, log)
    if failed and not good:
        raise UserError(
            f"all {len(failed)} rows of {', '.join(map(str, logs))} failed, one with: "
            f"{min(failed.values())}; run 'tinyllm teach' again"
        )
    counts["failed, never made good"] = len(failed.keys() - good.keys())
    sources: dict[str, str] = {}
    for found in sorted(good.values(), key=lambda found: found.log):
        sources.setdefault(found.row.teacher, str(found.log))
    return LoggedRows(_by_teacher(good.values()), sources, dict(counts))


def _read_rows(log: epath.Path, task: str, counts: collections.Counter) -> list[LogRow]:
    """The whole rows of a log; counts them, and the bytes of a torn last one."""
    end, whole = tfrecord.scan(log)
    counts["bytes of a torn last row"] += tfrecord.size(log) - end
    counts["rows"] += whole
    rows = list(read_log(log, torn_tail=True))
    for index, row in enumerate(rows):
        if row.task != task:
            raise UserError(
                f"{log}: record {index} is of task '{row.task}', not of '{task}'; give the logs "
                f"of one task"
            )
    return rows


def _by_teacher(good: Iterable[_Found]) -> dict[str, dict[Identity, list[LogRow]]]:
    """Sorts rows by teacher and question; raises `UserError` where they do not go together."""
    teachers: dict[str, list[_Found]] = collections.defaultdict(list)
    for found in sorted(good, key=lambda one: (one.row.forced, one.row.sample, one.row.key)):
        teachers[found.row.teacher].append(found)
    for teacher, rows in teachers.items():
        _check_one_setting(teacher, rows, _setting)
        for forced in (True, False):
            alike = [found for found in rows if found.row.forced == forced]
            _check_one_setting(teacher, alike, _prompt)
    return {teacher: _by_question(rows) for teacher, rows in sorted(teachers.items())}


def _by_question(rows: Sequence[_Found]) -> dict[Identity, list[LogRow]]:
    """Sorts one teacher's rows by question; raises `UserError` for two rows of one sample."""
    questions: dict[Identity, list[LogRow]] = collections.defaultdict(list)
    first: dict[tuple, _Found] = {}
    for found in rows:
        row = found.row
        identity = _identity_of_row(row)
        other = first.setdefault((identity, row.forced, row.sample), found)
        if other is not found:
            raise UserError(
                f"two different rationales of {row.teacher} for question '{row.question_id}' of "
                f"{row.split}: {other.log} (key {other.row.key[:12]}) and {found.log} "
                f"(key {row.key[:12]}); leave one log out, or give the teachers different names"
            )
        questions[identity].append(row)
    return dict(questions)


def _setting(row: LogRow) -> dict:
    """What decides how a row's text was made, apart from its prompt.

    The weights are named as in `logrow.row_key`.
    """
    return {"model": row.revision or row.model, "seed": row.seed, **_parameters(row.sampling)}


def _prompt(row: LogRow) -> dict:
    return {f"{'forced' if row.forced else 'unforced'} prompt": row.prompt_hash}


def _parameters(sampling: str) -> dict:
    try:
        return dict(json.loads(sampling))
    except (ValueError, TypeError):
        return {"sampling": sampling}


def _check_one_setting(
    teacher: str, rows: Sequence[_Found], setting_of: Callable[[LogRow], dict]
) -> None:
    """Raises `UserError` where rows have more than one setting: a mix is never made silently."""
    by_setting: dict[str, list[_Found]] = collections.defaultdict(list)
    for found in rows:
        by_setting[json.dumps(setting_of(found.row), sort_keys=True)].append(found)
    if len(by_setting) < 2:
        return

    # The names of those parameters in which the settings differ.
    settings = [json.loads(text) for text in by_setting]
    names: list[str] = []
    for setting in settings:
        for name in setting:
            values = [other.get(name) for other in settings]
            if name not in names and any(value != values[0] for value in values):
                names.append(name)

    # One description for each setting: its logs, its values of those parameters, its rows.
    descriptions = []
    for setting, alike in zip(settings, by_setting.values(), strict=True):
        differing = ", ".join(f"{name} {_short(setting.get(name))}" for name in names)
        plural = "s" if len(alike) > 1 else ""
        descriptions.append(f"{_logs_of(alike)} ({differing}: {len(alike):,} row{plural})")
    descriptions.sort()
    more = f" and {len(descriptions) - SHOWN} more" if len(descriptions) > SHOWN else ""
    raise UserError(
        f"the rows of teacher '{teacher}' were not all made in one way: "
        f"{' and '.join(descriptions[:SHOWN])}{more}; give the logs of one way with --log, or give "
        f"the teacher another name when you change it"
    )


def _logs_of(rows: Sequence[_Found]) -> str:
    """The first of the logs that rows were found in, and how many more there are."""
    logs = sorted({str(found.log) for found in rows})
    return f"{logs[0]} and {len(logs) - 1} more" if len(logs) > 1 else logs[0]


def _short(value) -> str:
    """A parameter's value in an error message."""
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:12]}…"
