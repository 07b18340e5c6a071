"""How likely a student finds each choice of a question: for validation and for evaluation alike.

A tokenizer may spell two choices alike, as T5's does "x ≤ 0" and "x ≥ 0". Nothing that a student
does can tell them apart: they have one score, and what it is worth is said by `credit`.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import jax
import numpy as np

from tinyllm_jax.batching.arrays import pack, sum_targets
from tinyllm_jax.errors import UserError
from tinyllm_jax.progress import Progress
from tinyllm_jax.student import inputs
from tinyllm_jax.tasks.question import Question

WHOLE = 1 << 30  # a length limit that cuts nothing


class Choices:
    """The choices of some questions in packed batches: made once, scored by any parameters.

    Args:
      tokenizer: the student's.
      questions: of any number of choices each.
      encoded: the token ids of each question.
      batch_size: about how many questions a batch holds.
      row_multiple: a batch's rows are a multiple of this, as devices that share them need.
      length_multiple: row lengths are multiples of this.
      put: brings a batch onto the devices; without it, it stays on the host until it is scored.

    Attributes:
      tokens: for each question, the number of tokens of each choice, the end of sequence included.
      gold: for each question, whether each choice is the gold answer, bool (choices,).
      alike: the number of questions with different choices that the tokenizer spells alike.
    """

    def __init__(
        self,
        tokenizer,
        questions: Sequence[Question],
        encoded: Sequence[Sequence[int]],
        batch_size: int,
        row_multiple: int = 1,
        length_multiple: int = 8,
        put: Callable[[dict], dict] | None = None,
    ):
        # One call of the tokenizer for all choices: thousands of small ones would be slow.
        texts = [choice for question in questions for choice in question.choices]
        ids = iter(inputs.encode_targets(tokenizer, texts, WHOLE)[0])
        choices = [list(itertools.islice(ids, len(question.choices))) for question in questions]
        self.tokens = [np.array([len(ids) for ids in some]) for some in choices]
        self.gold = [gold_choices(question) for question in questions]
        # For each choice, the first one of its question with the same tokens: often itself.
        self.first = [np.array([some.index(ids) for ids in some]) for some in choices]
        self.alike = sum(
            len(set(first.tolist())) < len(set(question.choices))
            for first, question in zip(self.first, questions, strict=True)
        )
        batches = pack(encoded, choices, batch_size, row_multiple, length_multiple)
        self.batches = [(batch, put(batch) if put else batch) for batch in batches]

    def scores(
        self, score: Callable[[dict], jax.Array | np.ndarray], progress: Progress | None = None
    ) -> list[np.ndarray]:
        """The log-likelihood of every choice, in nats: for each question an array (choices,).

        Choices with the same tokens have the same score, to the last bit.

        Args:
          score: the log-probability of every target token of a batch (see `decoding.score`).
          progress: is told how many questions are done.

        Raises:
          UserError: a score is not finite.
        """
        # All batches are handed to the devices before the first result is waited for.
        running = [(batch, score(there)) for batch, there in self.batches]

        # The choices are numbered from 1, question by question, through all batches.
        ends = np.cumsum([len(tokens) for tokens in self.tokens])
        sums = np.zeros(ends[-1])
        done = 0
        for batch, logs in running:
            sum_targets(sums, batch, np.asarray(logs))
            done += int(np.count_nonzero(np.unique(batch["input_segments"])))
            if progress:
                progress.update(done)
        if not np.isfinite(sums).all():  # they have no order, so no choice is the likeliest
            raise UserError(
                f"{np.count_nonzero(~np.isfinite(sums)):,} of {len(sums):,} scores of choices are "
                "not finite: the student's parameters are of no use; take another step of its run"
            )
        by_question = np.split(sums, ends[:-1])
        return [some[first] for some, first in zip(by_question, self.first, strict=True)]

    def accuracy(self, score: Callable[[dict], jax.Array]) -> float:
        """The mean `credit` of the questions, 0 to 1."""
        found = self.scores(score)
        return math.fsum(map(credit, found, self.gold)) / len(found)


def gold_choices(question: Question) -> np.ndarray:
    """Whether each choice is the gold answer, bool (choices,); a repeated one is it each time."""
    return np.array([choice == question.answer for choice in question.choices])


def credit(scores: np.ndarray, gold: np.ndarray) -> float:
    """How right it is to pick the choice with the highest score.

    Args:
      scores: (choices,).
      gold: whether each choice is the gold answer, bool (choices,).

    Returns:
      1 or 0; where k choices have exactly the highest score, the share of them that is the gold
      answer, mostly 1/k. 0 where a score is not a number.
    """
    best = gold[scores == scores.max()]
    return float(best.mean()) if len(best) else 0.0
