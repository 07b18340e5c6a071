"""A study's shards on the machines of a Ray cluster, or of this one.

Every shard is the command `tinyllm study … --shard i/n` in a process of its own, so that it starts
with a fresh JAX, and a shard whose machine is lost goes on elsewhere from what is written in --out.
All machines need this program, and the corpora, the config and --out at the same paths (or in a
bucket).
"""

import os
import subprocess
import sys
from collections.abc import Sequence

from tinyllm_jax.errors import UserError
from tinyllm_jax.progress import Progress

RETRIES = 3  # times that Ray starts a shard again whose machine was lost


def run(arguments: Sequence[str], shards: int) -> list[int]:
    """Runs all shards, each on one GPU where the cluster has GPUs.

    Args:
      arguments: those of `tinyllm study`, without a shard.
      shards: how many.

    Returns:
      The exit code of each shard's command; its output goes to this process's standard error.

    Raises:
      UserError: Ray is not installed, or a shard was lost more than `RETRIES` times.
    """
    try:
        import ray
    except ImportError:
        raise UserError("--ray needs Ray: pip install 'tinyllm_jax[ray]'") from None
    ray.init(ignore_reinit_error=True)
    command = [sys.executable, "-m", "tinyllm_jax", "study", *arguments]
    gpus = 1 if ray.cluster_resources().get("GPU") else 0
    options = {"num_gpus": gpus, "max_retries": RETRIES, "scheduling_strategy": "SPREAD"}
    shard = ray.remote(**options)(_shard)
    waiting = [
        shard.remote([*command, f"--shard={index}/{shards}"], os.getcwd())
        for index in range(shards)
    ]
    order, codes = list(waiting), {}
    progress = Progress("study", shards, "shards")
    try:
        while waiting:
            done, waiting = ray.wait(waiting)
            codes[done[0]] = ray.get(done[0])
            progress.update(len(codes))
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"a shard was lost ({reason}); the same command goes on") from error
    finally:
        ray.shutdown()
    progress.close()
    return [codes[each] for each in order]


def _shard(command: list[str], directory: str) -> int:
    """Runs a shard's command; its exit code."""
    return subprocess.run(command, cwd=directory, check=False).returncode
