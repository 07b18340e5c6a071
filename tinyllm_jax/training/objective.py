"""The objective, for any number of teachers m: `L = γ·L_answer + Σ_m α_m·L_rationale(m)`.

It is equation 4 of TinyLLM (arXiv 2402.04616). Each term is the mean cross-entropy over its target
tokens in the global batch. Where a teacher has a rationale for only some of the batch's questions,
its term counts by their share: a rationale weighs the same, however few its teacher has left, and
one that is dropped counts as one of weight 0.

All terms are one weighted token cross-entropy: a target's tokens carry `term weight × row weight ×
share of the questions with a target ÷ the term's token count in the global batch`. So one forward
and one backward pass serve any number of teachers, and microbatches or shards add up to the same
gradient whatever their token counts.
"""

import jax
import jax.numpy as jnp

from tinyllm_jax.student.cross_entropy import cross_entropy


def weighted_loss(
    hidden: jax.Array, kernel: jax.Array, batch: dict[str, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """The objective of a batch, or of a microbatch of it.

    Args:
      hidden: (R, L, D), the student's last states for `batch["targets"]`.
      kernel: (D, V), the output projection.
      batch: "targets" (R, L) int32; "term" (R, L) int32, the index of each token's term; "weight"
        (R, L) float32, the corpus's row weight, 0 where nothing is to be learned; "scale" (T,)
        float32, each term's weight times the share of the global batch's questions that have a
        target of it, divided by its token count there.

    Returns:
      The loss, a scalar, and the terms' sums of weighted token losses, (T,): a term's value is its
      sum divided by its token count in the global batch. Only the loss can be differentiated.
    """
    # Each token's weight in the loss and its cross-entropy, both (R, L), and the loss.
    weight = batch["weight"] * batch["scale"][batch["term"]]
    loss, tokens = cross_entropy(hidden, kernel, batch["targets"], weight)

    # Each term's sum, without the term's own weight: (R, L, T) summed to (T,).
    terms = batch["scale"].shape[0]
    of_term = batch["term"][..., None] == jnp.arange(terms)
    return loss, jnp.sum((tokens * batch["weight"])[..., None] * of_term, axis=(0, 1))
