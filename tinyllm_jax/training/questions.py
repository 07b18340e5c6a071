"""Which questions of a corpus a run learns from, and which it validates on."""

import hashlib
from collections.abc import Sequence

import numpy as np

from tinyllm_jax.corpus.schema import Row
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError
from tinyllm_jax.student import inputs
from tinyllm_jax.student.student import Student
from tinyllm_jax.training.run import ValidationSet


def split(corpus: Corpus, fields: ValidationSet) -> tuple[list[Row], list[Row]]:
    """The rows to learn from, and those to validate on.

    Args:
      corpus: the corpus.
      fields: the run's.

    Raises:
      UserError: the corpus has none of the one or the other.
    """
    rows = corpus.nonempty_rows("train")
    if fields.share:
        rows, held_out = hold_out(rows, fields.share)
    elif "validation" in corpus.splits and corpus.manifest.rows("validation"):
        held_out = corpus.rows("validation")
    else:
        raise UserError(
            f"{corpus.directory} has no validation questions, by which the best checkpoint is "
            "chosen: build the corpus with that split, or hold out a tenth of its training "
            "questions by --config.validation.share=0.1"
        )
    return rows, held_out[: fields.questions or None]


def hold_out(rows: Sequence[Row], share: float) -> tuple[list[Row], list[Row]]:
    """Parts rows into those to learn from and those held out to validate on.

    Where a question goes follows from its content alone, so it stays there when other questions
    come, and equal questions stay together.

    Args:
      rows: of the training split.
      share: of them that is held out, about, 0 to 1.

    Raises:
      UserError: one of the two parts is empty.
    """
    parts: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        digest = hashlib.sha256(f"held out {row.question.key}".encode()).digest()
        parts[int.from_bytes(digest[:8], "big") < share * 2**64].append(row)
    if not all(parts):
        raise UserError(
            f"config.validation.share is {share:g}, which holds {len(parts[1])} of {len(rows)} "
            "training questions out; give another share"
        )
    return parts


def leave_out(rows: Sequence[Row], student: Student, most: int) -> tuple[list[Row], dict[str, int]]:
    """Leaves out the questions whose inputs are too long to train on.

    Args:
      rows: of the training split.
      student: whose tokenizer, prefixes and input length are used.
      most: the most tokens of an input without its context; the student's input length where that
        is more. 0: all rows are kept.

    Returns:
      The rows that are kept, and for each question that is not, by id, the tokens that it takes.

    Raises:
      UserError: no row is kept.
    """
    if not most:
        return list(rows), {}
    most = max(most, student.input_length)
    questions = [row.question for row in rows]
    needed = np.max(
        [
            inputs.needed_lengths(student.tokenizer, questions, prefix)
            for prefix in student.prefixes.values()
        ],
        axis=0,
    )
    kept = [row for row, length in zip(rows, needed, strict=True) if length <= most]
    left = {
        question.id: int(length)
        for question, length in zip(questions, needed, strict=True)
        if length > most
    }
    if not kept:
        raise UserError(
            f"all {len(rows):,} training questions take more than {most:,} tokens (at least "
            f"{min(left.values()):,}): raise config.lengths.most_input"
        )
    return kept, left
