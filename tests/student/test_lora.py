"""Low-rank updates: nothing at first, trained alone, the same once merged."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from oracle import T5_11, apply, batch, close, random_params

from tinyllm_jax.errors import UserError
from tinyllm_jax.student import hf, lora, model

CONFIG = dataclasses.replace(
    T5_11, lora_rank=3, lora_alpha=12.0, lora_targets=("q", "v", "wi_0", "wo")
)


@pytest.fixture(scope="module")
def fresh():
    """Base parameters, and the same with fresh updates."""
    base = random_params(T5_11)
    return base, lora.add_lora(CONFIG, base, jax.random.key(0))


def test_fresh_updates_change_nothing(fresh):
    base, params = fresh
    np.testing.assert_array_equal(
        apply(CONFIG, params, batch(), batch(1)), apply(T5_11, base, batch(), batch(1))
    )
    flat = traverse_util.flatten_dict(params, sep="/")
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(
        lambda leaf: leaf.shape, model.param_shapes(CONFIG)
    )
    at = "decoder/layers/cross_attention/v/"
    assert flat[at + "lora_a"].shape == (2, 24, 3) and flat[at + "lora_b"].shape == (2, 3, 21)
    assert (
        abs(float(flat[at + "lora_a"].std()) * 24**0.5 - 1) < 0.3 and not flat[at + "lora_b"].any()
    )
    assert sum(map(lora.is_lora, flat)) == 2 * (
        4 + 6
    )  # q, v and wi_0, wo: once in the encoder's layer; q, v twice


def test_merged_equals_unmerged(fresh):
    rng = np.random.default_rng(0)
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            rng.normal(size=leaf.shape).astype(np.float32) * 0.05
            if path[-1].key == "lora_b"
            else leaf
        ),
        fresh[1],
    )
    config, merged = lora.merge_lora(CONFIG, params)
    assert config.lora_rank == 0 and jax.tree.structure(merged) == jax.tree.structure(fresh[0])
    unmerged = apply(CONFIG, params, batch(), batch(1))
    close(apply(config, merged, batch(), batch(1)), unmerged, 1e-4)
    assert np.abs(unmerged - apply(T5_11, fresh[0], batch(), batch(1))).max() > 0.1


def test_gradient_reaches_every_update(fresh):
    flat = traverse_util.flatten_dict(fresh[1], sep="/")
    updates = {path: leaf for path, leaf in flat.items() if lora.is_lora(path)}

    def loss(updates):
        params = traverse_util.unflatten_dict({**flat, **updates}, sep="/")
        return jnp.square(model.apply(CONFIG, params, batch(), batch(1))).mean()

    grads = jax.jit(jax.grad(loss))(updates)
    for path, grad in grads.items():
        assert bool(jnp.abs(grad).max() > 0) == path.endswith("lora_b"), (
            path
        )  # lora_b is 0, so lora_a's gradient is


def test_refusals(fresh, tmp_path):
    base, params = fresh
    with pytest.raises(UserError, match="merge"):
        hf.save_hf(tmp_path / "m", CONFIG, params)
    with pytest.raises(UserError, match="already"):
        lora.add_lora(CONFIG, params, jax.random.key(0))
    with pytest.raises(UserError, match="lora_rank"):
        lora.add_lora(T5_11, base, jax.random.key(0))
