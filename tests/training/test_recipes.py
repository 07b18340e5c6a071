"""The door between config files and runs."""

import ml_collections
import pytest

from tinyllm_jax.errors import UserError
from tinyllm_jax.training.recipes import default_config, run_of, teacher_weights
from tinyllm_jax.training.run import Run


def test_the_default_config_is_the_default_run():
    assert run_of(default_config()) == Run()


def test_teacher_weights():
    assert teacher_weights("a:0.5+gpt-4.1") == {"a": 0.5, "gpt-4.1": 1.0}
    assert teacher_weights("a+b:2", 3.0) == {"a": 3.0, "b": 2.0}
    assert teacher_weights("all") is None and teacher_weights("") is None
    assert teacher_weights("none") == {}
    with pytest.raises(UserError, match="'x' of 'a' is not a number"):
        teacher_weights("a:x")
    with pytest.raises(UserError, match="names 'a' twice"):
        teacher_weights("a+a:2")


def test_named_teachers_have_the_weight_of_rationales_where_they_name_none():
    config = default_config()
    config.objective.rationale, config.objective.teachers = 3.0, "a+b:0.5"
    assert run_of(config).resolve(("a", "b")).objective.terms == {"answer": 1.0, "a": 3.0, "b": 0.5}


def test_a_config_that_lacks_fields_is_told_which():
    with pytest.raises(UserError, match="the config lacks accumulate, batch_size.*default_config"):
        run_of(ml_collections.ConfigDict())
    config = default_config()
    del config.optimizer.eps
    with pytest.raises(UserError, match="the config lacks optimizer.eps; let get_config"):
        run_of(config)


def test_a_field_that_is_not_known_is_refused():
    config = default_config()
    config.optimiser = "adamw"
    with pytest.raises(UserError, match="unknown config field 'optimiser'; did you mean 'opt"):
        run_of(config)
