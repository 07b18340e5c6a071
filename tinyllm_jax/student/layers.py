"""T5's layers as Flax NNX modules that hold nothing but `nnx.Param`.

The semantics are those of T5 (arXiv 1910.10683) as Hugging Face transformers computes it, which the
tests compare
with: RMS norms without mean or bias in front of every block, attention without 1/sqrt(d), one
relative-position table per stack, no biases anywhere. Shapes: B rows, L tokens, H heads, D = d_kv.

Kernels are (in, out), with H*D as one axis: it divides by more mesh sizes than H alone
(FLAN-T5-small has 6 heads), `q`, `k`, `v`, `wi*` shard over `tensor` by column and `o`, `wo` by
row, and every Linear takes LoRA the same way. Dropout keys are call arguments; `key=None` means no
dropout.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from tinyllm_jax.student import partition
from tinyllm_jax.student.config import StudentConfig

MASKED = (
    -1e9
)  # the score of what may not be attended to; finite, so that a row of padding has no NaN


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Sets elements to 0 with probability `rate` and scales the others to keep the mean; `key=None` does nothing."""
    if key is None or rate == 0:
        return x
    keep = random_words(key, x.shape) >= jnp.uint32(round(rate * 2**32))
    return jnp.where(keep, x / jnp.asarray(1 - rate, x.dtype), 0)


