"""Prompts are pinned, and their in-context examples follow from the seed and the question's id alone."""

import random

import pytest

from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks import Question
from tinyllm_jax.teachers import prompts


def make(name: str, **changes) -> Question:
    fields = dict(id=name, task="obqa", split="train", context="", question=f"What is {name}?",
                  choices=("one", "two {2}"), answer="one")
    return Question(**{**fields, **changes})


TRAIN = [make(f"q{i}") for i in range(50)]


def test_pinned_prompt():
    prompt = prompts.render(make("x", context="Once.", answer="two {2}"), [make("e")])
    assert prompt == """\
Question:
What is e?
Options:
(a) one
(b) two {2}
Answer:
(a)

Context:
Once.
Question:
What is x?
Options:
(a) one
(b) two {2}
Answer:
(b)
Rationale:
Let's think step by step.
"""


def test_template_hash_is_pinned():
    assert prompts.template_hash(2) == "f330e8c3107b44b5d34d04f897c60e2752dc957730d0645c61354b8177581571"
    assert prompts.template_hash(2) != prompts.template_hash(3)


def test_examples_depend_on_seed_and_id_only():
    drawn = {q.id: prompts.draw_examples(q, TRAIN, 2, seed=0) for q in TRAIN}
    order = TRAIN[:]
    random.Random(1).shuffle(order)
    assert all(prompts.draw_examples(q, TRAIN, 2, seed=0) == drawn[q.id] for q in order)
    assert any(prompts.draw_examples(q, TRAIN, 2, seed=1) != drawn[q.id] for q in TRAIN)
    assert [q.id for q in drawn["q0"]] == ["q28", "q38"]


def test_examples_never_hold_the_question_itself():
    twin = [make("twin", question=TRAIN[0].question), *TRAIN[:3]]
    for seed in range(20):
        drawn = prompts.draw_examples(TRAIN[0], twin, 2, seed)
        assert sorted(q.id for q in drawn) == ["q1", "q2"]


def test_too_few_examples():
    with pytest.raises(UserError, match="too few training questions"):
        prompts.draw_examples(TRAIN[0], TRAIN[:2], 2, seed=0)
