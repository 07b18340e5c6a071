"""What a choice's score is worth, and choices that a tokenizer cannot tell apart."""

import numpy as np
import pytest

from tinyllm_jax.student import inputs, scoring
from tinyllm_jax.tasks import Question


@pytest.mark.parametrize(
    "scores, gold, worth",
    [
        ([-1.0, -2.0, -3.0], [1, 0, 0], 1.0),
        ([-2.0, -1.0, -3.0], [1, 0, 0], 0.0),
        ([-1.0, -1.0, -3.0], [1, 0, 0], 1 / 2),
        ([-1.0, -1.0, -3.0], [0, 0, 1], 0.0),
        ([-1.0, -1.0, -1.0], [0, 1, 0], 1 / 3),
        ([-1.0, -1.0, -1.0], [1, 1, 0], 2 / 3),
        ([-1.0, np.nextafter(-1.0, 0), -3.0], [1, 0, 0], 0.0),  # no tie: only equal scores are one
        ([-np.inf, -np.inf, -np.inf], [1, 0, 0], 1 / 3),
        ([np.nan, -1.0, -2.0], [0, 1, 0], 0.0),
    ],
)
def test_credit(scores, gold, worth):
    assert scoring.credit(np.array(scores), np.array(gold, bool)) == worth


def ask(choices: tuple[str, ...], gold: int) -> Question:
    return Question("q", "t", "validation", "", "Which?", choices, choices[gold])


def test_choices_spelled_alike_have_one_score_and_no_order(t5_tokenizer_dir):
    tokenizer = inputs.load_tokenizer(t5_tokenizer_dir)
    rng = np.random.default_rng(0)
    # As a device may, this one gives every position another value.
    score = lambda batch: rng.normal(size=batch["targets"].shape)
    for gold in range(3):
        asked = [
            ask(("x \u2264 0", "x \u2265 0", "x \u2260 0"), gold),
            ask(("an anvil", "a cork", "an anvil"), 1),
        ]
        encoded, _ = inputs.encode_questions(tokenizer, asked, "predict", 64)
        choices = scoring.Choices(tokenizer, asked, encoded, 2)
        assert choices.alike == 1  # the repeated choice is one text
        first, second = choices.scores(score)
        assert len(set(first)) == 1 and second[0] == second[2] != second[1]
        flat = lambda batch: np.zeros(batch["targets"].shape)
        assert choices.accuracy(flat) == pytest.approx((1 / 3 + 1 / 3) / 2)
