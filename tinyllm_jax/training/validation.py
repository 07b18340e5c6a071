"""Accuracy by choice likelihood on the validation split, on the run's own mesh: it chooses the best checkpoint."""

import functools

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tinyllm_jax.student import decoding, packing
from tinyllm_jax.student import inputs as text
from tinyllm_jax.student.config import StudentConfig
from tinyllm_jax.tasks import Question
from tinyllm_jax.training import config as run_config
from tinyllm_jax.training import data, sharding


class Validation:
    """Scores the validation questions: `validation(params)` is the share whose gold choice is the likeliest.

    A choice's score is the sum of its tokens' log-probabilities; `evaluation` reports further measures.

    Args:
      questions: the questions.
      tokenizer: the student's tokenizer.
      config: the resolved run config.
      student: the student's shape.
      mesh: the run's mesh.
    """

    def __init__(self, questions: list[Question], tokenizer, config, student: StudentConfig, mesh: Mesh):
        self.count = len(questions)
        inputs, _, _ = data.encode(tokenizer, questions, run_config.ANSWER, config)
        choices = [text.encode_targets(tokenizer, q.choices, 1 << 30)[0] for q in questions]
        self.first = np.cumsum([0, *map(len, choices)])
        self.gold = np.array([question.gold for question in questions])
        shards = mesh.shape["data"] * mesh.shape["fsdp"]
        packed = packing.pack(inputs.rows(), choices, config.validation.batch_size, shards)
        self.batches = [(batch, sharding.to_global(batch, mesh, P(("data", "fsdp")))) for batch in packed]
        self.score = jax.jit(functools.partial(decoding.score, student), out_shardings=NamedSharding(mesh, P()))

    def __call__(self, params: dict) -> float:
        """The accuracy, 0 to 1."""
        scored = [(batch, self.score(params, there)) for batch, there in self.batches]
        sums = np.zeros(self.first[-1])
        for batch, logs in scored:
            packing.sum_targets(sums, batch, np.asarray(logs))
        return float(np.mean([s.argmax() == gold for s, gold in zip(np.split(sums, self.first[1:-1]), self.gold)]))
