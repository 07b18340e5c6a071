"""Policies on tables small enough to be worked out by hand."""

import numpy as np

from tinyllm_jax.selection import weights

NAN = np.nan
UTILITY = np.array([[0.4, -0.6, NAN], [-0.2, -0.1, -2.0], [NAN, NAN, NAN]])


def test_helpful_drops_what_harms_and_leaves_what_is_not_judged():
    # Of twenty rationales two of the first teacher's harm, one of them by far, and five of the
    # second's. Of the third's two are judged, and one of them harms.
    utility = np.zeros((20, 3))
    utility[0] = [-0.6, -0.6, -2.0]
    utility[1] = [-0.4, -0.6, 0.6]
    utility[2] = [0.4, -0.6, NAN]
    utility[3] = [0.4, 0.4, NAN]
    utility[4] = [0.0, 0.6, NAN]
    utility[5:7, 1] = -0.6
    utility[7, 0] = -1.1
    utility[5:, 2] = NAN
    found = weights.helpful(utility, -0.5)
    # The first is trusted: only what harms by far is dropped.
    assert found[:, 0].tolist() == 7 * [1] + [0] + 12 * [1]
    # The others are doubted: what does not clearly help is dropped, but what is not judged stays.
    assert found[:, 1].tolist() == [0, 0, 0, 0, 1] + 15 * [0]
    assert found[:, 2].tolist() == [0, 1, *18 * [1]]
    # Where nothing harms nobody is doubted.
    assert weights.helpful(utility, -3.0).tolist() == np.ones((20, 3)).tolist()


def test_what_all_teachers_have_in_common_is_the_readers_doing():
    # Of twenty rationales four, five and seven harm: 20, 25 and 35 %. One of each harms by far.
    # Nothing is judged of the fourth teacher.
    utility = np.zeros((20, 4))
    utility[:4, 0] = utility[:5, 1] = utility[:7, 2] = -0.6
    utility[0] = -1.1
    utility[:, 3] = NAN
    assert weights.doubted(utility).tolist() == [False, False, True, False]
    kept = weights.helpful(utility)
    assert kept.sum(axis=0).tolist() == [19, 19, 0, 20]
    # The third teacher alone is not compared with anybody.
    assert weights.doubted(utility[:, 2:3]).tolist() == [False]
    assert weights.helpful(utility[:, 2:3]).sum() == 19


def test_helpful_hears_a_doubted_teacher_only_where_he_helps_clearly_more_than_the_trusted():
    #                   trusted doubted
    utility = np.array([[0.0, -0.6], [0.2, 0.6], [-0.3, 0.6], [NAN, 0.6], [0.6, NAN], [0.0, 1.0]])
    found = weights.helpful(utility, -0.5)
    assert found[:, 0].tolist() == [1, 1, 1, 1, 1, 1]
    # In the second row he is ahead of the trusted by 0.4 only; in the third by 0.9, and it is the
    # 0.6 that counts; in the fourth no trusted teacher speaks.
    assert found[:, 1].tolist() == [0, 0, 1, 1, 1, 1]


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
