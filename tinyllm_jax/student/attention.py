"""T5's attention: without 1/sqrt(d), with a bias of relative positions that the caller makes.

Shapes: B rows, L tokens, H heads, D = d_kv.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from tinyllm_jax.student import partition
from tinyllm_jax.student.config import StudentConfig
from tinyllm_jax.student.dropout import dropout
from tinyllm_jax.student.linear import Linear

# The score of what may not be attended to. It is finite, so that a row of padding has no NaN.
MASKED = -1e9


def relative_buckets(
    relative: jax.Array, bidirectional: bool, num_buckets: int, max_distance: int
) -> jax.Array:
    """The bucket of each relative position (key's minus query's), int32 of the same shape.

    Half of the buckets are exact, the other half logarithmic up to `max_distance`; a bidirectional
    table keeps half of them for each direction. From Mesh TensorFlow's `_relative_position_bucket`.
    """
    # The distance, and the first bucket of its direction. Where attention is causal, no later key
    # is attended to, and its distance means nothing.
    if bidirectional:
        num_buckets //= 2
        offset = jnp.where(relative > 0, num_buckets, 0)
        distance = jnp.abs(relative)
    else:
        offset = jnp.zeros_like(relative)
        distance = jnp.maximum(-relative, 0)

    # From the distance `exact` on, the bucket grows with the logarithm of the distance. The maximum
    # keeps log(0) out of a branch that `where` does not take.
    exact = num_buckets // 2
    ratio = jnp.log(jnp.maximum(distance, 1).astype(jnp.float32) / exact) / jnp.log(
        max_distance / exact
    )
    far = jnp.minimum(exact + (ratio * (num_buckets - exact)).astype(jnp.int32), num_buckets - 1)
    return offset + jnp.where(distance < exact, distance, far)


@jax.custom_vjp
def add_positions(scores: jax.Array, positions: jax.Array) -> jax.Array:
    """Adds the relative positions' bias to attention scores.

    Args:
      scores: float32 (B, H, Lq, Lk).
      positions: float32 (S, H, Lq, Lk): S copies of one bias, each for B/S rows.

    Returns:
      (B, H, Lq, Lk). The gradient of a copy is the sum over its rows.
    """
    by_copy = scores.reshape(len(positions), -1, *scores.shape[1:])
    return (by_copy + positions[:, None]).reshape(scores.shape)


def _add_positions_forward(scores: jax.Array, positions: jax.Array) -> tuple[jax.Array, int]:
    """The sum, and the number of copies for the backward pass."""
    return add_positions(scores, positions), len(positions)


def _add_positions_backward(copies: int, d: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The gradients of the scores (B, H, Lq, Lk) and of the positions (S, H, Lq, Lk)."""
    by_copy = d.reshape(copies, -1, *d.shape[1:])
    if not partition.on_cpu():
        return d, by_copy.sum(1)
    # XLA's CPU backend takes 20 times as long over the sum as over a product with ones.
    return d, jnp.einsum("b,sbhqk->shqk", jnp.ones(by_copy.shape[1]), by_copy, precision="highest")


add_positions.defvjp(_add_positions_forward, _add_positions_backward)


@jax.custom_vjp
def attention_scores(queries: jax.Array, keys: jax.Array) -> jax.Array:
    """The product of every query with every key.

    Args:
      queries: (B, H, Lq, D).
      keys: (B, H, Lk, D), of the same dtype.

    Returns:
      float32 (B, H, Lq, Lk). Its gradient is multiplied in the queries' dtype: left to itself, jax
      takes the gradient of a float32 result in float32, and in bfloat16 that product would take
      twice the time or more.
    """
    return jnp.einsum("bhqd,bhkd->bhqk", queries, keys, preferred_element_type=jnp.float32)


def _attention_scores_forward(queries: jax.Array, keys: jax.Array) -> tuple[jax.Array, tuple]:
    """The scores, and both factors for the backward pass."""
    return attention_scores(queries, keys), (queries, keys)


def _attention_scores_backward(factors: tuple, d: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The gradients of the queries (B, H, Lq, D) and of the keys (B, H, Lk, D)."""
    queries, keys = factors
    d = d.astype(queries.dtype)
    return jnp.einsum("bhqk,bhkd->bhqd", d, keys), jnp.einsum("bhqk,bhqd->bhkd", d, queries)


attention_scores.defvjp(_attention_scores_forward, _attention_scores_backward)


class Attention(nnx.Module):
    """Multi-head attention over keys and values that the caller has made with `keys_values`."""

    def __init__(self, config: StudentConfig, rngs: nnx.Rngs):
        self.heads = config.num_heads
        self.dropout_rate = config.dropout_rate
        width, inner = config.d_model, config.num_heads * config.d_kv
        self.q = Linear(config, "q", width, inner, (width * config.d_kv) ** -0.5, rngs)
        self.k = Linear(config, "k", width, inner, width**-0.5, rngs)
        self.v = Linear(config, "v", width, inner, width**-0.5, rngs)
        self.o = Linear(config, "o", inner, width, inner**-0.5, rngs)

    def keys_values(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The keys and the values of (B, L, d_model), each (B, H, L, D).

        The heads stand before the tokens, so that a cache is read as it lies.
        """
        return self.k.to_heads(x, self.heads), self.v.to_heads(x, self.heads)

    def __call__(self, x, keys, values, mask, positions=None, key=None) -> jax.Array:
        """Attends from `x` to the keys and values.

        The weights are divided by their sum after the product with the values: on D columns, and
        not on Lk. So no pass over the scores waits for another's result, except for their maximum,
        and the gradient of the sum comes from the product too (as in FlashAttention, arXiv
        2205.14135).

        Args:
          x: what the queries are made of, (B, Lq, d_model).
          keys: (B, H, Lk, D).
          values: (B, H, Lk, D).
          mask: bool, broadcastable to (B, 1, Lq, Lk): what may be attended to. It is not part of
            the positions, so that nothing of the size of all scores is read, or in the backward
            pass summed, for every layer.
          positions: float32 (S, H, Lq, Lk), added to the scores (see `add_positions`); None for
            none.
          key: a dropout key, or None.

        Returns:
          (B, Lq, d_model).
        """
        # The scores of every query with every key, float32 (B, H, Lq, Lk).
        scores = attention_scores(self.q.to_heads(x, self.heads), keys)
        if positions is not None:
            scores = add_positions(scores, positions)
        scores = jnp.where(mask, scores, MASKED)

        # The softmax's numerator (B, H, Lq, Lk) and its denominator (B, H, Lq).
        highest = checkpoint_name(jax.lax.stop_gradient(scores.max(-1, keepdims=True)), "attention")
        weights = jnp.exp(scores - highest)
        total = checkpoint_name(weights.sum(-1), "attention")
        weights = dropout(weights.astype(x.dtype), self.dropout_rate, key)

        # The weighted mean of the values, (B, H, Lq, D), and its projection.
        y = checkpoint_name(jnp.einsum("bhqk,bhkd->bhqd", weights, values), "attention")
        y = (y / total[..., None]).astype(x.dtype)
        return self.o.from_heads(y)
