"""Dropout whose keys are call arguments, with masks that are the same on any mesh."""

import jax
import jax.numpy as jnp

from tinyllm_jax.student import partition


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
