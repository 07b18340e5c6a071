"""What is left of a job: the requests that it takes, and which of them its logs hold already."""

import collections
import dataclasses
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path

from tinyllm_jax.corpus.joining.choose import stated_answers
from tinyllm_jax.corpus.joining.logs import Identity, identity_of, with_content_ids
from tinyllm_jax.corpus.logrow import LogRow, read_log
from tinyllm_jax.tasks import Question
from tinyllm_jax.teachers import plan
from tinyllm_jax.teachers.engine import Request
from tinyllm_jax.teachers.plan import Teacher


def requests(
    teacher: Teacher, questions: Sequence[Question], forced: bool, logged: Mapping[str, LogRow]
) -> list[Request]:
    """The requests of one pass over the questions; those that a log holds are marked `logged`.

    Args:
      teacher: the teacher.
      questions: all questions of the job.
      forced: whether the gold answer is shown. Of the mode "unforced-first", only the questions
        that the teacher never answered right are asked so.
      logged: by key the good rows of the teacher's logs.
    """
    # Logs of older versions name a question without an id of its own otherwise: so a row there
    # answers a request of another key.
    good = list(logged.values())
    rows = with_content_ids(good, questions)
    older = {_place(row) for row, was in zip(rows, good, strict=True) if row != was}

    chosen = questions
    if forced and teacher.spec.mode == "unforced-first":
        chosen = _never_answered_right(teacher, questions, rows)
    planned = plan.requests(teacher, chosen, forced, logged.keys())
    return [_found_among(older, request) for request in planned]


def _place(row: LogRow) -> tuple:
    """What a row of given settings is about: which question, and which of its rationales."""
    return row.split, row.question_id, row.question_key, row.forced, row.sample


def _found_among(older: Container[tuple], request: Request) -> Request:
    """The request, as `logged` where a log has its row under the question's older id."""
    place = *identity_of(request.question), request.forced, request.sample
    return dataclasses.replace(request, logged=True) if place in older else request


def _never_answered_right(
    teacher: Teacher, questions: Sequence[Question], rows: Iterable[LogRow]
) -> list[Question]:
    """The questions whose unforced samples are complete, and none of which states the gold answer.

    Says how many questions cannot be judged yet, because a sample is missing.
    """
    rows_of: dict[Identity, list[LogRow]] = collections.defaultdict(list)
    for row in rows:
        rows_of[row.split, row.question_id, row.question_key].append(row)
    chosen, waiting = [], 0
    for question in questions:
        stated = stated_answers(rows_of[identity_of(question)], question)
        if question.answer in stated.values():
            continue
        if len(stated) < teacher.spec.samples:
            waiting += 1
        else:
            chosen.append(question)
    if waiting:
        teacher.warn(f"{waiting:,} questions wait for samples that are not there yet")
    return chosen


def rows_of_other_shards(teacher: Teacher, path: Path) -> dict[str, LogRow]:
    """The good rows of the same settings in the directory's other logs, by key.

    Says which of those logs are of other settings.
    """
    found: dict[str, LogRow] = {}
    name = re.compile(re.escape(teacher.name) + r"-([0-9a-f]{8})(\.\d+-of-\d+)?\.tfrecord")
    for other in sorted(path.parent.glob(f"{teacher.name}-*.tfrecord")):
        match = name.fullmatch(other.name)
        if match is None or other == path:
            continue
        if match[1] == teacher.settings_hash:
            for row in read_log(other, torn_tail=True):
                if not row.failure:
                    found[row.key] = row
        else:
            teacher.warn(
                f"{other} is of another model, prompt, sampling or seed: it is left as it is, and "
                f"a corpus takes one",
            )
    return found
