"""A row as bytes and back: a `tf.train.Example` whose fields TFDS knows by name.

    id, task, context, question, answer    text
    choices                                texts
    rationales/TEACHER/…                   present, text, model, revision, prompt_hash, sampling,
                                           forced, finish_reason, tokens, weight, votes, flags

Every row has the columns of every teacher; `present` is false where a teacher wrote nothing, which
is not the same as an empty rationale. `weight` and `votes` are kept in single precision.

Only the protocol buffer of `tensorflow_datasets` is used. Its `serialize_example` and
`deserialize_example_np` take about six times as long, and the bytes that `serialize_example` writes
change from process to process.
"""

import struct
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks.question import Question

QUESTION_TEXTS = ("id", "task", "context", "question", "answer")
TEXTS = ("text", "model", "revision", "prompt_hash", "sampling", "finish_reason")
MISSING = Rationale(text="", teacher="", weight=0.0)


def features(teachers: Sequence[str]):
    """The `tfds.features.FeaturesDict` of a corpus with these teachers."""
    import numpy as np
    from tensorflow_datasets import features as tfds

    column = {name: tfds.Text() for name in TEXTS} | {
        "present": np.bool_,
        "forced": np.bool_,
        "tokens": np.int64,
        "weight": np.float32,
        "votes": tfds.Sequence(np.float32),
        "flags": tfds.Sequence(tfds.Text()),
    }
    question = {name: tfds.Text() for name in QUESTION_TEXTS}
    choices = tfds.Sequence(tfds.Text())
    rationales = dict.fromkeys(teachers, column)
    return tfds.FeaturesDict(question | {"choices": choices, "rationales": rationales})


def encode(row: Row, teachers: Sequence[str]) -> bytes:
    """The payload of a row: equal rows give equal bytes, in every process.

    Raises:
      UserError: a text is not valid Unicode (it holds half of a surrogate pair).
    """
    example = tf_example_pb2.Example()
    # Filling the map in place is three times as fast as building it from Feature objects.
    fields = example.features.feature
    question = row.question
    try:
        for name in QUESTION_TEXTS:
            _put_texts(fields[name], getattr(question, name))
        _put_texts(fields["choices"], *question.choices)
        for teacher in teachers:
            _put_rationale(fields, f"rationales/{teacher}/", row.rationales.get(teacher))
    except UnicodeEncodeError:
        raise UserError(
            f"question '{question.id}' of {question.task} {question.split}, or a rationale of it, "
            f"holds half of a surrogate pair; write it as valid UTF-8"
        ) from None
    return example.SerializeToString(deterministic=True)


def _put_rationale(fields: Any, column: str, rationale: Rationale | None) -> None:
    """Fills one teacher's fields, whose names begin with `column`."""
    stored = rationale or MISSING
    for name in TEXTS:
        _put_texts(fields[column + name], getattr(stored, name))
    _put_texts(fields[column + "flags"], *stored.flags)
    fields[column + "present"].int64_list.value.append(int(rationale is not None))
    fields[column + "forced"].int64_list.value.append(int(stored.forced))
    fields[column + "tokens"].int64_list.value.append(stored.tokens)
    fields[column + "weight"].float_list.value.append(stored.weight)
    votes = fields[column + "votes"].float_list
    votes.SetInParent()  # so that no votes at all is a list too
    votes.value.extend(stored.votes)


def _put_texts(field: Any, *texts: str) -> None:
    field.bytes_list.SetInParent()  # so that no texts at all is a list too
    field.bytes_list.value.extend([text.encode() for text in texts])


def single(value: float) -> float:
    """The number in single precision that a corpus gives back for `value`."""
    return struct.unpack("f", struct.pack("f", value))[0]


def decode(payload: bytes, split: str, teachers: Sequence[str]) -> Row:
    """The row in a payload.

    Raises:
      ValueError: the payload lacks a field that a corpus with these teachers has.
    """
    try:
        fields = tf_example_pb2.Example.FromString(payload).features.feature
        texts = {name: fields[name].bytes_list.value[0].decode() for name in QUESTION_TEXTS}
        choices = tuple(choice.decode() for choice in fields["choices"].bytes_list.value)
        question = Question(split=split, choices=choices, **texts)
        rationales = {}
        for teacher in teachers:
            column = f"rationales/{teacher}/"
            if fields[column + "present"].int64_list.value[0]:
                rationales[teacher] = _decode_rationale(fields, column, teacher)
        return Row(question, rationales)
    except (DecodeError, IndexError) as error:
        raise ValueError(f"not a row of a corpus: {error}") from None


def _decode_rationale(fields: Any, column: str, teacher: str) -> Rationale:
    texts = {name: fields[column + name].bytes_list.value[0].decode() for name in TEXTS}
    return Rationale(
        teacher=teacher,
        forced=bool(fields[column + "forced"].int64_list.value[0]),
        tokens=fields[column + "tokens"].int64_list.value[0],
        weight=fields[column + "weight"].float_list.value[0],
        votes=tuple(fields[column + "votes"].float_list.value),
        flags=tuple(flag.decode() for flag in fields[column + "flags"].bytes_list.value),
        **texts,
    )
