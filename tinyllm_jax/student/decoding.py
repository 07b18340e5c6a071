"""What a student writes (greedy generation), and how likely it finds given targets (scoring).

Both take packed rows. The functions that compute are jitted with the config static, so each is
compiled once for a config and its arguments' shapes.

In generation a row has a number of slots, and each slot either holds the number of a question of
that row, whose text is written there, or 0, and then nothing is written.

On a mesh (see `partition.mesh_of`) the devices share the rows, of which there are equally many for
each. All processes hand in the same batch, and each gets the whole result.

Shapes: B rows of inputs of Le tokens, S slots a row, H heads, D = d_kv. N is the number of texts
that are still written, at first B * S; C is the number of tokens that the cache has room for.
"""

import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from tinyllm_jax.student import partition
from tinyllm_jax.student.config import EOS_ID, PAD_ID, StudentConfig
from tinyllm_jax.student.cross_entropy import cross_entropy
from tinyllm_jax.student.depth import unstack
from tinyllm_jax.student.model import bind, encode, hidden, segment_mask

# The cache begins with room for CACHE tokens, and has FACTOR times as much whenever it is full.
# Whenever at most 1/FACTOR of the texts are still written, the others are dropped, unless fewer
# than FEWEST would be left. Each size is compiled once.
CACHE, FACTOR, FEWEST = 32, 4, 8


@functools.partial(jax.jit, static_argnames=("config",))
def score(config: StudentConfig, params: dict, batch: Mapping[str, ArrayLike]) -> jax.Array:
    """The log-probability of every target token; each question is encoded once for all its targets.

    Args:
      config: the student's (static).
      params: as `init_params` makes them.
      batch: packed rows, as `model.hidden` reads them; "targets" is (R, Lt).

    Returns:
      float32 (R, Lt), whole on every device. The values of padding mean nothing.
    """
    arrays = {name: jnp.asarray(values) for name, values in batch.items()}
    states, kernel = hidden(config, params, arrays)
    targets = arrays["targets"]
    _, tokens = cross_entropy(states, kernel, targets, jnp.zeros(targets.shape))
    return partition.constrain(-tokens)


def greedy(
    config: StudentConfig,
    params: dict,
    inputs: np.ndarray,
    max_tokens: int,
    segments: np.ndarray | None = None,
    slots: np.ndarray | None = None,
    prefix_tokens: Sequence[int] = (),
) -> np.ndarray:
    """Writes the most likely next token, again and again.

    Cross-attention's keys and values are made once. The cache of self-attention's keys and values
    grows with what is written. Texts that have ended are dropped once most have, so that a few long
    ones do not keep all of them computing.

    Args:
      config: the student's.
      params: as `init_params` makes them.
      inputs: int32 (B, Le) on the host, padded with 0.
      max_tokens: the most tokens of a text, the end of sequence among them.
      segments: int32 (B, Le), the question that each token of a packed row belongs to; None: each
        row is one question, and has one slot.
      slots: int32 (B, S), the question of each slot, 0 for none; given where `segments` is.
      prefix_tokens: token ids that every text begins with; they are not returned.

    Returns:
      int32 (B * S, max_tokens) on the host: the text of each slot, and 0 after its end of sequence.
    """
    if segments is None or slots is None:
        segments = (inputs != PAD_ID).astype(np.int32)
        slots = segments[:, :1]

    # The token that must stand at each position of a text; -1 where the student chooses it.
    forced = np.full(max_tokens + len(prefix_tokens), -1, np.int32)
    forced[: len(prefix_tokens)] = prefix_tokens

    # `written` is the result, with a row for each slot; row i of the state is its row `rows[i]`, at
    # first all of them in order.
    asked = slots.reshape(-1) != 0
    written = np.zeros((len(asked), len(forced)), np.int32)
    rows = np.arange(len(asked))
    length = min(CACHE, len(forced))
    batch = partition.put_rows(
        {"inputs": inputs, "segments": segments, "slots": slots, "asked": asked}
    )
    cross, mask, state = _read(config, length, params, **batch)
    shards = partition.shards()
    while True:
        # Write until the cache is full, or until so few texts go on that the others are dropped.
        fewer = len(rows) // FACTOR // shards * shards
        if fewer < FEWEST:
            fewer = 0
        state, seen = _advance(config, params, cross, mask, state, forced, fewer)
        index, ended, tokens = jax.device_get(seen)
        written[rows, :length] = tokens
        if index >= len(forced) or ended.all():
            return written[:, len(prefix_tokens) :]

        # Keep `fewer` rows: those that go on, and some that have ended, to fill up.
        if (~ended).sum() <= fewer:
            keep = np.argsort(ended, kind="stable")[:fewer]
            rows = rows[keep]
            cross, mask, state = _keep(cross, mask, state, keep)
        if index == length:
            length = min(length * FACTOR, len(forced))
            state = _grow(state, length)


