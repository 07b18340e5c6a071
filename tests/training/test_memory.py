"""Memory that is full: one line, with what to change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tinyllm_jax.errors import UserError
from tinyllm_jax.training import memory, sharding
from tinyllm_jax.training.data import Batches
from tinyllm_jax.training.run import MeshShape, Run, StudentSpec
from tinyllm_jax.training.tokens import Ragged, Tokens


def test_full_memory_is_told_with_the_mend():
    run = Run(accumulate=2, student=StudentSpec(dtype="bfloat16"))
    with pytest.raises(UserError) as e, memory.exhaustion_told(run):
        jax.jit(lambda: jnp.ones((1 << 22, 1 << 26)))()
    line = str(e.value)
    assert "\n" not in line and "memory is full (" in line
    assert "config.accumulate=4, config.student.remat=True, config.optimizer.name=adafactor" in line


def test_other_errors_stay():
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), memory.exhaustion_told(Run()):
        raise jax.errors.JaxRuntimeError("INTERNAL: a bug")


def test_what_a_run_does_already_is_not_proposed():
    student = StudentSpec(dtype="bfloat16", remat=True)
    mends = memory.mends(Run(batch_size=4, accumulate=4, student=student))
    assert "accumulate" not in mends and "remat" not in mends and "dtype" not in mends
    assert "config.optimizer.name=adafactor, a larger config.mesh.fsdp (now 1)" in mends


def test_as_few_microbatches_as_fit():
    mesh = sharding.make_mesh(MeshShape(), jax.devices()[:1])

    def batches() -> Batches:
        ids = [list(range(2, 18)) for _ in range(16)]
        weight = np.ones((1, 16), np.float32)
        return Batches(Tokens([Ragged(ids)], [Ragged(ids)], weight, {}), [1.0], 16, 0, buckets=1)

    @jax.jit
    def step(state, batch):  # it makes an array as large as a microbatch's rows
        return state["wide"] * batch["inputs"][0, :, :1]

    state = {"wide": jax.ShapeDtypeStruct((4096,), jnp.int32)}

    def chosen(size: float | None) -> int:
        made = batches()
        memory.split(made, step, state, mesh, size)
        assert made(0)["inputs"].shape[0] == made.accumulate
        return made.accumulate

    whole = batches()
    with jax.set_mesh(mesh):
        program = memory.compiled(step.lower(state, sharding.batch_shapes(whole(0), mesh)))
    assert isinstance(program, jax.stages.Compiled)
    needed = memory.peak(program)
    assert needed
    assert chosen(None) == chosen(needed) == 1  # nobody knows what a CPU has
    assert chosen(needed - 1) == 2
    # Where nothing fits, a microbatch has one row.
    assert chosen(1.0) == whole(0)["inputs"].shape[1] > 2


@pytest.mark.parametrize("options", [None, {}, {"xla_cpu_enable_fast_math": False}])
def test_what_is_compiled_to_choose_is_not_compiled_again(options):
    compiled = []
    listen = lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
    jax.monitoring.register_event_duration_secs_listener(listen)
    step = jax.jit(lambda x: x + 1, compiler_options=options)
    shape = lambda: jax.ShapeDtypeStruct((3, 5), jnp.float32)
    try:
        assert isinstance(memory.compiled(step.lower(shape())), jax.stages.Compiled)
        assert len(compiled) == 1
        assert isinstance(memory.compiled(step.trace(shape()).lower()), jax.stages.Compiled)
        assert len(compiled) == 1
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
