"""Reading answers off a student: greedy generation, and the likelihood of given targets, both from packed rows.

The functions that compute are jitted with the config static, so one call per (config, shapes)
compiles. Where nothing is asked (a slot without a question), nothing is written.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from tinyllm_jax.student.config import EOS_ID, PAD_ID, StudentConfig
from tinyllm_jax.student.cross_entropy import cross_entropy
from tinyllm_jax.student.layers import unstack
from tinyllm_jax.student.model import bind, encode, hidden, segment_mask

# The cache begins with room for so many tokens, and grows by this factor when they are written;
# when so few rows are unfinished, the finished ones are dropped. Each size is compiled once.
CACHE, FACTOR, FEWEST = 32, 4, 8


@functools.partial(jax.jit, static_argnames=("config",))
def score(config: StudentConfig, params: dict, batch: dict[str, jax.Array]) -> jax.Array:
    """The log-probability of every target token: float32 (R, Lt); each question is encoded once for all its targets.

    Args:
      config: the student's (static).
      params: as `init_params` makes them.
      batch: as `batching.arrays.pack` makes them; what it gives for padding means nothing.
    """
    states, kernel = hidden(config, params, batch)
    return -cross_entropy(states, kernel, batch["targets"], jnp.zeros(batch["targets"].shape))[1]


def greedy(
    config: StudentConfig,
    params: dict,
    inputs: jax.Array,
    max_tokens: int,
    segments: jax.Array | None = None,
    slots: jax.Array | None = None,
    told: Sequence[int] = (),
) -> np.ndarray:
    """The most likely next token, again and again: int32 (B * S, max_tokens) on the host, 0 after the end of sequence (1).

    Cross-attention keys and values are made once; the self-attention cache grows with what is
    written; and the rows that have ended are dropped once most have, so that a few long ones do not
    keep them all computing.

    Args:
      config: the student's.
      params: as `init_params` makes them.
      inputs: int32 (B, Le), padded with 0.
      max_tokens: the most tokens per question, with the end of sequence.
      segments: int32 (B, Le), which question a token belongs to (see `batching`); None: a row
        is a question.
      slots: int32 (B, S), the questions of each row, 0 for none.
      told: token ids that each text begins with; they are not returned.
    """
    if segments is None:
        segments = (np.asarray(inputs) != PAD_ID).astype(np.int32)
        slots = segments[:, :1]
    forced = np.full(max_tokens + len(told), -1, np.int32)
    forced[: len(told)] = told
    asked = np.asarray(slots).reshape(-1) != 0
    written = np.zeros((len(asked), len(forced)), np.int32)
    rows, size, length = np.arange(len(asked)), len(asked), min(CACHE, len(forced))
    cross, mask = _read(config, params, inputs, segments, slots)
    state = _start(config, size, length, asked)
    while True:
        fewer = size // FACTOR if size // FACTOR >= FEWEST else 0
        state = _advance(config, params, cross, mask, state, forced, fewer)
        index, ended, tokens = jax.device_get((state["index"], state["ended"], state["tokens"]))
        written[rows, :length] = tokens
        if index >= len(forced) or ended.all():
            return written[:, len(told) :]
        if (~ended).sum() <= fewer:
            keep = np.argsort(ended, kind="stable")[:fewer]
            rows, size = rows[keep], fewer
            cross, mask, state = _keep(cross, mask, state, keep)
        if index == length:
            length = min(length * FACTOR, len(forced))
            state = _grow(state, length)


@functools.partial(jax.jit, static_argnames=("config",))
def _read(config, params, inputs, segments, slots):
    """Every layer's cross-attention keys and values, and the slots' mask, (B, 1, S, Le)."""
    encoded = encode(config, params, inputs, segments=segments)
    return bind(config, params).decoder.cross(encoded), segment_mask(slots, segments)


def _start(config, size, length, asked):
    cache = (size, config.num_heads, length, config.d_kv)
    past = [
        tuple(jnp.zeros(cache, config.dtype) for _ in "kv")
        for _ in range(config.num_decoder_layers)
    ]
    return {
        "index": jnp.zeros((), jnp.int32),
        "token": jnp.full(size, PAD_ID, jnp.int32),
        "ended": jnp.array(~asked),
        "tokens": jnp.full((size, length), PAD_ID, jnp.int32),
        "past": past,
    }


@functools.partial(jax.jit, static_argnames=("config", "fewer"), donate_argnames="state")
def _advance(config, params, cross, mask, state, forced, fewer):
    """Writes tokens until the cache is full or at most `fewer` rows have not ended."""
    model = bind(config, params)
    layers = unstack(model.decoder.layers, config.num_decoder_layers)
    length = state["tokens"].shape[1]
    positions = model.decoder.positions(length)

    def goes_on(state):
        return (state["index"] < length) & (jnp.sum(~state["ended"]) > fewer)

    def step(state):
        index = state["index"]
        position = jax.lax.dynamic_slice_in_dim(positions, index, 1, axis=2)
        x, past = model.decoder.step(
            layers,
            model.embed(state["token"][:, None]),
            position,
            cross,
            mask,
            state["past"],
            index,
        )
        token = jnp.argmax(model.logits(x[:, 0]), axis=-1).astype(jnp.int32)
        token = jnp.where(
            state["ended"], PAD_ID, jnp.where(forced[index] >= 0, forced[index], token)
        )
        tokens = jax.lax.dynamic_update_slice_in_dim(state["tokens"], token[:, None], index, axis=1)
        return {
            "index": index + 1,
            "token": token,
            "ended": state["ended"] | (token == EOS_ID),
            "tokens": tokens,
            "past": past,
        }

    return jax.lax.while_loop(goes_on, step, state)


@jax.jit
def _keep(cross, mask, state, keep):
    """The rows `keep` alone, each with its question's keys and values."""
    slots = mask.shape[2]
    cross = jax.tree.map(lambda a: a[keep // slots], cross)
    kept = jax.tree.map(
        lambda a: a[keep], {name: value for name, value in state.items() if name != "index"}
    )
    return cross, mask[keep // slots, :, keep % slots][:, :, None], kept | {"index": state["index"]}


@functools.partial(jax.jit, static_argnames=("length",))
def _grow(state, length):
    more = length - state["tokens"].shape[1]
    past = jax.tree.map(lambda a: jnp.pad(a, [(0, 0), (0, 0), (0, more), (0, 0)]), state["past"])
    return state | {"tokens": jnp.pad(state["tokens"], [(0, 0), (0, more)]), "past": past}
