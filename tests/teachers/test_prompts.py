"""Prompts are pinned to the byte.

Their in-context examples follow from the seed and the question's id alone.
"""

import json
import random

import pytest

from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks import Question
from tinyllm_jax.teachers import prompt_tokens, prompts
from tinyllm_jax.teachers.prompts import Example, Template


def make(name: str, **changes) -> Question:
    fields = dict(
        id=name,
        task="obqa",
        split="train",
        context="",
        question=f"What is {name}?",
        choices=("one", "two {2}"),
        answer="one",
    )
    return Question(**{**fields, **changes})


EXAMPLES = [Example(make(f"e{i}"), f"Because of {i}.") for i in range(6)]
FORCED, UNFORCED = prompts.read_template("", True), prompts.read_template("", False)


def test_pinned_forced_prompt():
    prompt = FORCED.render(make("x", context="Once.\nTwice.", answer="two {2}"), [EXAMPLES[0]])
    assert (
        prompt.text
        == """\
Question:
What is e0?
Options:
(a) one
(b) two {2}
Answer:
(a)
Rationale:
Let's think step by step.
Because of 0.

Context:
Once.
Twice.

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
    )
    assert prompt.context == "Once.\nTwice."


def test_pinned_unforced_prompt():
    assert (
        UNFORCED.render(make("x", answer="two {2}"), [EXAMPLES[1]]).text
        == """\
Question:
What is e1?
Options:
(a) one
(b) two {2}
Rationale:
Let's think step by step.
Because of 1. So the answer is (a).

Question:
What is x?
Options:
(a) one
(b) two {2}
Rationale:
Let's think step by step.
"""
    )


def test_an_unforced_prompt_does_not_depend_on_the_answer():
    texts = {
        UNFORCED.render(make("x", answer=answer), EXAMPLES[:2]).text
        for answer in ("one", "two {2}")
    }
    assert len(texts) == 1


def test_cut_touches_the_context_only():
    prompt = FORCED.render(make("x", context="one two three {four}"), EXAMPLES[:2])
    assert prompt.context_words == 4 and prompt.cut(2).context == "one two"
    assert prompt.cut(2).text == prompt.text.replace(" three {four}", "")
    assert prompt.cut(0).text == prompt.text.replace("one two three {four}", "")


def test_template_hashes_are_pinned_and_cover_what_is_shown():
    hashes = [
        prompts.template_hash(template, examples, shots)
        for template, examples, shots in (
            (FORCED, EXAMPLES, 2),
            (UNFORCED, EXAMPLES, 2),
            (FORCED, EXAMPLES, 3),
            (FORCED, EXAMPLES[:5], 2),
        )
    ]
    assert len(set(hashes)) == 4
    assert prompts.template_hash(FORCED, EXAMPLES, 0) == prompts.template_hash(FORCED, [], 0)
    assert hashes[0] == "5d667d12d8c85767926aa511aabd731f9ff0f8e23760ea18ed882377249c9644"


def test_examples_depend_on_seed_and_id_only():
    questions = [make(f"q{i}") for i in range(50)]
    drawn = {q.id: prompts.draw(q, EXAMPLES, 2, seed=0) for q in questions}
    random.Random(1).shuffle(questions)
    assert all(prompts.draw(q, EXAMPLES, 2, seed=0) == drawn[q.id] for q in questions)
    assert any(prompts.draw(q, EXAMPLES, 2, seed=1) != drawn[q.id] for q in questions)
    assert (
        len({tuple(e.question.id for e in shown) for shown in drawn.values()}) == 15
    )  # every pair, in one order


def test_examples_never_hold_the_question_itself():
    for seed in range(20):
        shown = prompts.draw(make("twin", question="what is  E0?"), EXAMPLES[:3], 2, seed)
        assert [example.question.id for example in shown] == ["e1", "e2"]


def test_too_few_examples():
    with pytest.raises(
        UserError, match="has 1 in-context examples besides question e0, and 2 are wanted"
    ):
        prompts.draw(EXAMPLES[0].question, EXAMPLES[:2], 2, seed=0)


def test_examples_are_found_in_train_by_their_text(tmp_path):
    file = tmp_path / "e.jsonl"
    file.write_text(json.dumps({"question": "what  is Q3?", "rationale": "Two\nlines."}) + "\n\n")
    train = [make(f"q{i}", choices=("x", "y"), answer="y") for i in range(5)]
    assert prompts.read_examples(str(file), "obqa", train) == [Example(train[3], "Two lines.")]


@pytest.mark.parametrize(
    "content, message",
    [
        (
            '{"question": "What is q9?", "rationale": "r"}',
            "example 1: the training split has no question 'What is q9",
        ),
        ('{"question": "What is q1?"}', "example 1: not "),
        ("[]", "example 1: not "),
        (None, "cannot read examples"),
    ],
)
def test_bad_example_files(tmp_path, content, message):
    if content:
        (tmp_path / "e.jsonl").write_text(content)
    with pytest.raises(UserError, match=message):
        prompts.read_examples(str(tmp_path / "e.jsonl"), "obqa", [make("q1")])


def test_a_task_without_examples_says_how_to_write_them():
    with pytest.raises(
        UserError, match="no in-context examples for task 'custom': write a few training questions"
    ):
        prompts.read_examples("", "custom", [make("q1")])


@pytest.mark.parametrize(
    "text, forced, message",
    [
        (
            "{question} {options} {answr} {rationale}",
            True,
            "unknown field 'answr'; did you mean 'answer'",
        ),
        ("{question} {options} {answer}", True, "has no {rationale}"),
        ("{question} {options} {rationale} {answer}", True, "no answer stands before {rationale}"),
        (
            "{question} {options} {answer_text} {rationale}",
            False,
            "the answer stands before {rationale}",
        ),
        ("{question} {options} {rationale}", False, "no answer stands behind {rationale}"),
        ("{question} {options} {answer} {rationale} {", True, "write {{ for a brace"),
    ],
)
def test_bad_templates(text, forced, message):
    with pytest.raises(UserError) as error:
        Template(text, forced)
    assert message in str(error.value)


def test_a_template_of_one_s_own(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("Q {question}\n{options}\nIt is {answer_text}, for {rationale}\n")
    prompt = prompts.read_template(str(file), True).render(make("x"), [EXAMPLES[2]])
    assert prompt.text == (
        "Q What is e2?\n(a) one\n(b) two {2}\nIt is one, for Because of 2.\n\n"
        "Q What is x?\n(a) one\n(b) two {2}\nIt is one, for "
    )
    with pytest.raises(UserError, match="cannot read template"):
        prompts.read_template(str(tmp_path / "none.txt"), True)


@pytest.mark.parametrize("field", ["{question:>9}", "{question!r}", "{options:d}"])
def test_a_field_is_filled_in_as_it_is(field):
    text = f"{field} {{question}} {{options}} {{answer}} {{rationale}}"
    with pytest.raises(UserError, match="takes no ':' or '!'; write"):
        prompts.Template(text, forced=True)


@pytest.mark.parametrize("error", [ValueError("no template"), RuntimeError("raised\nby it")])
def test_a_chat_template_that_cannot_be_used_is_one_line(error):
    class Tokenizer:
        def apply_chat_template(self, *_, **__):
            raise error

    with pytest.raises(UserError, match="chat template cannot be used: .*; mend it, or set chat"):
        prompt_tokens.fit_to_window(Tokenizer(), prompts.Prompt("", "", "q"), True, 9)
