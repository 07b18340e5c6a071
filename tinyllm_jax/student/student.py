"""The one type that stands for a student wherever something asks it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tinyllm_jax.errors import unknown
from tinyllm_jax.student import inputs
from tinyllm_jax.student.config import StudentConfig
from tinyllm_jax.tasks.question import Question

ANSWER = "answer"  # the target that every student can write; the others are teachers' names


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Questions as a student's encoder reads them.

    Attributes:
      rows: the token ids of each question, with the end of sequence.
      cut: for each question, how many tokens of its context were cut off.
      length: the input length in tokens that the contexts were cut to.
    """

    rows: list[list[int]]
    cut: list[int]
    length: int


@dataclasses.dataclass(frozen=True)
class Student:
    """A student with everything that asking it needs.

    Attributes:
      config: its shape.
      params: its parameters, a nested dict of arrays.
      tokenizer: its tokenizer.
      prefixes: for each target that it can write, the words by which it is asked for it.
      input_length: tokens of an input; a longer context is cut.
      prefix_side: which side reads a target's prefix, "encoder" or "decoder".

    Raises:
      UserError: it cannot read and write with the tokenizer (see `inputs.check`).
    """

    config: StudentConfig
    params: dict
    tokenizer: Any  # transformers has no one type for tokenizers
    prefixes: Mapping[str, str]
    input_length: int
    prefix_side: str = "encoder"

    def __post_init__(self):
        inputs.check(self.tokenizer, self.config.vocab_size)

    @property
    def teachers(self) -> list[str]:
        """The teachers whose rationales it can write."""
        return [target for target in self.prefixes if target != ANSWER]

    def encode(self, questions: Sequence[Question], target: str = ANSWER) -> Encoded:
        """The questions, asked for a target.

        The input length is `input_length`, or more where a question with its choices, but without
        any context, needs more.

        Raises:
          UserError: the student cannot write the target.
        """
        if target not in self.prefixes:
            raise unknown("target", target, self.prefixes)
        asked = ANSWER if self.prefix_side == "decoder" else target
        prefix = self.prefixes[asked]
        length = inputs.fit_length(self.tokenizer, questions, prefix, self.input_length)
        rows, cut = inputs.encode_questions(self.tokenizer, questions, prefix, length)
        return Encoded(rows, cut, length)

    def decoder_prefix(self, target: str) -> list[int]:
        """The token ids that the decoder is given before it writes a target; often none."""
        if self.prefix_side == "encoder" or target == ANSWER:
            return []
        return inputs.prefix_tokens(self.tokenizer, self.prefixes[target])
