"""What a new run starts from: its tokenizer, the shape of its student, and the first parameters."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np

from tinyllm_jax.corpus.schema import Row
from tinyllm_jax.student import hf, inputs, lora, model, words
from tinyllm_jax.student.config import StudentConfig, student_config
from tinyllm_jax.student.student import ANSWER, Student
from tinyllm_jax.training import sharding
from tinyllm_jax.training.run import Run, StudentSpec, prefix


def make_tokenizer(spec: StudentSpec, teachers: Sequence[str], rows: Sequence[Row]):
    """The tokenizer that the run names, or, for "words", the one of the words in `rows`.

    All of the corpus's `teachers` are in it, so that students of some of them read and write the
    same words.

    Raises:
      UserError: it cannot be loaded, or is not a T5 tokenizer.
    """
    named = spec.tokenizer or spec.weights or spec.name
    if named != words.NAME:
        return inputs.load_tokenizer(named)
    texts = [f"{prefix(target)}: " for target in (ANSWER, *teachers)]
    for row in rows:
        texts += inputs.question_text(row.question)
        texts += [rationale.text for rationale in row.rationales.values()]
    return words.make_tokenizer(texts)


def student_of(run: Run, shape: StudentConfig, params: dict, tokenizer) -> Student:
    """The student of a resolved run, with its prefixes and its input length."""
    return Student(
        shape,
        params,
        tokenizer,
        run.objective.prefixes,
        run.input_length,
        run.objective.prefix,
    )


def student_as_it_is(run: Run, everywhere: bool = False) -> Student:
    """The student of a run's weights, untrained: it writes answers alone.

    Args:
      run: the run.
      everywhere: whether it lies on all devices (see `sharding.for_questions`), and not on one.

    Raises:
      UserError: the run names no weights, they or their tokenizer cannot be loaded, or the two do
        not belong together.
    """
    # The tokenizer first: weights may take minutes to read.
    shape = hf.load_config(run.student.weights)
    tokenizer = make_tokenizer(run.student, (), ())
    inputs.check(tokenizer, shape.vocab_size)
    shape, params = hf.load_hf(run.student.weights, dtype=run.student.dtype)
    run = dataclasses.replace(run, objective=run.objective.answers_alone())
    if everywhere:
        params = jax.tree.map(_put, params, sharding.for_questions(params))
    else:
        params = jax.device_put(params)
    return student_of(run, shape, params, tokenizer)


def make_student(spec: StudentSpec, seed: int, tokens: int) -> tuple[StudentConfig, Callable]:
    """The shape of a run's student, and how to fill it.

    Args:
      spec: which student.
      seed: the run's.
      tokens: the size of its tokenizer. Where that is made from the corpus, the vocabulary is at
        least as large.

    Returns:
      The shape, and a function `fill(init, shardings)` that makes the state before step 0 on the
      devices: `init` turns parameters into a state, `shardings` is a tree like the state.

    Raises:
      UserError: an unknown student, or weights of another architecture.
    """
    overrides = dict(
        dtype=spec.dtype,
        dropout_rate=spec.dropout_rate,
        remat=spec.remat,
        lora_rank=spec.lora_rank,
        lora_alpha=spec.lora_alpha,
        lora_targets=spec.lora_targets,
    )
    if spec.weights:
        shape = hf.load_config(spec.weights, **overrides)
    else:
        shape = student_config(spec.name, **overrides)
    if spec.tokenizer == words.NAME:
        room = -(-tokens // words.ROUND) * words.ROUND
        shape = dataclasses.replace(shape, vocab_size=max(shape.vocab_size, room))
    key = jax.random.key(seed)

    def fill_at_random(init: Callable, shardings: dict) -> dict:
        def make(key: jax.Array) -> dict:
            return init(model.init_params(shape, key))

        return jax.jit(make, out_shardings=shardings)(key)

    def fill_from_weights(init: Callable, shardings: dict) -> dict:
        _, params = hf.load_hf(spec.weights, **overrides)
        if shape.lora_rank:
            params = lora.add_lora(shape, params, key)

        # Host arrays go straight to their shards; only the optimizer's state is computed.
        params = jax.tree.map(_put, params, shardings["params"])
        return jax.jit(init, out_shardings=shardings)(params)

    return shape, fill_from_weights if spec.weights else fill_at_random


def _put(array: np.ndarray, sharding: jax.sharding.Sharding) -> jax.Array:
    """An array that every process holds, on the devices; each gives its own their parts."""
    return jax.make_array_from_callback(
        array.shape, sharding, lambda index: np.asarray(array[index])
    )
