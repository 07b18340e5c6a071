"""How the train state is stored on the mesh: ordered rules from a leaf's path to its PartitionSpec.

Axes: `data` splits the batch; `fsdp` splits the batch and every matrix; `tensor` splits heads,
hidden units and the vocabulary. Their names, and how the student computes with what is stored here,
stand in `student/partition.py`.

The rules cover the whole train state: the path of an optimizer's moment ends in its parameter's
path. A path that no rule matches raises, so that a new parameter cannot be replicated by accident.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from tinyllm_jax.errors import UserError
from tinyllm_jax.student.partition import AXES, FSDP, ROWS, TENSOR, array_sharding, to_global
from tinyllm_jax.training.run import MeshShape

BATCH = P(None, ROWS)  # (microbatches, rows, ...)
QUESTIONS_SHARE = 0.8  # of a device's memory that parameters may take where questions are asked

# Kernels are (layers, in, out): `tensor` splits the output of q, k, v, wi and the input of o, wo,
# so that a layer's activations meet once per block; `fsdp` splits the other side.
RULES = (
    (r"/(v_row|v_col)/", P()),  # Adafactor's factored moments: vectors
    (r"(scale|relative_bias)$", P()),
    (r"embedding$", P(TENSOR, FSDP)),
    (r"lm_head/kernel$", P(FSDP, TENSOR)),
    (r"/(q|k|v|wi|wi_0|wi_1)/kernel$", P(None, FSDP, TENSOR)),
    (r"/(o|wo)/kernel$", P(None, TENSOR, FSDP)),
    (r"/(q|k|v|wi|wi_0|wi_1)/lora_a$", P(None, FSDP, None)),
    (r"/(q|k|v|wi|wi_0|wi_1)/lora_b$", P(None, None, TENSOR)),
    (r"/(o|wo)/lora_a$", P(None, TENSOR, None)),
    (r"/(o|wo)/lora_b$", P(None, None, FSDP)),
)


def make_mesh(shape: MeshShape, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh `data × fsdp × tensor` over all devices.

    Args:
      shape: the sizes of the axes; one of -1 takes the devices that the others leave.
      devices: None for those of this run.

    Raises:
      UserError: the shape does not fit the devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes, count = [getattr(shape, axis) for axis in AXES], len(devices)
    named = " × ".join(f"{axis}={size}" for axis, size in zip(AXES, sizes, strict=True))
    if sizes.count(-1) > 1 or any(n < 1 and n != -1 for n in sizes):
        raise UserError(
            f"unknown mesh shape {named}: each axis is at least 1, and at most one is -1"
        )
    rest = int(np.prod([n for n in sizes if n != -1]))
    if count % rest or (-1 not in sizes and rest != count):
        raise UserError(
            f"mesh {named} does not fit {count} device(s): the product must be {count}; "
            "set config.mesh.data=-1 to use what is left"
        )
    sizes = [count // rest if n == -1 else n for n in sizes]
    return jax.make_mesh(sizes, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)


def spec(path: str, shape: tuple[int, ...]) -> P:
    """The PartitionSpec of a leaf of the train state: that of the first rule that matches its path.

    Args:
      path: the leaf's path, as "params/encoder/layers/self_attention/q/kernel".
      shape: the leaf's.

    Raises:
      ValueError: no rule matches (a bug: every parameter needs a rule).
    """
    if np.prod(shape) == 1:
        return P()  # scalars, and Adafactor's placeholders
    for pattern, found in RULES:
        if re.search(pattern, path):
            return found
    raise ValueError(f"no sharding rule matches the leaf {path} of shape {shape}")


def state_shardings(state: dict, mesh: Mesh) -> dict:
    """The shardings of the train state.

    Args:
      state: a tree of arrays or of their shapes.
      mesh: from `make_mesh`.

    Returns:
      A tree like `state` of `NamedSharding`.

    Raises:
      UserError: a mesh axis does not divide the dimension that it shards.
    """

    def leaf(path, x):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        found = spec(name, x.shape)
        for size, axis in zip(x.shape, found, strict=False):  # a spec may be shorter than a shape
            ways = 1 if axis is None else mesh.shape[axis]
            if size % ways:
                raise UserError(
                    f"the mesh axis {axis}={ways} does not divide the dimension {size} of {name} "
                    f"{x.shape}; choose config.mesh.{axis} among its divisors"
                )
        return NamedSharding(mesh, found)

    return jax.tree_util.tree_map_with_path(leaf, state)


def device_memory() -> int | None:
    """The bytes that a program can have of a device; None where it does not tell, as a CPU.

    They are those of the first process's first device: all processes are told the same.
    """
    size = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    if jax.process_count() > 1:
        mebibytes = multihost_utils.broadcast_one_to_all(np.int32((size or 0) >> 20))
        size = int(mebibytes) << 20 or None
    return size


def for_questions(params: dict) -> dict:
    """How parameters lie on all devices, those of other processes too, which share questions.

    They are whole on each device, or else split over as few as they fit on.

    Args:
      params: a tree of arrays or of their shapes.

    Returns:
      A tree like `params`, of `Sharding`.
    """
    devices = jax.devices()
    if len(devices) == 1:
        return jax.tree.map(lambda _: SingleDeviceSharding(devices[0]), params)
    size = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(params))
    ways = _ways(size, device_memory() or math.inf, len(devices))
    return state_shardings(params, make_mesh(MeshShape(fsdp=ways)))


def _ways(size: int, limit: float, devices: int) -> int:
    """Over how many devices parameters are to be split so that questions can be asked.

    Args:
      size: the parameters' bytes, in float32.
      limit: a device's bytes. What it needs is its part of the parameters; a copy of all of them
        in bfloat16, which the compiler keeps for the loop over tokens; and room for the questions.
      devices: how many there are, a multiple of what is returned.

    Returns:
      A power of two, as it must divide the student's widths; the largest where none is enough.
    """
    ways = 1
    while size / ways + size / 2 > QUESTIONS_SHARE * limit and devices % (2 * ways) == 0:
        ways *= 2
    return ways


def placed(state: dict, shardings: dict) -> dict:
    """A state's shapes with their shardings, to compile for or to restore into."""
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, shardings
    )


def jit_step(
    step: Callable, shardings: dict, mesh: Mesh, options: dict[str, Any] | None = None
) -> jax.stages.Wrapped:
    """The train step of `make_step`, jitted; it is called, or compiled, under `jax.set_mesh`.

    The state's memory is used again for the new state, which keeps its shardings; the metrics are
    on every device.

    Args:
      step: the step.
      shardings: the state's.
      mesh: over the devices.
      options: the compiler's.
    """
    return jax.jit(
        step,
        donate_argnums=0,
        out_shardings=(shardings, NamedSharding(mesh, P())),
        compiler_options=options,
    )


def row_shards(mesh: Mesh) -> int:
    """The number of parts into which a mesh splits the rows of a batch."""
    return math.prod(mesh.shape[axis] for axis in ROWS)


def step_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> tuple[dict, np.ndarray]:
    """A batch of `data.Batches` as global arrays, and each term's target tokens in it.

    The counts, (terms,), stay on the host: the step does not need them.
    """
    return to_global(_without_counts(batch), mesh, BATCH), batch["tokens"]


def batch_shapes(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of the arrays of `step_batch`, with their shardings."""
    return {
        name: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=array_sharding(a, mesh, BATCH))
        for name, a in _without_counts(batch).items()
    }


def _without_counts(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What of a batch of `data.Batches` the step reads."""
    return {name: array for name, array in batch.items() if name != "tokens"}
