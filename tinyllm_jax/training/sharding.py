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

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tinyllm_jax.errors import UserError
from tinyllm_jax.student.partition import AXES, FSDP, ROWS, TENSOR
from tinyllm_jax.training.run import MeshShape

BATCH = P(None, ROWS)  # (microbatches, rows, ...)

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


def placed(state: dict, shardings: dict) -> dict:
    """A state's shapes with their shardings, to compile for or to restore into."""
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, shardings
    )


def jit_step(step: Callable, shardings: dict, mesh: Mesh) -> jax.stages.Wrapped:
    """The train step of `make_step`, jitted; it is called, or compiled, under `jax.set_mesh`.

    The state's memory is used again for the new state, which keeps its shardings; the metrics are
    on every device.
    """
    return jax.jit(step, donate_argnums=0, out_shardings=(shardings, NamedSharding(mesh, P())))


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
        name: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=_array_sharding(a, mesh, BATCH))
        for name, a in _without_counts(batch).items()
    }


def _without_counts(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What of a batch of `data.Batches` the step reads."""
    return {name: array for name, array in batch.items() if name != "tokens"}


def _array_sharding(a: np.ndarray, mesh: Mesh, spec: P) -> NamedSharding:
    """How an array of a batch lies on the mesh; one-dimensional ones ("scale") are replicated."""
    return NamedSharding(mesh, spec if a.ndim > 1 else P())


def to_global(batch: dict[str, np.ndarray], mesh: Mesh, spec: P) -> dict[str, jax.Array]:
    """A batch on the mesh.

    Every process holds the whole batch, and gives each of its devices its part.

    Args:
      batch: arrays on the host.
      mesh: from `make_mesh`.
      spec: how the arrays are split; one-dimensional ones ("scale") are replicated.

    Returns:
      The same as global arrays.
    """

    def put(a: np.ndarray) -> jax.Array:
        sharding = _array_sharding(a, mesh, spec)
        return jax.make_array_from_callback(a.shape, sharding, lambda index: a[index])

    return {name: put(a) for name, a in batch.items()}
