"""The train step: microbatches, meshes, LoRA, compilation."""

import dataclasses
import functools
import re

import jax
import numpy as np
import pytest
from flax import traverse_util
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from tinyllm_jax.errors import UserError
from tinyllm_jax.student import lora, model, partition
from tinyllm_jax.student.config import StudentConfig
from tinyllm_jax.training import data, hlo, optimizer, sharding
from tinyllm_jax.training.run import MeshShape, Optimizer
from tinyllm_jax.training.step import all_finite, init_state, make_step
from tinyllm_jax.training.tokens import Ragged, Tokens

pytestmark = pytest.mark.usefixtures("quick_compilation")

STUDENT = StudentConfig(64, 32, 8, 48, 2, 2, 8, dropout_rate=0.1)


def tokens(n=24, seed=0) -> Tokens:
    """Two terms over random ids; a third of the second term is missing; lengths differ widely."""
    rng = np.random.default_rng(seed)
    weight = np.ones((2, n), np.float32)
    weight[1, ::3] = 0
    weight[1, 1::3] = 0.5
    rows = lambda most, has: Ragged(
        [rng.integers(2, 64, rng.integers(1, most)).tolist() if h else [] for h in has]
    )
    every = np.ones(n)
    return Tokens(
        [rows(20, every), rows(20, every)], [rows(4, weight[0]), rows(30, weight[1])], weight, {}
    )


def run(
    student,
    mesh_shape=(1, 1, 1),
    accumulate=1,
    steps=3,
    name="adamw",
    clip=0.0,
    params=None,
    spoiled=(),
    buckets=1,
):
    """Steps on a mesh; the losses, and the parameters at the end, on the host.

    The gradients of the `spoiled` steps are not finite. The step is compiled for at most `buckets`
    shapes of batches.
    """
    # With 1e-8 Adam turns the rounding of a gradient near 0 into a step of full size.
    fields = Optimizer(name=name, learning_rate=1e-2, clip_norm=clip, eps=1e-3)
    count = int(np.prod(mesh_shape))
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:count]).reshape(mesh_shape), sharding.AXES)
    tx = optimizer.make_optimizer(fields, 10)
    init = functools.partial(init_state, optimizer=tx, lora_only=student.lora_rank > 0)
    params = model.init_params(student, jax.random.key(0)) if params is None else params
    shardings = sharding.state_shardings(jax.eval_shape(init, params), mesh)
    state = jax.jit(init, out_shardings=shardings)(params)
    batches = data.Batches(
        tokens(), [1.0, 0.7], 8, 0, buckets, True, accumulate, mesh_shape[0] * mesh_shape[1]
    )
    step = jax.jit(
        make_step(student, tx, 0),
        donate_argnums=0,
        out_shardings=(shardings, NamedSharding(mesh, P())),
    )
    losses = []
    for i in range(steps):
        batch = batches(i)
        batch.pop("tokens")
        if i in spoiled:
            batch["scale"] = np.array([1, np.inf], np.float32)
        with jax.set_mesh(mesh):
            state, out = step(state, sharding.to_global(batch, mesh, sharding.BATCH))
        losses.append(float(out["loss"]))
        assert bool(out["skipped"]) == (i in spoiled)
    return losses, jax.tree.map(np.asarray, state["params"]), step


@functools.cache
def one_device(name="adamw"):
    losses, params, _ = run(STUDENT, name=name)
    return losses, params


def assert_close(a, b, rtol=1e-4, atol=1e-5):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol), a, b)


def test_microbatches_of_unequal_token_counts_equal_the_whole_batch():
    student = dataclasses.replace(STUDENT, dropout_rate=0.0)
    whole, params, _ = run(student, clip=1.0)
    for accumulate in (2, 4):
        losses, other, _ = run(student, accumulate=accumulate, clip=1.0)
        np.testing.assert_allclose(losses, whole, rtol=1e-5)
        assert_close(other, params)


@pytest.mark.parametrize("mesh", [(8, 1, 1), (1, 8, 1), (1, 1, 8), (2, 2, 2), (1, 4, 2)])
def test_meshes_equal_one_device(mesh):
    # Dropout is on: its bits must not depend on the mesh either.
    one, params = one_device()
    losses, other, _ = run(STUDENT, mesh)
    np.testing.assert_allclose(losses, one, rtol=1e-5)
    assert_close(other, params)


