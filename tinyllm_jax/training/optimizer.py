"""Optax: AdamW or Adafactor, a schedule with warm-up, clipping by the global norm."""

import optax

from tinyllm_jax.training.run import Optimizer


def schedule(fields: Optimizer, steps: int) -> optax.Schedule:
    """The learning rate as a function of the step.

    It rises linearly in the warm-up. Then it is constant, or falls to 0, linearly or as a cosine.
    The optimizer counts the steps that it took, so a skipped step is none.

    Args:
      fields: the run's.
      steps: the number of the run's steps.

    Raises:
      UserError: the warm-up is longer than the run.
    """
    peak, warmup = fields.learning_rate, fields.warmup(steps)
    left = max(steps - warmup, 1)
    after = {
        "constant": optax.constant_schedule(peak),
        "linear": optax.linear_schedule(peak, 0.0, left),
        "cosine": optax.cosine_decay_schedule(peak, left),
    }[fields.schedule]
    if not warmup:
        return after
    # Step 0 of the warm-up learns too: its rate is peak / warmup, not 0.
    rise = optax.linear_schedule(peak / warmup, peak, max(warmup - 1, 1))
    return optax.join_schedules([rise, after], [warmup])


def make_optimizer(fields: Optimizer, steps: int) -> optax.GradientTransformation:
    """The optimizer of a run.

    AdamW is torch's (decoupled decay, bias correction, eps outside the root). Adafactor scales its
    step by each parameter's size, as T5 was trained (arXiv 1804.04235), so its learning rate is
    relative.

    Args:
      fields: the run's.
      steps: the number of the run's steps.
    """
    rate = schedule(fields, steps)
    if fields.name == "adamw":
        update = optax.adamw(
            rate, b1=fields.b1, b2=fields.b2, eps=fields.eps, weight_decay=fields.weight_decay
        )
    else:
        update = optax.adafactor(rate, weight_decay_rate=fields.weight_decay or None)
    clip = [optax.clip_by_global_norm(fields.clip_norm)] if fields.clip_norm else []
    return optax.chain(*clip, update)
