"""The validation split, on the run's own mesh: the accuracy, which chooses the best checkpoint, and every term's loss."""

import functools

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tinyllm_jax.batching.arrays import pack, sum_targets
from tinyllm_jax.corpus.schema import Row
from tinyllm_jax.student import decoding, model
from tinyllm_jax.student import inputs as text
from tinyllm_jax.student.config import StudentConfig
from tinyllm_jax.training import config as run_config
from tinyllm_jax.training import data, objective, sharding


class Validation:
    """Asks a student the validation questions, and what it has learned of each term on them.

    A choice's score is the sum of its tokens' log-probabilities; `evaluation` reports further
    measures.

    Args:
      rows: questions, and the rationales that teachers wrote about them, if any.
      tokenizer: the student's tokenizer.
      config: the resolved run config.
      student: the student's shape.
      mesh: the run's mesh.

    Attributes:
      count: the number of questions.
      unknown: how many of them have a word that the tokenizer does not know.
      without: the terms that no question has a target of; they have no loss.
    """

    def __init__(self, rows: list[Row], tokenizer, config, student: StudentConfig, mesh: Mesh):
        questions = [row.question for row in rows]
        shards = mesh.shape["data"] * mesh.shape["fsdp"]
        everywhere = NamedSharding(mesh, P())
        self.count = len(questions)

        # The choices of every question, behind its input.
        inputs, _, _ = data.encode(tokenizer, questions, run_config.ANSWER, config)
        self.unknown = text.unknown_tokens(tokenizer, inputs.rows())
        choices = [text.encode_targets(tokenizer, q.choices, 1 << 30)[0] for q in questions]
        self.first = np.cumsum([0, *map(len, choices)])
        self.gold = np.array([question.gold for question in questions])
        packed = pack(
            inputs.rows(), choices, config.validation.batch_size, shards, config.lengths.multiple
        )
        self.choices = [
            (batch, sharding.to_global(batch, mesh, P(("data", "fsdp")))) for batch in packed
        ]
        self.score = jax.jit(functools.partial(decoding.score, student), out_shardings=everywhere)

        # The targets of every term, in batches of one shape, as in training.
        self.terms = list(run_config.terms(config))
        has = {term: any(data.target_of(row, term)[1] for row in rows) for term in self.terms}
        self.without = [term for term in self.terms if not has[term]]
        self.targets = []
        if any(has.values()):
            tokens = data.tokenize(rows, tokenizer, config)
            batches = data.Batches(
                tokens,
                [1.0] * len(self.terms),
                config.validation.batch_size,
                config.seed,
                buckets=1,
                packed=config.lengths.packing,
                row_multiple=shards,
                length_multiple=config.lengths.multiple,
            )
            for step in range(batches.steps_per_epoch):
                batch = batches(step)
                counts = batch.pop("tokens")
                self.targets.append((sharding.to_global(batch, mesh, sharding.BATCH), counts))
        self.sums = jax.jit(functools.partial(_sums, student), out_shardings=everywhere)

    def accuracy(self, params: dict) -> float:
        """The share of questions whose gold choice is the likeliest, 0 to 1."""
        scored = [(batch, self.score(params, there)) for batch, there in self.choices]
        sums = np.zeros(self.first[-1])
        for batch, logs in scored:
            sum_targets(sums, batch, np.asarray(logs))
        return float(
            np.mean(
                [
                    s.argmax() == gold
                    for s, gold in zip(np.split(sums, self.first[1:-1]), self.gold, strict=True)
                ]
            )
        )

    def losses(self, params: dict) -> dict[str, float]:
        """Each term's mean loss over its target tokens, in nats; a term in `without` is left out."""
        found = [(self.sums(params, batch), counts) for batch, counts in self.targets]
        total = sum(np.asarray(sums, np.float64) for sums, _ in found)
        tokens = sum(counts for _, counts in found)
        return {
            term: float(total[i] / tokens[i])
            for i, term in enumerate(self.terms)
            if term not in self.without
        }


def _sums(student: StudentConfig, params: dict, batch: dict[str, jax.Array]) -> jax.Array:
    """The terms' sums of token losses, (terms,), of a batch of one microbatch."""
    micro = {name: array[0] if array.ndim > 1 else array for name, array in batch.items()}
    hidden, kernel = model.hidden(student, params, micro)
    return objective.weighted_loss(hidden, kernel, micro)[1]
