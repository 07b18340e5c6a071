"""The answers that hand-made rationales state."""

import dataclasses

import pytest
from iron_question import IRON

from tinyllm_jax.corpus.judging import answers, quality
from tinyllm_jax.tasks.question import Question


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
        ("the answer is İzmir", None),  # "İ" has two characters in lower case
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
    assert answers.stated_answer(text, IRON) == index


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
    assert answers.stated_answer(f"Steel is an alloy of iron.\n{form}", IRON) == 1
    assert answers.stated_answer(form, IRON) == 1
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
    assert answers.stated_answer(text, IRON) is None


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
        assert answers.without_stated_answer(f"{before} {end}", IRON) == before


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
    assert answers.without_stated_answer(text, IRON) == left


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
    assert answers.without_stated_answer(text, IRON) == text


def test_a_choice_that_is_a_letter_is_named_by_its_text():
    question = Question("1", "t", "train", "", "Which letter?", ("b", "a", "d"), "a")
    assert answers.stated_answer("So the answer is a.", question) == 1
