"""Config arguments and the checks on a run's fields."""

import pytest

from tinyllm_jax.errors import UserError
from tinyllm_jax.training import config as run_config


def test_teacher_weights():
    assert run_config.teacher_weights("a:0.5+b").to_dict() == {"a": 0.5, "b": 1.0}
    assert run_config.teacher_weights("all").to_dict() == {}
    with pytest.raises(UserError, match="'x' of 'a' is not a number"):
        run_config.teacher_weights("a:x")


def test_resolve_names_every_teacher_and_prefix():
    config = run_config.default_config()
    config.objective.rationale = 0.5
    resolved = run_config.resolve(config, ("llama-2-7b-chat", "flan-t5-xl", "shape"))
    assert run_config.terms(resolved) == {
        "answer": 1.0,
        "flan-t5-xl": 0.5,
        "llama-2-7b-chat": 0.5,
        "shape": 0.5,
    }
    assert resolved.objective.prefixes.to_dict() == {
        "answer": "predict",
        "flan-t5-xl": "explain",
        "llama-2-7b-chat": "rationale",
        "shape": "explain shape",
    }
    assert not config.objective.teachers.to_dict()


def test_resolve_leaves_out_what_has_no_weight():
    config = run_config.default_config()
    config.objective.rationale = 0.0
    assert run_config.terms(run_config.resolve(config, ("a", "b"))) == {"answer": 1.0}
    config.objective.answer = 0.0
    with pytest.raises(UserError, match="every term the weight 0"):
        run_config.resolve(config, ("a",))


def test_resolve_refuses_a_teacher_that_the_corpus_does_not_have():
    config = run_config.default_config()
    config.objective.teachers = run_config.teacher_weights("lama")
    with pytest.raises(UserError, match="unknown teacher 'lama'; did you mean 'llama'"):
        run_config.resolve(config, ("llama",))


@pytest.mark.parametrize(
    "path, value, words",
    [
        ("optimizer.name", "adam", "did you mean 'adamw'"),
        ("student.dtype", "float16", "unknown student.dtype"),
        ("batch_size", 0, "must be at least 1"),
        ("lengths.multiple", 0, "must be at least 1"),
        ("steps", -1, "give one of them above 0"),
    ],
)
def test_check(path, value, words):
    config = run_config.default_config()
    config.update_from_flattened_dict({path: value})
    with pytest.raises(UserError, match=words):
        run_config.check(config)
