"""What is said where a run does not fit into its devices' memory, and what would make it fit."""

import contextlib
from collections.abc import Iterator

import jax

from tinyllm_jax.errors import UserError
from tinyllm_jax.training.run import Run

EXHAUSTED = "RESOURCE_EXHAUSTED"  # how XLA's error for memory begins, on every kind of device


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
    if 2 * run.accumulate <= run.batch_size:
        found.append(f"config.accumulate={2 * run.accumulate}")
    if not run.student.remat:
        found.append("config.student.remat=True")
    found.append(f"a larger config.mesh.fsdp (now {run.mesh.fsdp}) in place of config.mesh.data")
    return f"try {', '.join(found)}, or more devices"
