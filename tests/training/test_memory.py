"""Memory that is full: one line, with what to change."""

import jax
import jax.numpy as jnp
import pytest

from tinyllm_jax.errors import UserError
from tinyllm_jax.training import memory
from tinyllm_jax.training.run import Run, StudentSpec


def test_full_memory_is_told_with_the_mend():
    run = Run(accumulate=2, student=StudentSpec(dtype="bfloat16"))
    with pytest.raises(UserError) as e, memory.exhaustion_told(run):
        jax.jit(lambda: jnp.ones((1 << 22, 1 << 26)))()
    line = str(e.value)
    assert "\n" not in line and "memory is full (" in line
    assert "config.accumulate=4, config.student.remat=True, a larger config.mesh.fsdp" in line


def test_other_errors_stay():
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), memory.exhaustion_told(Run()):
        raise jax.errors.JaxRuntimeError("INTERNAL: a bug")


def test_what_a_run_does_already_is_not_proposed():
    student = StudentSpec(dtype="bfloat16", remat=True)
    mends = memory.mends(Run(batch_size=4, accumulate=4, student=student))
    assert "accumulate" not in mends and "remat" not in mends and "dtype" not in mends
