"""The router: its loss by hand, and that it learns which teacher suits which questions."""

import jax.numpy as jnp
import numpy as np
import pytest

from tinyllm_jax.selection import router


def test_the_loss_of_one_question_by_hand():
    # Cosines 1 and 0 with the teachers; the first is the better one.
    made = {"projection": jnp.eye(2), "teachers": jnp.array([[2.0, 0.0], [0.0, 3.0]])}
    found = router.loss(made, jnp.array([[5.0, 0.0]]), jnp.array([[0.7, -0.7]]))
    assert float(found) == pytest.approx(np.log(1 + np.exp(-1.0)), rel=1e-5)
    np.testing.assert_allclose(router.scores(made, np.array([[5.0, 0.0]])), [[1, 0]], atol=1e-6)


def test_it_learns_who_is_good_at_what():
    rng = np.random.default_rng(0)
    kinds = rng.integers(3, size=300)
    states = np.eye(3)[kinds] + 0.1 * rng.normal(size=(300, 3))
    utility = np.eye(3)[kinds] + 0.1 * rng.normal(size=(300, 3))
    utility[0, 0] = np.nan  # not learned from
    trained = router.train(states[:200].astype(np.float32), utility[:200])
    best = np.asarray(router.scores(trained, states[200:].astype(np.float32))).argmax(axis=1)
    assert (best == kinds[200:]).all()
    again = router.train(states[:200].astype(np.float32), utility[:200])
    np.testing.assert_array_equal(trained["teachers"], again["teachers"])


def test_one_teacher_needs_no_router():
    with pytest.raises(ValueError, match="two teachers"):
        router.train(np.ones((4, 2), np.float32), np.ones((4, 1)))
