"""Norms and the feed-forward block against Hugging Face's."""

import jax.numpy as jnp
import pytest
from oracle import close, layer, states


def test_norm(twins):
    torch = pytest.importorskip("torch")
    config, params, oracle = twins
    x = 3 * states(config, 0)
    ours = layer(config, params, "encoder", 1).feed_forward_norm(jnp.asarray(x))
    close(ours, oracle.encoder.block[1].layer[1].layer_norm(torch.tensor(x)), 1e-5)


def test_feed_forward(twins):
    torch = pytest.importorskip("torch")
    config, params, oracle = twins
    x = states(config, 1)
    ours = layer(config, params, "decoder", 1).feed_forward(jnp.asarray(x))
    close(ours, oracle.decoder.block[1].layer[2].DenseReluDense(torch.tensor(x)), 1e-5)