def random_words(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Uniform uint32 words, a function of the key and each element's index alone, so equal on any mesh.

    MurmurHash3's finaliser over the index, twice, with half of the key before each.
    `jax.random.bits` (Threefry) is
    for cryptographic strength: on a CPU it took 20 ns an element, longer than the layers
    themselves, and each use seconds to compile, where this fuses into the select that uses it.
    """
    first, second = jax.random.key_data(key)[:2]
    index, stride = jnp.zeros((), jnp.uint32), 1
    for axis in reversed(range(len(shape))):
        index += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride % 2**32)
        stride *= shape[axis]
    return _mix(_mix(index ^ first) ^ second)


def _mix(x: jax.Array) -> jax.Array:
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def split_key(key: jax.Array | None, num: int, layers: int | None = None):
    """`num` keys from one, or `num` Nones from None; with `layers`, that many rows of them, to scan over."""
    if key is None:
        return (None,) * num
    return jax.random.split(key, num if layers is None else (layers, num))


def relative_buckets(
    relative: jax.Array, bidirectional: bool, num_buckets: int, max_distance: int
) -> jax.Array:
    """The bucket of each relative position (key's minus query's), int32 of the same shape.

    Half of the buckets are exact, the other half logarithmic up to `max_distance`; a bidirectional
    table keeps half of them for each direction. From Mesh TensorFlow's `_relative_position_bucket`.
    """
    offset = 0
    if bidirectional:
        num_buckets //= 2
        offset = jnp.where(relative > 0, num_buckets, 0)
        distance = jnp.abs(relative)
    else:
        distance = jnp.maximum(-relative, 0)
    exact = num_buckets // 2
    # The maximum keeps log(0) out of a branch that `where` does not take.
    ratio = jnp.log(jnp.maximum(distance, 1).astype(jnp.float32) / exact) / jnp.log(
        max_distance / exact
    )
    far = jnp.minimum(exact + (ratio * (num_buckets - exact)).astype(jnp.int32), num_buckets - 1)
    return offset + jnp.where(distance < exact, distance, far)


@jax.custom_vjp
def add_positions(scores: jax.Array, positions: jax.Array) -> jax.Array:
    """Scores (B, H, Lq, Lk) plus positions (S, H, Lq, Lk), float32: S copies, each for B/S rows.

    A copy's gradient is a sum over its rows, here a product with ones: XLA's CPU backend takes 20
    times as long over the sum.
    """
    by_copy = scores.reshape(len(positions), -1, *scores.shape[1:])
    return (by_copy + positions[:, None]).reshape(scores.shape)


def _add_positions_backward(copies: int, d: jax.Array) -> tuple[jax.Array, jax.Array]:
    by_copy = d.reshape(copies, -1, *d.shape[1:])
    return d, jnp.einsum("b,sbhqk->shqk", jnp.ones(by_copy.shape[1]), by_copy, precision="highest")


add_positions.defvjp(
    lambda scores, positions: (add_positions(scores, positions), len(positions)),
    _add_positions_backward,
)


def stack(make: Callable[[nnx.Rngs], nnx.Module], num: int, rngs: nnx.Rngs) -> nnx.Module:
    """`num` modules made by `make`, as one whose parameters have a leading axis of `num`."""
    return nnx.vmap(lambda key: make(nnx.Rngs(params=key)))(jax.random.split(rngs.params(), num))


def scan(
    config: StudentConfig, layers: nnx.Module, body: Callable, x: jax.Array, keys
) -> jax.Array:
    """Runs `x = body(layer, x, keys)` over stacked layers: compiled once, whatever the depth.

    Only the results of products with kernels and of attention are kept for the backward pass; what
    lies between (norms, gates, scores, dropout) is computed again, which costs less than to write
    it for every layer and read it back.

    Args:
      config: `remat` keeps nothing but the carry, and recomputes the body's products too.
      layers: a module made by `stack`.
      body: takes one layer, the carry, and this layer's keys.
      x: the carry, (B, L, d_model).
      keys: dropout keys with a leading axis over layers, or Nones (see `split_key`).

    Returns:
      The last carry.
    """
    graph, state = nnx.split(layers)

    def step(x, slices):
        return body(nnx.merge(graph, slices[0]), partition.rows(x), slices[1]), None

    # Inside a scan XLA cannot merge the recomputation away, so the barrier against that is not
    # needed.
    policy = (
        None
        if config.remat
        else jax.checkpoint_policies.save_from_both_policies(
            jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
            jax.checkpoint_policies.save_only_these_names("attention"),
        )
    )
    step = jax.checkpoint(step, prevent_cse=False, policy=policy)
    return jax.lax.scan(step, x, (state, keys))[0]


def unstack(layers: nnx.Module, num: int) -> list[nnx.Module]:
    """The `num` modules of one made by `stack`: for a loop over tokens, in which a scan would copy every layer's kernels."""
    graph, state = nnx.split(layers)
    return [nnx.merge(graph, jax.tree.map(lambda a: a[i], state)) for i in range(num)]


class Linear(nnx.Module):
    """`y = x @ kernel`, plus `(x @ lora_a) @ lora_b * alpha / rank` where `name` is a LoRA target (arXiv 2106.09685)."""

    def __init__(
        self, config: StudentConfig, name: str, d_in: int, d_out: int, std: float, rngs: nnx.Rngs
    ):
        self.dtype, self.by_row = config.dtype, name in ("o", "wo")
        self.kernel = nnx.Param(std * jax.random.normal(rngs.params(), (d_in, d_out)))
        self.lora_scale = (
            config.lora_alpha / config.lora_rank
            if config.lora_rank and name in config.lora_targets
            else 0
        )
        if self.lora_scale:
            self.lora_a = nnx.Param(
                d_in**-0.5 * jax.random.normal(rngs.params(), (d_in, config.lora_rank))
            )
            self.lora_b = nnx.Param(jnp.zeros((config.lora_rank, d_out)))

    def __call__(self, x: jax.Array) -> jax.Array:
        """(..., d_in) to (..., d_out), in the compute dtype."""
        # As matrices: XLA's CPU backend transposes three-dimensional operands of the kernel's
        # gradient element by element.
        rows = x.reshape(-1, x.shape[-1])
        kernel = self.kernel[...].astype(self.dtype)
        kernel = partition.constrain(
            kernel, *(("tensor", None) if self.by_row else (None, "tensor"))
        )
        y = partition.constrain(rows @ kernel, partition.ROWS, None if self.by_row else "tensor")
        if self.lora_scale:
            y += (
                (rows @ self.lora_a[...].astype(self.dtype))
                @ self.lora_b[...].astype(self.dtype)
                * self.lora_scale
            )
        return y.reshape(*x.shape[:-1], -1)


class RMSNorm(nnx.Module):
    """Divides by the root mean square of the last axis and scales; float32 inside."""

    def __init__(self, config: StudentConfig):
        self.epsilon, self.dtype = config.layer_norm_epsilon, config.dtype
        self.scale = nnx.Param(jnp.ones(config.d_model))

    def __call__(self, x: jax.Array) -> jax.Array:
        """(..., d_model) to the same, in the compute dtype."""
        x = x.astype(jnp.float32)
        x *= jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + self.epsilon)
        return (x * self.scale[...]).astype(self.dtype)


