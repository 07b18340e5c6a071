"""A run's fields: what each may be, and what a corpus makes of the objective."""

import dataclasses
import json

import pytest

from tinyllm_jax.errors import UserError
from tinyllm_jax.training.run import Checkpointing, Objective, Optimizer, Run


def test_resolve_names_every_teacher_and_prefix():
    run = Run(objective=Objective(rationale=0.5))
    objective = run.resolve(("llama-2-7b-chat", "flan-t5-xl", "gpt-4.1")).objective
    assert list(objective.terms.items()) == [
        ("answer", 1.0),
        ("flan-t5-xl", 0.5),
        ("gpt-4.1", 0.5),
        ("llama-2-7b-chat", 0.5),
    ]
    assert objective.prefixes == {
        "answer": "predict",
        "flan-t5-xl": "explain",
        "gpt-4.1": "explain gpt-4.1",
        "llama-2-7b-chat": "rationale",
    }
    assert run.objective.teachers is None


def test_resolve_leaves_out_what_has_no_weight():
    run = Run(objective=Objective(rationale=0.0))
    assert run.resolve(("a", "b")).objective.terms == {"answer": 1.0}
    with pytest.raises(UserError, match="every term the weight 0"):
        Run(objective=Objective(answer=0.0, rationale=0.0)).resolve(("a",))


def test_the_answers_prefix_is_known_where_it_is_not_trained():
    objective = Run(objective=Objective(answer=0.0)).resolve(("a",)).objective
    assert objective.terms == {"a": 1.0}
    assert objective.prefixes == {"answer": "predict", "a": "explain a"}


def test_a_rationale_that_follows_the_answer_is_a_term_without_a_prefix():
    objective = Run(objective=Objective(after=0.5, final=0.2)).resolve(("a", "b")).objective
    assert objective.terms == {"answer": 1.0, "rationale after": 0.5}
    assert objective.final_weights == pytest.approx([1.0, 0.1])
    assert objective.prefixes == {"answer": "predict"} and list(objective.teachers) == ["a", "b"]


def test_resolve_refuses_a_teacher_that_the_corpus_does_not_have():
    run = Run(objective=Objective(teachers={"lama": 1.0}))
    with pytest.raises(UserError, match="unknown teacher 'lama'; did you mean 'llama'"):
        run.resolve(("llama",))


def test_a_run_is_read_back_as_it_was_written():
    run = Run(objective=Objective(prefix="decoder")).resolve(("gpt-4.1", "b"))
    run = dataclasses.replace(run, steps=7)
    assert Run.from_fields(json.loads(json.dumps(run.to_json()))) == run


@pytest.mark.parametrize(
    "fields, words",
    [
        (dict(optimizer=dict(name="adam")), "did you mean 'adamw'"),
        (dict(student=dict(dtype="float16")), "unknown config.student.dtype 'float16'"),
        (dict(task="obqaa"), "unknown config.task 'obqaa'; did you mean 'obqa'"),
        (dict(batch_size=0), "config.batch_size is 0; it must be at least 1"),
        (dict(batch_size=True), "config.batch_size is True; it must be a whole number"),
        (dict(batch_size=1.5), "config.batch_size is 1.5; it must be a whole number"),
        (dict(lengths=dict(multiple=0)), "config.lengths.multiple is 0; it must be at least 1"),
        (dict(lengths=3), "config.lengths is 3; it must be a group of fields"),
        (dict(steps=-1), "config.steps is -1; it must be at least 0"),
        (dict(epochs=0.0), "config.steps and config.epochs are 0"),
        (dict(seed=-1), "config.seed is -1; it must be at least 0 and at most 4294967295"),
        (dict(seed=2**64), "it must be at least 0 and at most 4294967295"),
        (dict(student=dict(dropout_rate=1.0)), "dropout_rate is 1.0; it must be at least 0"),
        (dict(objective=dict(answer=-1.0)), "config.objective.answer is -1.0"),
        (dict(objective=dict(teachers={"a": -1.0})), "gives 'a' the weight -1.0"),
        (dict(objective=dict(answer=0.0, after=1.0)), "behind the answer, whose weight is 0"),
        (dict(objective=dict(prefixes={})), "unknown config field 'objective.prefixes'"),
        (dict(optimizer=dict(learning_rate=0.0)), "learning_rate is 0.0; it must be above 0"),
        (dict(optimizer=dict(learning_rate=float("nan"))), "it must be above 0"),
        (dict(optimizer=dict(learning_rate=float("inf"))), "it must be above 0"),
        (dict(optimizer=dict(clip_norm=-1.0)), "config.optimizer.clip_norm is -1.0"),
        (dict(optimizer=dict(warmup_steps=-1)), "config.optimizer.warmup_steps is -1"),
        (dict(optimizer=dict(b2=1.0)), "config.optimizer.b2 is 1.0"),
        (dict(optimizer=dict(warmup_steps=1.5)), "warmup_steps is 1.5; it must be a whole number"),
        (dict(objective=dict(teachers={"a": "b"})), "teachers['a'] is 'b'; it must be a number"),
        (dict(objective=dict(teachers=3)), "config.objective.teachers is 3; it must be weights"),
        (dict(student=dict(lora_rank=2, lora_targets=())), "so nothing would be trained"),
        (dict(lengths=dict(target=1)), "config.lengths.target is 1; it must be at least 2"),
        (dict(student=dict(lora_targets="q")), "config.student.lora_targets is 'q'"),
        (dict(validation=dict(share=1.0)), "config.validation.share is 1.0"),
    ],
)
def test_what_a_field_may_not_be(fields, words):
    with pytest.raises(UserError) as error:
        Run.from_fields(fields)
    assert words in str(error.value)


@pytest.mark.parametrize(
    "warmup, steps, expected",
    [(0, 10, 0), (0.05, 1000, 50), (0.05, 10, 0), (0.1, 10, 1), (1, 1, 1), (30, 500, 30)],
)
def test_a_warm_up_below_one_is_a_share_of_the_run(warmup, steps, expected):
    settled = Run(optimizer=Optimizer(warmup_steps=warmup)).of_steps(steps)
    assert settled.optimizer.warmup_steps == expected
    assert settled.of_steps(steps) == settled


def test_a_warm_up_that_is_longer_than_the_run_is_refused():
    with pytest.raises(UserError, match="warmup_steps is 300, and the run has 4 steps"):
        Run(optimizer=Optimizer(warmup_steps=300)).of_steps(4)


@pytest.mark.parametrize(
    "every, steps, expected",
    [(0, 3, 1), (0, 100, 10), (0, 109, 10), (0, 10_000, 500), (7, 100, 7), (250, 100, 250)],
)
def test_a_run_is_saved_at_least_ten_times_unless_it_says_otherwise(every, steps, expected):
    settled = Run(checkpoint=Checkpointing(every=every)).of_steps(steps)
    assert settled.checkpoint.every == expected
    assert every or steps < 10 or steps // expected >= 10
