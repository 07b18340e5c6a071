"""The objective: `L = γ·L_answer + Σ_m α_m·L_rationale(m)` (TinyLLM, arXiv 2402.04616, eq. 4), for any teachers.

Each term is the mean cross-entropy over its target tokens in the global batch. All terms are one weighted token
cross-entropy: a row of the batch is one (question, target) pair, and its tokens carry
`term weight × row weight ÷ the term's token count in the global batch`, so one forward and one backward pass serve
any number of teachers, and microbatches or shards add up to the same gradient whatever their token counts.
"""

import jax
import jax.numpy as jnp


def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Per-token cross-entropy, 0 at padding (target 0).

    Args:
      logits: (R, L, V) float32.
      targets: (R, L) int32.

    Returns:
      (R, L) float32.
    """
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return (jax.nn.logsumexp(logits, axis=-1) - picked) * (targets != 0)


def weighted_loss(logits: jax.Array, batch: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """The objective of a batch, or of a microbatch of it.

    Args:
      logits: (R, L, V) float32, the student's for `batch["targets"]`.
      batch: "targets" (R, L) int32; "term" (R,) int32, the index of each row's term; "weight" (R,) float32, the
        corpus's row weight, 0 for a missing rationale or a padding row; "scale" (T,) float32, each term's weight
        divided by its token count in the global batch.

    Returns:
      The loss, a scalar, and the terms' sums of weighted token losses, (T,): a term's value is its sum divided by
      its token count in the global batch.
    """
    rows = cross_entropy(logits, batch["targets"]).sum(-1) * batch["weight"]
    sums = jax.ops.segment_sum(rows, batch["term"], num_segments=batch["scale"].shape[0])
    return jnp.sum(sums * batch["scale"]), sums