class Attention(nnx.Module):
    """Multi-head attention of `x` over keys and values that the caller has made with `keys_values`."""

    def __init__(self, config: StudentConfig, rngs: nnx.Rngs):
        self.heads, self.dropout_rate = config.num_heads, config.dropout_rate
        width, inner = config.d_model, config.num_heads * config.d_kv
        self.q = Linear(config, "q", width, inner, (width * config.d_kv) ** -0.5, rngs)
        self.k = Linear(config, "k", width, inner, width**-0.5, rngs)
        self.v = Linear(config, "v", width, inner, width**-0.5, rngs)
        self.o = Linear(config, "o", inner, width, inner**-0.5, rngs)

    def _split(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:-1], self.heads, -1)

    def keys_values(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The keys and the values of (B, L, d_model): two of (B, H, L, D), so that a cache is read as it lies."""
        return self._split(self.k(x)).swapaxes(1, 2), self._split(self.v(x)).swapaxes(1, 2)

    def __call__(self, x, keys, values, mask, positions=None, key=None) -> jax.Array:
        """(B, Lq, d_model) to the same.

        The weights are divided by their sum after the product with the values, on D columns and not
        on Lk. So no pass over the scores needs another's result but for their maximum, and the
        gradient of the sum comes from the product too (as in FlashAttention, arXiv 2205.14135).

        Args:
          x: queries, (B, Lq, d_model).
          keys: (B, H, Lk, D).
          values: (B, H, Lk, D).
          mask: bool, broadcastable to (B, 1, Lq, Lk): what may be attended to. Apart from the
            positions, so that nothing of the size of all scores is read, or in the backward pass
            summed, for every layer.
          positions: float32 (S, H, Lq, Lk), added to the scores (see `add_positions`); None for
            none.
          key: a dropout key, or None.
        """
        scores = jnp.einsum(
            "bqhd,bhkd->bhqk", self._split(self.q(x)), keys, preferred_element_type=jnp.float32
        )
        scores = jnp.where(
            mask, scores if positions is None else add_positions(scores, positions), MASKED
        )
        highest = checkpoint_name(jax.lax.stop_gradient(scores.max(-1, keepdims=True)), "attention")
        weights = jnp.exp(scores - highest)
        total = checkpoint_name(weights.sum(-1), "attention")
        weights = dropout(weights.astype(x.dtype), self.dropout_rate, key)
        y = checkpoint_name(jnp.einsum("bhqk,bhkd->bqhd", weights, values), "attention")
        y = (y / total.swapaxes(1, 2)[..., None]).astype(x.dtype)
        return self.o(y.reshape(*y.shape[:2], -1))


class FeedForward(nnx.Module):
    """`wo(relu(wi(x)))` in T5 1.0, `wo(gelu(wi_0(x)) * wi_1(x))` with the tanh form of gelu in T5 1.1."""

    def __init__(self, config: StudentConfig, rngs: nnx.Rngs):
        self.gated, self.dropout_rate = (
            config.feed_forward_proj == "gated-gelu",
            config.dropout_rate,
        )
        width, inner = config.d_model, config.d_ff
        for name in config.projections[4:-1]:
            setattr(self, name, Linear(config, name, width, inner, width**-0.5, rngs))
        self.wo = Linear(config, "wo", inner, width, inner**-0.5, rngs)

    def __call__(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """(B, L, d_model) to the same."""
        y = (
            jax.nn.gelu(self.wi_0(x), approximate=True) * self.wi_1(x)
            if self.gated
            else jax.nn.relu(self.wi(x))
        )
        return self.wo(dropout(y, self.dropout_rate, key))


class EncoderLayer(nnx.Module):
    """Self-attention and feed-forward, each behind a norm and added to the residual stream."""

    DROPOUTS = 4

    def __init__(self, config: StudentConfig, rngs: nnx.Rngs):
        self.dropout_rate = config.dropout_rate
        self.self_attention_norm, self.self_attention = RMSNorm(config), Attention(config, rngs)
        self.feed_forward_norm, self.feed_forward = RMSNorm(config), FeedForward(config, rngs)

    def __call__(self, x, mask, positions, keys=(None,) * DROPOUTS) -> jax.Array:
        """(B, L, d_model) to the same; `mask` and `positions` as in `Attention`, `keys` one per dropout."""
        y = self.self_attention_norm(x)
        y = self.self_attention(y, *self.self_attention.keys_values(y), mask, positions, keys[0])
        x += dropout(y, self.dropout_rate, keys[1])
        y = self.feed_forward(self.feed_forward_norm(x), keys[2])
        return x + dropout(y, self.dropout_rate, keys[3])


class DecoderLayer(nnx.Module):
    """Causal self-attention, cross-attention and feed-forward, each behind a norm and added to the stream."""

    DROPOUTS = 6

    def __init__(self, config: StudentConfig, rngs: nnx.Rngs):
        self.dropout_rate = config.dropout_rate
        self.self_attention_norm, self.self_attention = RMSNorm(config), Attention(config, rngs)
        self.cross_attention_norm, self.cross_attention = RMSNorm(config), Attention(config, rngs)
        self.feed_forward_norm, self.feed_forward = RMSNorm(config), FeedForward(config, rngs)

    def __call__(
        self, x, mask, positions, cross, cross_mask, keys=(None,) * DROPOUTS, past=None, index=0
    ):
        """One decoder layer, over whole targets or over the next token of each.

        Args:
          x: (N, L, d_model). N may be a multiple of B: then rows are grouped by question, and the
            targets of one question read its keys and values in place (cross-attention knows no
            target positions).
          mask: bool, broadcastable to (N, 1, L, Lk): what self-attention may attend to.
          positions: float32 (S, H, L, Lk), self-attention's.
          cross: the encoded question's keys and values, two of (B, H, Le, D).
          cross_mask: bool, (B, 1, 1 or L*N/B, Le): what of the question may be attended to.
          keys: dropout keys, one per dropout, or Nones.
          past: when decoding, self-attention's keys and values so far, two of (N, H, Lk, D).
          index: the position in `past` of the first token of `x`.

        Returns:
          (N, L, d_model), and self-attention's keys and values with these tokens', two of (N, H,
          Lk, D).
        """
        y = self.self_attention_norm(x)
        seen = self.self_attention.keys_values(y)
        if past is not None:
            seen = tuple(
                jax.lax.dynamic_update_slice_in_dim(old, now, index, axis=2)
                for old, now in zip(past, seen)
            )
        y = self.self_attention(y, *seen, mask, positions, keys[0])
        x += dropout(y, self.dropout_rate, keys[1])
        y = self.cross_attention_norm(x).reshape(cross[0].shape[0], -1, x.shape[-1])
        y = self.cross_attention(y, *cross, cross_mask, key=keys[2]).reshape(x.shape)
        x += dropout(y, self.dropout_rate, keys[3])
        y = self.feed_forward(self.feed_forward_norm(x), keys[4])
        return x + dropout(y, self.dropout_rate, keys[5]), seen
