"""Layers of one kind over the depth: made as one module, and scanned as one."""

import operator
from collections.abc import Callable
from typing import TypeVar

import jax
from flax import nnx

from tinyllm_jax.student import partition
from tinyllm_jax.student.config import StudentConfig

Module = TypeVar("Module", bound=nnx.Module)


def stack(make: Callable[[nnx.Rngs], Module], num: int, rngs: nnx.Rngs) -> Module:
    """Makes `num` modules as one whose parameters have a leading axis of `num`."""
    return nnx.vmap(lambda key: make(nnx.Rngs(params=key)))(jax.random.split(rngs.params(), num))


def scan(
    config: StudentConfig, layers: nnx.Module, body: Callable, x: jax.Array, keys
) -> jax.Array:
    """Runs `x = body(layer, x, keys)` over stacked layers: compiled once, whatever the depth.

    Only the results of products with kernels and of attention are kept for the backward pass. What
    lies between them (norms, gates, scores, dropout) is computed again, which costs less than
    writing it for every layer and reading it back.

    Args:
      config: `remat` keeps nothing but the carry, and recomputes the body's products too.
      layers: a module made by `stack`.
      body: takes one layer, the carry, and this layer's keys.
      x: the carry, (B, L, d_model).
      keys: dropout keys with a leading axis over layers, or Nones (see `split_key`).

    Returns:
      The last carry.
    """
    graph, state = nnx.split(layers)

    def step(x, slices):
        return body(nnx.merge(graph, slices[0]), partition.rows(x), slices[1]), None

    # What the backward pass finds, and does not compute again.
    policy = None
    if not config.remat:
        policy = jax.checkpoint_policies.save_from_both_policies(
            jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
            jax.checkpoint_policies.save_only_these_names("attention"),
        )

    # XLA cannot merge the recomputation away inside a scan, so the barrier against that
    # (`prevent_cse`) is not needed.
    step = jax.checkpoint(step, prevent_cse=False, policy=policy)
    return jax.lax.scan(step, x, (state, keys))[0]


def unstack(layers: Module, num: int) -> list[Module]:
    """The `num` modules of one made by `stack`.

    They are for a loop over tokens, in which a scan would copy every layer's kernels.
    """
    graph, state = nnx.split(layers)
    return [nnx.merge(graph, jax.tree.map(operator.itemgetter(i), state)) for i in range(num)]
