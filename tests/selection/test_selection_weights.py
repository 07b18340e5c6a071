"""Policies on tables small enough to be worked out by hand."""

import numpy as np

from tinyllm_jax.selection import weights

NAN = np.nan
UTILITY = np.array([[0.4, -0.6, NAN], [-0.2, -0.1, -2.0], [NAN, NAN, NAN]])


def test_helpful_drops_what_clearly_harms_and_leaves_what_is_not_judged():
    expected = [[1, 0, 1], [1, 1, 0], [1, 1, 1]]
    assert weights.helpful(UTILITY, -0.5).tolist() == expected
    assert weights.helpful(UTILITY, -3.0).tolist() == np.ones((3, 3)).tolist()


def test_selected_keeps_the_best_of_each_question():
    assert weights.selected(UTILITY).tolist() == [[1, 0, 1], [0, 1, 0], [1, 1, 1]]


def test_selected_takes_the_first_of_equals():
    assert weights.selected(np.array([[0.3, 0.3]])).tolist() == [[1, 0]]


def test_soft_is_a_softmax_whose_mean_is_1():
    found = weights.soft(np.array([[np.log(3.0), 0.0, NAN], [NAN, NAN, NAN]]))
    np.testing.assert_allclose(found, [[1.5, 0.5, 1.0], [1.0, 1.0, 1.0]], rtol=1e-12)
    cold = weights.soft(np.array([[1.0, 0.0]]), temperature=0.01)
    np.testing.assert_allclose(cold, [[2.0, 0.0]], atol=1e-12)


def test_votes_are_the_weights():
    assert weights.votes(np.array([[0.25, NAN, 0.0]])).tolist() == [[0.25, 1.0, 0.0]]
