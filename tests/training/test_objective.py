"""The fused objective against the paper's: a sum of terms, each a mean over its own tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from tinyllm_jax.student import cross_entropy
from tinyllm_jax.training import objective, sharding


def make(rows=6, length=5, vocab=11, width=7, seed=0):
    """States, kernel, targets, and a batch of three terms, with a weight per row, 0 for padding."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(1, vocab, (rows, length))
    targets[np.arange(length) >= rng.integers(1, length + 1, rows)[:, None]] = 0
    hidden, kernel = rng.normal(size=(rows, length, width)), rng.normal(size=(width, vocab))
    term = np.repeat(np.arange(rows)[:, None] % 3, length, 1)
    batch = {
        "targets": targets.astype(np.int32),
        "term": term,
        "weight": (targets != 0).astype(np.float32),
        "scale": np.ones(3, np.float32),
    }
    return jnp.float32(hidden), jnp.float32(kernel), batch


def test_cross_entropy_golden():
    # A uniform student loses ln(4) a token; one that gives the target's logit ln(3) more loses
    # ln(2).
    kernel = np.zeros((1, 4), np.float32)
    kernel[0, 2] = np.log(3)
    loss, tokens = cross_entropy.cross_entropy(
        jnp.float32([[[0], [1]]]), jnp.array(kernel), jnp.array([[1, 2]]), jnp.ones((1, 2))
    )
    np.testing.assert_allclose(tokens, [[np.log(4), np.log(2)]], rtol=1e-6)
    np.testing.assert_allclose(loss, np.log(8), rtol=1e-6)


@pytest.mark.parametrize("chunk", [1024, 20, 6, 1])
def test_loss_and_gradients_equal_those_from_all_logits(monkeypatch, chunk):
    monkeypatch.setattr(cross_entropy, "CHUNK", chunk)
    hidden, kernel, batch = make(rows=8, length=20)
    weight = batch["weight"] * np.random.default_rng(1).random(batch["weight"].shape).astype(
        np.float32
    )

    def whole(hidden, kernel):
        logs = jax.nn.log_softmax(hidden @ kernel)
        return -jnp.sum(jnp.take_along_axis(logs, batch["targets"][..., None], -1)[..., 0] * weight)

    ours = lambda hidden, kernel: (
        cross_entropy.cross_entropy(hidden, kernel, batch["targets"], weight)[0] * 3
    )
    loss, gradients = jax.jit(jax.value_and_grad(ours, (0, 1)))(hidden, kernel)
    whole_gradient = jax.jit(jax.value_and_grad(lambda *a: whole(*a) * 3, (0, 1)))
    wanted, theirs = whole_gradient(hidden, kernel)
    np.testing.assert_allclose(loss, wanted, rtol=1e-6)
    for a, b in zip(gradients, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("tokens", [1, 16, 1000, 1024, 1025, 65 * 104, 31 * 464])
def test_chunks_are_whole_tiles_and_little_is_filled_up(tokens):
    size = cross_entropy._chunk_size(tokens)
    assert size % cross_entropy.TILE == 0 and size <= cross_entropy.CHUNK
    chunks = -(-tokens // size)
    assert chunks == -(-tokens // cross_entropy.CHUNK)
    assert 0 <= chunks * size - tokens < cross_entropy.TILE * chunks


def test_a_number_of_tokens_that_fills_no_chunk():
    # 91 tokens: in one chunk of 96.
    hidden, kernel, batch = make(rows=7, length=13)
    loss, tokens = cross_entropy.cross_entropy(hidden, kernel, batch["targets"], batch["weight"])
    logs = jax.nn.log_softmax(hidden @ kernel)
    wanted = -jnp.take_along_axis(logs, batch["targets"][..., None], -1)[..., 0]
    np.testing.assert_allclose(tokens, wanted, rtol=1e-5)
    np.testing.assert_allclose(loss, jnp.sum(wanted * batch["weight"]), rtol=1e-5)


@pytest.mark.parametrize("shape", [(8, 1, 1), (2, 2, 2), (1, 4, 2)])
def test_shards_equal_one_device(shape):
    mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(shape), sharding.AXES)
    hidden, kernel, batch = make(rows=8, length=20, vocab=16, width=8)
    loss = jax.value_and_grad(lambda h, k: objective.weighted_loss(h, k, batch)[0], (0, 1))
    results = [jax.jit(loss)(hidden, kernel)]
    with jax.set_mesh(mesh):
        results.append(
            jax.jit(loss)(*jax.device_put((hidden, kernel), jax.NamedSharding(mesh, jax.P())))
        )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *results)


def test_memory_does_not_grow_with_tokens_times_vocabulary():
    """The compiled gradient's temporaries: a chunk's logits, whatever the number of tokens."""

    def temporaries(rows):
        shapes = [
            jax.ShapeDtypeStruct(s, d)
            for s, d in (
                ((rows, 128, 16), jnp.float32),
                ((16, 4096), jnp.float32),
                ((rows, 128), jnp.int32),
                ((rows, 128), jnp.float32),
            )
        ]
        loss = lambda h, k, t, w: cross_entropy.cross_entropy(h, k, t, w)[0]
        return (
            jax.jit(jax.grad(loss, (0, 1)))
            .lower(*shapes)
            .compile()
            .memory_analysis()
            .temp_size_in_bytes
        )

    logits = 4 * 4096 * 128
    assert temporaries(64) - temporaries(8) < 56 * logits / 20


def test_fused_loss_is_the_weighted_sum_of_each_terms_mean():
    hidden, kernel, batch = make()
    weights = [1.0, 0.5, 3.0]
    counts = np.bincount(batch["term"].reshape(-1), batch["weight"].reshape(-1))
    batch["scale"] = np.float32(weights / counts)
    loss, sums = objective.weighted_loss(hidden, kernel, batch)
    logits, parts = torch.tensor(np.asarray(hidden @ kernel)), []
    for t in range(3):
        labels = torch.tensor(batch["targets"][t::3]).long()
        labels[labels == 0] = -100
        parts.append(
            torch.nn.functional.cross_entropy(logits[t::3].flatten(0, 1), labels.flatten()).item()
        )
    np.testing.assert_allclose(sums / counts, parts, rtol=1e-5)
    np.testing.assert_allclose(loss, np.dot(weights, parts), rtol=1e-5)


def test_what_weighs_nothing_contributes_nothing():
    hidden, kernel, batch = make()
    batch["weight"][3] = 0
    loss, sums = objective.weighted_loss(hidden, kernel, batch)
    changed = hidden.at[3].add(7.0)
    again, sums_again = objective.weighted_loss(changed, kernel, batch)
    assert float(loss) == float(again) and sums.tolist() == sums_again.tolist()


def test_row_weights_scale_a_rows_tokens():
    hidden, kernel, batch = make(rows=2)
    batch["term"][:] = 0
    _, tokens = cross_entropy.cross_entropy(hidden, kernel, batch["targets"], batch["weight"])
    rows = np.asarray(tokens * batch["weight"]).sum(1)
    batch["weight"][1] *= 0.25
    np.testing.assert_allclose(
        objective.weighted_loss(hidden, kernel, batch)[0], rows[0] + rows[1] / 4, rtol=1e-6
    )
