"""Intervals, baselines and the paired test, against published values and brute force."""

import itertools
import math

import pytest

from tinyllm_jax.errors import UserError
from tinyllm_jax.evaluation import stats
from tinyllm_jax.tasks import Question


def ask(gold: int, choices=("w", "x", "y", "z"), id="q") -> Question:
    return Question(id, "t", "test", "", "?", tuple(choices), choices[gold])


# Newcombe (1998), "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17, table I, method 3.
@pytest.mark.parametrize("correct, n, low, high", [
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0000, 0.1611),
    (1, 29, 0.0061, 0.1718),
])
def test_wilson_published(correct, n, low, high):
    assert stats.wilson(correct, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_is_the_score_test_inverted():
    for correct, n in [(1, 3), (40, 123), (250, 500), (499, 500)]:
        for bound in stats.wilson(correct, n):
            z = abs(correct / n - bound) / math.sqrt(bound * (1 - bound) / n)
            assert z == pytest.approx(stats.Z95, rel=1e-9)


def test_wilson_mirrored_and_bounded():
    low, high = stats.wilson(7, 50)
    assert stats.wilson(43, 50) == pytest.approx((1 - high, 1 - low), abs=1e-12)
    assert stats.wilson(0, 5)[0] == 0.0 and stats.wilson(5, 5)[1] == 1.0


def test_no_question_no_interval():
    with pytest.raises(UserError, match="no question"):
        stats.wilson(0, 0)


def test_mcnemar_by_enumerating_every_coin():
    for a, b in itertools.product(range(6), repeat=2):
        if a + b:
            outcomes = [sum(toss) for toss in itertools.product((0, 1), repeat=a + b)]
            as_far = sum(abs(heads - (a + b) / 2) >= abs(a - b) / 2 for heads in outcomes)
            assert stats.mcnemar(a, b) == pytest.approx(as_far / len(outcomes), abs=1e-15)


def test_mcnemar_edges():
    assert stats.mcnemar(0, 0) == 1.0
    assert stats.mcnemar(7, 7) == 1.0
    assert stats.mcnemar(0, 5) == stats.mcnemar(5, 0) == 2 / 32
    assert 0 < stats.mcnemar(3000, 2000) < 1e-40  # sums of thousands of big binomials, no overflow


def test_paired_counts():
    found = stats.paired([True, True, False, True, False], [True, False, True, False, False])
    assert (found.first_only, found.second_only, found.n) == (2, 1, 5)
    assert found.points == pytest.approx(20.0)
    with pytest.raises(ValueError):
        stats.paired([True], [True, False])


def test_chance_is_the_mean_over_questions():
    assert stats.chance([ask(0), ask(0, ("a", "b"))]) == pytest.approx((1 / 4 + 1 / 2) / 2)


def test_majority_of_a_closed_set_is_a_text():
    closed = ("yes", "no", "maybe")
    train = [ask(0, closed), ask(1, closed), ask(1, ("no", "yes", "maybe"))]  # yes, no, yes; positions 0, 1, 1
    found = stats.majority(train, [ask(2, ("maybe", "no", "yes")), ask(1, closed), ask(0, ("x", "y"))])
    assert (found.rule, found.answer) == ("text", "yes")
    assert found.accuracy == stats.Accuracy(1, 3)


def test_majority_elsewhere_is_a_position():
    train = [ask(2), ask(2, ("p", "q", "r", "s")), ask(0, ("t", "u", "v", "w"))]
    found = stats.majority(train, [ask(2), ask(0), ask(1, ("a", "b"))])
    assert (found.rule, found.answer, found.accuracy) == ("position", "(c)", stats.Accuracy(1, 3))


def test_majority_comes_from_train_and_ties_are_settled():
    assert stats.majority([], [ask(0)]) is None
    train = [ask(3), ask(1), ask(1, ("p", "q", "r", "s")), ask(3, ("p", "q", "r", "s"))]
    evaluated = [ask(3)] * 5  # here the commonest is (d), but train's tie goes to the first position
    assert stats.majority(train, evaluated).answer == "(b)"
    assert stats.majority(train, evaluated).accuracy.correct == 0
