"""How activations, and kernels in use, lie on the mesh `data × fsdp × tensor` that the caller sets with `jax.set_mesh`.

Left to itself, the compiler multiplies fully sharded kernels where they lie, and moves the
activations of the whole batch
instead: here a kernel is gathered over `fsdp` before its product (and its gradient scattered
after), as arXiv 1910.02054 has it, and rows stay where they are. Without a mesh, nothing is done.
"""

import jax
from jax.sharding import PartitionSpec as P

ROWS = ("data", "fsdp")


def shards() -> int:
    """Over how many devices rows are split."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else mesh.shape["data"] * mesh.shape["fsdp"]


def constrain(x: jax.Array, *spec) -> jax.Array:
    """`x` laid out by a PartitionSpec's entries; axes that are not named are whole."""
    return (
        x
        if jax.sharding.get_abstract_mesh().empty
        else jax.lax.with_sharding_constraint(x, P(*spec))
    )


def rows(x: jax.Array) -> jax.Array:
    """`x` with its leading axis split over `data` and `fsdp`, and the others whole."""
    return constrain(x, ROWS)
