"""LoRA (arXiv 2106.09685): low-rank updates of frozen kernels, trained alone, merged for export.

A targeted projection has two more leaves, `lora_a` (layers, d_in, rank) and `lora_b` (layers, rank,
d_out); `layers.Linear` adds `(x @ lora_a) @ lora_b * alpha / rank`, so training never makes the
full product.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import traverse_util

from tinyllm_jax.errors import UserError
from tinyllm_jax.student.config import StudentConfig
from tinyllm_jax.student.model import init_params


def is_lora(path: str) -> bool:
    """Whether a path, as "decoder/layers/self_attention/q/lora_a", is of a low-rank update."""
    return path.rsplit("/", 1)[-1] in ("lora_a", "lora_b")


def add_lora(config: StudentConfig, params: dict, key: jax.Array) -> dict:
    """Adds fresh low-rank updates, with which a student computes what it computed before.

    `lora_a` is Gaussian with standard deviation `d_in**-0.5`, `lora_b` zero.

    Args:
      config: the student's, with `lora_rank` and `lora_targets`.
      params: its parameters, without updates.
      key: where `lora_a` is drawn from.

    Returns:
      The parameters with the updates.

    Raises:
      UserError: `config.lora_rank` is 0, no target is named, or `params` already has updates.
    """
    if not config.lora_rank or not config.lora_targets:
        raise UserError("LoRA needs a lora_rank above 0 and at least one of lora_targets")
    flat = traverse_util.flatten_dict(params, sep="/")
    if any(map(is_lora, flat)):
        raise UserError("these parameters already have LoRA updates; merge them first")
    return traverse_util.unflatten_dict({**flat, **_fresh(config, key)}, sep="/")


def _fresh(config: StudentConfig, key: jax.Array) -> dict[str, jax.Array]:
    """The low-rank leaves of `init_params`, by path; under jit the others are never computed."""

    def leaves(key):
        flat = traverse_util.flatten_dict(init_params(config, key), sep="/")
        return {path: leaf for path, leaf in flat.items() if is_lora(path)}

    return jax.jit(leaves)(key)


def merge_lora(config: StudentConfig, params: dict) -> tuple[StudentConfig, dict]:
    """Adds every low-rank update into its kernel, in float32.

    Args:
      config: the student's.
      params: its parameters, with updates.

    Returns:
      The config without LoRA, and the parameters without updates.
    """
    flat = traverse_util.flatten_dict(params, sep="/")
    merged = {path: leaf for path, leaf in flat.items() if not is_lora(path)}
    scale = config.lora_alpha / config.lora_rank
    for path in flat:
        if path.endswith("/lora_a"):
            projection = path.removesuffix("/lora_a")
            update = jnp.matmul(flat[path], flat[f"{projection}/lora_b"], precision="highest")
            merged[f"{projection}/kernel"] = flat[f"{projection}/kernel"] + update * scale
    return dataclasses.replace(config, lora_rank=0), traverse_util.unflatten_dict(merged, sep="/")
