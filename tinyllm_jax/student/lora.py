"""LoRA (arXiv 2106.09685): low-rank updates beside frozen kernels, trained alone and merged for export.

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
    """Whether a parameter's path ("decoder/layers/self_attention/q/lora_a") is of a low-rank update."""
    return path.rsplit("/", 1)[-1] in ("lora_a", "lora_b")


def add_lora(config: StudentConfig, params: dict, key: jax.Array) -> dict:
    """`params` with fresh low-rank updates on `config.lora_targets`; it computes what it computed before.

    `lora_a` is Gaussian with standard deviation `d_in**-0.5`, `lora_b` zero.

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
    """The low-rank leaves of `init_params`; under jit the rest of it is never computed."""

    def leaves(key):
        flat = traverse_util.flatten_dict(init_params(config, key), sep="/")
        return {path: leaf for path, leaf in flat.items() if is_lora(path)}

    return jax.jit(leaves)(key)


def merge_lora(config: StudentConfig, params: dict) -> tuple[StudentConfig, dict]:
    """The config without LoRA, and parameters with every update added into its kernel, in float32."""
    flat = traverse_util.flatten_dict(params, sep="/")
    merged = {path: leaf for path, leaf in flat.items() if not is_lora(path)}
    for path in flat:
        if path.endswith("/lora_a"):
            at = path.removesuffix("/lora_a")
            update = jnp.matmul(flat[path], flat[f"{at}/lora_b"], precision="highest")
            merged[f"{at}/kernel"] = flat[f"{at}/kernel"] + update * (
                config.lora_alpha / config.lora_rank
            )
    return dataclasses.replace(config, lora_rank=0), traverse_util.unflatten_dict(merged, sep="/")
