"""The command `plan`: what a run would need on devices that are not here."""

import os

from absl import flags

from tinyllm_jax import cli_devices, cli_flags
from tinyllm_jax.errors import UserError

# The compilers of absent devices must be kept from looking for them. Cloud TPU's is told what it
# would ask the cloud, which stands for any TPU, and that several processes may load it.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "CUDA_VISIBLE_DEVICES": "-1",
    # What is compiled for absent devices is not kept: it cannot be loaded.
    "JAX_ENABLE_COMPILATION_CACHE": "false",
}


def define_plan(values, argv):
    """Defines the flags of `plan`."""
    cli_flags.define_config(values, argv, "a config file with its argument, as for train")
    flags.DEFINE_string("corpus", "", "the corpus to learn from", values)
    flags.DEFINE_string(
        "topology", "", "the devices: v5e-8, v4-32, … (TPUs), or h100x8 (GPUs of one host)", values
    )
    return "config", "corpus", "topology"


def plan(values) -> None:
    """Compiles a run's steps for devices that are not here: what fits, and the least time a step.

    Each static shape of the run takes minutes of one core. The devices' compiler comes with the
    extra tpu, cuda12 or cuda13 of this package.

    Raises:
      UserError: bad input, an absent compiler, or a shape that does not fit.
    """
    from tinyllm_jax.training.recipes import run_of

    run = run_of(values.config)
    os.environ |= ENVIRONMENT
    cli_devices.prepare()
    from tinyllm_jax.training import memory
    from tinyllm_jax.training.plan import Plan

    found = Plan(run, values.corpus, values.topology)
    axes = " × ".join(f"{axis}={size}" for axis, size in found.mesh.shape.items())
    print(f"devices   {values.topology}  mesh {axes}")
    print(f"student   {run.student.name}  {run.student.dtype}")
    useful = 100 * found.batches.useful_tokens()["both"]
    print(
        f"batch     {run.batch_size} questions  microbatches {found.run.accumulate}  "
        f"{useful:.1f} % of the positions hold a token"
    )
    misfits = 0
    for compiled in found:
        print("\n".join(_lines(compiled, found.topology.chip.memory)), flush=True)
        misfits += not compiled.fits
    if misfits:
        raise UserError(
            f"{misfits} of {len(found.batches.shapes())} shapes do not fit into the memory of "
            f"{values.topology}; {memory.mends(run)}"
        )


def _lines(compiled, room: float) -> list[str]:
    """What is printed of a shape; `room`: the bytes that a device has."""
    (rows, length), (target_rows, target_length) = compiled.shape
    needed = "more" if compiled.memory is None else f"{compiled.memory / 2**30:.2f}"
    verdict = "fits" if compiled.fits else "DOES NOT FIT"
    lines = [
        f"shape     {rows} × {length} + {target_rows} × {target_length}  "
        f"{compiled.batches:,} batches an epoch",
        f"  memory  {needed} of {room / 2**30:.2f} GiB a device: {verdict}",
    ]
    if compiled.seconds is not None:
        lines.append(
            f"  time    at least {1e3 * compiled.seconds:,.2f} ms a step "
            "(estimated: without waiting for memory or other devices)"
        )
        lines.append(
            f"  FLOPs   {compiled.flops / 1e9:,.0f} billion of the model a step: "
            f"MFU at most {100 * compiled.mfu:.1f} %"
        )
    for kind, moved in compiled.moved.items():
        lines.append(f"  moves   {kind} {moved.times:,} times, {moved.size / 1e6:,.1f} MB a device")
    return lines
