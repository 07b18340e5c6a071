"""The interval against published values and against the test that it inverts."""

import math

import pytest

from tinyllm_jax import intervals
from tinyllm_jax.errors import UserError

Z95 = 1.959963984540054  # the standard normal's 97.5 % quantile


# Newcombe (1998), "Two-sided confidence intervals for the single proportion", Statistics in
# Medicine 17, table I, method 3.
@pytest.mark.parametrize(
    "correct, n, low, high",
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_published(correct, n, low, high):
    assert intervals.wilson(correct, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_is_the_score_test_inverted():
    for correct, n in [(1, 3), (40, 123), (250, 500), (499, 500)]:
        for bound in intervals.wilson(correct, n):
            z = abs(correct / n - bound) / math.sqrt(bound * (1 - bound) / n)
            assert z == pytest.approx(Z95, rel=1e-9)


def test_wilson_mirrored_and_bounded():
    low, high = intervals.wilson(7, 50)
    assert intervals.wilson(43, 50) == pytest.approx((1 - high, 1 - low), abs=1e-12)
    assert intervals.wilson(0, 5)[0] == 0.0 and intervals.wilson(5, 5)[1] == 1.0


def test_wilson_of_parts_lies_between():
    bounds = [intervals.wilson(correct, 20) for correct in (7, 7.25, 7.5, 8)]
    assert bounds == sorted(bounds) and len(set(bounds)) == 4


def test_no_question_no_interval():
    with pytest.raises(UserError, match="no question"):
        intervals.wilson(0, 0)
