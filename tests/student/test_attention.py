"""Attention against Hugging Face's, and its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from oracle import close, layer, states, values

from tinyllm_jax.student import model, partition
from tinyllm_jax.student.attention import add_positions, attention_scores, relative_buckets


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("buckets, distance", [(32, 128), (8, 16), (64, 500)])
def test_relative_buckets(bidirectional, buckets, distance):
    torch = pytest.importorskip("torch")
    from transformers.models.t5.modeling_t5 import T5Attention

    relative = np.arange(-700, 701)
    theirs = T5Attention._relative_position_bucket(
        torch.tensor(relative), bidirectional, buckets, distance
    )
    ours = relative_buckets(jnp.asarray(relative), bidirectional, buckets, distance)
    np.testing.assert_array_equal(ours, theirs.numpy())


def test_self_attention_with_positions(twins):
    torch = pytest.importorskip("torch")
    config, params, oracle = twins
    x = states(config, 2)
    attention = layer(config, params, "encoder", 0).self_attention
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
    x, encoded = states(config, 3, 5), states(config, 4, 9)
    mask = np.ones((2, 1, 1, 9), bool)
    mask[1, ..., 4:] = False
    attention = layer(config, params, "decoder", 1).cross_attention
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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_of_scores_are_multiplied_in_the_compute_dtype(dtype):
    queries, keys = values(2, 3, 5, 7, dtype=dtype), values(2, 3, 9, 7, dtype=dtype, seed=1)
    weights = values(2, 3, 5, 9, seed=2)

    def loss(queries, keys, exactly=False):
        if exactly:
            scores = jnp.einsum("bhqd,bhkd->bhqk", *map(jnp.float32, (queries, keys)))
        else:
            scores = attention_scores(queries, keys)
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


def test_gradient_of_positions_is_the_sum_over_each_copys_rows(monkeypatch):
    weights = values(6, 2, 3, 3, seed=4)
    scores, positions = values(6, 2, 3, 3), values(2, 2, 3, 3)

    def loss(scores, positions):
        return jnp.sum(add_positions(scores, positions) * weights)

    wanted = np.asarray(weights).reshape(2, 3, 2, 3, 3).sum(1)
    for on_cpu in (True, False):
        monkeypatch.setattr(partition, "on_cpu", lambda on_cpu=on_cpu: on_cpu)
        d_scores, d_positions = jax.grad(loss, (0, 1))(scores, positions)
        np.testing.assert_array_equal(d_scores, weights)
        np.testing.assert_allclose(d_positions, wanted, rtol=0, atol=1e-5)
