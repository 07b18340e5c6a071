"""The argument of a config file."""

import pytest

from tinyllm_jax.config_args import parse_arg
from tinyllm_jax.errors import UserError


def test_fills_in_over_the_defaults():
    values = parse_arg("task=arc,student=base", task="obqa", student="small", seed="0")
    assert values.to_dict() == {"task": "arc", "student": "base", "seed": "0"}
    assert parse_arg(None, task="obqa").task == "obqa"


@pytest.mark.parametrize(
    "arg, words", [("taks=arc", "did you mean 'task'"), ("task", "has no value")]
)
def test_refuses(arg, words):
    with pytest.raises(UserError, match=words):
        parse_arg(arg, task="obqa")
