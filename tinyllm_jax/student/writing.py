"""What a student writes: its answers, or the rationale of any teacher that it learned from."""

import sys
from collections.abc import Sequence

import jax
import numpy as np

from tinyllm_jax.batching.arrays import pack
from tinyllm_jax.progress import Progress
from tinyllm_jax.student import decoding, inputs, partition
from tinyllm_jax.student.config import EOS_ID, PAD_ID
from tinyllm_jax.student.student import Student
from tinyllm_jax.tasks.question import Question


def write(
    student: Student, questions: Sequence[Question], target: str, max_tokens: int, batch_size: int
) -> list[str]:
    """Has a student write one target for every question, greedily.

    Args:
      student: the student.
      questions: what it is asked. How many contexts were cut is said on standard error.
      target: the answer, or a teacher whose rationales it learned.
      max_tokens: writing stops there.
      batch_size: about how many questions are computed together.

    Returns:
      The texts, in the order of the questions.

    Raises:
      UserError: the student did not learn the target.
    """
    encoded = student.encode(questions, target)
    cut = sum(tokens > 0 for tokens in encoded.cut)
    if cut and jax.process_index() == 0:
        print(
            f"write  {cut:,} of {len(questions):,} contexts were cut "
            f"to fit {encoded.length} tokens",
            file=sys.stderr,
        )
    begin = student.decoder_prefix(target)
    written = generate(student, encoded.rows, max_tokens, batch_size, begin)
    return [text for text, _ in written]


def generate(
    student: Student,
    encoded: Sequence[Sequence[int]],
    max_tokens: int,
    batch_size: int,
    begin: Sequence[int] = (),
) -> list[tuple[str, bool]]:
    """Greedy generation from token ids, by all devices that the student's parameters lie on.

    Args:
      student: the student.
      encoded: the token ids of each question.
      max_tokens: writing stops there.
      batch_size: about how many questions are computed together.
      begin: token ids that the decoder is given before it writes.

    Returns:
      For each question the text, and whether it is unfinished: `max_tokens` came before the end
      of sequence.
    """
    written: list[tuple[str, bool]] = [("", False)] * len(encoded)
    progress = Progress("write", len(encoded), "questions", quiet=jax.process_index() > 0)
    done = 0
    with partition.mesh_of(student.params):
        # A question's target is one slot, which says where its text is written from.
        targets = [[[PAD_ID]]] * len(encoded)
        batches = pack(encoded, targets, batch_size, row_multiple=partition.shards())
        for batch in batches:
            slots = batch["target_inputs"]
            tokens = decoding.greedy(
                student.config,
                student.params,
                batch["inputs"],
                max_tokens,
                batch["input_segments"],
                slots,
                begin,
            )

            # Slots without a question have written nothing.
            filled = np.flatnonzero(slots.reshape(-1))
            asked = slots.reshape(-1)[filled] - 1
            texts = inputs.decode(student.tokenizer, tokens[filled].tolist())
            for question, ids, text in zip(asked, tokens[filled], texts, strict=True):
                written[question] = (text, EOS_ID not in ids)
            done += len(filled)
            progress.update(done)
    progress.close(f"{sum(unfinished for _, unfinished in written):,} unfinished")
    return written
