"""A small student with random weights, which reads bytes."""

import functools

import jax

from tinyllm_jax.student import inputs, model
from tinyllm_jax.student.config import PRESETS
from tinyllm_jax.student.student import Student

TYPED = ("What can a tugu do?", "spin\nstand upright\n\n hang", "A tugu is a tube.")


@functools.cache
def student(prefix_side: str = "encoder", input_length: int = 256) -> Student:
    config = PRESETS["byte-tiny"]
    return Student(
        config,
        model.init_params(config, jax.random.key(3)),
        inputs.load_tokenizer("byte"),
        {"answer": "predict", "shape": "explain shape"},
        input_length,
        prefix_side,
    )
