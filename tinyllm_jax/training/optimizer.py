"""Optax: AdamW or Adafactor, a schedule with warm-up, clipping by the global norm."""

import ml_collections
import optax


def schedule(config: ml_collections.ConfigDict, steps: int) -> optax.Schedule:
    """The learning rate as a function of the step.

    It rises linearly in the warm-up. Then it is constant, or falls to 0, linearly or as a cosine.

    Args:
      config: the run's `optimizer` fields.
      steps: the number of the run's steps.
    """
    peak, warmup = config.learning_rate, config.warmup_steps
    left = max(steps - warmup, 1)
    after = {
        "constant": optax.constant_schedule(peak),
        "linear": optax.linear_schedule(peak, 0.0, left),
        "cosine": optax.cosine_decay_schedule(peak, left),
    }[config.schedule]
    if not warmup:
        return after
    # Step 0 of the warm-up learns too: its rate is peak / warmup, not 0.
    rise = optax.linear_schedule(peak / warmup, peak, max(warmup - 1, 1))
    return optax.join_schedules([rise, after], [warmup])


def make_optimizer(config: ml_collections.ConfigDict, steps: int) -> optax.GradientTransformation:
    """The optimizer of the run's `optimizer` fields.

    AdamW is torch's (decoupled decay, bias correction, eps outside the root). Adafactor scales its
    step by each parameter's size, as T5 was trained (arXiv 1804.04235), so its learning rate is
    relative.

    Args:
      config: the run's `optimizer` fields.
      steps: the number of the run's steps.
    """
    rate = schedule(config, steps)
    if config.name == "adamw":
        update = optax.adamw(
            rate, b1=config.b1, b2=config.b2, eps=config.eps, weight_decay=config.weight_decay
        )
    else:
        update = optax.adafactor(rate, weight_decay_rate=config.weight_decay or None)
    clip = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    return optax.chain(*clip, update)
