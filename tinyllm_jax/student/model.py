"""The whole T5: its NNX modules, and the plain functions through which everything else uses it.

The core is three functions: `init_params` draws the parameters, `hidden` computes the decoder's
states of packed rows, for training and for scoring, and `encode` computes the encoder's states,
from which `decoding.greedy` generates. `decode` and `apply` compute the logits of unpacked rows,
all at once: the shortest way to T5's definition, which only the tests take, to compare the packed
way with it and with transformers.

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
from jax.typing import ArrayLike

from tinyllm_jax.student import partition
from tinyllm_jax.student.attention import relative_buckets
from tinyllm_jax.student.config import PAD_ID, StudentConfig
from tinyllm_jax.student.depth import scan, stack, unstack
from tinyllm_jax.student.dropout import dropout, split_key
from tinyllm_jax.student.layers import DecoderLayer, EncoderLayer, RMSNorm
from tinyllm_jax.student.linear import Linear


class Encoder(nnx.Module):
    """Encoder layers, their relative-position table, and the last norm."""

    def __init__(self, config: StudentConfig, rngs: nnx.Rngs):
        self.config = config
        self.relative_bias = _relative_table(config, rngs)
        self.layers = stack(lambda rngs: EncoderLayer(config, rngs), config.num_layers, rngs)
        self.final_norm = RMSNorm(config)

    def __call__(self, x: jax.Array, mask: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """The encoder's states of whole questions.

        Args:
          x: the embedded questions, (B, Le, d_model).
          mask: bool (B, 1, 1 or Le, Le): what may be attended to.
          key: a dropout key, or None.

        Returns:
          (B, Le, d_model).
        """
        config = self.config
        first, middle, last = split_key(key, 3)
        positions = _relative_bias(config, self.relative_bias[...], x.shape[1], bidirectional=True)

        def body(layer, x, keys):
            return layer(x, mask, positions, keys)

        x = dropout(x, config.dropout_rate, first)
        keys = split_key(middle, EncoderLayer.DROPOUTS, config.num_layers)
        x = scan(config, self.layers, body, x, keys)
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
        """Self-attention's bias from relative positions, float32 (S, H, length, length)."""
        return _relative_bias(self.config, self.relative_bias[...], length, bidirectional=False)

    def __call__(self, x, encoded, mask, key=None, own_mask=None) -> jax.Array:
        """The decoder's states of whole targets.

        Args:
          x: the embedded targets, (N, Ld, d_model). N is B, or a multiple of it, as in
            `DecoderLayer`.
          encoded: the encoded questions, (B, Le, d_model).
          mask: bool (B, 1, 1 or Ld, Le): what of the questions may be attended to.
          key: a dropout key, or None.
          own_mask: bool (N, 1, Ld, Ld): what of the targets may be attended to, later tokens
            aside, which never are; None: everything.

        Returns:
          (N, Ld, d_model).
        """
        config = self.config
        positions = self.positions(x.shape[1])
        first, middle, last = split_key(key, 3)

        # No target token attends to a later one.
        own = jnp.tri(x.shape[1], dtype=bool)[None, None]
        if own_mask is not None:
            own &= own_mask

        def body(layer, x, keys):
            cross = layer.cross_attention.keys_values(encoded)
            return layer(x, own, positions, cross, mask, keys)[0]

        x = dropout(x, config.dropout_rate, first)
        keys = split_key(middle, DecoderLayer.DROPOUTS, config.num_decoder_layers)
        x = scan(config, self.layers, body, x, keys)
        return dropout(self.final_norm(x), config.dropout_rate, last)

    def cross(self, encoded: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        """Each layer's cross-attention keys and values, each (B, H, Le, D), for `step`."""
        return [
            layer.cross_attention.keys_values(encoded)
            for layer in unstack(self.layers, self.config.num_decoder_layers)
        ]

    def step(self, layers, x, positions, cross, mask, past, index) -> tuple[jax.Array, list]:
        """The decoder's states of one token of each row, after those that the cache holds.

        Args:
          layers: the layers, which the caller has unstacked outside of its loop.
          x: the embedded tokens, (N, 1, d_model). N is B, or a multiple of it, as in
            `DecoderLayer`.
          positions: this position's row of `positions(Lk)`, (S, H, 1, Lk).
          cross: as `cross` returns it.
          mask: bool (B, 1, N/B, Le): what of the questions may be attended to.
          past: each layer's keys and values so far, each (N, H, Lk, D).
          index: the position of the token, a scalar.

        Returns:
          (N, 1, d_model) after the last norm, and `past` with this token in it.
        """
        # What of the cache holds a token, this one included, bool (Lk,).
        written = jnp.arange(positions.shape[-1]) <= index
        seen = []
        for layer, keys_values, old in zip(layers, cross, past, strict=True):
            x, new = layer(x, written, positions, keys_values, mask, past=old, index=index)
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
        """(B, L) ids to (B, L, d_model), in the compute dtype."""
        # `fsdp` splits the table along its width: each device looks up its columns for the rows of
        # all devices along `fsdp`, and then they exchange columns for rows.
        found = partition.look_up(self.embedding[...], partition.constrain(ids, partition.DATA))
        found = found.astype(self.config.dtype)
        found = partition.constrain(found, partition.DATA, None, partition.FSDP)
        return partition.rows(found)

    def projection(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The two factors of the logits.

        Args:
          x: the decoder's states, (..., d_model).

        Returns:
          The states (..., d_model), scaled where the embedding is tied, and the kernel (d_model,
          vocab_size).
        """
        if self.config.tie_word_embeddings:
            return x * jnp.asarray(self.config.d_model**-0.5, x.dtype), self.embedding[...].T
        return x, self.lm_head.kernel[...]

    def logits(self, x: jax.Array) -> jax.Array:
        """(..., d_model) to float32 (..., vocab_size)."""
        x, kernel = self.projection(x)
        return jnp.dot(x, kernel.astype(x.dtype), preferred_element_type=jnp.float32)


def _relative_table(config: StudentConfig, rngs: nnx.Rngs) -> nnx.Param:
    """A stack's relative-position table, (buckets, H): what is added to the scores of each head."""
    shape = (config.relative_attention_num_buckets, config.num_heads)
    return nnx.Param(config.d_model**-0.5 * jax.random.normal(rngs.params(), shape))


def _relative_bias(
    config: StudentConfig, table: jax.Array, length: int, bidirectional: bool
) -> jax.Array:
    """The value of each pair of query and key in a relative-position table.

    Args:
      config: the student's.
      table: float32 (buckets, H).
      length: the number of queries, and of keys.
      bidirectional: whether the table tells before from behind (the encoder's does).

    Returns:
      float32 (S, H, length, length): S equal copies, one for each shard of the rows. The backward
      pass sums the gradient of each copy over its shard's rows and over all layers, and so the
      shards exchange their sums once, and not once for every layer.
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
def _abstract(config: StudentConfig) -> tuple[nnx.GraphDef[T5], dict]:
    """The module's structure, and its parameters' shapes as a nested dict; nothing is computed."""
    graph, state = nnx.split(nnx.eval_shape(lambda: T5(config, nnx.Rngs(params=0))))
    return graph, nnx.to_pure_dict(state)


def bind(config: StudentConfig, params: dict) -> T5:
    """The module with these parameters; it is meant to live only while a function is traced."""
    return nnx.merge(_abstract(config)[0], params)


def question_mask(inputs: jax.Array) -> jax.Array:
    """(B, Le) ids to bool (B, 1, 1, Le): which of them are tokens, and not padding."""
    return (inputs != PAD_ID)[:, None, None, :]


def param_shapes(config: StudentConfig) -> dict:
    """The parameters' shapes, as a nested dict of `jax.ShapeDtypeStruct`."""
    return jax.tree.map(lambda leaf: leaf, _abstract(config)[1])


def init_params(config: StudentConfig, key: jax.Array) -> dict:
    """Random float32 parameters, drawn as T5's were.

    The initialisation is Mesh TensorFlow's, as in transformers' `_init_weights`, with one
    exception: the untied output projection is drawn with `d_model**-0.5`, as in T5X. With
    transformers' 1.0 the first logits of a student that starts from nothing would be `d_model**0.5`
    times too large.
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
      segments: int32 (B, Le), the question that each token of a packed row belongs to; None: each
        row is one question.
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
    """The logits of every next token of unpacked targets; for the tests (see the module's head).

    Args:
      config: the student's.
      params: as `init_params` makes them.
      targets_in: int32 (N, Ld), the targets shifted right. N is B, or a multiple of it: then the
        N/B targets of question b are rows b*N/B onward, and each question is attended to without
        being copied.
      encoded: (B, Le, d_model), from `encode`.
      inputs: int32 (B, Le), the questions, for their padding.
      key: a dropout key, or None for no dropout.

    Returns:
      float32 (N, Ld, vocab_size).
    """
    model = bind(config, params)
    return model.logits(model.decoder(model.embed(targets_in), encoded, question_mask(inputs), key))


def apply(
    config: StudentConfig,
    params: dict,
    inputs: ArrayLike,
    decoder_inputs: ArrayLike,
    key: jax.Array | None = None,
) -> jax.Array:
    """`encode`, then `decode`, of unpacked rows; for the tests (see the module's head).

    Args:
      config: the student's.
      params: as `init_params` makes them.
      inputs: int32 (B, Le), the questions.
      decoder_inputs: int32 (N, Ld), as `targets_in` of `decode`.
      key: a dropout key, or None for no dropout.

    Returns:
      float32 logits (N, Ld, vocab_size).
    """
    inputs, decoder_inputs = jnp.asarray(inputs), jnp.asarray(decoder_inputs)
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
    """The decoder's inputs for targets: the start token (0), then all but the last target token.

    Args:
      targets: ids (..., Ld).
      segments: (..., Ld), the target that each token of a packed row belongs to: each segment
        begins with the start token. None: each row is one target.

    Returns:
      Ids (..., Ld).
    """
    shifted = jnp.concatenate([jnp.full_like(targets[..., :1], PAD_ID), targets[..., :-1]], axis=-1)
    if segments is None:
        return shifted
    # Whether a token belongs to the same target as the token before it.
    goes_on = jnp.pad(
        segments[..., 1:] == segments[..., :-1], [(0, 0)] * (targets.ndim - 1) + [(1, 0)]
    )
    return jnp.where(goes_on, shifted, PAD_ID)
