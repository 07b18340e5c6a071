"""The plan of a run for devices that are not here."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from tinyllm_jax.errors import UserError
from tinyllm_jax.student import partition
from tinyllm_jax.training import plan, sharding, topologies
from tinyllm_jax.training.run import MeshShape

REPO = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "name, words",
    [
        ("v5e-8x", "write it like v5e-8"),
        ("v9-8", "write it like v5e-8"),
        ("v5e-3", "known: v5e-1, v5e-4, v5e-8"),
        ("h100x0", "write it like v5e-8"),
    ],
)
def test_an_unknown_topology_is_told_with_the_known_ones(name, words):
    with pytest.raises(UserError, match=words):
        topologies.find(name)


def test_an_absent_compiler_is_told_with_its_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'tinyllm_jax\[tpu\]'"):
        topologies.find("v5e-8")
    with pytest.raises(UserError, match=r"pip install 'tinyllm_jax\[cuda12\]'"):
        topologies.find("h100x8")


@pytest.mark.parametrize(
    "error, gib",
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
            "temporaries (22.74G) exceeds available HBM (15.75G).",
            22.74,
        ),
        ("RESOURCE_EXHAUSTED: Used 512.0M of 256.0M hbm.", 0.5),
        ("RESOURCE_EXHAUSTED: something else", None),
    ],
)
def test_how_much_memory_a_misfit_needs(error, gib):
    assert plan.needed_bytes(error) == (None if gib is None else gib * 2**30)


def test_flops_of_a_traced_program():
    def step(x, w):
        return jax.lax.scan(lambda y, w: (jnp.einsum("bi,io->bo", y, w), None), x, w)[0]

    shapes = jnp.zeros((3, 4)), jnp.zeros((5, 4, 4))
    assert plan.product_flops(jax.make_jaxpr(step)(*shapes).jaxpr) == 5 * 2 * 3 * 4 * 4


def test_flops_of_a_program_in_parts():
    """What every part of the mesh computes counts as often as there are parts."""
    mesh = sharding.make_mesh(MeshShape(data=4, fsdp=2))

    def step(x, w):
        return partition.sum_over_data(lambda w, x: x @ w, w, x)

    shapes = jnp.zeros((3, 8, 4)), jnp.zeros((4, 5))
    with jax.set_mesh(mesh):
        assert plan.product_flops(jax.make_jaxpr(step)(*shapes).jaxpr) == 2 * 3 * 8 * 4 * 5


def _plan(corpus, *more: str) -> subprocess.CompletedProcess:
    """`tinyllm plan` of the demonstration's student, as a process of its own: libtpu is loaded."""
    pytest.importorskip("libtpu", reason="the TPUs' compiler is not installed (extra tpu)")
    quickstart = REPO / "configs" / "quickstart.py"
    command = ["-m", "tinyllm_jax", "plan", "--config", quickstart, "--corpus", corpus, *more]
    return subprocess.run(
        [sys.executable, *map(str, command)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(REPO), *sys.path]))},
        capture_output=True,
        text=True,
    )


def test_a_small_step_on_absent_tpus(things_corpus):
    done = _plan(things_corpus, "--topology", "v5e-4", "--config.student.dtype=bfloat16")
    assert done.returncode == 0, done.stderr
    assert (
        "mesh data=4 × fsdp=1 × tensor=1" in done.stdout
        and "15.75 GiB a device: fits" in done.stdout
    )
    assert "at least" in done.stdout and "all-reduce" in done.stdout
