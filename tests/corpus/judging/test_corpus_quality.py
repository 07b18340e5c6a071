"""Flags of hand-made rationales, and the counts of them."""

import dataclasses
import time

import pytest

from tinyllm_jax.corpus.judging import quality, statistics
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.tasks.question import Question

IRON = Question(
    "1",
    "t",
    "train",
    "",
    "What do magnets attract?",
    ("iron nails", "a metal cup", "-3", "3 cats"),
    "iron nails",
)


@pytest.mark.parametrize(
    "text, index",
    [
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
        (
            "Answer: D\nQuestion: another?\nAnswer: a",
            3,
        ),  # what follows an echo is about another question
        ("The best answer is the one that sticks. The answer is B", 1),  # two in one line
        ("The answer is not clear. However, the answer is D", 3),
        ("The answer is <b>", 1),
        ("The answer is B>", 1),
        ("The answer is B: a metal cup", 1),
        ("The answer is B a metal cup.", 1),
        ("the answer is B iron nails", None),  # letter and text disagree
        ("The answer is A, B, or D", None),
        ("The answer is 3", None),
        ("the answer is not (a)", None),
        ("The next option is d.", None),
        ("the answer is a dog", None),
        ("the answer is (h)", None),
        ("Nails are made of iron.", None),
        ("(d)", 3),
        ("B.", 1),
        ("A metal cup.", 1),
        ("(h)", None),
        ("x", None),
        ("", None),
    ],
)
def test_stated_answer(text, index):
    assert quality.stated_answer(text, IRON) == index


# Forms in which teachers state the answer "(b) a metal cup", behind a sentence of reasoning.
STATES_B = r"""
The answer is **(b)**.
The answer is **B**.
**Answer: B**
**Answer:** (b) a metal cup
**Answer**: b
Answer: *a metal cup*
The correct answer is **a metal cup**.
The correct answer is __b__.
The answer is `b`.
The final answer is $\boxed{B}$.
$\boxed{B}$
\boxed{b}
\boxed{\text{B}}
The answer is \boxed{(b)}.
The final answer is $\boxed{\text{a metal cup}}$.
The answer is $B$.
The answer is “b”.
The answer is “a metal cup”.
The answer is ‘B’.
The answer is "a metal cup".
The answer is 'b'
Answer: B
Answer - B
Answer = B
Answer is B.
Ans: B
Final Answer: B
Final answer: (B) a metal cup
Correct answer: b)
Correct option: B
Correct choice: (b)
Solution: b
The answer is B) a metal cup.
The answer is B. A metal cup.
The answer is b: a metal cup
The answer is option B.
The answer is choice (b).
The answer is the letter B.
The answer is: (b)
The answer is:⏎(b)
Answer:⏎⏎**B) a metal cup**
The correct answer is therefore (b).
The answer is clearly option (b), a metal cup.
The answer must be b.
The answer must therefore be (b).
The answer would be a metal cup.
The answer has to be (b).
The answer, then, is (b).
The answer to the question is (b).
The correct answer among the choices is (b).
The best answer choice is (b).
The right answer: b
The correct one is (b).
So b is the answer.
Therefore, B is correct.
Therefore, (b) is the right answer.
Hence, option B is the best choice.
Thus choice (b) is correct.
B is the correct answer.
**B** is correct.
(b) must be the answer.
Therefore, a metal cup is the correct answer.
So “a metal cup” is the answer.
(b) a metal cup is the correct answer.
B) A metal cup is the best option.
I would choose (b).
I choose B.
I'd go with option b.
We pick a metal cup.
Therefore, (b).
Hence, option b.
So it must be (b).
#### B
B) a metal cup
**(b) a metal cup**
b. A metal cup.
The answer is (b), not (a).
Option (b) is correct because nails rust.
"""


@pytest.mark.parametrize("form", [line for line in STATES_B.split("\n") if line])
def test_forms_of_an_answer(form):
    form = form.replace("⏎", "\n")
    assert quality.stated_answer(f"Steel is an alloy of iron.\n{form}", IRON) == 1
    assert quality.stated_answer(form, IRON) == 1
    right = dataclasses.replace(IRON, answer=IRON.choices[1])
    assert "contradicts" not in quality.flags_of(f"Steel is an alloy.\n{form}", right)


