"""The names of the mesh's axes, and how activations and kernels lie on the mesh in use.

The mesh is `data × fsdp × tensor`; the caller sets it with `jax.set_mesh`. How the parameters are
stored on it is said by the rules of `training/sharding.py`; here is how they are computed with.

Left to itself, the compiler multiplies fully sharded kernels where they lie, and moves the
activations of the whole batch between the devices. The constraints here make it move the kernels
instead: a kernel is gathered over `fsdp` before its product, its gradient is scattered after it (as
in arXiv 1910.02054), and the rows of the batch stay where they are. Without a mesh, every function
here returns its argument.
"""

import contextlib

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

DATA, FSDP, TENSOR = "data", "fsdp", "tensor"
AXES = (DATA, FSDP, TENSOR)
ROWS = (DATA, FSDP)  # the axes that split the rows of a batch


def shards() -> int:
    """The number of parts into which the mesh splits the rows of a batch; 1 without a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else mesh.shape[DATA] * mesh.shape[FSDP]


def on_cpu() -> bool:
    """Whether the mesh's devices are CPUs; without a mesh, whether jax computes on a CPU.

    The devices of a mesh need not be here: a program can be compiled for others.
    """
    mesh = jax.sharding.get_abstract_mesh()
    return (jax.default_backend() if mesh.empty else mesh.abstract_device.platform) == "cpu"


def constrain(x: jax.Array, *spec) -> jax.Array:
    """Lays out an array on the mesh.

    Args:
      x: any array.
      *spec: the entries of a `PartitionSpec`, one for each leading axis; the other axes are not
        split.

    Returns:
      `x`, with the constraint put on it.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, P(*spec))


def rows(x: jax.Array) -> jax.Array:
    """Splits the leading axis of `x` over `data` and `fsdp`, and no other axis."""
    return constrain(x, ROWS)


def mesh_of(params: dict) -> contextlib.AbstractContextManager:
    """Sets the mesh that parameters lie on, for a `with` block.

    No mesh is set where they lie on one device, or on the host.
    """
    sharding = getattr(jax.tree.leaves(params)[0], "sharding", None)
    if isinstance(sharding, NamedSharding) and isinstance(sharding.mesh, Mesh):
        return jax.set_mesh(sharding.mesh)
    return contextlib.nullcontext()


def put_rows(batch: dict[str, np.ndarray]) -> dict:
    """A batch on the mesh in use, its rows split; without a mesh it stays on the host.

    Args:
      batch: arrays on the host, whose rows are a multiple of `shards()`.
    """
    mesh = jax.sharding.get_mesh()
    return batch if mesh.empty else to_global(batch, mesh, P(ROWS))


def to_global(batch: dict[str, np.ndarray], mesh: Mesh, spec: P) -> dict[str, jax.Array]:
    """A batch on a mesh.

    Every process holds the whole batch, and gives each of its devices its part.

    Args:
      batch: arrays on the host.
      mesh: `data × fsdp × tensor`.
      spec: how the arrays are split; see `array_sharding`.

    Returns:
      The same as global arrays.
    """

    def put(a: np.ndarray) -> jax.Array:
        sharding = array_sharding(a, mesh, spec)
        return jax.make_array_from_callback(a.shape, sharding, lambda index: a[index])

    return {name: put(a) for name, a in batch.items()}


def array_sharding(a: np.ndarray, mesh: Mesh, spec: P) -> NamedSharding:
    """How an array of a batch lies on the mesh; one-dimensional ones ("scale") are replicated."""
    return NamedSharding(mesh, spec if a.ndim > 1 else P())
