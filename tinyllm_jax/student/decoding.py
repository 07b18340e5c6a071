"""Reading answers off a student: greedy generation, and the likelihood of given choices.

Both are jitted with the config static, so one call per (config, shapes) compiles. Rows of padding alone cost
nothing more: they count as ended from the start.
"""

import functools

import jax
import jax.numpy as jnp

from tinyllm_jax.student.config import EOS_ID, PAD_ID, StudentConfig
from tinyllm_jax.student.model import bind, decode, encode, question_mask, shift_right


@functools.partial(jax.jit, static_argnames=("config", "max_tokens"))
def greedy(config: StudentConfig, params: dict, inputs: jax.Array, max_tokens: int) -> jax.Array:
    """The most likely next token, again and again: int32 (B, max_tokens), 0 after the end of sequence (1).

    One `while_loop` with self-attention caches, and with cross-attention keys and values made once; it ends when
    every row has ended.

    Args:
      config: the student's (static).
      params: as `init_params` makes them.
      inputs: int32 (B, Le), padded with 0.
      max_tokens: the most tokens per row, with the end of sequence (static).
    """
    model, rows = bind(config, params), inputs.shape[0]
    cross, mask = model.decoder.cross(encode(config, params, inputs)), question_mask(inputs)
    bias = model.decoder.bias(max_tokens)
    cache = jnp.zeros((config.num_decoder_layers, rows, max_tokens, config.num_heads, config.d_kv), config.dtype)

    def unfinished(state):
        index, _, ended, *_ = state
        return (index < max_tokens) & ~jnp.all(ended)

    def step(state):
        index, token, ended, tokens, past = state
        position = jax.lax.dynamic_slice_in_dim(bias, index, 1, axis=2)
        x, past = model.decoder.step(model.embed(token[:, None]), position, cross, mask, past, index)
        token = jnp.where(ended, PAD_ID, jnp.argmax(model.logits(x[:, 0]), axis=-1).astype(jnp.int32))
        tokens = jax.lax.dynamic_update_slice_in_dim(tokens, token[:, None], index, axis=1)
        return index + 1, token, ended | (token == EOS_ID), tokens, past

    start = jnp.full(rows, PAD_ID, jnp.int32)
    tokens = jnp.full((rows, max_tokens), PAD_ID, jnp.int32)
    state = (0, start, jnp.all(inputs == PAD_ID, axis=1), tokens, (cache, cache))
    return jax.lax.while_loop(unfinished, step, state)[3]


@functools.partial(jax.jit, static_argnames=("config",))
def score_choices(config: StudentConfig, params: dict, inputs: jax.Array,
                  choices: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The log-likelihood of each given choice after its question; each question is encoded once.

    Args:
      config: the student's (static).
      params: as `init_params` makes them.
      inputs: int32 (B, Le), padded with 0.
      choices: int32 (B, C, Lc): each choice's tokens with its end of sequence, padded with 0. A choice that is all
        padding (a question with fewer choices) gets 0 tokens and a log-likelihood of 0: the caller leaves it out.

    Returns:
      The sum of the tokens' log-probabilities, float32 (B, C), and how many tokens each choice has, int32 (B, C).
    """
    flat = choices.reshape(-1, choices.shape[-1])
    logits = decode(config, params, shift_right(flat), encode(config, params, inputs), inputs)
    # log-softmax at the target only: the (tokens, vocabulary) array of log-probabilities is not made.
    chosen = jnp.take_along_axis(logits, flat[..., None], axis=-1)[..., 0]
    real = flat != PAD_ID
    total = jnp.sum((chosen - jax.nn.logsumexp(logits, axis=-1)) * real, axis=-1)
    return total.reshape(choices.shape[:2]), jnp.sum(real, axis=-1, dtype=jnp.int32).reshape(choices.shape[:2])
