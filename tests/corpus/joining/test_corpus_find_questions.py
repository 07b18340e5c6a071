"""Finding the question that a text is about: exactly, and none where several fit."""

import dataclasses

import pytest

from tinyllm_jax.corpus.joining.find_questions import QuestionIndex
from tinyllm_jax.tasks.question import Question


def question(id, text, *choices):
    return Question(id, "obqa", "train", "", text, choices, choices[0])


SUN = question("sun", "The sun is responsible for", "a puppy", "flowers wilting", "plants")
LONGER = question(
    "longer", "The sun is responsible for what?", "a puppy", "flowers wilting", "plants"
)
TWIN = question("twin", "The sun  is responsible for", "rain", "flowers wilting", "plants")
LETTERS = question("letters", "Which comes first?", "d", "b", "a")
DOGS = question("dogs", "What do people eat?", "dog", "cat")
INDEX = QuestionIndex([SUN, LONGER, TWIN, LETTERS, DOGS])


@pytest.mark.parametrize(
    "text, id",
    [
        (
            "Q: The sun is responsible for Answers: A: a puppy, B: flowers wilting, C: plants",
            "sun",
        ),
        ("THE SUN\nis responsible for\n(a) a puppy\n(b) flowers  wilting\n(c) plants\nA:", "sun"),
        ("The sun is responsible for: a puppy, flowers wilting, or plants", "sun"),
        ('The sun is responsible for ["a puppy", "flowers wilting", "plants"]', "sun"),
        (
            "The sun is responsible for\nOption 1: a puppy\nOption 2: flowers wilting\n3) plants",
            "sun",
        ),
        ("The sun is responsible for what? A a puppy B flowers wilting C plants", "longer"),
        ("Q:The sun is responsible for\n1. rain\n2. flowers wilting\n3. plants", "twin"),
        ("Which comes first?\nA: d\nB: b\nC: a", "letters"),
        ("Which comes first? a) d b) b c) a", "letters"),
    ],
)
def test_a_question_in_a_text(text, id):
    assert [found.id for found in INDEX.in_text(text)] == [id]


NONE = "no question stands in it with all its choices behind it"


@pytest.mark.parametrize(
    "text, why",
    [
        (
            "Q: The moon is responsible for A: a puppy, B: flowers wilting, C: plants",
            NONE,
        ),
        ("", NONE),
        ("The sun is responsible for A: flowers wilting, B: a puppy, C: plants", NONE),
        ("The sun is responsible for A: a puppy, B: flowers wilting", NONE),
        ("A: a puppy, B: flowers wilting, C: plants. The sun is responsible for", NONE),
        ("The sun is responsible for A: a puppy, B: wild flowers wilting, C: plants", NONE),
        ("What do people eat? A: hot dog, B: cat", NONE),
        (
            "Which comes first? (a) d (b) b (c) a\nThe sun is responsible for (a) rain "
            "(b) flowers wilting (c) plants",
            "several questions stand in it",
        ),
    ],
)
def test_no_question_in_a_text(text, why):
    assert INDEX.in_text(text) == why


def test_equal_questions_are_all_found():
    again = dataclasses.replace(SUN, id="again", split="test")
    other_gold = dataclasses.replace(SUN, id="other", answer="plants")
    index = QuestionIndex([SUN, again, other_gold])
    text = "The sun is responsible for (a) a puppy (b) flowers wilting (c) plants"
    assert index.in_text(text) == [SUN, again, other_gold]


def test_many_questions_of_one_text_are_told_apart_quickly():
    """Comparing each row with each question would take minutes."""
    many = [question(str(n), "Which one is it?", f"number {n}", "another") for n in range(4000)]
    index = QuestionIndex(many)
    for n in range(4000):
        assert index.in_text(f"Which one is it?\n(a) number {n}\n(b) another") == [many[n]]


def test_by_content():
    assert INDEX.of_content(
        " the SUN is responsible\nfor", ["a puppy", "Flowers wilting", "plants"]
    ) == [SUN]
    assert INDEX.of_content("The moon", SUN.choices) == "no question has its text"
    assert "other choices or another order" in INDEX.of_content(SUN.question, SUN.choices[::-1])


def test_by_id():
    assert INDEX.of_id("sun") == [SUN]
    assert INDEX.of_id("") == INDEX.of_id("moon") == "no question has its id"


def test_punctuation_tells_questions_apart():
    plus, minus = (
        question("+", "What is 3 + 4?", "7", "8"),
        question("-", "What is 3 - 4?", "7", "8"),
    )
    index = QuestionIndex([plus, minus])
    assert index.in_text("What is 3 - 4? (a) 7 (b) 8") == [minus]
    assert index.of_content("What is 3 + 4?", ["7", "8"]) == [plus]
