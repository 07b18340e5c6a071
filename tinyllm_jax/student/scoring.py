"""How likely a student finds each choice of a question: for validation and for evaluation alike."""

import itertools
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
        self.gold = np.array([question.gold for question in questions])
        batches = pack(encoded, choices, batch_size, row_multiple, length_multiple)
        self.batches = [(batch, put(batch) if put else batch) for batch in batches]

    def scores(
        self, score: Callable[[dict], jax.Array | np.ndarray], progress: Progress | None = None
    ) -> list[np.ndarray]:
        """The log-likelihood of every choice, in nats: for each question an array (choices,).

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
        return np.split(sums, ends[:-1])

    def accuracy(self, score: Callable[[dict], jax.Array]) -> float:
        """The share of questions whose gold choice is the likeliest, 0 to 1."""
        likeliest = [found.argmax() for found in self.scores(score)]
        return float(np.mean(likeliest == self.gold))
