"""The whole T5 against Hugging Face's: encoder, decoder, logits, loss, gradients; and under jit."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from oracle import BOTH, T5_11, apply, batch, close, encode, random_params

from tinyllm_jax.student import hf, model


def _loss(config, params, inputs, targets, key=None):
    """Mean cross-entropy over the target tokens."""
    logits = model.apply(config, params, inputs, model.shift_right(targets), key)
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=-1)[..., 0]
    return -jnp.sum(chosen * (targets != 0)) / jnp.sum(targets != 0)


def _run(oracle, inputs, **arguments):
    """The oracle's output; the inputs' padding is masked, for which transformers must be asked."""
    torch = pytest.importorskip("torch")
    inputs = torch.tensor(inputs, dtype=torch.long)
    arguments = {k: torch.tensor(v, dtype=torch.long) for k, v in arguments.items()}
    return oracle(input_ids=inputs, attention_mask=(inputs != 0).long(), **arguments)


def test_encoder(twins):
    config, params, oracle = twins
    inputs = batch()
    theirs = _run(oracle.encoder, inputs).last_hidden_state
    ours = encode(config, params, inputs)
    real = (inputs != 0)[..., None]
    close(ours * real, theirs.detach().numpy() * real, 1e-5)


def test_decoder_and_logits(twins):
    config, params, oracle = twins
    inputs, targets = batch(), batch(1, length=20)
    theirs = _run(oracle, inputs, decoder_input_ids=np.asarray(model.shift_right(targets))).logits
    ours = apply(config, params, inputs, model.shift_right(targets))
    assert ours.dtype == jnp.float32
    close(ours, theirs, 1e-4)


def test_loss_with_padding(twins):
    config, params, oracle = twins
    inputs, targets = batch(2), batch(3, length=9)
    theirs = _run(oracle, inputs, labels=np.where(targets, targets, -100)).loss.item()
    ours = float(jax.jit(_loss, static_argnums=0)(config, params, inputs, targets))
    assert abs(ours - theirs) < 1e-5 and theirs > 1


def test_gradient_of_every_leaf(twins):
    config, params, oracle = twins
    inputs, targets = batch(4), batch(5, length=20)
    oracle.zero_grad()
    _run(oracle, inputs, labels=np.where(targets, targets, -100)).loss.backward()
    ours = jax.jit(jax.grad(_loss, argnums=1), static_argnums=0)(config, params, inputs, targets)
    ours = traverse_util.flatten_dict(ours, sep="/")
    theirs = dict(oracle.named_parameters())
    names = hf.tensor_names(ours)
    assert {path for path, _ in names.values()} == set(ours) and set(names) == set(theirs)
    for name, (path, layer) in names.items():
        ours_here = np.asarray(ours[path] if layer is None else ours[path][layer])
        wanted = theirs[name].grad.numpy()
        wanted = wanted.T if path.endswith("/kernel") else wanted
        assert np.abs(wanted).max() > 1e-4, name
        np.testing.assert_allclose(ours_here, wanted, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("version", BOTH)
def test_several_targets_per_question_equal_one_by_one(version):
    config = BOTH[version]
    params, inputs, targets = (
        random_params(config),
        jnp.asarray(batch()),
        batch(1, rows=12, length=8),
    )
    encoded = encode(config, params, inputs)
    decode = jax.jit(model.decode, static_argnums=0)
    together = decode(config, params, targets, encoded, inputs)
    repeated = decode(
        config, params, targets, jnp.repeat(encoded, 3, axis=0), jnp.repeat(inputs, 3, axis=0)
    )
    close(together, repeated, 1e-5)


def test_padding_changes_nothing():
    params, inputs, targets = random_params(T5_11), batch(), batch(1, length=8)
    plain = apply(T5_11, params, inputs, targets)
    padded = apply(
        T5_11, params, np.pad(inputs, ((0, 2), (0, 7))), np.pad(targets, ((0, 2), (0, 3)))
    )
    assert np.isfinite(padded).all()
    close(padded[:4, :8], plain, 1e-5)


def test_remat_equals_plain():
    params, inputs, targets = random_params(T5_11), batch(), batch(1)
    grad = jax.jit(jax.value_and_grad(_loss, argnums=1), static_argnums=0)
    plain = grad(T5_11, params, inputs, targets)
    remat = grad(dataclasses.replace(T5_11, remat=True), params, inputs, targets)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), remat, plain)
    rematerialised = functools.partial(_loss, dataclasses.replace(T5_11, remat=True))
    assert "remat" in str(jax.make_jaxpr(rematerialised)(params, inputs, targets))


def test_bfloat16_computes_near_float32_with_float32_parameters_and_logits():
    low = dataclasses.replace(T5_11, dtype="bfloat16")
    params = random_params(low)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert encode(low, params, batch()).dtype == jnp.bfloat16
    exact, near = (apply(config, params, batch(), batch(1)) for config in (T5_11, low))
    assert near.dtype == jnp.float32
    error = float(jnp.abs(near - exact).mean() / jnp.abs(exact).mean())
    assert 1e-4 < error < 0.05


def test_dropout_is_a_function_of_the_key():
    params, inputs, targets = random_params(T5_11), batch(), batch(1)
    one, again, other, none = (
        apply(T5_11, params, inputs, targets, key)
        for key in (jax.random.key(0), jax.random.key(0), jax.random.key(1), None)
    )
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.1 and np.abs(one - none).max() > 0.1
    off = dataclasses.replace(T5_11, dropout_rate=0.0)
    np.testing.assert_array_equal(apply(off, params, inputs, targets, jax.random.key(0)), none)


def test_compiles_once_per_shape():
    # A wrapper of its own: jit shares its cache between wrappers of one function.
    step = jax.jit(lambda *arguments: model.apply(*arguments), static_argnums=0)
    for seed in range(3):
        config = dataclasses.replace(T5_11)  # equal, but another object
        step(config, random_params(config, seed), batch(seed), batch(seed + 1))
    assert step._cache_size() == 1


def test_parameter_tree():
    shapes = traverse_util.flatten_dict(model.param_shapes(T5_11), sep="/")
    assert shapes["encoder/layers/self_attention/q/kernel"].shape == (3, 24, 21)
    assert shapes["decoder/layers/cross_attention/o/kernel"].shape == (2, 21, 24)
    assert shapes["encoder/relative_bias"].shape == (8, 3)
    assert "lm_head/kernel" in shapes and "lm_head" not in model.param_shapes(BOTH["1.0"])
    drawn = jax.eval_shape(functools.partial(model.init_params, T5_11), jax.random.key(0))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), drawn) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), model.param_shapes(T5_11)
    )


def test_initialisation():
    config = dataclasses.replace(
        T5_11, d_model=256, d_kv=64, d_ff=512, num_heads=8, vocab_size=1000
    )
    params = jax.jit(model.init_params, static_argnums=0)(config, jax.random.key(0))
    flat = traverse_util.flatten_dict(params, sep="/")
    want = {
        "embedding": 1,
        "encoder/layers/self_attention/q/kernel": (256 * 64) ** -0.5,
        "decoder/layers/cross_attention/v/kernel": 256**-0.5,
        "decoder/layers/self_attention/o/kernel": 512**-0.5,
        "encoder/layers/feed_forward/wi_0/kernel": 256**-0.5,
        "encoder/layers/feed_forward/wo/kernel": 512**-0.5,
    }
    for path, std in want.items():
        assert abs(float(flat[path].std()) / std - 1) < 0.03, path
    layers = flat["encoder/layers/self_attention/q/kernel"]
    assert np.abs(layers[0] - layers[1]).max() > 0.01


def test_shift_right():
    np.testing.assert_array_equal(model.shift_right(np.array([[5, 6, 1, 0]])), [[0, 5, 6, 1]])
