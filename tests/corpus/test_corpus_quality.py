"""Flags of hand-made rationales, and the counts of them."""

import pytest

from tinyllm_jax.corpus import quality
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.tasks.question import Question

IRON = Question("1", "t", "train", "", "What do magnets attract?", ("iron nails", "a metal cup", "-3", "3 cats"), "iron nails")


@pytest.mark.parametrize("text, index", [
    ("So the answer is (b).", 1),
    ("The correct option is b", 1),
    ("Answer: a metal cup.", 1),
    ("the answer is a metal cup of tea", 1),
    ("Option d is correct", 3),
    ("(b), which is the correct answer", 1),
    ('The answer is "b" because', 1),
    ("Answer:\n**C**\n", 2),
    ("the answer is -3", 2),
    ("The answer is (a). No: the answer is (b).", 1),  # the last one counts
    ("Answer: D\nQuestion: another?\nAnswer: a", 3),  # what follows an echo is about another question
    ("The answer is 3", None),
    ("the answer is not (a)", None),
    ("The next option is d.", None),
    ("the answer is a dog", None),
    ("the answer is (h)", None),
    ("Nails are made of iron.", None),
])
def test_stated_answer(text, index):
    assert quality.stated_answer(text, IRON) == index


def test_a_choice_that_is_a_letter_is_named_by_its_text():
    question = Question("1", "t", "train", "", "Which letter?", ("b", "a", "d"), "a")
    assert quality.stated_answer("So the answer is a.", question) == 1


@pytest.mark.parametrize("text, flags", [
    ("", ("empty",)),
    (" \n", ("empty",)),
    ("Steel contains iron, so nails stick.", ()),
    ('He said "nails are steel."', ()),
    ("Nails stick since steel", ("unterminated",)),
    ("Steel sticks.\n### Question 4:\nWhich is a bird?", ("echo",)),
    ("Steel sticks.\nQ.5. Which is a bird?", ("echo",)),
    ("Steel sticks.\nOptions:\n(a) x", ("echo", "unterminated")),
    ("The question is steel.", ()),
    ("Steel is strong, so the answer is (b).", ("contradicts",)),
    ("Steel is strong, so the answer is (a).", ()),
    ("Magnets attract iron nails.", ("no_new_word",)),
    ("So the answer is: iron nails.", ("no_new_word",)),
])
def test_flags(text, flags):
    assert quality.flags_of(text, IRON) == flags


def test_a_stop_at_the_token_limit_is_unterminated():
    assert quality.flags_of("Steel sticks.", IRON, finish_reason="length") == ("unterminated",)
    assert quality.flags_of("Steel sticks.", IRON, finish_reason="stop") == ()


def test_a_known_statement_counts_without_its_text():
    assert quality.flags_of("Steel sticks.", IRON, stated=1) == ("contradicts",)


def test_equal_choices_do_not_contradict():
    question = Question("1", "t", "train", "", "Which?", ("cats", "dogs", "cats"), "cats")
    assert quality.flags_of("They purr: the answer is (c).", question) == ()


def test_statistics():
    questions = [IRON, Question("2", "t", "train", "", "What do  magnets ATTRACT?", IRON.choices[::-1], "3 cats"),
                 Question("3", "t", "train", "", "Another?", ("x", "y"), "x")]
    texts = ["Steel sticks.", "steel  STICKS.", ""]
    rows = [Row(question, {"m": Rationale(text, "m", weight=float(bool(text)), flags=quality.flags_of(text, question))})
            for question, text in zip(questions, texts)]
    rows = quality.mark_duplicates(rows)
    assert [row.rationales["m"].flags for row in rows] == [(), ("duplicate",), ("empty",)]
    told = quality.statistics({"train": rows, "test": [Row(IRON, {})]}, ["m"])
    assert told["overlap"] == {"train/test": 1}
    assert told["splits"]["train"] == {"questions": 3, "duplicate_questions": 1, "teachers": {"m": {
        "rationales": 3, "missing": 0, "stated": 0, "zero_weight": 1, "mean_words": 1.3, "empty": 1, "unterminated": 0,
        "echo": 0, "contradicts": 0, "duplicate": 1, "no_new_word": 0}}}
    assert told["splits"]["test"]["teachers"]["m"]["missing"] == 1
