"""The scripted teachers: two tell half of the truth, one is wrong about half of the things."""

import pytest

from tinyllm_jax import tasks
from tinyllm_jax.tasks import things
from tinyllm_jax.teachers import scripted
from tinyllm_jax.teachers.config import scripted as specs

QUESTIONS = tasks.load("things", "train=6000,things=3000")["train"]


def names() -> list[str]:
    return sorted({things.thing_of(question.question) for question in QUESTIONS})


def test_texts_are_pinned():
    (question,) = tasks.load("things", "train=1,validation=0,test=0")["train"]
    assert question.question == "What can a tugu do?"
    assert [scripted.explain(name, question) for name in specs()] == TEXTS
    assert (
        scripted.explain("shape", question, forced=False) == f"{TEXTS[1]} So the answer is stand."
    )


def test_together_the_halves_give_the_answer_and_alone_they_do_not():
    alone = {"material": 0, "shape": 0}
    for question in QUESTIONS:
        told = {name: scripted.explain(name, question) for name in alone}
        follows = {
            "material": {
                d
                for m, doings in things.MATERIALS.items()
                if told["material"] == f"It is {m}."
                for d in doings
            },
            "shape": {
                d
                for s, doings in things.SHAPES.items()
                if told["shape"] == f"It is a {s}."
                for d in doings
            },
        }
        assert [c for c in question.choices if c in follows["material"] | follows["shape"]] == [
            question.answer
        ]
        for name in alone:
            alone[name] += question.answer in follows[name]
    assert all(0.45 < right / len(QUESTIONS) < 0.55 for right in alone.values())


def test_careless_is_wrong_about_half_and_always_in_the_same_way():
    said = {}
    for question in QUESTIONS:
        text = scripted.explain("careless", question)
        assert said.setdefault(question.question, text) == text
    wrong = [
        name for name in names() if scripted.believed_material(name) != things.material_of(name)
    ]
    assert 0.47 < len(wrong) / len(names()) < 0.53
    assert {scripted.believed_material(name) for name in wrong} == set(things.MATERIALS)


@pytest.mark.parametrize("teacher", ["material", "shape"])
def test_an_unforced_teacher_answers_from_its_half(teacher):
    right = sum(
        f"answer is {q.answer}." in scripted.explain(teacher, q, forced=False) for q in QUESTIONS
    )
    # Half of the answers follow from its half, and the others it guesses among four.
    assert abs(right / len(QUESTIONS) - (1 / 2 + 1 / 2 / 4)) < 0.03


TEXTS = ["It is wood.", "It is a tube.", "It is wood."]
