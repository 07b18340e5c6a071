"""The compiled train step: one forward and one backward pass for every term, on plain nested dicts."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from tinyllm_jax.student import lora, model
from tinyllm_jax.student.config import StudentConfig
from tinyllm_jax.training import objective

State = dict  # {"params": ..., "opt_state": ..., "step": int32 scalar}


def split_params(params: dict, lora_only: bool) -> tuple[dict, dict]:
    """The parameters as (trained, frozen), each flat by path; without LoRA everything is trained."""
    flat = traverse_util.flatten_dict(params, sep="/")
    trained = {k: v for k, v in flat.items() if not lora_only or lora.is_lora(k)}
    return trained, {k: v for k, v in flat.items() if k not in trained}


def init_state(params: dict, optimizer: optax.GradientTransformation, lora_only: bool) -> State:
    """The state before step 0. Only the trained parameters have optimizer state."""
    trained, _ = split_params(params, lora_only)
    opt_state = optimizer.init(traverse_util.unflatten_dict(trained, sep="/"))
    return {"params": params, "opt_state": opt_state, "step": jnp.zeros((), jnp.int32)}


def make_step(
    config: StudentConfig, optimizer: optax.GradientTransformation, seed: int
) -> Callable:
    """The function `step(state, batch) -> (state, metrics)`, to be compiled by the caller, under its mesh (`jax.set_mesh`).

    The dropout key is a function of the seed, the step and the microbatch. `batch` is as
    `data.Batches` makes it, without "tokens". `metrics`: "loss" and "grad_norm", scalars, and
    "sums" (T,), see `objective.weighted_loss`.
    """

    def loss(
        trained: dict, frozen: dict, micro: dict, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        params = traverse_util.unflatten_dict(
            frozen | traverse_util.flatten_dict(trained, sep="/"), sep="/"
        )
        dropout = key if config.dropout_rate else None
        hidden, kernel = model.hidden(config, params, micro, dropout)
        return objective.weighted_loss(hidden, kernel, micro)

    def step(state: State, batch: dict) -> tuple[State, dict]:
        flat, frozen = split_params(state["params"], config.lora_rank > 0)
        trained = traverse_util.unflatten_dict(flat, sep="/")
        key = jax.random.fold_in(jax.random.key(seed), state["step"])
        batch = dict(batch)
        scale = batch.pop("scale")
        count = batch["targets"].shape[0]

        def micro_grads(total, at):
            index, micro = at
            (value, sums), grads = jax.value_and_grad(loss, has_aux=True)(
                trained, frozen, micro | {"scale": scale}, jax.random.fold_in(key, index)
            )
            return jax.tree.map(jnp.add, total, (value, sums, grads)), None

        zero = (jnp.zeros(()), jnp.zeros_like(scale), jax.tree.map(jnp.zeros_like, trained))
        if count == 1:
            (value, sums, grads), _ = micro_grads(zero, (0, jax.tree.map(lambda a: a[0], batch)))
        else:
            (value, sums, grads), _ = jax.lax.scan(micro_grads, zero, (jnp.arange(count), batch))
        updates, opt_state = optimizer.update(grads, state["opt_state"], trained)
        flat = traverse_util.flatten_dict(optax.apply_updates(trained, updates), sep="/")
        new = {
            "params": traverse_util.unflatten_dict(frozen | flat, sep="/"),
            "opt_state": opt_state,
            "step": state["step"] + 1,
        }
        return new, {"loss": value, "sums": sums, "grad_norm": optax.tree.norm(grads)}

    return step
