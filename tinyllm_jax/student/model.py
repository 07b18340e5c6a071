"""The whole T5, and its functional core: `init_params`, `encode`, `decode`, `apply`.

Outside this file a student is a `StudentConfig` and a nested dict of float32 arrays, whose paths
read like `encoder/layers/self_attention/q/kernel` (the leading axis of everything under `layers` is
the layer). NNX modules live only while a function is traced, so a jitted step costs no Python.

Token ids are int32; 0 pads, and is masked in the questions. Targets need no mask: the decoder is
causal, and what stands after a target's end does not reach its tokens.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from tinyllm_jax.student import partition
from tinyllm_jax.student.config import PAD_ID, StudentConfig
from tinyllm_jax.student.layers import (
    DecoderLayer,
    EncoderLayer,
    Linear,
    RMSNorm,
    dropout,
    relative_buckets,
    scan,
    split_key,
    stack,
    unstack,
)


class Encoder(nnx.Module):
    """Encoder layers, their relative-position table, and the last norm."""

    def __init__(self, config: StudentConfig, rngs: nnx.Rngs):
        self.config = config
        self.relative_bias = _relative_table(config, rngs)
        self.layers = stack(lambda rngs: EncoderLayer(config, rngs), config.num_layers, rngs)
        self.final_norm = RMSNorm(config)

    def __call__(self, x: jax.Array, mask: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """Embedded questions (B, Le, d_model) to the same; `mask` is bool, (B, 1, 1 or Le, Le)."""
        config = self.config
        first, middle, last = split_key(key, 3)
        positions = _relative_bias(config, self.relative_bias[...], x.shape[1], bidirectional=True)

        def body(layer, x, keys):
            return layer(x, mask, positions, keys)

        x = dropout(x, config.dropout_rate, first)
        x = scan(
            config,
            self.layers,
            body,
            x,
            split_key(middle, EncoderLayer.DROPOUTS, config.num_layers),
        )
        return dropout(self.final_norm(x), config.dropout_rate, last)


class Decoder(nnx.Module):
    """Decoder layers, their relative-position table, and the last norm."""

    def __init__(self, config: StudentConfig, rngs: nnx.Rngs):
        self.config = config
        self.relative_bias = _relative_table(config, rngs)
        self.layers = stack(
            lambda rngs: DecoderLayer(config, rngs), config.num_decoder_layers, rngs
        )
        self.final_norm = RMSNorm(config)

    def positions(self, length: int) -> jax.Array:
        """The relative positions' bias of self-attention over `length` tokens, float32 (S, H, length, length)."""
        return _relative_bias(self.config, self.relative_bias[...], length, bidirectional=False)

    def __call__(self, x, encoded, mask, key=None, own_mask=None) -> jax.Array:
        """Embedded targets over encoded questions.

        Args:
          x: (N, Ld, d_model).
          encoded: (B, Le, d_model).
          mask: bool, of the questions, (B, 1, 1 or Ld, Le).
          key: a dropout key, or None.
          own_mask: bool, of the targets among themselves, (N, 1, Ld, Ld), beside that they are
            causal; None for none.

        Returns:
          (N, Ld, d_model).
        """
        config, positions = self.config, self.positions(x.shape[1])
        own = jnp.tri(x.shape[1], dtype=bool)[None, None]
        own = own if own_mask is None else own & own_mask
        first, middle, last = split_key(key, 3)

        def body(layer, x, keys):
            return layer(x, own, positions, layer.cross_attention.keys_values(encoded), mask, keys)[
                0
            ]

        x = dropout(x, config.dropout_rate, first)
        keys = split_key(middle, DecoderLayer.DROPOUTS, config.num_decoder_layers)
        x = scan(config, self.layers, body, x, keys)
        return dropout(self.final_norm(x), config.dropout_rate, last)

    def cross(self, encoded: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        """Each layer's cross-attention keys and values, two of (B, H, Le, D): computed once to decode."""
        return [
            layer.cross_attention.keys_values(encoded)
            for layer in unstack(self.layers, self.config.num_decoder_layers)
        ]

    def step(self, layers, x, positions, cross, mask, past, index) -> tuple[jax.Array, list]:
        """The next token of each row.

        Args:
          layers: `unstack`ed by the caller, outside of its loop.
          x: embedded, (N, 1, d_model); N is B, or a multiple of it, as in `decode`.
          positions: this position's row of `positions(Lk)`, (S, H, 1, Lk).
          cross: as `cross` returns it.
          mask: bool, (B, 1, N/B, Le).
          past: each layer's keys and values so far, two of (N, H, Lk, D).
          index: the position of the token, a scalar.

        Returns:
          (N, 1, d_model) after the last norm, and `past` with this token in it.
        """
        seen, written = [], jnp.arange(positions.shape[-1]) <= index
        for layer, asked, old in zip(layers, cross, past):
            x, new = layer(x, written, positions, asked, mask, past=old, index=index)
            seen.append(new)
        return self.final_norm(x), seen


class T5(nnx.Module):
    """Embedding, encoder, decoder and output projection. The embedding has this one owner."""

    def __init__(self, config: StudentConfig, rngs: nnx.Rngs):
        self.config = config
        self.embedding = nnx.Param(
            jax.random.normal(rngs.params(), (config.vocab_size, config.d_model))
        )
        self.encoder = Encoder(config, rngs)
        self.decoder = Decoder(config, rngs)
        if not config.tie_word_embeddings:
            self.lm_head = Linear(
                config, "lm_head", config.d_model, config.vocab_size, config.d_model**-0.5, rngs
            )

    def embed(self, ids: jax.Array) -> jax.Array:
        """(..., L) ids to (..., L, d_model), in the compute dtype."""
        # The table is split along its width: each device looks up its part for the rows of all, and
        # they exchange.
        found = self.embedding[...][partition.constrain(ids, "data")].astype(self.config.dtype)
        return partition.rows(partition.constrain(found, "data", None, "fsdp"))

    def projection(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What to multiply for the logits of (..., d_model): this, and the kernel (d_model, vocab_size)."""
        if self.config.tie_word_embeddings:
            return x * jnp.asarray(self.config.d_model**-0.5, x.dtype), self.embedding[...].T
        return x, self.lm_head.kernel[...]

    def logits(self, x: jax.Array) -> jax.Array:
        """(..., d_model) to float32 (..., vocab_size)."""
        x, kernel = self.projection(x)
        return jnp.dot(x, kernel.astype(x.dtype), preferred_element_type=jnp.float32)


def _relative_table(config: StudentConfig, rngs: nnx.Rngs) -> nnx.Param:
    shape = (config.relative_attention_num_buckets, config.num_heads)
    return nnx.Param(config.d_model**-0.5 * jax.random.normal(rngs.params(), shape))


def _relative_bias(
    config: StudentConfig, table: jax.Array, length: int, bidirectional: bool
) -> jax.Array:
    """float32 (S, H, length, length): the table's value for each pair of query and key, S times, once for each shard of the rows.

    So a shard sums its own rows' gradient over all layers, and the shards' sums meet once.
    """
    position = jnp.arange(length)
    buckets = relative_buckets(
        position[None, :] - position[:, None],
        bidirectional,
        config.relative_attention_num_buckets,
        config.relative_attention_max_distance,
    )
    found = table[buckets].transpose(2, 0, 1)
    return partition.rows(jnp.broadcast_to(found, (partition.shards(), *found.shape)))


@functools.cache
def _abstract(config: StudentConfig):
    """The module's structure, and its parameters' shapes as a nested dict; nothing is computed."""
    graph, state = nnx.split(nnx.eval_shape(lambda: T5(config, nnx.Rngs(params=0))))
    return graph, nnx.to_pure_dict(state)


def bind(config: StudentConfig, params: dict) -> T5:
    """The module with these parameters, for use while tracing."""
    return nnx.merge(_abstract(config)[0], params)


def question_mask(inputs: jax.Array) -> jax.Array:
    """(B, Le) ids to bool (B, 1, 1, Le): whether there is a token, and no padding."""
    return (inputs != PAD_ID)[:, None, None, :]


def param_shapes(config: StudentConfig) -> dict:
    """The parameters as a nested dict of `jax.ShapeDtypeStruct`."""
    return jax.tree.map(lambda leaf: leaf, _abstract(config)[1])


def init_params(config: StudentConfig, key: jax.Array) -> dict:
    """Random parameters, float32, from T5's initialisation (Mesh TensorFlow's, as in transformers' `_init_weights`).

    The untied output projection is drawn with `d_model**-0.5`, as in T5X; with transformers' 1.0
    the first logits of a student that starts from nothing would be `d_model**0.5` too large.
    """
    return nnx.to_pure_dict(nnx.state(T5(config, nnx.Rngs(params=key)), nnx.Param))


def segment_mask(queries: jax.Array, keys: jax.Array) -> jax.Array:
    """Segment ids (B, Lq) and (B, Lk) to bool (B, 1, Lq, Lk): whether both are of one segment."""
    return queries[:, None, :, None] == keys[:, None, None, :]


def encode(
    config: StudentConfig,
    params: dict,
    inputs: jax.Array,
    key: jax.Array | None = None,
    segments: jax.Array | None = None,
) -> jax.Array:
    """Encodes questions: ids (B, Le) to (B, Le, d_model), in the compute dtype.

    Args:
      config: the student's.
      params: as `init_params` makes them.
      inputs: int32, padded with 0 on the right.
      key: a dropout key, or None for no dropout.
      segments: int32 (B, Le), which question each token belongs to, see `batching`; None: a
        row is a question.
    """
    model = bind(config, params)
    mask = question_mask(inputs) if segments is None else segment_mask(segments, segments)
    return model.encoder(model.embed(inputs), mask, key)


def decode(
    config: StudentConfig,
    params: dict,
    targets_in: jax.Array,
    encoded: jax.Array,
    inputs: jax.Array,
    key: jax.Array | None = None,
) -> jax.Array:
    """The logits of every next token: float32 (N, Ld, vocab_size).

    Args:
      config: the student's.
      params: as `init_params` makes them.
      targets_in: int32 (N, Ld), the targets shifted right. N is B, or a multiple of it: then the
        N/B targets of question b are rows b*N/B onward, and each question is attended to without
        being copied.
      encoded: (B, Le, d_model), from `encode`.
      inputs: int32 (B, Le), the questions, for their padding.
      key: a dropout key, or None for no dropout.
    """
    model = bind(config, params)
    return model.logits(model.decoder(model.embed(targets_in), encoded, question_mask(inputs), key))


def apply(
    config: StudentConfig,
    params: dict,
    inputs: jax.Array,
    decoder_inputs: jax.Array,
    key: jax.Array | None = None,
) -> jax.Array:
    """`encode`, then `decode`: float32 logits (N, Ld, vocab_size)."""
    encoder_key, decoder_key = split_key(key, 2)
    encoded = encode(config, params, inputs, encoder_key)
    return decode(config, params, decoder_inputs, encoded, inputs, decoder_key)


def hidden(
    config: StudentConfig, params: dict, batch: dict[str, jax.Array], key: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """The decoder's states of packed rows, and the kernel that makes logits of them.

    The caller multiplies the two part by part, because all logits at once do not fit into memory.
    No token attends to another segment than its own. The relative positions need no segments: a
    segment is contiguous, and they are differences.

    Args:
      config: the student's.
      params: as `init_params` makes them.
      batch: int32, as `batching.arrays.fill` makes it: "inputs" and "input_segments", (B, Le), ids
        and the question of each; "targets", "target_segments" and "target_inputs", (B, Ld), ids
        (not shifted), the target and the question of each. Row b of the targets reads row b of the
        inputs.
      key: a dropout key, or None for no dropout.

    Returns:
      The decoder's states (B, Ld, d_model) and the kernel (d_model, vocab_size): the logits are
      their product.
    """
    encoder_key, decoder_key = split_key(key, 2)
    model = bind(config, params)
    input_segments, target_segments = batch["input_segments"], batch["target_segments"]
    encoded = encode(config, params, batch["inputs"], encoder_key, input_segments)
    x = model.decoder(
        model.embed(shift_right(batch["targets"], target_segments)),
        encoded,
        segment_mask(batch["target_inputs"], input_segments),
        decoder_key,
        segment_mask(target_segments, target_segments),
    )
    return model.projection(x)


def shift_right(targets: jax.Array, segments: jax.Array | None = None) -> jax.Array:
    """Decoder inputs for targets (..., Ld): the start token (0), then all but the last target token.

    With segments (..., Ld), each segment begins with the start token.
    """
    shifted = jnp.concatenate([jnp.full_like(targets[..., :1], PAD_ID), targets[..., :-1]], axis=-1)
    if segments is None:
        return shifted
    goes_on = jnp.pad(
        segments[..., 1:] == segments[..., :-1], [(0, 0)] * (targets.ndim - 1) + [(1, 0)]
    )
    return jnp.where(goes_on, shifted, PAD_ID)
