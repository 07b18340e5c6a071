"""Means, tests and power against known values."""

import numpy as np
import pytest

from tinyllm_jax.evaluation.stats import mcnemar
from tinyllm_jax.studies import statistics


def answers(*values: float) -> dict[str, list[float]]:
    return {str(i): [value] for i, value in enumerate(values)}


def test_one_answer_a_question_is_mcnemars_test():
    first = answers(*[1] * 30, *[0] * 12, *[1] * 58)
    second = answers(*[0] * 30, *[1] * 12, *[1] * 58)
    found = statistics.difference(first, second)
    assert found.mean == pytest.approx(0.18) and found.answers == 100
    assert found.discordant == pytest.approx(0.42)
    assert found.p == pytest.approx(mcnemar(30, 12), abs=0.004)
    assert found.low < 0.18 < found.high
    # The normal approximation of the interval: the standard error of 42 tosses.
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.42 - 0.18**2) / 10, rel=0.1)


def test_seeds_that_repeat_their_answers_are_no_further_evidence():
    once = statistics.difference(answers(1, 1, 1, 1, 1, 1), answers(0, 0, 0, 0, 0, 0))
    thrice = statistics.difference(
        {q: a * 3 for q, a in answers(1, 1, 1, 1, 1, 1).items()},
        {q: a * 3 for q, a in answers(0, 0, 0, 0, 0, 0).items()},
    )
    assert thrice.answers == 3 * once.answers and thrice.mean == once.mean == 1.0
    assert thrice.p == pytest.approx(2 / 64, abs=0.006) and once.p == pytest.approx(
        2 / 64, abs=0.006
    )


def test_equal_methods_do_not_differ_and_other_questions_are_not_compared():
    same = statistics.difference(answers(1, 0, 1), answers(1, 0, 1))
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert statistics.difference(answers(1, 0), answers(1, 0, 1)) is None


def test_holm_by_hand():
    made = statistics.Difference(0, 0, 0, 0.01, 1, 0)
    p = {"a": 0.01, "b": 0.04, "c": 0.03}
    tests = {name: statistics.Difference(0, 0, 0, value, 1, 0) for name, value in p.items()}
    found = {name: test.p for name, test in statistics.holm(tests).items()}
    assert found == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert statistics.holm({"a": made}) == {"a": made}


def test_the_interval_of_a_mean_covers_seeds_too():
    rng = np.random.default_rng(0)
    table = lambda rate: {str(i): float(x) for i, x in enumerate(rng.random(400) < rate)}
    alike = statistics.mean({seed: table(0.5) for seed in range(5)})
    apart = statistics.mean(
        {seed: table(rate) for seed, rate in enumerate((0.1, 0.3, 0.5, 0.7, 0.9))}
    )
    assert alike.mean == pytest.approx(0.5, abs=0.03) and apart.mean == pytest.approx(0.5, abs=0.03)
    assert alike.high - alike.low < 0.1 < 0.3 < apart.high - apart.low


def test_power():
    # A fifth of the pairs differ, three points: about 1,750 pairs (facts of the field).
    assert statistics.answers_needed(0.03, 0.2) == pytest.approx(1750, rel=0.01)


def test_calibration_by_hand():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    right = np.array([1, 1, 1, 0, 1, 0])
    expected = 4 / 6 * (0.95 - 0.75) + 2 / 6 * (0.55 - 0.5)
    assert statistics.calibration_error(confidence, right) == pytest.approx(expected)
