"""The names of the mesh's axes, and how activations and kernels lie on the mesh in use.

The mesh is `data × fsdp × tensor`; the caller sets it with `jax.set_mesh`. How the parameters are
stored on it is said by the rules of `training/sharding.py`; here is how they are computed with.

Left to itself, the compiler multiplies fully sharded kernels where they lie, and moves the
activations of the whole batch between the devices. The constraints here make it move the kernels
instead: a kernel is gathered over `fsdp` before its product, its gradient is scattered after it (as
in arXiv 1910.02054), and the rows of the batch stay where they are. Without a mesh, every function
here leaves its argument as it is.

It would also sum a gradient over `data` wherever one comes to be: for every layer and microbatch,
in the compute dtype. `sum_over_data` takes that axis out of its hands. What is called through it
sees the rows of one part along `data`, and a mesh of `fsdp` and `tensor` alone.
"""

import contextlib
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

DATA, FSDP, TENSOR = "data", "fsdp", "tensor"
AXES = (DATA, FSDP, TENSOR)
ROWS = (DATA, FSDP)  # the axes that split the rows of a batch

# How many columns of a large sum are scattered at once. T5's vocabulary has 32,128, which are 251
# tiles of a TPU's memory, a prime number: the compiler for v5e does not know how to scatter those,
# and gives every device the whole sum.
COLUMNS = 8192


def sum_over_data(function: Callable, whole: Any, split: Any) -> Any:
    """Computes a function of the rows of each part of the mesh along `data`, and adds up.

    The parts exchange nothing but the sum, once, after everything is computed.

    Args:
      function: takes `whole` and one part of `split`, and returns a tree of float32 arrays.
      whole: a tree of arrays that every part gets as they are.
      split: a tree of arrays (M, rows, ...): every part gets its share of the rows.

    Returns:
      The sum over the parts of what `function` returns.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.shape[DATA] == 1:
        return function(whole, split)
    return jax.shard_map(
        lambda *part: jax.lax.psum(function(*part), DATA),
        in_specs=(P(), P(None, DATA)),
        out_specs=P(),
        axis_names={DATA},
        check_vma=False,  # the check would make jax sum the gradients wherever they come to be
    )(whole, split)


def look_up(table: jax.Array, ids: jax.Array) -> jax.Array:
    """The rows of a table that have certain numbers.

    Each device looks up those of its rows that are asked for, and all along `tensor` add up. The
    compiler would do the same, but that of jax 0.11 and 0.12 ends the process where `data`, `fsdp`
    and `tensor` all split something.

    Args:
      table: (V, D). `tensor` splits V and `fsdp` D.
      ids: (B, L), each below V. `data` splits B.

    Returns:
      The rows, (B, L, D). `data` splits B and `fsdp` D.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.shape[TENSOR] == 1:
        return table[ids]

    def found(table: jax.Array, ids: jax.Array) -> jax.Array:
        """The rows of one device, (B, L, D / fsdp)."""
        ids = ids - len(table) * jax.lax.axis_index(TENSOR)
        mine = (ids >= 0) & (ids < len(table))
        own = jnp.where(mine[..., None], table[jnp.where(mine, ids, 0)], 0)
        return jax.lax.psum(own, TENSOR)

    return jax.shard_map(
        found,
        in_specs=(P(TENSOR, FSDP), P()),
        out_specs=P(None, None, FSDP),
        axis_names={FSDP, TENSOR},
    )(table, ids)


def sum_of_shards(x: jax.Array) -> jax.Array:
    """Adds up a matrix that every shard of the rows has its own of, and splits the sum.

    Left to itself, the compiler may give every device the whole sum, of which each keeps its part:
    twice as much is moved.

    Args:
      x: (S, D, V), one matrix of each shard; `tensor` splits V.

    Returns:
      The sum, (D, V). `fsdp` splits D and `tensor` V.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.shape[FSDP] == 1:
        return x.sum(0)

    def scattered(x: jax.Array) -> jax.Array:
        """The sum's part of one device, (D / fsdp, V / tensor)."""
        pieces = jnp.split(x[0], list(range(COLUMNS, x.shape[2], COLUMNS)), axis=1)
        parts = [jax.lax.psum_scatter(piece, FSDP, tiled=True) for piece in pieces]
        return jnp.concatenate(parts, axis=1)

    return jax.shard_map(
        scattered,
        in_specs=P(FSDP, None, TENSOR),
        out_specs=P(FSDP, TENSOR),
        axis_names={FSDP, TENSOR},
        check_vma=False,
    )(x.reshape(-1, mesh.shape[FSDP], *x.shape[1:]).sum(0))


def data_part() -> jax.Array | int:
    """The index of the part of the rows along `data` that is computed; 0 where all of them are."""
    return jax.lax.axis_index(DATA) if DATA in _manual() else 0


def shards() -> int:
    """The number of parts into which the mesh splits the rows at hand; 1 without a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else math.prod(mesh.shape[axis] for axis in _auto(ROWS))


def _manual() -> frozenset[str]:
    """The axes over which arrays are split already: `data`, within `sum_over_data`."""
    return frozenset(jax.sharding.get_abstract_mesh().manual_axes)


def _auto(axes: tuple[str, ...]) -> tuple[str, ...]:
    """Those of some axes over which the compiler splits arrays."""
    manual = _manual()
    return tuple(axis for axis in axes if axis not in manual)


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
    names = [(axes,) if isinstance(axes, str) else axes for axes in spec]
    names = [_auto(axes) if isinstance(axes, tuple) else axes for axes in names]
    return jax.lax.with_sharding_constraint(x, P(*names))


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
