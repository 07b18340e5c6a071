"""One row of a rationale log, and how a log is read.

A row is a generation that finished or failed, with everything that a corpus records of it. Teachers
write these rows and `corpus build` reads them; both know them only by this file. A row is one
TFRecord payload (`corpus/tfrecord.py`) that holds canonical JSON: sorted keys, no spaces, UTF-8.
"""

import dataclasses
import hashlib
import itertools
import json
import os
import typing
from collections.abc import Iterator
from typing import Any

from tinyllm_jax.corpus import tfrecord
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks.question import Question


@dataclasses.dataclass(frozen=True)
class LogRow:
    """What one teacher wrote about one question.

    Attributes:
      key: the row's identity, from `row_key`; a log holds each key once.
      question_id, task, split: the question's, as in `tasks.Question`.
      question_key: `Question.key`, the hash of the question's content.
      teacher: the teacher's name, a column of the corpus.
      model, revision: the model that wrote it and its revision ("" when it has none).
      prompt_hash: sha256 of the prompt *template* and its in-context examples (the key covers the
        whole prompt text).
      sampling: the sampling parameters as JSON with sorted keys.
      seed: the seed of the in-context examples and of the sampling.
      forced: whether the teacher was shown the gold answer.
      sample: which of the samples of this question it is, from 0.
      text: the rationale; of an unforced row the rationale with the answer that it ends in.
      finish_reason: "stop", "length" or "unknown"; of a failed row also "content_filter".
      prompt_tokens, tokens: tokens read and written, by the teacher's own tokenizer (-1 when it has
        none).
      mean_logprob: the mean log-probability (natural) of the tokens written; None where the engine
        gives none.
      context_cut: words of the question's context that were cut off to fit the model's window.
      seconds: the seconds since the previous row was finished, so that the rows of a log add up to
        the time that was spent.
      error: why there is no rationale; "" when there is one. A log may hold a failed row and later
        a good one of its key.
    """

    key: str
    question_id: str
    question_key: str
    task: str
    split: str
    teacher: str
    model: str
    revision: str
    prompt_hash: str
    sampling: str
    seed: int
    forced: bool
    sample: int
    text: str
    finish_reason: str
    prompt_tokens: int
    tokens: int
    mean_logprob: float | None
    context_cut: int
    seconds: float
    error: str

    @property
    def failure(self) -> str:
        """Why the row holds no rationale; "" when it holds one.

        Logs of older versions hold empty texts without an error.
        """
        return self.error or ("" if self.text.strip() else "the text is empty")

    def to_bytes(self) -> bytes:
        """The payload: canonical JSON, so equal rows are equal bytes."""
        return canonical(dataclasses.asdict(self)).encode()

    @classmethod
    def from_bytes(cls, payload: bytes) -> "LogRow":
        """The row in a payload.

        Raises:
          UserError: the payload does not have exactly the fields above, each of its type.
        """
        try:
            row = cls(**json.loads(payload))
        except (ValueError, TypeError, RecursionError) as error:
            raise UserError(f"not a row of a rationale log ({error}): {payload[:80]!r}") from None
        for field in dataclasses.fields(cls):
            allowed = typing.get_args(field.type) or (field.type,)
            if type(getattr(row, field.name)) not in allowed:
                raise UserError(
                    f"not a row of a rationale log: '{field.name}' should be "
                    f"{allowed[0].__name__}, is {getattr(row, field.name)!r}"
                )
        return row


def read_log(path: str | os.PathLike, torn_tail: bool = False) -> Iterator[LogRow]:
    """Yields the rows of a log, in the order in which they were written.

    Args:
      path: the log.
      torn_tail: whether a last row that is not whole is skipped. It is otherwise an error. A log
        that a process is writing, or was writing when it was killed, may end in such a row.

    Raises:
      UserError: the log cannot be read, is damaged, or holds something that is not a row.
    """
    whole = tfrecord.scan(path)[1] if torn_tail else None
    for index, payload in enumerate(itertools.islice(tfrecord.read_records(path), whole)):
        try:
            row = LogRow.from_bytes(payload)
        except UserError as error:
            raise UserError(f"{path}: record {index}: {error}") from None
        yield row


def canonical(value: Any) -> str:
    """JSON with one spelling per value: sorted keys, no spaces, characters as they are."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def row_key(
    question: Question,
    teacher: str,
    model: str,
    prompt: str,
    sampling: str,
    seed: int,
    sample: int = 0,
) -> str:
    """The identity of a generation: the sha256 of all that decides its text.

    It covers the id and the split of the question as well as its content, so that a question that
    occurs twice in a dataset has two rows.

    Args:
      question: the question.
      teacher: the teacher's name.
      model: what names the weights: the revision where there is one, else the model's name.
      prompt: the whole prompt, before any context is cut.
      sampling: the sampling parameters, as in `LogRow`.
      seed: the seed, as in `LogRow`.
      sample: the number of the sample, from 0.
    """
    prompt_hash = hashlib.sha256(prompt.encode()).hexdigest()
    identity = [question.key, question.id, question.split, teacher, model, prompt_hash, sampling]
    parts = [*identity, seed, sample]
    return hashlib.sha256(canonical(parts).encode()).hexdigest()
