"""What a new run starts from: its tokenizer, the shape of its student, and the first parameters."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import ml_collections
import numpy as np

from tinyllm_jax import tasks
from tinyllm_jax.corpus.schema import Row
from tinyllm_jax.student import config as student_config
from tinyllm_jax.student import hf, inputs, lora, model, words
from tinyllm_jax.student.student import Student
from tinyllm_jax.training import config as run_config


def make_tokenizer(config: ml_collections.ConfigDict, teachers: Sequence[str], rows: Sequence[Row]):
    """The tokenizer that the config names, or, for "words", the one of the words in `rows`.

    All of the corpus's `teachers` are in it, so that students of some of them read and write the
    same words.

    Raises:
      UserError: it cannot be loaded, or is not a T5 tokenizer.
    """
    named = config.student.tokenizer or config.student.weights or config.student.name
    if named != words.NAME:
        return inputs.load_tokenizer(named)
    targets = (run_config.ANSWER, *teachers)
    texts = [f"{run_config.prefix(config, target)}: " for target in targets]
    for row in rows:
        texts += inputs.question_text(row.question)
        texts += [rationale.text for rationale in row.rationales.values()]
    return words.make_tokenizer(texts)


def student_of(config: ml_collections.ConfigDict, shape, params: dict, tokenizer) -> Student:
    """The student of a resolved config, with its prefixes and its input length."""
    return Student(
        shape,
        params,
        tokenizer,
        config.objective.prefixes.to_dict(),
        config.lengths.input or tasks.MAX_INPUT[config.task],
        config.objective.prefix,
    )


def make_student(
    config: ml_collections.ConfigDict, tokens: int
) -> tuple[student_config.StudentConfig, Callable]:
    """The shape of the config's student, and how to fill it.

    Args:
      config: the run's.
      tokens: the size of its tokenizer. Where that is made from the corpus, the vocabulary is at
        least as large.

    Returns:
      The shape, and a function `fill(init, shardings)` that makes the state before step 0 on the
      devices: `init` turns parameters into a state, `shardings` is a tree like the state.

    Raises:
      UserError: an unknown student, or weights of another architecture.
    """
    c = config.student
    overrides = dict(
        dtype=c.dtype,
        dropout_rate=c.dropout_rate,
        remat=c.remat,
        lora_rank=c.lora_rank,
        lora_alpha=c.lora_alpha,
        lora_targets=tuple(c.lora_targets),
    )
    if c.weights:
        shape = hf.load_config(c.weights, **overrides)
    else:
        shape = student_config.student_config(c.name, **overrides)
    if c.tokenizer == words.NAME:
        room = -(-tokens // words.ROUND) * words.ROUND
        shape = dataclasses.replace(shape, vocab_size=max(shape.vocab_size, room))
    key = jax.random.key(config.seed)

    def fill_at_random(init: Callable, shardings: dict) -> dict:
        def make(key: jax.Array) -> dict:
            return init(model.init_params(shape, key))

        return jax.jit(make, out_shardings=shardings)(key)

    def fill_from_weights(init: Callable, shardings: dict) -> dict:
        _, params = hf.load_hf(c.weights, **overrides)
        if shape.lora_rank:
            params = lora.add_lora(shape, params, key)

        # Host arrays go straight to their shards; only the optimizer's state is computed.
        def put(array: np.ndarray, sharding: jax.sharding.Sharding) -> jax.Array:
            return jax.make_array_from_callback(
                array.shape, sharding, lambda index: np.asarray(array[index])
            )

        params = jax.tree.map(put, params, shardings["params"])
        return jax.jit(init, out_shardings=shardings)(params)

    return shape, fill_from_weights if c.weights else fill_at_random
