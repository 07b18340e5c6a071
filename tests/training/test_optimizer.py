"""Schedules and optimizers, against numbers worked out by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from tinyllm_jax.training import optimizer
from tinyllm_jax.training.run import Optimizer


def settings(**fields):
    return Optimizer(learning_rate=1.0, **fields)


@pytest.mark.parametrize(
    "fields, expected",
    [
        (dict(schedule="linear"), {0: 1.0, 5: 0.5, 9: 0.1, 10: 0.0}),
        (dict(schedule="constant"), {0: 1.0, 9: 1.0}),
        (dict(schedule="cosine"), {0: 1.0, 5: 0.5, 10: 0.0}),
        (dict(schedule="linear", warmup_steps=2), {0: 0.5, 1: 1.0, 2: 1.0, 6: 0.5, 10: 0.0}),
        (dict(schedule="constant", warmup_steps=1), {0: 1.0, 1: 1.0}),
    ],
)
def test_schedule(fields, expected):
    found = optimizer.schedule(settings(**fields), 10)
    np.testing.assert_allclose(
        [found(step) for step in expected], list(expected.values()), atol=1e-6
    )


def first_step(grad: float, **fields) -> float:
    tx = optimizer.make_optimizer(settings(schedule="constant", **fields), 10)
    params = {"w": jnp.full(4, 2.0)}
    updates, _ = tx.update({"w": jnp.full(4, grad)}, tx.init(params), params)
    return float(updates["w"][0])


def test_adamw_first_step_is_the_sign_of_the_gradient_and_decay_is_decoupled():
    assert first_step(0.3) == pytest.approx(-1.0, rel=1e-5)
    assert first_step(0.3, weight_decay=0.1) == pytest.approx(-1.0 - 0.1 * 2.0, rel=1e-5)


def test_clipping_is_by_the_global_norm():
    # eps as large as the clipped gradient makes its size visible: 0.5 / (0.5 + 0.5).
    assert first_step(3.0, clip_norm=1.0, eps=0.5) == pytest.approx(-0.5, rel=1e-5)


def test_adafactor_steps_in_proportion_to_the_parameter():
    # Every gradient entry is equal, so the normalised update is 1, times the parameter's root mean
    # square, 2.
    assert first_step(0.3, name="adafactor") == pytest.approx(-2.0, rel=1e-4)