@pytest.mark.parametrize(
    "text",
    [
        "The answer is (a) or (b).",
        "The answer is either A or B.",
        "The answer is not (b).",
        "The answer isn't (b).",
        "The answer cannot be (b).",
        "(b) is not the answer.",
        "Option b is incorrect.",
        "Option b is not correct.",
        "A and B are both correct.",
        "The correct answer depends on the metal.",
        "The answer is clear.",
        "I choose a hammer.",
        "A magnet is the best tool.",
        "What is the right answer?",
        "(a) iron nails\n(b) a metal cup",
        "(a) Nails are of iron.\n(b) A cup is of tin.",
        "a. Iron rusts.",
        "So a magnet is a tool.",
        "In a metal cup is the answer to your thirst.",
        "\\boxed{7}",
        "Iron rusts.\nB",
        "Iron rusts.\nSolution:\n(a) Iron nails rust.\n(b) A metal cup",
    ],
)
def test_what_states_no_answer_is_none(text):
    assert quality.stated_answer(text, IRON) is None


@pytest.mark.parametrize(
    "end",
    [
        "**Answer: B**",
        "The answer is **(b)**.",
        "So “a metal cup” is the answer.",
        "#### B",
        "\\boxed{b}",
    ],
)
def test_any_form_is_cut_off(end):
    for before in ("Steel holds iron.", "**Steel holds iron.**"):
        assert quality.without_stated_answer(f"{before} {end}", IRON) == before


@pytest.mark.parametrize(
    "text, left",
    [
        ("Steel holds iron. The answer is A", "Steel holds iron."),
        ("Steel holds iron.The answer is A.", "Steel holds iron."),
        (" Steel holds iron.\n The answer is (a) iron nails.\n", "Steel holds iron."),
        ("Steel holds iron. Therefore, the correct answer is: B: a metal cup", "Steel holds iron."),
        ("Steel holds iron. Thus the answer is iron nails.", "Steel holds iron."),
        ("Steel holds iron. Option a is correct.", "Steel holds iron."),
        ("So the answer is B. The answer is B", ""),  # stated twice, and nothing else
        ("Steel holds iron The answer is A", "Steel holds iron"),
        ("Iron\n- sticks\nThe answer is A", "Iron\n- sticks"),
        ("(a)", ""),
        ("", ""),
    ],
)
def test_without_stated_answer(text, left):
    assert quality.without_stated_answer(text, IRON) == left


@pytest.mark.parametrize(
    "text",
    [
        "Steel holds iron, so the answer is (a).",
        "Given that, the answer is A",
        "The answer is A because steel holds iron.",
        "The answer is A. Steel holds iron.",
        "The answer is A (a guess, since nothing fits).",
        "Steel sticks. The answer is none of these.",
        "Steel sticks. The answer is A\nQuestion: another?\nAnswer: b",
        "Steel sticks.",
    ],
)
def test_a_sentence_that_says_more_than_the_answer_stays(text):
    assert quality.without_stated_answer(text, IRON) == text


def test_a_choice_that_is_a_letter_is_named_by_its_text():
    question = Question("1", "t", "train", "", "Which letter?", ("b", "a", "d"), "a")
    assert quality.stated_answer("So the answer is a.", question) == 1


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
        ("Steel is a hard metal. Steel is a hard metal.", True),
        ("Steel holds much iron. Nails stick. STEEL holds, much iron!", True),
        ("1. Steel holds much iron.\n2. Steel holds much iron.", True),
        ("First, steel holds iron.\nSecond, steel holds iron", True),
        (
            "(a) It is so.\n(b) It is so.\n(c) It is so.\n(d) It is so.",
            False,
        ),  # four choices, the same said of each
        ("It is so.\n" * 5, True),
        ("Perfume is a liquid. Cups hold liquids. Perfume is a liquid.", True),  # short sentences
        ("It melts. It melts.", True),
        ("Nails hold steel.Nails hold steel.", True),
        ("Hint 1: Iron is a metal.\nHint 2: Iron is a metal.", True),
        ("### Step 1\nIron is a metal.\n### Step 2\nIron is a metal.", True),
        ("Birds use a beak to eat. Birds could use their beaks to eat.", True),  # the same words
        ("iron iron iron iron iron.", True),
        ("Steel sticks.\n#\n#\n#\n#\n#\n", True),
        ("Frogs can swim far. Frogs cannot swim far.", False),
        ("(a) nails: this is metal.\n(b) a cup: this is metal.", False),
        ("We add nails. So, it is hot steel. We add cups. So, it is hot steel.", False),
        ("The answer is iron nails. Steel holds iron. So the answer is iron nails.", False),
        ("It is steel and steel and steel and steel and steel.", True),
        ("It gets bigger and bigger and bigger.", False),
        ("We get 10 10 10 10 10 10 10 10 of them.", False),  # numbers may recur
        ("Steel is a metal. Iron is a metal. A cup is no metal. So a cup is not steel.", False),
        (
            "Steel holds much iron. Nails stick.\nQuestion: x\nSteel holds much iron.",
            False,
        ),  # after the echo
    ],
)
def test_repetition(text, there):
    assert ("repetition" in quality.flags_of(text, IRON)) == there


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


