"""Cross-entropy over a large vocabulary, computed without ever holding the logits of all tokens.

The tokens are computed in chunks of at most `CHUNK` per device. The loss is linear in the tokens'
weights, so the gradient of a chunk is known as soon as its logits are: the forward pass computes
both, and drops the logits (the idea of Liger's fused linear cross-entropy, arXiv 2410.10989).
Nothing is computed twice.

Shapes: R rows of L tokens, width D, vocabulary V. S is the number of parts into which the mesh
splits the rows (`partition.shards`), and N the tokens of a shard in one chunk.
"""

import jax
import jax.numpy as jnp

from tinyllm_jax.student import partition

CHUNK = 1024  # tokens of a device whose logits are held at once: 130 MB of float32
TILE = 16  # chunks are multiples of this: a TPU holds 16 rows of bfloat16 in one tile of memory


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
    kernel = _in_use(kernel, hidden.dtype)

    def chunk(_, slices):
        x, y = map(partition.rows, slices)
        tokens, _ = _losses(x, kernel, y)
        return None, tokens

    _, tokens = jax.lax.scan(chunk, None, (_chunks(hidden), _chunks(targets)))
    tokens = _unchunk(tokens, targets.shape)
    return jnp.sum(tokens * weight), tokens


def _forward(hidden, kernel, targets, weight):
    """`cross_entropy`, and its gradients with respect to `hidden` and `kernel` for `_backward`."""
    kernel = _in_use(kernel, hidden.dtype)
    shards = partition.shards()

    def chunk(d_kernel, slices):
        # The chunk's states (S, N, D), targets and weights (S, N).
        x, y, w = map(partition.rows, slices)
        tokens, d_logits = _losses(x, kernel, y)
        d_logits = (d_logits * w[..., None]).astype(x.dtype)

        # What the chunk adds to the gradients: of the kernel to the sum, of the states to a stack.
        product = jnp.einsum("snd,snv->sdv", x, d_logits, preferred_element_type=jnp.float32)
        d_x = jnp.einsum("snv,dv->snd", d_logits, kernel)
        return _shard_sums(d_kernel + product), (tokens, d_x)

    # Every shard sums its own tokens' gradient of the kernel, (S, D, V), over the chunks, and the
    # shards' sums meet once, after the last chunk: each device gets the part that it stores.
    zero = _shard_sums(jnp.zeros((shards, *kernel.shape), jnp.float32))
    slices = (_chunks(hidden), _chunks(targets), _chunks(weight))
    d_kernel, (tokens, d_hidden) = jax.lax.scan(chunk, zero, slices)
    d_kernel = partition.sum_of_shards(d_kernel)

    tokens = _unchunk(tokens, targets.shape)
    loss = jnp.sum(tokens * weight)
    return (loss, tokens), (_unchunk(d_hidden, hidden.shape), d_kernel)


def _backward(gradients, cotangents):
    """The gradients times the loss's cotangent; the targets and the weights have none."""
    d_hidden, d_kernel = gradients
    d_loss, _ = cotangents
    return (d_hidden * d_loss).astype(d_hidden.dtype), d_kernel * d_loss, None, None


cross_entropy.defvjp(_forward, _backward)


def _losses(x: jax.Array, kernel: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The cross-entropies of one chunk, and their derivatives with respect to its logits.

    Args:
      x: (S, N, D), the states.
      kernel: (D, V), in the dtype of `x`.
      y: (S, N) int32, the targets.

    Returns:
      float32 (S, N) and (S, N, V). The second costs nothing where it is not used.
    """
    logits = jnp.einsum("snd,dv->snv", x, kernel, preferred_element_type=jnp.float32)
    logits = partition.constrain(logits, partition.ROWS, None, partition.TENSOR)

    # The target's logit, picked by a mask and a sum: so the logits stay where they lie on the mesh.
    is_target = y[..., None] == jax.lax.broadcasted_iota(jnp.int32, logits.shape, 2)
    target_logit = jnp.sum(jnp.where(is_target, logits, 0), axis=-1)

    # The logarithm of the sum of the exponentials, with the largest logit taken out.
    largest = jnp.max(logits, axis=-1, keepdims=True)
    exponentials = jnp.exp(logits - largest)
    total = jnp.sum(exponentials, axis=-1, keepdims=True)
    tokens = (jnp.log(total) + largest)[..., 0] - target_logit

    # The derivative: the softmax, less 1 at the target.
    return tokens, exponentials / total - is_target


def _in_use(kernel: jax.Array, dtype) -> jax.Array:
    """The kernel (D, V) as it is used: in the compute dtype, its columns split over `tensor`."""
    return partition.constrain(kernel.astype(dtype), None, partition.TENSOR)


def _shard_sums(d_kernel: jax.Array) -> jax.Array:
    """Lays out (S, D, V) so that each shard of the rows holds its own sum."""
    return partition.constrain(d_kernel, partition.ROWS, None, partition.TENSOR)


def _chunk_size(tokens: int) -> int:
    """How many of a shard's tokens are computed at once: at most `CHUNK`, and whole tiles."""
    chunks = -(-tokens // CHUNK)
    return -(-tokens // (chunks * TILE)) * TILE


def _chunks(x: jax.Array) -> jax.Array:
    """Cuts the tokens of (R, L, ...) into chunks, to scan over: (chunks, S, N, ...).

    A shard's tokens stand one after the other, row by row, and zeros fill up the last chunk. They
    change nothing: their weight is 0.
    """
    rows, length, *rest = x.shape
    shards = partition.shards()
    tokens = rows // shards * length
    size = _chunk_size(tokens)
    x = partition.rows(x).reshape(shards, tokens, *rest)
    x = jnp.pad(x, [(0, 0), (0, -tokens % size), *([(0, 0)] * len(rest))])
    x = partition.rows(x).reshape(shards, -1, size, *rest)
    return partition.constrain(jnp.moveaxis(x, 1, 0), None, partition.ROWS)


def _unchunk(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Puts the chunks (chunks, S, N, ...) together again, as `shape`, (R, L, ...)."""
    rows, length, *_ = shape
    shards, rest = x.shape[1], x.shape[3:]
    x = jnp.moveaxis(x, 0, 1).reshape(shards, -1, *rest)
    return partition.rows(x[:, : rows // shards * length]).reshape(shape)
