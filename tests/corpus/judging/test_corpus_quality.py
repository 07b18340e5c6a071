"""Flags of hand-made rationales."""

import time

import pytest
from iron_question import IRON

from tinyllm_jax.corpus.judging import quality
from tinyllm_jax.tasks.question import Question


@pytest.mark.parametrize(
    "text, flags",
    [
        ("", ("empty",)),
        (" \n", ("empty",)),
        ("Steel contains iron, so nails stick.", ()),
        ('He said "nails are steel."', ()),
        ("Nails stick since steel", ("unterminated",)),
        ("Steel nails.\n### Question 4:\nWhich is a bird?", ("echo",)),
        ("Steel nails.\nQ.5. Which is a bird?", ("echo",)),
        ("Steel nails.\nOptions:\n(a) x", ("echo", "unterminated")),
        ("The question is of steel nails.", ()),
        ("Steel is strong, so the answer is (b).", ("contradicts",)),
        ("Steel is strong, so the answer is (a).", ()),
        ("Magnets attract iron nails.", ("no_new_word",)),
        ("So the answer is: iron nails.", ("copied", "no_new_word")),
        ("Steel nails.\n2.", ("unterminated",)),
        ("Steel sticks to iron, e.g.", ("unterminated",)),
    ],
)
def test_flags(text, flags):
    assert quality.flags_of(text, IRON) == flags


@pytest.mark.parametrize(
    "text, there",
    [
        # The letters of choices, a form of the prompt and the numbers of steps are no content.
        ("(b) A metal cup.", True),
        ("The answer is (d).", True),
        ("Solution:\nOption C is correct.", True),
        ("1. Magnets attract nails.\n2. Thus, (a) is correct.", True),
        # Inflected words are the same word.
        ("The magnet is attracting an iron nail.", True),
        ("A nail is used to attract magnets.", True),
        ("Magnets attract the nails because of their iron core.", False),
        ("It has 4 cats.", False),
        ("Magnets attract iron nails.\nQuestion: Which bird flies?", True),  # before the echo
    ],
)
def test_no_new_word(text, there):
    assert ("no_new_word" in quality.flags_of(text, IRON)) == there


@pytest.mark.parametrize(
    "text, flag",
    [
        ("Corn is a plant.", "off_topic"),
        ("Sure!", "off_topic"),
        ("<think>\nOkay, let me see.", "off_topic"),
        ("Corn grows. The answer is (a).", ""),  # it states an answer
        ("It is made of steel.", ""),  # about what the question is about
        ("Steel is magnetic.", ""),  # "magnet" begins alike
        ("Magnete ziehen Eisen an, weil es magnetisch ist.", "other_language"),
        ("Les clous sont en fer.", "other_language"),
        ("Los clavos son de hierro.", "other_language"),
        ("Железные гвозди магнитятся.", "other_language"),
        ("铁钉是铁做的。磁铁吸引铁。", "other_language"),
        ("नाखून लोहे के होते हैं।", "other_language"),
        ("округу\nNails hold steel.", "other_language"),  # one word in another script
        ("The β of iron nails is 3 μm in the café of Los Angeles.", ""),
        ("Iron nails donâ€™t resist.", "mojibake"),
        ("Р¶РµР»РµР·РѕР№ РіРІРѕР·РґСЊ.", "mojibake"),
        ("Iron nails are na\ufffdve.", "mojibake"),
        ("Iron nails don’t resist: “steel”…", ""),
        ("I'm sorry, but I can't assist with that.", "refusal"),
        ("I cannot help with that request.", "refusal"),
        ("As an AI language model, I have no opinion on nails.", "refusal"),
        ("Unfortunately, I am unable to provide an answer.", "refusal"),
        ("A magnet cannot help a cat.", ""),
        ("Error: rate limit exceeded, please retry later.", "error_message"),
        ('{"error": "overloaded"}.', "error_message"),
        ("503 Service Unavailable.", "error_message"),
        ("openai.APITimeoutError: Request timed out.", "error_message"),
        ("Error bars show that nails stick.", ""),
        ("500 nails stick to steel.", ""),
    ],
)
def test_texts_that_are_no_rationale(text, flag):
    apart = {"off_topic", "other_language", "mojibake", "refusal", "error_message"}
    assert apart & {*quality.flags_of(text, IRON)} == ({flag} if flag else set())


def test_a_text_shares_words_with_the_context_too():
    question = Question("1", "t", "train", "Zinc is a metal.", "Which sticks?", ("x", "y"), "x")
    assert quality.flags_of("Zinc is smooth.", question) == ()
    assert quality.flags_of("Copper is smooth.", question) == ("off_topic",)


def test_a_question_of_numbers_alone_has_no_topic_to_share():
    question = Question("1", "t", "train", "", "What is 1 + 2?", ("3", "4"), "3")
    assert quality.flags_of("We count up by two.", question) == ()


def test_the_language_is_that_of_the_question():
    question = Question(
        "1", "t", "train", "", "Was ist aus Eisen und nicht aus Holz?", ("Nägel", "Tische"), "Nägel"
    )
    assert quality.flags_of("Nägel sind aus Stahl.", question) == ()
    assert quality.flags_of("The nails are made of steel.", question) == ("other_language",)


def test_judging_takes_no_time_that_grows_faster_than_the_text():
    start = time.process_time()
    for text in (
        "#\n" * 5000,
        "*" * 20000,
        "Is it?\n" * 3000,
        "1. Is it?\n" * 2000,
        "sorry " * 4000,
    ):
        quality.flags_of(text, IRON)
    assert time.process_time() - start < 5  # 20,000 characters of it would take minutes else


def test_words_of_the_context_are_new():
    question = Question("1", "t", "train", "Zinc is a metal.", "Is zinc one?", ("yes", "no"), "yes")
    assert "no_new_word" not in quality.flags_of("Zinc is a metal.", question)
    assert "no_new_word" in quality.flags_of("Yes, zinc is one.", question)


def test_a_stop_at_the_token_limit_is_unterminated():
    assert quality.flags_of("Steel nails.", IRON, finish_reason="length") == ("unterminated",)
    assert quality.flags_of("Steel nails.", IRON, finish_reason="stop") == ()


def test_a_known_statement_counts_without_its_text():
    assert quality.flags_of("Steel nails.", IRON, stated=1) == ("contradicts",)


def test_equal_choices_do_not_contradict():
    question = Question("1", "t", "train", "", "Which?", ("cats", "dogs", "cats"), "cats")
    assert quality.flags_of("They purr: the answer is (c).", question) == ()
