"""Each layer against Hugging Face's, and dropout."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from oracle import T5_11, close

from tinyllm_jax.student import layers, model, partition


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("buckets, distance", [(32, 128), (8, 16), (64, 500)])
def test_relative_buckets(bidirectional, buckets, distance):
    torch = pytest.importorskip("torch")
    from transformers.models.t5.modeling_t5 import T5Attention

    relative = np.arange(-700, 701)
    theirs = T5Attention._relative_position_bucket(
        torch.tensor(relative), bidirectional, buckets, distance
    )
    ours = layers.relative_buckets(jnp.asarray(relative), bidirectional, buckets, distance)
    np.testing.assert_array_equal(ours, theirs.numpy())


def _layer(config, params, stack, n):
    """Layer `n` of a stack as a module of its own."""
    stacked = getattr(model.bind(config, params), stack).layers
    graph, state = layers.nnx.split(stacked)
    return layers.nnx.merge(graph, jax.tree.map(lambda leaf: leaf[n], state))


def _x(config, seed, length=24):
    return np.random.default_rng(seed).normal(size=(2, length, config.d_model)).astype(np.float32)


def test_norm(twins):
    torch = pytest.importorskip("torch")
    config, params, oracle = twins
    x = 3 * _x(config, 0)
    ours = _layer(config, params, "encoder", 1).feed_forward_norm(jnp.asarray(x))
    close(ours, oracle.encoder.block[1].layer[1].layer_norm(torch.tensor(x)), 1e-5)


def test_feed_forward(twins):
    torch = pytest.importorskip("torch")
    config, params, oracle = twins
    x = _x(config, 1)
    ours = _layer(config, params, "decoder", 1).feed_forward(jnp.asarray(x))
    close(ours, oracle.decoder.block[1].layer[2].DenseReluDense(torch.tensor(x)), 1e-5)


def test_self_attention_with_positions(twins):
    torch = pytest.importorskip("torch")
    config, params, oracle = twins
    x = _x(config, 2)
    attention = _layer(config, params, "encoder", 0).self_attention
    bias = model._relative_bias(
        config, params["encoder"]["relative_bias"], x.shape[1], bidirectional=True
    )
    ours = attention(jnp.asarray(x), *attention.keys_values(jnp.asarray(x)), True, bias)
    theirs, position_bias, _ = oracle.encoder.block[0].layer[0].SelfAttention(torch.tensor(x))
    close(bias, position_bias, 1e-5)
    close(ours, theirs, 1e-5)


def test_cross_attention_with_padding(twins):
    torch = pytest.importorskip("torch")
    config, params, oracle = twins
    x, encoded = _x(config, 3, 5), _x(config, 4, 9)
    mask = np.ones((2, 1, 1, 9), bool)
    mask[1, ..., 4:] = False
    attention = _layer(config, params, "decoder", 1).cross_attention
    ours = attention(
        jnp.asarray(x), *attention.keys_values(jnp.asarray(encoded)), jnp.asarray(mask)
    )
    theirs, *_ = (
        oracle.decoder.block[1]
        .layer[1]
        .EncDecAttention(
            torch.tensor(x),
            mask=torch.tensor(np.where(mask, 0, np.float32(-1e9))),
            key_value_states=torch.tensor(encoded),
        )
    )
    close(ours, theirs, 1e-5)


def _values(*shape: int, dtype="float32", seed=0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_of_scores_are_multiplied_in_the_compute_dtype(dtype):
    queries, keys = _values(2, 3, 5, 7, dtype=dtype), _values(2, 3, 9, 7, dtype=dtype, seed=1)
    weights = _values(2, 3, 5, 9, seed=2)

    def loss(queries, keys, exactly=False):
        if exactly:
            scores = jnp.einsum("bhqd,bhkd->bhqk", *map(jnp.float32, (queries, keys)))
        else:
            scores = layers.attention_scores(queries, keys)
        assert scores.dtype == jnp.float32
        return jnp.sum(scores * weights)

    ours = jax.grad(loss, (0, 1))(queries, keys)
    theirs = jax.grad(lambda *a: loss(*a, exactly=True), (0, 1))(queries, keys)
    tolerance = 1e-5 if dtype == "float32" else 2e-2
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(
            np.float32(a), np.float32(b), rtol=0, atol=tolerance * np.abs(np.float32(b)).max()
        )

    # Both factors of every product, forward and backward, are of the compute dtype.
    traced = jax.make_jaxpr(jax.grad(loss, (0, 1)))(queries, keys)
    factors = _product_factors(traced.jaxpr)
    assert len(factors) >= 4 and set(factors) == {jnp.dtype(dtype)}


def _product_factors(jaxpr) -> list:
    """The dtypes of the factors of all products of a traced program."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            found += [factor.aval.dtype for factor in equation.invars]
        for inner in jaxprs_in_params(equation.params):
            found += _product_factors(inner)
    return found


