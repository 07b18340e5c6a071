"""Which teacher suits a question, told from the question alone: before any rationale is written.

RouterDC (arXiv 2409.19886) learns one vector for each teacher. A question's states are projected,
and the cosine between the two says how well they suit each other. The loss pulls a question to the
teachers that helped it most, and away from those that helped it least. RouterDC also fine-tunes
its encoder; here the encoder is a student's, its mean-pooled states are frozen, and training takes
seconds.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

WIDTH, STEPS, BATCH, RATE, TEMPERATURE = 128, 1000, 64, 1e-3, 1.0
CONTRASTED = 3  # the most helpful and the least helpful teachers that a loss looks at, at most


def train(states: np.ndarray, utility: np.ndarray, seed: int = 0) -> dict[str, jax.Array]:
    """Learns a router.

    Args:
      states: (Q, D) float32, of the questions.
      utility: (Q, T), how much each teacher's rationale helps; NaN where that is not known. Only
        questions with every utility are learned from.
      seed: of the first values and of the order of the questions.

    Returns:
      The router: "projection" (D, WIDTH) and "teachers" (T, WIDTH).

    Raises:
      ValueError: there are fewer than two teachers, or no question has every utility.
    """
    whole = ~np.isnan(utility).any(axis=1)
    if utility.shape[1] < 2 or not whole.any():
        raise ValueError("a router needs two teachers and a question with both utilities")
    states, utility = states[whole], utility[whole]
    projection, teachers, order = jax.random.split(jax.random.key(seed), 3)
    router = {
        "projection": jax.random.normal(projection, (states.shape[1], WIDTH))
        * states.shape[1] ** -0.5,
        "teachers": jax.random.normal(teachers, (utility.shape[1], WIDTH)),
    }
    batches = jax.random.randint(order, (STEPS, BATCH), 0, len(states))
    return _fit(router, jnp.asarray(states), jnp.asarray(utility), batches)


def scores(router: dict[str, jax.Array], states: ArrayLike) -> jax.Array:
    """How well each teacher suits each question: cosines, (Q, T)."""
    projected = jnp.asarray(states) @ router["projection"]
    return _unit(projected) @ _unit(router["teachers"]).T


def loss(router: dict[str, jax.Array], states: jax.Array, utility: jax.Array) -> jax.Array:
    """The mean sample-LLM contrastive loss of RouterDC, its equation 3.

    Args:
      router: from `train`.
      states: (Q, D).
      utility: (Q, T), without NaN.
    """
    count = min(CONTRASTED, utility.shape[1] // 2)
    found = scores(router, states) / TEMPERATURE

    # The scores of each question's most and least helpful teachers, (Q, count) each.
    order = jnp.argsort(utility, axis=1)
    worst = jnp.take_along_axis(found, order[:, :count], axis=1)
    best = jnp.take_along_axis(found, order[:, -count:], axis=1)

    # Each of the best against itself and all of the worst.
    against = jax.nn.logsumexp(worst, axis=1, keepdims=True)
    return jnp.mean(jnp.sum(jnp.logaddexp(best, against) - best, axis=1))


@functools.partial(jax.jit, donate_argnums=0)
def _fit(router, states, utility, batches):
    optimizer = optax.adamw(RATE)

    def step(carry, index):
        router, moments = carry
        grads = jax.grad(loss)(router, states[index], utility[index])
        updates, moments = optimizer.update(grads, moments, router)
        return (optax.apply_updates(router, updates), moments), None

    (router, _), _ = jax.lax.scan(step, (router, optimizer.init(router)), batches)
    return router


def _unit(x: jax.Array) -> jax.Array:
    """Vectors along the last axis, scaled to length 1."""
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-6)
