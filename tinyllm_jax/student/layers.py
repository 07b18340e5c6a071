"""T5's layers as Flax NNX modules that hold nothing but `nnx.Param`.

The semantics are those of T5 (arXiv 1910.10683) as Hugging Face transformers computes it, which the
tests compare with: RMS norms without mean or bias in front of every block, attention without
1/sqrt(d), one relative-position table per stack, no biases anywhere. Shapes: B rows, L tokens, H
heads, D = d_kv. Dropout keys are call arguments; `key=None` means no dropout.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from tinyllm_jax.student.attention import Attention
from tinyllm_jax.student.config import StudentConfig
from tinyllm_jax.student.dropout import dropout
from tinyllm_jax.student.linear import Linear


class RMSNorm(nnx.Module):
    """Divides by the root mean square of the last axis and scales; float32 inside."""

    def __init__(self, config: StudentConfig):
        self.epsilon = config.layer_norm_epsilon
        self.dtype = config.dtype
        self.scale = nnx.Param(jnp.ones(config.d_model))

    def __call__(self, x: jax.Array) -> jax.Array:
        """(..., d_model) to the same, in the compute dtype."""
        x = x.astype(jnp.float32)
        x *= jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + self.epsilon)
        return (x * self.scale[...]).astype(self.dtype)


def gelu(x: jax.Array) -> jax.Array:
    """The tanh form of GELU (arXiv 1606.08415), any shape: `x * (1 + tanh(u)) / 2`.

    It is computed as the same function `x * sigmoid(2 * u)`. Where `x` is negative, `1 + tanh(u)`
    is the small difference of two large numbers, and XLA's tanh is off by a few units in the last
    place: so much that the gradients of FLAN-T5-small's encoder were wrong in the fourth digit.
    """
    u = (2 / jnp.pi) ** 0.5 * (x + 0.044715 * x**3)
    return x * jax.nn.sigmoid(2 * u)


class FeedForward(nnx.Module):
    """The feed-forward block.

    T5 1.0 computes `wo(relu(wi(x)))`, T5 1.1 `wo(gelu(wi_0(x)) * wi_1(x))` with gelu's tanh form.
    """

    def __init__(self, config: StudentConfig, rngs: nnx.Rngs):
        self.gated = config.feed_forward_proj == "gated-gelu"
        self.dropout_rate = config.dropout_rate
        width, inner = config.d_model, config.d_ff
        if self.gated:
            self.wi_0 = Linear(config, "wi_0", width, inner, width**-0.5, rngs)
            self.wi_1 = Linear(config, "wi_1", width, inner, width**-0.5, rngs)
        else:
            self.wi = Linear(config, "wi", width, inner, width**-0.5, rngs)
        self.wo = Linear(config, "wo", inner, width, inner**-0.5, rngs)

    def __call__(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """(B, L, d_model) to the same."""
        y = gelu(self.wi_0(x)) * self.wi_1(x) if self.gated else jax.nn.relu(self.wi(x))
        return self.wo(dropout(y, self.dropout_rate, key))


class EncoderLayer(nnx.Module):
    """Self-attention and feed-forward, each behind a norm and added to the residual stream."""

    DROPOUTS = 4

    def __init__(self, config: StudentConfig, rngs: nnx.Rngs):
        self.dropout_rate = config.dropout_rate
        self.self_attention_norm = RMSNorm(config)
        self.self_attention = Attention(config, rngs)
        self.feed_forward_norm = RMSNorm(config)
        self.feed_forward = FeedForward(config, rngs)

    def __call__(self, x, mask, positions, keys=(None,) * DROPOUTS) -> jax.Array:
        """One encoder layer.

        Args:
          x: (B, L, d_model).
          mask: as in `Attention`.
          positions: as in `Attention`.
          keys: dropout keys, one for each dropout, or Nones.

        Returns:
          (B, L, d_model).
        """
        y = self.self_attention_norm(x)
        y = self.self_attention(y, *self.self_attention.keys_values(y), mask, positions, keys[0])
        x += dropout(y, self.dropout_rate, keys[1])

        y = self.feed_forward(self.feed_forward_norm(x), keys[2])
        return x + dropout(y, self.dropout_rate, keys[3])


class DecoderLayer(nnx.Module):
    """Causal self-attention, cross-attention and feed-forward.

    Each stands behind a norm and is added to the residual stream.
    """

    DROPOUTS = 6

    def __init__(self, config: StudentConfig, rngs: nnx.Rngs):
        self.dropout_rate = config.dropout_rate
        self.self_attention_norm = RMSNorm(config)
        self.self_attention = Attention(config, rngs)
        self.cross_attention_norm = RMSNorm(config)
        self.cross_attention = Attention(config, rngs)
        self.feed_forward_norm = RMSNorm(config)
        self.feed_forward = FeedForward(config, rngs)

    def __call__(
        self, x, mask, positions, cross, cross_mask, keys=(None,) * DROPOUTS, past=None, index=0
    ):
        """One decoder layer, over whole targets or over the next token of each.

        Args:
          x: (N, L, d_model). N may be a multiple of B: then the rows are grouped by question, and
            the targets of one question read its keys and values in place (which they may, because
            cross-attention does not depend on the target's positions).
          mask: bool, broadcastable to (N, 1, L, Lk): what self-attention may attend to.
          positions: float32 (S, H, L, Lk), self-attention's.
          cross: the encoded question's keys and values, each (B, H, Le, D).
          cross_mask: bool, (B, 1, 1 or L*N/B, Le): what of the question may be attended to.
          keys: dropout keys, one for each dropout, or Nones.
          past: when decoding, self-attention's keys and values so far, each (N, H, Lk, D).
          index: the position in `past` of the first token of `x`.

        Returns:
          (N, L, d_model), and self-attention's keys and values with these tokens', each (N, H, Lk,
          D).
        """
        # Self-attention, over these tokens or over the cache with them in it.
        y = self.self_attention_norm(x)
        seen = self.self_attention.keys_values(y)
        if past is not None:
            seen = tuple(
                jax.lax.dynamic_update_slice_in_dim(old, now, index, axis=2)
                for old, now in zip(past, seen, strict=True)
            )
        y = self.self_attention(y, *seen, mask, positions, keys[0])
        x += dropout(y, self.dropout_rate, keys[1])

        # Cross-attention, with all tokens of a question's targets in one row: (B, L*N/B, d_model).
        y = self.cross_attention_norm(x).reshape(cross[0].shape[0], -1, x.shape[-1])
        y = self.cross_attention(y, *cross, cross_mask, key=keys[2]).reshape(x.shape)
        x += dropout(y, self.dropout_rate, keys[3])

        y = self.feed_forward(self.feed_forward_norm(x), keys[4])
        return x + dropout(y, self.dropout_rate, keys[5]), seen