@pytest.fixture
def elsewhere(monkeypatch):
    """What is traced is what TPUs and GPUs compute."""
    monkeypatch.setattr(partition, "on_cpu", lambda: False)


@pytest.mark.parametrize("rank", [0, 2])
def test_heads_are_those_of_the_whole_projection(rank, elsewhere):
    config = dataclasses.replace(T5_11, lora_rank=rank, lora_targets=("q", "o"))
    heads, rngs = config.num_heads, layers.nnx.Rngs(0)
    attention = layers.Attention(config, rngs)
    if rank:
        for linear in (attention.q, attention.o):
            linear.lora_b[...] = _values(*linear.lora_b.shape, seed=1)
    x, y = _values(2, 5, config.d_model), _values(2, heads, 5, config.d_kv, seed=3)

    found = attention.q.to_heads(x, heads)
    wanted = attention.q(x).reshape(2, 5, heads, -1).swapaxes(1, 2)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)

    found = attention.o.from_heads(y)
    wanted = attention.o(y.swapaxes(1, 2).reshape(2, 5, -1))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_gradient_of_positions_is_the_sum_over_each_copys_rows(monkeypatch):
    weights = _values(6, 2, 3, 3, seed=4)
    scores, positions = _values(6, 2, 3, 3), _values(2, 2, 3, 3)

    def loss(scores, positions):
        return jnp.sum(layers.add_positions(scores, positions) * weights)

    wanted = np.asarray(weights).reshape(2, 3, 2, 3, 3).sum(1)
    for on_cpu in (True, False):
        monkeypatch.setattr(partition, "on_cpu", lambda on_cpu=on_cpu: on_cpu)
        d_scores, d_positions = jax.grad(loss, (0, 1))(scores, positions)
        np.testing.assert_array_equal(d_scores, weights)
        np.testing.assert_allclose(d_positions, wanted, rtol=0, atol=1e-5)


def test_dropout():
    x, key = jnp.ones((1000, 1000)), jax.random.key(0)
    dropped = layers.dropout(x, 0.1, key)
    assert abs(float((dropped == 0).mean()) - 0.1) < 2e-3
    assert abs(float(dropped.mean()) - 1) < 2e-3
    np.testing.assert_allclose(np.unique(dropped), [0, 1 / 0.9], rtol=1e-6)
    np.testing.assert_array_equal(dropped, layers.dropout(x, 0.1, key))
    assert (dropped != layers.dropout(x, 0.1, jax.random.key(1))).any()
    assert layers.dropout(x, 0.1, None) is x


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_masks_are_independent(rate):
    """Of each other under different keys, and of their neighbours along every axis."""
    kept = [
        np.asarray(layers.dropout(jnp.ones((64, 128, 64)), rate, jax.random.key(seed)) != 0)
        for seed in range(4)
    ]
    noise = 5 / np.sqrt(kept[0].size)
    for mask in kept:
        assert abs(mask.mean() - (1 - rate)) < noise
    pairs = [(a, b) for i, a in enumerate(kept) for b in kept[:i]]
    pairs += [(kept[0], np.roll(kept[0], 1, axis)) for axis in range(3)]
    assert max(abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in pairs) < noise


def test_every_dropout_has_its_own_key():
    keys = layers.split_key(
        jax.random.key(0), layers.DecoderLayer.DROPOUTS, T5_11.num_decoder_layers
    )
    assert keys.shape == (2, 6)
    assert len(np.unique(jax.random.key_data(keys).reshape(12, -1), axis=0)) == 12
