"""The fused objective against the paper's: a sum of terms, each the mean over its own target tokens."""

import jax.numpy as jnp
import numpy as np
import torch

from tinyllm_jax.training import objective


def make(rows=6, length=5, vocab=11, seed=0):
    rng = np.random.default_rng(seed)
    targets = rng.integers(1, vocab, (rows, length))
    targets[np.arange(length) >= rng.integers(1, length + 1, rows)[:, None]] = 0
    return rng.normal(size=(rows, length, vocab)).astype(np.float32), targets.astype(np.int32)


def test_cross_entropy_golden():
    # A uniform student loses ln(4) a token; one that gives the target's logit ln(3) more loses ln(2).
    logits = np.zeros((1, 3, 4), np.float32)
    logits[0, 1, 2] = np.log(3)
    found = objective.cross_entropy(jnp.array(logits), jnp.array([[1, 2, 0]]))
    np.testing.assert_allclose(found, [[np.log(4), np.log(2), 0]], rtol=1e-6)


def test_fused_loss_is_the_weighted_sum_of_each_terms_mean():
    logits, targets = make()
    term, weights = np.array([0, 1, 2, 0, 1, 2]), [1.0, 0.5, 3.0]
    counts = np.bincount(term, (targets != 0).sum(1))
    batch = {"targets": targets, "term": term, "weight": np.ones(6, np.float32), "scale": np.float32(weights / counts)}
    loss, sums = objective.weighted_loss(jnp.array(logits), batch)
    parts = []
    for t in range(3):
        labels = torch.tensor(targets[term == t]).long()
        labels[labels == 0] = -100
        parts.append(torch.nn.functional.cross_entropy(torch.tensor(logits[term == t]).flatten(0, 1), labels.flatten()).item())
    np.testing.assert_allclose(sums / counts, parts, rtol=1e-5)
    np.testing.assert_allclose(loss, np.dot(weights, parts), rtol=1e-5)


def test_a_missing_rationale_contributes_nothing():
    logits, targets = make()
    batch = {"targets": targets, "term": np.array([0, 1] * 3), "weight": np.float32([1, 1, 1, 0, 1, 1]),
             "scale": np.float32([0.1, 0.2])}
    loss, sums = objective.weighted_loss(jnp.array(logits), batch)
    changed = logits.copy()
    changed[3] += 7 * np.random.default_rng(1).normal(size=changed[3].shape)
    again, sums_again = objective.weighted_loss(jnp.array(changed), batch)
    assert float(loss) == float(again) and sums.tolist() == sums_again.tolist()
    kept = [0, 1, 2, 4, 5]
    part = {k: v[kept] for k, v in batch.items() if k != "scale"} | {"scale": batch["scale"]}
    np.testing.assert_allclose(objective.weighted_loss(jnp.array(logits[kept]), part)[0], loss, rtol=1e-6)


def test_row_weights_scale_a_rows_tokens():
    logits, targets = make(rows=2)
    batch = {"targets": targets, "term": np.zeros(2, int), "weight": np.float32([1, 0.25]), "scale": np.float32([1.0])}
    tokens = np.asarray(objective.cross_entropy(jnp.array(logits), jnp.array(targets))).sum(1)
    np.testing.assert_allclose(objective.weighted_loss(jnp.array(logits), batch)[0], tokens[0] + tokens[1] / 4, rtol=1e-6)
