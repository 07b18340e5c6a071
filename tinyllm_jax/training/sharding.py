"""The mesh, and ordered rules from a leaf's path to its PartitionSpec.

Axes: `data` splits the batch; `fsdp` splits the batch and every matrix; `tensor` splits heads,
hidden units and the vocabulary. The rules cover the whole train state (an optimizer's moments end
in their parameter's path), and a path that none matches raises, so that a new parameter cannot be
replicated by accident.
"""

import re

import jax
import ml_collections
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tinyllm_jax.errors import UserError

AXES = ("data", "fsdp", "tensor")
BATCH = P(None, ("data", "fsdp"))  # (microbatches, rows, ...)

# Kernels are (layers, in, out): `tensor` splits the output of q, k, v, wi and the input of o, wo,
# so that a layer's activations meet once per block; `fsdp` splits the other side.
RULES = (
    (r"/(v_row|v_col)/", P()),  # Adafactor's factored moments: vectors
    (r"(scale|relative_bias)$", P()),
    (r"embedding$", P("tensor", "fsdp")),
    (r"lm_head/kernel$", P("fsdp", "tensor")),
    (r"/(q|k|v|wi|wi_0|wi_1)/kernel$", P(None, "fsdp", "tensor")),
    (r"/(o|wo)/kernel$", P(None, "tensor", "fsdp")),
    (r"/(q|k|v|wi|wi_0|wi_1)/lora_a$", P(None, "fsdp", None)),
    (r"/(q|k|v|wi|wi_0|wi_1)/lora_b$", P(None, None, "tensor")),
    (r"/(o|wo)/lora_a$", P(None, "tensor", None)),
    (r"/(o|wo)/lora_b$", P(None, None, "fsdp")),
)


def make_mesh(config: ml_collections.ConfigDict) -> Mesh:
    """The mesh `data × fsdp × tensor` over all devices; an axis of -1 takes what the others leave.

    Raises:
      UserError: the shape does not fit the devices.
    """
    shape, devices = [config[a] for a in AXES], jax.device_count()
    named = " × ".join(f"{a}={n}" for a, n in zip(AXES, shape))
    if shape.count(-1) > 1 or any(n < 1 and n != -1 for n in shape):
        raise UserError(
            f"unknown mesh shape {named}: each axis is at least 1, and at most one is -1"
        )
    rest = int(np.prod([n for n in shape if n != -1]))
    if devices % rest or (-1 not in shape and rest != devices):
        raise UserError(
            f"mesh {named} does not fit {devices} device(s): the product must be {devices}; "
            "set config.mesh.data=-1 to use what is left"
        )
    shape = [devices // rest if n == -1 else n for n in shape]
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def spec(path: str, shape: tuple[int, ...]) -> P:
    """The PartitionSpec of a leaf of the train state: the first rule that matches its path.

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
    """A tree like `state` (arrays or shapes) of `NamedSharding`.

    Raises:
      UserError: a mesh axis does not divide the dimension that it shards.
    """

    def leaf(path, x):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        found = spec(name, x.shape)
        for size, axes in zip(x.shape, found):
            ways = int(
                np.prod([mesh.shape[a] for a in ((axes,) if isinstance(axes, str) else axes or ())])
            )
            if size % ways:
                raise UserError(
                    f"the mesh axis {axes}={ways} does not divide the dimension {size} of {name} "
                    f"{x.shape}; choose config.mesh.{axes} among its divisors"
                )
        return NamedSharding(mesh, found)

    return jax.tree_util.tree_map_with_path(leaf, state)


def to_global(batch: dict[str, np.ndarray], mesh: Mesh, spec: P) -> dict[str, jax.Array]:
    """Host arrays as global arrays, split by `spec`; one-dimensional ones ("scale") are replicated.

    Every process holds the whole batch, and gives each of its devices its part.
    """

    def put(a: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(
            a.shape, NamedSharding(mesh, spec if a.ndim > 1 else P()), lambda index: a[index]
        )

    return {name: put(a) for name, a in batch.items()}
