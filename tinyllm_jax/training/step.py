"""The train step: one forward and one backward pass for all terms, on plain nested dicts."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from tinyllm_jax.student import lora, model, partition
from tinyllm_jax.student.config import StudentConfig
from tinyllm_jax.training import objective

State = dict  # {"params": ..., "opt_state": ..., "step": int32 scalar}


def split_params(params: dict, lora_only: bool) -> tuple[dict, dict]:
    """The trained and the frozen parameters, each a nested dict; without LoRA all are trained."""
    if not lora_only:
        return params, {}
    trained: dict = {}
    frozen: dict = {}
    for path, leaf in traverse_util.flatten_dict(params).items():
        part = trained if lora.is_lora("/".join(path)) else frozen
        part[path] = leaf
    return traverse_util.unflatten_dict(trained), traverse_util.unflatten_dict(frozen)


def join_params(trained: dict, frozen: dict) -> dict:
    """What `split_params` has split, as one nested dict again."""
    flat = traverse_util.flatten_dict(trained) | traverse_util.flatten_dict(frozen)
    return traverse_util.unflatten_dict(flat)


def init_state(params: dict, optimizer: optax.GradientTransformation, lora_only: bool) -> State:
    """The state before step 0. Only the trained parameters have optimizer state.

    Args:
      params: the student's, as `model.init_params` makes them.
      optimizer: from `optimizer.make_optimizer`.
      lora_only: whether only the low-rank updates are trained.
    """
    trained, _ = split_params(params, lora_only)
    opt_state = optimizer.init(trained)
    return {"params": params, "opt_state": opt_state, "step": jnp.zeros((), jnp.int32)}


def all_finite(state: State) -> jax.Array:
    """Whether a state is of use: the parameters' norm and the optimizer's numbers are finite.

    The norm of parameters that a far too large step has blown up is infinite before they are.
    """
    numbers = [*jax.tree.leaves(state["opt_state"]), optax.tree.norm(state["params"])]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in numbers]))


def make_step(
    config: StudentConfig, optimizer: optax.GradientTransformation, seed: int
) -> Callable:
    """The train step, to be compiled by the caller under its mesh (`jax.set_mesh`).

    The dropout key is a function of the seed, the step and the microbatch.

    Args:
      config: the student's.
      optimizer: from `optimizer.make_optimizer`.
      seed: the run's.

    Returns:
      A function `step(state, batch) -> (state, metrics)`. The batch is as `data.Batches` makes it,
      without "tokens"; its arrays, but for "scale", have a leading axis of M microbatches. The
      metrics are "loss" and "grad_norm", scalars, "sums" (T,), see `objective.weighted_loss`, and
      "skipped", a scalar of bool: the loss or the gradient's norm was not finite, so that the
      parameters and the optimizer's state are what they were before the step.
    """
    gradients = functools.partial(_gradients, config, seed)

    def step(state: State, batch: dict) -> tuple[State, dict]:
        trained, frozen = split_params(state["params"], config.lora_rank > 0)
        micros = {name: array for name, array in batch.items() if name != "scale"}
        whole = trained, frozen, batch["scale"], state["step"]
        value, sums, grads = partition.sum_over_data(gradients, whole, micros)

        # A step that is not finite changes nothing.
        grad_norm = optax.tree.norm(grads)
        finite = jnp.isfinite(value) & jnp.isfinite(grad_norm)

        def update(trained: dict, opt_state: optax.OptState) -> tuple[dict, optax.OptState]:
            updates, opt_state = optimizer.update(grads, opt_state, trained)
            return optax.apply_updates(trained, updates), opt_state

        kept = jax.lax.cond(finite, update, lambda *same: same, trained, state["opt_state"])
        new_state = {
            "params": join_params(kept[0], frozen),
            "opt_state": kept[1],
            "step": state["step"] + 1,
        }
        return new_state, {"loss": value, "sums": sums, "grad_norm": grad_norm, "skipped": ~finite}

    return step


def _gradients(
    config: StudentConfig, seed: int, whole: tuple, micros: dict
) -> tuple[jax.Array, jax.Array, dict]:
    """The loss, the terms' sums and the gradients of some rows, added up over microbatches.

    Args:
      config: the student's.
      seed: the run's.
      whole: the trained and the frozen parameters, the terms' scale, and the step's number.
      micros: of every microbatch these rows, (M, rows, ...).
    """
    trained, frozen, scale, number = whole
    key = jax.random.fold_in(jax.random.key(seed), number)
    loss = functools.partial(_loss, config)

    def add(total, indexed_micro):
        index, micro = indexed_micro
        (value, sums), grads = jax.value_and_grad(loss, has_aux=True)(
            trained, frozen, micro | {"scale": scale}, jax.random.fold_in(key, index)
        )
        return jax.tree.map(jnp.add, total, (value, sums, grads)), None

    # One microbatch needs no loop.
    zero = (jnp.zeros(()), jnp.zeros_like(scale), jax.tree.map(jnp.zeros_like, trained))
    count = micros["targets"].shape[0]
    if count == 1:
        return add(zero, (0, {name: array[0] for name, array in micros.items()}))[0]
    return jax.lax.scan(add, zero, (jnp.arange(count), micros))[0]


def _loss(
    config: StudentConfig, trained: dict, frozen: dict, micro: dict, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The loss of one microbatch, a scalar, and its terms' sums, (T,).

    Args:
      config: the student's.
      trained: the trained parameters.
      frozen: the others.
      micro: a microbatch, with "scale", as `objective.weighted_loss` reads it.
      key: the dropout key.
    """
    dropout = key if config.dropout_rate else None
    hidden, kernel = model.hidden(config, join_params(trained, frozen), micro, dropout)
    return objective.weighted_loss(hidden, kernel, micro)
