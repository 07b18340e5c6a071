"""A typed question: what it is read as, that its reply is evaluation's, how much is compiled."""

import dataclasses
import string

import numpy as np
import pytest
from students import TYPED, student

from tinyllm_jax.demo.ask import WRITTEN, ask, typed_question
from tinyllm_jax.errors import UserError
from tinyllm_jax.evaluation import score
from tinyllm_jax.student import decoding
from tinyllm_jax.student.writing import write

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_a_typed_question_has_a_choice_a_line():
    asked = typed_question(*TYPED)
    assert asked.choices == ("spin", "stand upright", "hang")
    assert (asked.question, asked.context) == ("What can a tugu do?", "A tugu is a tube.")
    assert len(typed_question("q", "\n".join(string.ascii_letters[:26])).choices) == 26


@pytest.mark.parametrize(
    "question, choices, words",
    [
        (" \n", "a\nb", "there is no question"),
        ("q", "a\n \n", "2 to 26 choices, one a line, not 1"),
        ("q", "\n".join(string.ascii_letters[:27]), "not 27"),
    ],
)
def test_what_cannot_be_asked_is_said(question, choices, words):
    with pytest.raises(UserError, match=words):
        typed_question(question, choices)


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_the_reply_is_what_evaluation_and_predict_say(side):
    asked, asks = typed_question(*TYPED), student(side)
    found = ask(asks, asked)
    ((sums, _),) = score.likelihoods(asks, [asked], asks.encode([asked]).rows, 1)
    expected = np.exp(sums) / np.exp(sums).sum()
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-4)
    assert [found.written] == write(asks, [asked], "answer", WRITTEN, 1)
    room = WRITTEN - len(asks.decoder_prefix("shape"))
    assert found.rationales == {"shape": write(asks, [asked], "shape", room, 1)[0]}
    assert found.cut == 0


def test_a_long_context_is_cut_and_counted():
    asked = typed_question("q", "a\nb", "long " * 20)
    asks = student(input_length=64)
    assert ask(asks, asked).cut == asks.encode([asked]).cut[0] > 0


def test_questions_of_like_length_share_their_programs():
    functions = (decoding.score, decoding._read, decoding._advance)
    compiled = lambda: [function._cache_size() for function in functions]
    asks = student()
    ask(asks, typed_question("Where does it lie now?", "here\nthere"))
    before = compiled()
    for length in (1, 9, 17, 25):
        choices = "near\nfar\n" + "z" * length
        asked = typed_question("Where is it?", choices, "x" * (25 - length))
        assert 64 < len(asks.encode([asked]).rows[0]) <= 128
        ask(asks, asked)
    assert compiled() == before


def test_what_is_too_long_is_refused():
    with pytest.raises(UserError, match="the demo takes up to 4,096"):
        ask(student(), typed_question("q" * 4096, "a\nb"))


def test_weights_that_are_damaged_are_said():
    asks = student()
    damaged = asks.params | {"embedding": asks.params["embedding"] * np.nan}
    with pytest.raises(UserError, match="not finite"):
        ask(dataclasses.replace(asks, params=damaged), typed_question(*TYPED))
