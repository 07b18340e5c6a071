"""The validation split, on the run's own mesh.

The accuracy chooses the best checkpoint; every term's loss tells what was learned of it.
"""

import functools

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tinyllm_jax.corpus.schema import Row
from tinyllm_jax.errors import UserError
from tinyllm_jax.student import decoding, inputs, model, partition, scoring
from tinyllm_jax.student.config import StudentConfig
from tinyllm_jax.student.student import Student
from tinyllm_jax.training import data, objective, sharding
from tinyllm_jax.training.run import Run
from tinyllm_jax.training.tokens import Tokens, target_of, tokenize


class Validation:
    """Asks a student the validation questions, and what it has learned of each term on them.

    A choice's score is the sum of its tokens' log-probabilities; `evaluation` reports further
    measures.

    Args:
      rows: questions, and the rationales that teachers wrote about them, if any.
      student: the student; its parameters are given anew at each validation.
      run: the resolved run.
      mesh: the run's mesh.

    Attributes:
      count: the number of questions.
      unknown: how many of them have a word that the tokenizer does not know.
      longest: the tokens of the longest of them.
      without: the terms that no question has a target of; they have no loss.
    """

    def __init__(self, rows: list[Row], student: Student, run: Run, mesh: Mesh):
        questions = [row.question for row in rows]
        everywhere = NamedSharding(mesh, P())
        self.count = len(questions)

        # The choices of every question.
        encoded = student.encode(questions).rows
        self.unknown = inputs.unknown_tokens(student.tokenizer, encoded)
        self.longest = max(map(len, encoded))
        self.choices = scoring.Choices(
            student.tokenizer,
            questions,
            encoded,
            run.validation.batch_size,
            row_multiple=sharding.row_shards(mesh),
            length_multiple=run.lengths.multiple,
            put=lambda batch: partition.to_global(batch, mesh, P(partition.ROWS)),
        )
        self.score = jax.jit(
            functools.partial(decoding.score, student.config), out_shardings=everywhere
        )

        # The targets of every term, in batches as in training.
        self.terms = list(run.objective.terms)
        teachers = list(run.objective.teachers or ())
        self.without = [
            term
            for term in self.terms
            if not any(target_of(row, term, teachers)[1] for row in rows)
        ]
        self.targets = []
        if len(self.without) < len(self.terms):
            tokens = tokenize(rows, student, self.terms, run.lengths.target, teachers)
            self.targets = _batches(tokens, run, mesh)
        self.sums = jax.jit(functools.partial(_sums, student.config), out_shardings=everywhere)

    def accuracy(self, params: dict) -> float:
        """The share of questions whose gold choice is the likeliest, 0 to 1.

        Raises:
          UserError: a score is not finite.
        """
        return self.choices.accuracy(lambda batch: self.score(params, batch))

    def losses(self, params: dict) -> dict[str, float]:
        """Each term's mean loss a token, in nats; a term in `without` is left out.

        Raises:
          UserError: a loss is not finite.
        """
        total = np.zeros(len(self.terms))
        tokens = np.zeros(len(self.terms), np.int64)
        running = [(self.sums(params, batch), counts) for batch, counts in self.targets]
        for sums, counts in running:
            total += np.asarray(sums)
            tokens += counts
        if not np.isfinite(total).all():
            raise UserError("a loss of the validation questions is not finite")
        return {
            term: float(total[index] / tokens[index])
            for index, term in enumerate(self.terms)
            if term not in self.without
        }


def _batches(tokens: Tokens, run: Run, mesh: Mesh) -> list[tuple[dict, np.ndarray]]:
    """All questions in batches of one shape, as `sharding.step_batch` makes them."""
    batches = data.Batches(
        tokens,
        [1.0] * len(run.objective.terms),
        run.validation.batch_size,
        run.seed,
        buckets=1,
        packed=run.lengths.packing,
        row_multiple=sharding.row_shards(mesh),
        length_multiple=run.lengths.multiple,
    )
    return [sharding.step_batch(batches(step), mesh) for step in range(batches.steps_per_epoch)]


def _sums(student: StudentConfig, params: dict, batch: dict[str, jax.Array]) -> jax.Array:
    """The terms' sums of token losses, (terms,), of a batch of one microbatch."""
    micro = {name: array[0] if array.ndim > 1 else array for name, array in batch.items()}
    hidden, kernel = model.hidden(student, params, micro)
    return objective.weighted_loss(hidden, kernel, micro)[1]
