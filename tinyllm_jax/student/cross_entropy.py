"""Cross-entropy over a large vocabulary, from the last states: the logits are never held for more than `CHUNK` tokens.

The loss is linear in the tokens' weights, so its gradient is known as soon as a chunk's logits are,
and they are dropped (the idea of Liger's fused linear cross-entropy, arXiv 2410.10989). Nothing is
computed twice.
"""

import jax
import jax.numpy as jnp

from tinyllm_jax.student import partition

CHUNK = 1024  # tokens of a device whose logits are held at once: 130 MB of float32


@jax.custom_vjp
def cross_entropy(
    hidden: jax.Array, kernel: jax.Array, targets: jax.Array, weight: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The weighted sum of the tokens' cross-entropies, and each token's own.

    Args:
      hidden: (R, L, D) in the compute dtype, which the products are computed in; sums are float32.
      kernel: (D, V) float32.
      targets: (R, L) int32.
      weight: (R, L) float32.

    Returns:
      The sum, a scalar, which can be differentiated with respect to `hidden` and `kernel`, and
      float32 (R, L), which cannot (its cotangent is ignored).
    """
    return _scan(hidden, kernel, targets, weight, gradient=False)


def _forward(hidden, kernel, targets, weight):
    loss, tokens, d_hidden, d_kernel = _scan(hidden, kernel, targets, weight, gradient=True)
    return (loss, tokens), (d_hidden, d_kernel)


def _backward(gradients, cotangents):
    d_hidden, d_kernel = gradients
    return (d_hidden * cotangents[0]).astype(d_hidden.dtype), d_kernel * cotangents[0], None, None


cross_entropy.defvjp(_forward, _backward)


def _scan(hidden, kernel, targets, weight, gradient):
    rows, length, width = hidden.shape
    shards = partition.shards()
    # Rows by shard, then chunks of their length: every shard sums its own tokens' gradient of the
    # kernel, and the shards' sums meet once, after the last chunk.
    here = rows // shards
    step = next(
        c for c in range(length, 0, -1) if length % c == 0 and (c * here <= CHUNK or c == 1)
    )
    chunks = lambda x: partition.constrain(
        jnp.moveaxis(
            partition.rows(x).reshape(shards, here, length // step, step, *x.shape[2:]), 2, 0
        ),
        None,
        partition.ROWS,
    )
    sums = lambda x: partition.constrain(
        x, partition.ROWS, None, "tensor"
    )  # each shard's gradient of the kernel
    kernel = partition.constrain(kernel.astype(hidden.dtype), None, "tensor")

    def chunk(total, at):
        x, y, w = map(partition.rows, at)  # (shards, here, step, ...)
        x = x.reshape(shards, here * step, width)
        logits = jnp.einsum("std,dv->stv", x, kernel, preferred_element_type=jnp.float32)
        logits = partition.constrain(logits, partition.ROWS, None, "tensor")
        y, w = y.reshape(shards, -1), w.reshape(shards, -1)
        hit = y[..., None] == jax.lax.broadcasted_iota(jnp.int32, logits.shape, 2)
        top = jnp.max(logits, axis=-1, keepdims=True)
        exp = jnp.exp(logits - top)
        normal = jnp.sum(exp, axis=-1, keepdims=True)
        tokens = (jnp.log(normal) + top)[..., 0] - jnp.sum(jnp.where(hit, logits, 0), axis=-1)
        if not gradient:
            return total, (tokens, None)
        d = ((exp / normal - hit) * w[..., None]).astype(x.dtype)
        total = sums(total + jnp.einsum("std,stv->sdv", x, d, preferred_element_type=jnp.float32))
        return total, (
            tokens,
            jnp.einsum("stv,dv->std", d, kernel).reshape(shards, here, step, width),
        )

    zero = sums(jnp.zeros((shards, *kernel.shape), jnp.float32)) if gradient else None
    total, (tokens, d_hidden) = jax.lax.scan(
        chunk, zero, (chunks(hidden), chunks(targets), chunks(weight))
    )
    join = lambda x: jnp.moveaxis(x, 0, 2).reshape(rows, length, *x.shape[4:])
    tokens = join(tokens.reshape(*tokens.shape[:2], here, step))
    loss = jnp.sum(tokens * weight)
    return (loss, tokens, join(d_hidden), total.sum(0)) if gradient else (loss, tokens)
