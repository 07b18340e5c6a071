"""What a run takes of its devices' memory, and what is said where it does not fit."""

import contextlib
from collections.abc import Iterator

import jax
import numpy as np
from jax.sharding import Mesh

from tinyllm_jax.errors import UserError
from tinyllm_jax.training import sharding
from tinyllm_jax.training.data import Batches
from tinyllm_jax.training.run import Run

EXHAUSTED = "RESOURCE_EXHAUSTED"  # how XLA's error for memory begins, on every kind of device


def split(
    batches: Batches, step: jax.stages.Wrapped, state: dict, mesh: Mesh, room: float | None
) -> None:
    """Splits batches into as few microbatches, by halving, as let the largest one's step fit.

    Where even one row a device and microbatch is too much, they stay so, and the step will say it.

    Args:
      batches: of the run, whole.
      step: the train step.
      state: its shapes, with their shardings.
      mesh: over the devices.
      room: the bytes that a program may take of each device; None where nobody knows, as on a CPU,
        and all is taken to fit.
    """
    if room is None:
        return
    while True:
        shape = max(batches.shapes(), key=lambda shape: np.prod(shape, axis=1).sum())
        rows_there = shape.inputs[0] // batches.row_multiple // batches.accumulate
        if rows_there < 2:
            return
        with jax.set_mesh(mesh):
            lowered = step.lower(state, sharding.batch_shapes(batches.first_of(shape), mesh))
            program = compiled(lowered)
        if not isinstance(program, Exception) and peak(program) <= room:
            return
        batches.split(2 * batches.accumulate)


def compiled(lowered: jax.stages.Lowered) -> jax.stages.Compiled | jax.errors.JaxRuntimeError:
    """The program, or the compiler's error where it needs more memory than a device has.

    It is compiled once, however often the same step is lowered for the same shapes: jax keeps it,
    as long as the compiler's options are those of the step (see `sharding.jit_step`).
    """
    try:
        return lowered.compile()
    except jax.errors.JaxRuntimeError as e:
        if EXHAUSTED not in str(e):
            raise
        return e


def peak(program: jax.stages.Compiled) -> float:
    """The bytes of each device that a program needs."""
    told = program.memory_analysis()
    assert told is not None
    return told.peak_memory_in_bytes


@contextlib.contextmanager
def exhaustion_told(run: Run) -> Iterator[None]:
    """Tells in one line that the devices' memory is full; what the run has saved stays.

    Raises:
      UserError: in place of XLA's error.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as e:
        if EXHAUSTED not in str(e):
            raise
        raise UserError(
            f"the devices' memory is full ({reason(e)}); {mends(run)}; "
            "tinyllm plan says beforehand what fits; a run that has a checkpoint goes on from it"
        ) from e


def reason(error: jax.errors.JaxRuntimeError) -> str:
    """The first line of XLA's error, without its code."""
    text = str(error)
    return text[text.find(EXHAUSTED) :].removeprefix(f"{EXHAUSTED}: ").splitlines()[0][:200]


def mends(run: Run) -> str:
    """What of a run to change so that a step needs less memory; what costs least comes first."""
    found = []
    if run.student.dtype == "float32":
        found.append("config.student.dtype=bfloat16")
    if 0 < 2 * run.accumulate <= run.batch_size:  # 0 is chosen, and has tried all
        found.append(f"config.accumulate={2 * run.accumulate}")
    if not run.student.remat:
        found.append("config.student.remat=True")
    if run.optimizer.name == "adamw":
        found.append("config.optimizer.name=adafactor")
    found.append(f"a larger config.mesh.fsdp (now {run.mesh.fsdp}) in place of config.mesh.data")
    return f"try {', '.join(found)}, or more devices"
