"""T5's layers as Flax NNX modules that hold nothing but `nnx.Param`.

The semantics are those of T5 (arXiv 1910.10683) as Hugging Face transformers computes it, which the
tests compare with: RMS norms without mean or bias in front of every block, attention without
1/sqrt(d), one relative-position table per stack, no biases anywhere. Shapes: B rows, L tokens, H
heads, D = d_kv.

Kernels are (in, out), with H*D as one axis: it divides by more mesh sizes than H alone
(FLAN-T5-small has 6 heads), `q`, `k`, `v`, `wi*` shard over `tensor` by column and `o`, `wo` by
row, and every Linear takes LoRA the same way. Dropout keys are call arguments; `key=None` means no
dropout.
"""

import operator
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec as P

from tinyllm_jax.student import partition
from tinyllm_jax.student.config import StudentConfig

# The score of what may not be attended to. It is finite, so that a row of padding has no NaN.
MASKED = -1e9

Module = TypeVar("Module", bound=nnx.Module)


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Sets elements to 0 with probability `rate` and scales the others, so that the mean is kept.

    Args:
      x: (B, ...).
      rate: the probability.
      key: a dropout key; with None, `x` is returned as it is.
    """
    if key is None or rate == 0:
        return x
    # An element is kept where its random word is not among the lowest `rate` of all words.
    keep = random_words(key, x.shape) >= jnp.uint32(round(rate * 2**32))
    return jnp.where(keep, x / jnp.asarray(1 - rate, x.dtype), 0)


def random_words(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Uniform uint32 words of the given shape, (B, ...).

    A word is a function of the key and of its element's index in the whole batch alone, so it is
    the same on any mesh: MurmurHash3's finaliser is applied to the index twice, with half of the
    key before each.

    `jax.random.bits` (Threefry) has cryptographic strength, which dropout does not need: on a CPU
    it took 20 ns an element, longer than the layers themselves, and each use took seconds to
    compile. This fuses into the select that uses it.
    """
    first, second = jax.random.key_data(key)[:2]

    # Each element's index in row-major order, modulo 2**32.
    index, stride = jnp.zeros((), jnp.uint32), 1
    for axis in reversed(range(len(shape))):
        index += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride % 2**32)
        stride *= shape[axis]

    # Where these are the rows of one part along `data`, those of the parts before it come first.
    index += jnp.uint32(partition.data_part()) * jnp.uint32(stride % 2**32)
    return _mix(_mix(index ^ first) ^ second)


def _mix(x: jax.Array) -> jax.Array:
    """MurmurHash3's finaliser, applied to every uint32 word."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def split_key(key: jax.Array | None, num: int, layers: int | None = None):
    """Splits a dropout key.

    Args:
      key: the key, or None for no dropout.
      num: how many keys to make.
      layers: makes that many rows of `num` keys, to scan over.

    Returns:
      Keys (num,) or (layers, num); where `key` is None, a tuple of `num` Nones.
    """
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


def stack(make: Callable[[nnx.Rngs], Module], num: int, rngs: nnx.Rngs) -> Module:
    """Makes `num` modules as one whose parameters have a leading axis of `num`."""
    return nnx.vmap(lambda key: make(nnx.Rngs(params=key)))(jax.random.split(rngs.params(), num))


def scan(
    config: StudentConfig, layers: nnx.Module, body: Callable, x: jax.Array, keys
) -> jax.Array:
    """Runs `x = body(layer, x, keys)` over stacked layers: compiled once, whatever the depth.

    Only the results of products with kernels and of attention are kept for the backward pass. What
    lies between them (norms, gates, scores, dropout) is computed again, which costs less than
    writing it for every layer and reading it back.

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

    # What the backward pass finds, and does not compute again.
    policy = None
    if not config.remat:
        policy = jax.checkpoint_policies.save_from_both_policies(
            jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
            jax.checkpoint_policies.save_only_these_names("attention"),
        )

    # XLA cannot merge the recomputation away inside a scan, so the barrier against that
    # (`prevent_cse`) is not needed.
    step = jax.checkpoint(step, prevent_cse=False, policy=policy)
    return jax.lax.scan(step, x, (state, keys))[0]


def unstack(layers: Module, num: int) -> list[Module]:
    """The `num` modules of one made by `stack`.

    They are for a loop over tokens, in which a scan would copy every layer's kernels.
    """
    graph, state = nnx.split(layers)
    return [nnx.merge(graph, jax.tree.map(operator.itemgetter(i), state)) for i in range(num)]