def test_what_other_devices_than_cpus_compute_is_the_same(monkeypatch):
    """The loss and the parameters, on a mesh that does not divide the heads."""
    student = dataclasses.replace(STUDENT, num_heads=6)
    wanted, after, _ = run(student, steps=1)
    monkeypatch.setattr(partition, "on_cpu", lambda: False)
    losses, other, _ = run(student, (2, 1, 4), steps=1)
    np.testing.assert_allclose(losses, wanted, rtol=1e-5)
    assert_close(other, after)


def test_adafactor_on_a_mesh_equals_one_device():
    one, params = one_device("adafactor")
    losses, other, _ = run(STUDENT, (1, 4, 2), name="adafactor")
    np.testing.assert_allclose(losses, one, rtol=1e-5)
    assert_close(other, params)


def test_the_step_compiles_once_per_shape():
    _, _, step = run(STUDENT, steps=9, buckets=2)
    assert step._cache_size() == len(data.Batches(tokens(), [1.0, 0.7], 8, 0, 2).shapes()) == 2


@functools.cache
def compiled(student, mesh_shape, rows, accumulate=1) -> str:
    """The text of the step, compiled for a mesh of the eight devices and rows of 32 tokens."""
    mesh = sharding.make_mesh(MeshShape(*mesh_shape))
    tx = optimizer.make_optimizer(Optimizer(), 10)
    state = jax.eval_shape(
        functools.partial(init_state, optimizer=tx, lora_only=False), model.param_shapes(student)
    )
    shardings = sharding.state_shardings(state, mesh)
    zeros = np.zeros((accumulate, rows // accumulate, 32), np.int32)
    ids = ("inputs", "input_segments", "targets", "target_segments", "target_inputs", "term")
    batch = dict.fromkeys(ids, zeros)
    batch |= {"weight": zeros.astype(np.float32), "scale": np.ones(2, np.float32)}
    with jax.set_mesh(mesh):
        step = sharding.jit_step(make_step(student, tx, 0), shardings, mesh)
        shapes = sharding.batch_shapes(batch, mesh)
        program = step.lower(sharding.placed(state, shardings), shapes).compile()
    text = program.as_text()
    assert text is not None
    return text


def test_fully_sharded_kernels_are_gathered_and_activations_stay():
    """In the layers' loops of the compiled step, kernels move, and nothing larger than one does."""
    text = compiled(STUDENT, (2, 4, 1), rows=64)
    inside = [
        line
        for line in text.splitlines()
        if "while/body" in line and re.search(r" all-(gather|reduce|to-all)(-start)?\(", line)
    ]
    moved = [
        int(np.prod([int(d) for d in dims.split(",") if d]))
        for line in inside
        for dims in re.findall(r"f32\[([\d,]*)\]", re.search(r"= (.*?) all-", line).group(1))
    ]
    gathered = sum(" all-gather" in line for line in inside)
    kernels = {
        int(np.prod(x.shape[1:]))
        for x in jax.tree.leaves(model.param_shapes(STUDENT))
        if len(x.shape) == 3
    }
    assert (
        max(moved) <= max(kernels) and gathered >= 2 * 18
    )  # seven kernels an encoder layer, eleven a decoder layer, twice


def test_the_output_projections_gradient_is_scattered():
    """Once, in float32: each device gets the rows that it stores, and not the whole sum."""
    moved = hlo.collectives(compiled(STUDENT, (2, 4, 1), rows=64))
    assert moved["reduce-scatter"] == hlo.Moved(1, 4 * (STUDENT.d_model // 4) * STUDENT.vocab_size)


def test_gradients_cross_the_data_axis_once_in_float32():
    """Whatever the number of microbatches, and whatever the student computes in."""
    student = dataclasses.replace(STUDENT, dtype="bfloat16")
    moved = hlo.collectives(compiled(student, (8, 1, 1), rows=16, accumulate=2))
    numbers = sum(x.size for x in jax.tree.leaves(model.param_shapes(student)))
    others = 1 + 2  # the loss and the terms' sums
    assert moved.keys() == {"all-reduce"} and moved["all-reduce"].size == 4 * (numbers + others)


def test_the_same_seed_gives_the_same_bits():
    a, params = one_device()
    b, again, _ = run(STUDENT)
    assert a == b
    jax.tree.map(np.testing.assert_array_equal, params, again)


def test_lora_trains_alone():
    student = dataclasses.replace(STUDENT, lora_rank=4, lora_targets=("q", "v", "wo"))
    params = lora.add_lora(
        student, model.init_params(STUDENT, jax.random.key(0)), jax.random.key(1)
    )
    before = traverse_util.flatten_dict(jax.tree.map(np.asarray, params), sep="/")
    losses, after, _ = run(student, steps=6, params=params)
    after = traverse_util.flatten_dict(after, sep="/")
    changed = {k for k in before if not np.array_equal(before[k], after[k])}
    assert changed == {k for k in before if "lora_" in k}
    assert sum(losses[3:]) < sum(losses[:3])  # the same questions again
    sharded, _, _ = run(student, (1, 4, 2), steps=6, params=jax.tree.map(np.asarray, params))
    np.testing.assert_allclose(sharded, losses, rtol=1e-5)


EXPECTED = {
    "embedding": P("tensor", "fsdp"),
    "lm_head/kernel": P("fsdp", "tensor"),
    **{f"{stack}/relative_bias": P() for stack in ("encoder", "decoder")},
    **{f"{stack}/final_norm/scale": P() for stack in ("encoder", "decoder")},
}
for stack, blocks in (
    ("encoder", ("self_attention",)),
    ("decoder", ("self_attention", "cross_attention")),
):
    for block in (*blocks, "feed_forward"):
        EXPECTED[f"{stack}/layers/{block}_norm/scale"] = P()
    for block in blocks:
        EXPECTED |= {f"{stack}/layers/{block}/{n}/kernel": P(None, "fsdp", "tensor") for n in "qkv"}
        EXPECTED[f"{stack}/layers/{block}/o/kernel"] = P(None, "tensor", "fsdp")
    EXPECTED |= {
        f"{stack}/layers/feed_forward/{n}/kernel": P(None, "fsdp", "tensor")
        for n in ("wi_0", "wi_1")
    }
    EXPECTED[f"{stack}/layers/feed_forward/wo/kernel"] = P(None, "tensor", "fsdp")


def test_every_leafs_spec():
    shapes = traverse_util.flatten_dict(model.param_shapes(STUDENT), sep="/")
    assert {k: sharding.spec(k, v.shape) for k, v in shapes.items()} == EXPECTED


def test_moments_are_sharded_as_their_parameters():
    mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(1, 4, 2), sharding.AXES)
    tx = optimizer.make_optimizer(Optimizer(), 10)
    state = jax.eval_shape(
        lambda: init_state(model.init_params(STUDENT, jax.random.key(0)), tx, False)
    )
    found = sharding.state_shardings(state, mesh)
    params = traverse_util.flatten_dict(found["params"], sep="/")
    moments = [s for s in jax.tree.leaves(found["opt_state"]) if s.spec != P()]
    assert len(moments) == 2 * sum(s.spec != P() for s in params.values())


def test_an_unknown_leaf_and_an_indivisible_one_are_refused():
    with pytest.raises(ValueError, match="no sharding rule matches the leaf params/new_thing"):
        sharding.spec("params/new_thing", (4, 4))
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:3]).reshape(1, 1, 3), sharding.AXES)
    with pytest.raises(UserError, match="tensor=3 does not divide the dimension 64 of params"):
        sharding.state_shardings({"params": model.param_shapes(STUDENT)}, mesh)