@functools.partial(jax.jit, static_argnames=("config", "length"))
def _read(config, length, params, inputs, segments, slots, asked):
    """Encodes the questions.

    Returns:
      Each layer's cross-attention keys and values, each (B, H, Le, D); what of its row each slot
      may attend to, bool (B, 1, S, Le); and the state of `_start`.
    """
    encoded = encode(config, params, inputs, segments=segments)
    cross = bind(config, params).decoder.cross(encoded)
    return *_by_rows((cross, segment_mask(slots, segments))), _start(config, length, asked)


def _by_rows(arrays):
    """Arrays, in any tree, whose leading axes the devices of the mesh in use share."""
    return jax.tree.map(lambda a: partition.rows(a) if a.ndim else a, arrays)


def _start(config: StudentConfig, length: int, asked: jax.Array) -> dict:
    """The state before the first token; `asked`, (N,), is whether a text is to be written.

    Returns:
      "index", a scalar: the position of the next token; "token" (N,): each text's last token;
      "ended", bool (N,); "tokens" (N, C): what is written, C being `length`; "past": each layer's
      self-attention keys and values, each (N, H, C, D).
    """
    size = len(asked)
    cache = (size, config.num_heads, length, config.d_kv)
    past = [
        (jnp.zeros(cache, config.dtype), jnp.zeros(cache, config.dtype))
        for _ in range(config.num_decoder_layers)
    ]
    state = {
        "index": jnp.zeros((), jnp.int32),
        "token": jnp.full(size, PAD_ID, jnp.int32),
        "ended": ~asked,
        "tokens": jnp.full((size, length), PAD_ID, jnp.int32),
        "past": past,
    }
    return _by_rows(state)


@functools.partial(jax.jit, static_argnames=("config", "fewer"), donate_argnames="state")
def _advance(config, params, cross, mask, state, forced, fewer):
    """Writes tokens until the cache is full or at most `fewer` texts have not ended.

    Args:
      config: the student's (static).
      params: as `init_params` makes them.
      cross: as `_read` or `_keep` gives it.
      mask: bool (B, 1, N/B, Le), as `_read` or `_keep` gives it.
      state: as `_start` describes it; it is donated.
      forced: int32, the token of each position of a text; -1 where the student chooses it.
      fewer: see above (static).

    Returns:
      The state, of the same shapes; and "index", "ended" and "tokens" of it, whole on every device.
    """
    model = bind(config, params)
    layers = unstack(model.decoder.layers, config.num_decoder_layers)
    length = state["tokens"].shape[1]
    positions = model.decoder.positions(length)

    def goes_on(state):
        return (state["index"] < length) & (jnp.sum(~state["ended"]) > fewer)

    def step(state):
        # The decoder's states of the last token of each text, (N, 1, d_model).
        index = state["index"]
        position = jax.lax.dynamic_slice_in_dim(positions, index, 1, axis=2)
        x = model.embed(state["token"][:, None])
        x, past = model.decoder.step(layers, x, position, cross, mask, state["past"], index)

        # The next token of each text, (N,): the most likely one, or the one that is forced.
        token = jnp.argmax(model.logits(x[:, 0]), axis=-1).astype(jnp.int32)
        token = jnp.where(forced[index] >= 0, forced[index], token)
        token = jnp.where(state["ended"], PAD_ID, token)
        tokens = jax.lax.dynamic_update_slice_in_dim(state["tokens"], token[:, None], index, axis=1)
        return {
            "index": index + 1,
            "token": token,
            "ended": state["ended"] | (token == EOS_ID),
            "tokens": tokens,
            "past": past,
        }

    state = _by_rows(jax.lax.while_loop(goes_on, step, state))
    return state, [partition.constrain(state[name]) for name in ("index", "ended", "tokens")]


@jax.jit
def _keep(cross, mask, state, keep):
    """The texts `keep` alone, each with a copy of its row's keys and values.

    Args:
      cross: each layer's cross-attention keys and values, each (B, H, Le, D).
      mask: bool (B, 1, N/B, Le).
      state: as `_start` describes it, of N texts.
      keep: int32 (K,), which of them to keep.

    Returns:
      The three of K texts, each in a row of its own: (K, H, Le, D), (K, 1, 1, Le), and the state.
    """
    slots = mask.shape[2]
    row, slot = keep // slots, keep % slots
    cross = jax.tree.map(lambda a: a[row], cross)
    mask = mask[row, :, slot][:, :, None]
    of_texts = {name: value for name, value in state.items() if name != "index"}
    kept = jax.tree.map(lambda a: a[keep], of_texts)
    return _by_rows((cross, mask, kept | {"index": state["index"]}))


@functools.partial(jax.jit, static_argnames=("length",))
def _grow(state, length):
    """The state with room for `length` tokens: "tokens" (N, length), "past" (N, H, length, D)."""
    more = length - state["tokens"].shape[1]
    past = jax.tree.map(lambda a: jnp.pad(a, [(0, 0), (0, 0), (0, more), (0, 0)]), state["past"])
    tokens = jnp.pad(state["tokens"], [(0, 0), (0, more)])
    return _by_rows(state | {"tokens": tokens, "past": past})
