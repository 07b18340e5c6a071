"""Which hand-made rationales begin by giving the gold answer."""

import pytest
from iron_question import IRON

from tinyllm_jax.corpus.judging import quality
from tinyllm_jax.tasks.question import Question


@pytest.mark.parametrize(
    "text, there",
    [
        ("(a)", True),
        ("a\nSteel holds iron.", True),
        ("**(a)**\nSteel holds iron.", True),
        ("Iron nails. Steel holds iron.", True),
        ("(a) iron nails. Steel holds iron.", True),
        ("Answer:\n(a) iron nails", True),
        ("The answer is (a). Steel holds iron.", True),
        ("So, the correct option is (a) because steel holds iron.", True),
        ("(a) is the answer.\nSteel holds iron.", True),
        ("Iron nails is the correct answer. Steel holds iron.", True),
        ("Iron nails, iron nails. Steel is magnetic.", False),
        ("Iron nails hold steel. Steel is magnetic.", False),  # what a sentence is about is no copy
        ("Steel holds iron, so the answer is (a).", False),
        ("Steel holds iron. So the answer is (a).", False),
        ("The answer is (b). Steel holds iron.", False),  # another answer: it contradicts
        ("(a) iron nails: these hold steel.\n(b) a metal cup: this holds none.", False),
        (
            "(a) iron nails:\nThese hold steel.\n(b) a metal cup:\nThis holds none.",
            False,
        ),  # goes through the choices
        ("A nail is steel.", False),
    ],
)
def test_copied(text, there):
    assert ("copied" in quality.flags_of(text, IRON)) == there


def test_copied_of_other_answers():
    gold = "Take a bowl. Mix flour, then wait."
    question = Question("1", "t", "train", "", "How to bake?", (gold, "Wait."), gold)
    assert "copied" in quality.flags_of(
        "Take a bowl. Mix flour,  then wait. So it rises.", question
    )
    assert "copied" not in quality.flags_of("Take a bowl. Mix flour, then stir.", question)
    question = Question("1", "t", "train", "", "Is zinc a metal?", ("yes", "no"), "yes")
    assert "copied" in quality.flags_of("Yes, zinc shines.", question)
    assert "copied" not in quality.flags_of("Zinc shines, yes.", question)