@pytest.mark.parametrize(
    "shape, words",
    [
        ((3, 1, 1), "does not fit 8 device"),
        ((-1, 3, 1), "does not fit 8 device"),
        ((-1, -1, 1), "unknown mesh shape"),
        ((0, 1, 1), "unknown mesh shape"),
        ((2, 2, 1), "the product must be 8"),
    ],
)
def test_mesh_shapes_that_do_not_fit(shape, words):
    with pytest.raises(UserError, match=words):
        sharding.make_mesh(MeshShape(*shape))


def test_mesh_takes_what_is_left():
    mesh = sharding.make_mesh(MeshShape(data=-1, fsdp=2, tensor=2))
    assert dict(mesh.shape) == {"data": 2, "fsdp": 2, "tensor": 2}


def test_a_step_that_is_not_finite_changes_nothing():
    losses, params = one_device()
    with_one_more, after, _ = run(STUDENT, steps=4, spoiled=(3,))
    assert with_one_more[:3] == losses and not np.isfinite(with_one_more[3])
    jax.tree.map(np.testing.assert_array_equal, after, params)


def test_what_is_no_use_is_not_finite():
    tx = optimizer.make_optimizer(Optimizer(), 10)
    params = {"w": np.ones(3, np.float32)}
    state = init_state(params, tx, lora_only=False)
    assert all_finite(state)
    for value in (np.nan, np.inf, 1e30):  # the last is finite, and its square is not
        assert not all_finite(state | {"params": {"w": np.array([1, value], np.float32)}})
    assert not all_finite(state | {"opt_state": {"mu": np.array([1, np.nan], np.float32)}})
