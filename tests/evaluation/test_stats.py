"""Baselines and the paired test, against published values and brute force."""

import itertools

import pytest

from tinyllm_jax.evaluation import stats
from tinyllm_jax.tasks import Question


def ask(gold: int, choices=("w", "x", "y", "z"), id="q") -> Question:
    return Question(id, "t", "test", "", "?", tuple(choices), choices[gold])


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


def test_a_repeated_answer_is_right_each_time():
    repeated = ask(1, ("w", "x", "y", "x", "x"))
    assert stats.chance([repeated]) == 3 / 5
    train = [ask(3), ask(3), ask(0, ("p", "q", "r", "s"))]
    found = stats.majority(train, [repeated, ask(0), ask(1, ("a", "b"))])
    assert (found.answer, found.accuracy) == ("(d)", stats.Accuracy(1, 3))


def test_ties_count_in_part_but_not_in_the_test():
    found = stats.paired([1.0, 0.5, 1.0, 0.0], [0.0, 1.0, 0.25, 0.25])
    assert (found.first_only, found.second_only, found.n) == (2, 1, 4)
    assert found.points == 25.0 and found.p == stats.mcnemar(2, 1)


def test_majority_of_a_closed_set_is_a_text():
    closed = ("yes", "no", "maybe")
    train = [
        ask(0, closed),
        ask(1, closed),
        ask(1, ("no", "yes", "maybe")),
    ]  # yes, no, yes; positions 0, 1, 1
    found = stats.majority(
        train, [ask(2, ("maybe", "no", "yes")), ask(1, closed), ask(0, ("x", "y"))]
    )
    assert (found.rule, found.answer) == ("text", "yes")
    assert found.accuracy == stats.Accuracy(1, 3)


def test_majority_elsewhere_is_a_position():
    train = [ask(2), ask(2, ("p", "q", "r", "s")), ask(0, ("t", "u", "v", "w"))]
    found = stats.majority(train, [ask(2), ask(0), ask(1, ("a", "b"))])
    assert (found.rule, found.answer, found.accuracy) == ("position", "(c)", stats.Accuracy(1, 3))


def test_majority_comes_from_train_and_ties_are_settled():
    assert stats.majority([], [ask(0)]) is None
    train = [ask(3), ask(1), ask(1, ("p", "q", "r", "s")), ask(3, ("p", "q", "r", "s"))]
    evaluated = [
        ask(3)
    ] * 5  # here the commonest is (d), but train's tie goes to the first position
    assert stats.majority(train, evaluated).answer == "(b)"
    assert stats.majority(train, evaluated).accuracy.correct == 0
