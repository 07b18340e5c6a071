"""Accuracy by choice likelihood on the validation split, on the run's own mesh: it chooses the best checkpoint."""

import functools

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tinyllm_jax.student import decoding
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
        width = max(len(c) for c in choices)
        longest = max(len(ids) for c in choices for ids in c)
        shards = mesh.shape["data"] * mesh.shape["fsdp"]
        size = -(-config.validation.batch_size // shards) * shards
        order = np.argsort(inputs.lengths, kind="stable")
        self.batches = []
        for start in range(0, len(order), size):
            index = order[start:start + size]
            padded = np.concatenate([index, np.full(size - len(index), -1)])
            length = -(-int(inputs.lengths[index].max()) // data.MULTIPLE) * data.MULTIPLE
            table = np.zeros((size, width, -(-longest // data.MULTIPLE) * data.MULTIPLE), np.int32)
            for row, i in enumerate(index):
                for c, ids in enumerate(choices[i]):
                    table[row, c, :len(ids)] = ids
            gold = np.array([questions[i].gold for i in index])
            batch = {"inputs": inputs.padded(padded, length), "choices": table}
            self.batches.append((sharding.to_global(batch, mesh, P(("data", "fsdp"))), table.any(-1), gold))
        self.score = jax.jit(functools.partial(decoding.score_choices, student),
                             out_shardings=NamedSharding(mesh, P()))

    def __call__(self, params: dict) -> float:
        """The accuracy, 0 to 1."""
        scored = [(self.score(params, b["inputs"], b["choices"])[0], real, gold) for b, real, gold in self.batches]
        right = sum(int((np.where(real, np.asarray(s), -np.inf)[:len(gold)].argmax(1) == gold).sum())
                    for s, real, gold in scored)
        return right / self.count
