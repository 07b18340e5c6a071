"""What a student writes: its answers, or the rationale of any teacher that it learned from."""

import sys
from collections.abc import Sequence

import numpy as np

from tinyllm_jax.batching.arrays import pack
from tinyllm_jax.progress import Progress
from tinyllm_jax.student import decoding, inputs
from tinyllm_jax.student.config import EOS_ID, PAD_ID, StudentConfig
from tinyllm_jax.tasks import Question


def predict(
    config: StudentConfig,
    params: dict,
    tokenizer,
    questions: Sequence[Question],
    target_prefix: str,
    max_input: int,
    max_tokens: int,
    batch_size: int,
    told: Sequence[int] = (),
) -> list[tuple[str, str]]:
    """Has the student write one target for every question, greedily.

    Args:
      config, params, tokenizer: the student.
      questions: what it is asked.
      target_prefix: which target it writes: the prefix's word, "predict" for the answer.
      max_input: input tokens; a longer question's context is cut. How many were is said on standard
        error.
      max_tokens: generation stops there.
      batch_size: questions computed together.
      told: token ids that the decoder begins with.

    Returns:
      (question id, text), in the order of the questions.
    """
    encoded, lost = inputs.encode_questions(tokenizer, questions, target_prefix, max_input)
    if any(lost):
        cut = sum(tokens > 0 for tokens in lost)
        print(
            f"write  {cut:,} of {len(questions):,} contexts were cut to fit {max_input} tokens",
            file=sys.stderr,
        )
    written = generate(config, params, tokenizer, encoded, max_tokens, batch_size, told)
    return [(question.id, text) for question, (text, _) in zip(questions, written)]


def generate(
    config: StudentConfig,
    params: dict,
    tokenizer,
    encoded: Sequence[Sequence[int]],
    max_tokens: int,
    batch_size: int,
    told: Sequence[int] = (),
) -> list[tuple[str, bool]]:
    """Greedy generation from token ids.

    Args:
      config, params, tokenizer: the student.
      encoded: each question's input ids.
      max_tokens: generation stops there.
      batch_size: questions computed together, about.
      told: token ids that the decoder begins with.

    Returns:
      Per input, the text, and whether it is unfinished: `max_tokens` came before the end of
      sequence.
    """
    written: list[tuple[str, bool]] = [("", False)] * len(encoded)
    progress, done = Progress("write", len(encoded), "questions"), 0
    # A question's target is one slot, which says where its text is written from.
    for batch in pack(encoded, [[[PAD_ID]]] * len(encoded), batch_size):
        slots = batch["target_inputs"]
        tokens = decoding.greedy(
            config, params, batch["inputs"], max_tokens, batch["input_segments"], slots, told
        )
        at = np.flatnonzero(slots.reshape(-1))
        texts = tokenizer.batch_decode(tokens[at].tolist(), skip_special_tokens=True)
        for i, row, text in zip(slots.reshape(-1)[at] - 1, tokens[at], texts):
            written[i] = (text.strip(), EOS_ID not in row)
        progress.update(done := done + len(at))
    progress.close(f"{sum(unfinished for _, unfinished in written):,} unfinished")
    return written