class Linear(nnx.Module):
    """A product with a kernel, `x @ kernel`, and a low-rank update where one is asked for.

    The update is `(x @ lora_a) @ lora_b * alpha / rank` (LoRA, arXiv 2106.09685).

    Args:
      config: the student's; it says which projections have an update.
      name: the projection's, one of `StudentConfig.projections` or "lm_head".
      d_in: the width of the input.
      d_out: the width of the output.
      std: the standard deviation of the kernel's first values.
      rngs: where they are drawn from.
    """

    def __init__(
        self, config: StudentConfig, name: str, d_in: int, d_out: int, std: float, rngs: nnx.Rngs
    ):
        self.dtype = config.dtype
        self.by_row = name in ("o", "wo")
        self.kernel = nnx.Param(std * jax.random.normal(rngs.params(), (d_in, d_out)))
        self.has_lora = config.lora_rank > 0 and name in config.lora_targets
        if self.has_lora:
            self.lora_scale = config.lora_alpha / config.lora_rank
            self.lora_a = nnx.Param(
                d_in**-0.5 * jax.random.normal(rngs.params(), (d_in, config.lora_rank))
            )
            self.lora_b = nnx.Param(jnp.zeros((config.lora_rank, d_out)))

    def __call__(self, x: jax.Array) -> jax.Array:
        """(..., d_in) to (..., d_out), in the compute dtype."""
        # As a matrix (tokens, d_in): XLA's CPU backend transposes three-dimensional operands of the
        # kernel's gradient element by element.
        tokens = x.reshape(-1, x.shape[-1])
        y = tokens @ self._in_use()
        y = partition.constrain(y, partition.ROWS, None if self.by_row else partition.TENSOR)

        # The low-rank update, (tokens, d_in) to (tokens, rank) to (tokens, d_out).
        if self.has_lora:
            a, b = self._update()
            y += (tokens @ a) @ b * self.lora_scale
        return y.reshape(*x.shape[:-1], -1)

    def to_heads(self, x: jax.Array, heads: int) -> jax.Array:
        """(B, L, d_in) to (B, heads, L, D) with d_out = heads * D, in the compute dtype.

        The product itself puts the heads in front. Where they are cut out of (B, L, d_out)
        afterwards, a TPU writes everything again: D is half of the width of its registers. A CPU
        takes a tenth longer to write texts with the one product, so it cuts.
        """
        if partition.on_cpu():
            return self(x).reshape(*x.shape[:-1], heads, -1).swapaxes(1, 2)

        def by_head(matrix: jax.Array) -> jax.Array:
            return matrix.reshape(len(matrix), heads, -1)

        y = jnp.einsum("bli,ihd->bhld", x, by_head(self._in_use()))
        y = partition.constrain(y, partition.ROWS, P.UNCONSTRAINED)

        # The low-rank update, (B, L, d_in) to (B, L, rank) to (B, heads, L, D).
        if self.has_lora:
            a, b = self._update()
            y += jnp.einsum("blr,rhd->bhld", x @ a, by_head(b)) * self.lora_scale
        return y

    def from_heads(self, x: jax.Array) -> jax.Array:
        """(B, heads, L, D) to (B, L, d_out) with d_in = heads * D; see `to_heads`."""
        if partition.on_cpu():
            x = x.swapaxes(1, 2)
            return self(x.reshape(*x.shape[:2], -1))

        def by_head(matrix: jax.Array) -> jax.Array:
            return matrix.reshape(x.shape[1], x.shape[3], -1)

        y = partition.rows(jnp.einsum("bhld,hdo->blo", x, by_head(self._in_use())))

        # The low-rank update, (B, heads, L, D) to (B, L, rank) to (B, L, d_out).
        if self.has_lora:
            a, b = self._update()
            y += jnp.einsum("bhld,hdr->blr", x, by_head(a)) @ b * self.lora_scale
        return y

    def _in_use(self) -> jax.Array:
        """The kernel (d_in, d_out) in the compute dtype, as it lies on the mesh in use.

        `tensor` splits it by row in `o` and `wo`, and else by column, which splits the output too.
        """
        split = (partition.TENSOR, None) if self.by_row else (None, partition.TENSOR)
        return partition.constrain(self.kernel[...].astype(self.dtype), *split)

    def _update(self) -> tuple[jax.Array, jax.Array]:
        """The low-rank update's factors, (d_in, rank) and (rank, d_out), in the compute dtype."""
        return self.lora_a[...].astype(self.dtype), self.lora_b[...].astype(self.dtype)


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
