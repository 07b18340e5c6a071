"""How a command that computes with jax begins."""

import os
from pathlib import Path
from typing import Any

from etils import epath

from tinyllm_jax import storage
from tinyllm_jax.errors import UserError

COMPILED = "compiled"  # the directory of compiled programs
LOST_AFTER = 50  # seconds without a sign of a process after which the others end


def prepare(distributed: bool = False, shared: epath.Path | None = None) -> None:
    """Imports jax quietly, with compiled programs kept between runs.

    They are kept on this machine, but those of several processes in the directory that these share:
    of such processes the first alone keeps what it compiles, and the others are to find it.

    Args:
      distributed: join the processes that work as one.
      shared: a directory that all of them see; None for none.

    Raises:
      UserError: the processes are not found, or there is no device of the platform that
        JAX_PLATFORMS names.
    """
    import logging

    if distributed and shared is not None:
        compiled = storage.absolute(shared) / COMPILED
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        compiled = cache / "tinyllm_jax" / COMPILED
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compiled))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    # transformers warns that torch is absent; nothing here needs it.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    import jax
    from absl import logging as absl_logging

    # What Orbax logs as an error it raises too, and is told in one line.
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.getLogger("jax").setLevel(logging.ERROR)
    # It warns when there is an accelerator that it cannot use.
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.WARNING)
    if distributed:
        _join()
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as e:  # the latter for CUDA without its plugin
        reason = " ".join(str(e).split())[:200] or "it is not installed for such a device"
        raise UserError(
            f"JAX_PLATFORMS is '{os.environ.get('JAX_PLATFORMS', '')}' and jax finds no such "
            f"device: {reason}; install jax for it (pip install 'jax[cuda12]' or 'jax[tpu]'), or "
            "unset JAX_PLATFORMS"
        ) from None


def is_first() -> bool:
    """Whether this process writes and speaks: the first of those that work as one."""
    import jax

    return jax.process_index() == 0


def _join() -> None:
    """Joins the processes that work as one."""
    import jax

    lost: dict[str, Any] = {"heartbeat_timeout_seconds": LOST_AFTER}
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    address, count, index = (os.environ.get(name) for name in names)
    try:
        if address and count and index:
            jax.distributed.initialize(address, int(count), int(index), **lost)
        else:
            # jax asks the machine: Cloud TPU, Slurm, Open MPI, Kubernetes.
            jax.distributed.initialize(**lost)
    except (ValueError, RuntimeError) as e:
        raise UserError(
            f"--distributed: {e}; elsewhere than on a TPU or Slurm, set {', '.join(names)}"
        ) from e
