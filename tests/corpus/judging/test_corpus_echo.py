"""Where hand-made rationales fall back into the form of the prompt."""

import pytest
from iron_question import IRON

from tinyllm_jax.corpus.judging import echo, quality


@pytest.mark.parametrize(
    "form",
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
def test_echo(form):
    text = f"Nails hold steel.\n{form}\n"
    flags = quality.flags_of(text, IRON)
    assert "echo" in flags and "contradicts" not in flags
    before = text[: echo.own_end(text)].strip()
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
