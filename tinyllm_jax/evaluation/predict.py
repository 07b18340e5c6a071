"""What a student writes: its answers, or the rationale of any teacher that it learned from."""

import sys
from collections.abc import Sequence

import numpy as np

from tinyllm_jax.evaluation.batches import plan
from tinyllm_jax.progress import Progress
from tinyllm_jax.student import decoding, inputs
from tinyllm_jax.student.config import EOS_ID, StudentConfig
from tinyllm_jax.tasks import Question


def predict(config: StudentConfig, params: dict, tokenizer, questions: Sequence[Question], target_prefix: str,
            max_input: int, max_tokens: int, batch_size: int) -> list[tuple[str, str]]:
    """Has the student write one target for every question, greedily.

    Args:
      config, params, tokenizer: the student.
      questions: what it is asked.
      target_prefix: which target it writes: the prefix's word, "predict" for the answer.
      max_input: input tokens; a longer question's context is cut. How many were is said on standard error.
      max_tokens: generation stops there.
      batch_size: questions computed together.

    Returns:
      (question id, text), in the order of the questions.
    """
    encoded, lost = inputs.encode_questions(tokenizer, questions, target_prefix, max_input)
    if any(lost):
        cut = sum(tokens > 0 for tokens in lost)
        print(f"write  {cut:,} of {len(questions):,} contexts were cut to fit {max_input} tokens", file=sys.stderr)
    written = generate(config, params, tokenizer, encoded, max_tokens, batch_size)
    return [(question.id, text) for question, (text, _) in zip(questions, written)]


def generate(config: StudentConfig, params: dict, tokenizer, encoded: Sequence[Sequence[int]], max_tokens: int,
             batch_size: int) -> list[tuple[str, bool]]:
    """Greedy generation from token ids.

    Returns:
      Per input, the text, and whether it is unfinished: `max_tokens` came before the end of sequence.
    """
    written: list[tuple[str, bool]] = [("", False)] * len(encoded)
    progress, done = Progress("write", len(encoded), "questions"), 0
    for batch in plan([(len(ids),) for ids in encoded], batch_size):
        tokens = np.asarray(decoding.greedy(config, params, batch.pad(0, encoded), max_tokens))
        texts = tokenizer.batch_decode(tokens.tolist(), skip_special_tokens=True)
        for i, row, text in zip(batch.index, tokens, texts):
            written[i] = (text.strip(), EOS_ID not in row)
        progress.update(done := done + len(batch.index))
    progress.close(f"{sum(unfinished for _, unfinished in written):,} unfinished")
    return written
