"""Packed rows against one target a row: the same values, losses and gradients."""

import jax
import numpy as np
import pytest
from flax import traverse_util
from test_step import STUDENT, tokens

from tinyllm_jax.batching import epochs
from tinyllm_jax.batching.rows import Lengths
from tinyllm_jax.student import model
from tinyllm_jax.training import data, objective
from tinyllm_jax.training.tokens import Tokens

pytestmark = pytest.mark.usefixtures("quick_compilation")

COUNT = 24


def both(prefix_on_decoder=False):
    """All questions in one batch, packed and one unit a row, without the axis of microbatches."""
    found = tokens(COUNT)
    if prefix_on_decoder:
        found = Tokens(found.inputs[:1], found.targets, found.weight, {}, (0, 1))
    batches = [data.Batches(found, [1.0, 0.7], COUNT, 0, packed=packed) for packed in (True, False)]
    return [{k: v if k in ("scale", "tokens") else v[0] for k, v in b(0).items()} for b in batches]


@pytest.fixture(scope="module")
def params():
    return model.init_params(STUDENT, jax.random.key(0))


@jax.jit
def states(params, batch):
    """Every target token's state and kernel, without dropout."""
    return model.hidden(STUDENT, params, batch)


@jax.jit
def loss_and_gradient(params, batch):
    """The objective with its terms' sums, and the gradient of every parameter."""
    loss = lambda params: objective.weighted_loss(*states(params, batch), batch)
    return jax.value_and_grad(loss, has_aux=True)(params)


def by_target(batch, values):
    """Values of each target's tokens, by its ids and its question's: segment numbers may differ."""
    found = {}
    for segment in np.unique(batch["target_segments"][batch["target_segments"] > 0]):
        at = batch["target_segments"] == segment
        (owner,) = set(batch["target_inputs"][at])
        key = tuple(batch["targets"][at]), tuple(batch["inputs"][batch["input_segments"] == owner])
        found.setdefault(key, []).append(np.asarray(values)[at])
    return found


@pytest.mark.parametrize("prefix_on_decoder", [False, True])
def test_packed_equals_one_target_a_row(prefix_on_decoder, params, monkeypatch):
    monkeypatch.setattr(epochs, "choose_lengths", lambda *_: Lengths(56, 40))
    packed, plain = both(prefix_on_decoder)
    assert len(packed["inputs"]) == len(packed["targets"]) < len(plain["targets"]) / 2
    found = [by_target(b, states(params, b)[0]) for b in (packed, plain)]
    assert found[0].keys() == found[1].keys() and len(found[0]) > 30
    for key, values in found[0].items():
        np.testing.assert_allclose(sum(values), sum(found[1][key]), rtol=1e-5, atol=1e-5)
    (a, sums), gradient = loss_and_gradient(params, packed)
    (b, wanted), other = loss_and_gradient(params, plain)
    np.testing.assert_allclose(a, b, rtol=1e-5)
    np.testing.assert_allclose(sums, wanted, rtol=1e-5)
    other = traverse_util.flatten_dict(other, sep="/")
    for name, value in traverse_util.flatten_dict(gradient, sep="/").items():
        np.testing.assert_allclose(
            value,
            other[name],
            rtol=1e-5,
            atol=1e-5 * float(np.abs(other[name]).max()),
            err_msg=name,
        )


def test_packed_equals_apply_to_each_question_alone(params):
    packed, _ = both()
    hidden, kernel = states(params, packed)
    logits = np.asarray(hidden @ kernel)
    apply = jax.jit(model.apply, static_argnums=0)
    for segment in np.unique(packed["target_segments"])[1:6]:
        at = packed["target_segments"] == segment
        (owner,) = set(packed["target_inputs"][at])
        asked, target = (
            packed["inputs"][packed["input_segments"] == owner][None],
            packed["targets"][at][None],
        )
        alone = apply(STUDENT, params, asked, model.shift_right(target))
        np.testing.assert_allclose(logits[at], alone[0], rtol=1e-5, atol=1e-5)


def test_a_segment_cannot_see_its_neighbour(params):
    packed, _ = both()
    row = next(
        r for r in range(len(packed["inputs"])) if len(np.unique(packed["target_segments"][r])) > 3
    )
    changed = {k: np.array(v) for k, v in packed.items()}
    mine = np.unique(packed["target_segments"][row])[2]
    at = packed["target_segments"][row] == mine
    (owner,) = set(packed["target_inputs"][row][at])
    question = packed["input_segments"][row] == owner
    for side, where in (("targets", at), ("inputs", question)):
        changed[side][row][where] = (packed[side][row][where] + 7) % 60 + 2
    before, after = (np.asarray(states(params, b)[0]) for b in (packed, changed))
    others = (packed["target_inputs"] != owner) & (packed["target_segments"] > 0)
    np.testing.assert_array_equal(before[others], after[others])
    assert np.abs(before[row][at] - after[row][at]).max() > 1e-3