@pytest.mark.parametrize(
    "echo",
    [
        "Question:\nWhich is a bird?",
        "### QUESTION NO. 164",
        "Question",
        "Q. Which is a bird?",
        "Q: 30",
        "Q",
        "# 13.",
        "#\n# 13. The largest bird is",
        "# **31**",
        "### 2.\nQuestion: Which is a bird?",
        "Chapter 11\n# 11.1",
        "12. Which is a bird?",
        "Which is a bird?\n(a) owl\n(b) cat\nAnswer:\nb",
        "A bird is called ____.\n\nAnswer:\n(b) owl",
        "Choices:\n(a) owl",
        "Answer:\na",
        "**Answer:**\n(a)",
        "Options",
        "Rationale",
    ],
)
def test_echo(echo):
    text = f"Nails hold steel.\n{echo}\n"
    flags = quality.flags_of(text, IRON)
    assert "echo" in flags and "contradicts" not in flags
    before = text[: quality.own_end(text)].strip()
    assert before == "Nails hold steel."


@pytest.mark.parametrize(
    "text",
    [
        "1. Which is of iron?\n2. What is of steel?\nNails hold steel.",
        "### 1. Nails hold steel.\n### 2. Cups hold none.",
        "The question is which nails hold steel.",
        "Nails hold steel.\nAnswer: iron nails.",
        "Q = m c T holds for nails.",
        "### Step 1:\nNails hold steel.",
        "Is it of iron?\n(a) nails: they are.\n(b) a cup: it is not.",
    ],
)
def test_no_echo(text):
    assert "echo" not in quality.flags_of(text, IRON)


def test_an_answer_in_the_prompts_form_is_still_an_answer():
    assert quality.flags_of("Cups hold steel.\nAnswer:\nb", IRON) == (
        "contradicts",
        "echo",
        "unterminated",
    )


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


def test_statistics():
    questions = [
        IRON,
        Question("2", "t", "train", "", "What do  magnets ATTRACT?", IRON.choices[::-1], "3 cats"),
        Question("3", "t", "train", "", "Another?", ("x", "y"), "x"),
    ]
    texts = ["Steel nails.", "steel  NAILS.", ""]
    rows = [
        Row(
            question,
            {
                "m": Rationale(
                    text, "m", weight=float(bool(text)), flags=quality.flags_of(text, question)
                )
            },
        )
        for question, text in zip(questions, texts, strict=True)
    ]
    rows = statistics.mark_duplicates(rows)
    assert [row.rationales["m"].flags for row in rows] == [(), ("duplicate",), ("empty",)]
    counts = statistics.statistics({"train": rows, "test": [Row(IRON, {})]}, ["m"])
    assert counts["overlap"] == {"train/test": 1}
    assert counts["splits"]["train"] == {
        "questions": 3,
        "duplicate_questions": 1,
        "teachers": {
            "m": {
                "rationales": 3,
                "missing": 0,
                "sound": 1,
                "stated": 0,
                "zero_weight": 1,
                "mean_words": 1.3,
                "empty": 1,
                "unterminated": 0,
                "echo": 0,
                "contradicts": 0,
                "duplicate": 1,
                "no_new_word": 0,
                "repetition": 0,
                "off_topic": 0,
                "other_language": 0,
                "mojibake": 0,
                "refusal": 0,
                "error_message": 0,
                "copied": 0,
                "truncated": 0,
            }
        },
    }
    assert counts["splits"]["test"]["teachers"]["m"]["missing"] == 1
