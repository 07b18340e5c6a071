"""Dropout: its share, its keys, and masks that know nothing of each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import T5_11

from tinyllm_jax.student import dropout
from tinyllm_jax.student.layers import DecoderLayer


def test_dropout():
    x, key = jnp.ones((1000, 1000)), jax.random.key(0)
    dropped = dropout.dropout(x, 0.1, key)
    assert abs(float((dropped == 0).mean()) - 0.1) < 2e-3
    assert abs(float(dropped.mean()) - 1) < 2e-3
    np.testing.assert_allclose(np.unique(dropped), [0, 1 / 0.9], rtol=1e-6)
    np.testing.assert_array_equal(dropped, dropout.dropout(x, 0.1, key))
    assert (dropped != dropout.dropout(x, 0.1, jax.random.key(1))).any()
    assert dropout.dropout(x, 0.1, None) is x


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_masks_are_independent(rate):
    """Of each other under different keys, and of their neighbours along every axis."""
    kept = [
        np.asarray(dropout.dropout(jnp.ones((64, 128, 64)), rate, jax.random.key(seed)) != 0)
        for seed in range(4)
    ]
    noise = 5 / np.sqrt(kept[0].size)
    for mask in kept:
        assert abs(mask.mean() - (1 - rate)) < noise
    pairs = [(a, b) for i, a in enumerate(kept) for b in kept[:i]]
    pairs += [(kept[0], np.roll(kept[0], 1, axis)) for axis in range(3)]
    assert max(abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in pairs) < noise


def test_every_dropout_has_its_own_key():
    keys = dropout.split_key(jax.random.key(0), DecoderLayer.DROPOUTS, T5_11.num_decoder_layers)
    assert keys.shape == (2, 6)
    assert len(np.unique(jax.random.key_data(keys).reshape(12, -1), axis=0)) == 12
