"""The projection that all of T5's kernels are in: without bias, with LoRA where it is asked for.

Kernels are (in, out), with H*D as one axis: it divides by more mesh sizes than H alone
(FLAN-T5-small has 6 heads), `q`, `k`, `v`, `wi*` shard over `tensor` by column and `o`, `wo` by
row, and every Linear takes LoRA the same way. B rows, L tokens, H heads, D = d_kv.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec as P

from tinyllm_jax.student import partition
from tinyllm_jax.student.config import StudentConfig


class Linear(nnx.Module):
    """A product with a kernel, `x @ kernel`, and a low-rank update where one is asked for.

    The update is `(x @ lora_a) @ lora_b * alpha / rank` (LoRA, arXiv 2106.09685).

    Args:
      config: the student's; it says which projections have an update.
      name: the projection's, one of `StudentConfig.projections` or "lm_head".
      d_in: the width of the input.
      d_out: the width of the output.
      std: the standard deviation of the kernel's first values.
      rngs: where they are drawn from.
    """

    def __init__(
        self, config: StudentConfig, name: str, d_in: int, d_out: int, std: float, rngs: nnx.Rngs
    ):
        self.dtype = config.dtype
        self.by_row = name in ("o", "wo")
        self.kernel = nnx.Param(std * jax.random.normal(rngs.params(), (d_in, d_out)))
        self.has_lora = config.lora_rank > 0 and name in config.lora_targets
        if self.has_lora:
            self.lora_scale = config.lora_alpha / config.lora_rank
            self.lora_a = nnx.Param(
                d_in**-0.5 * jax.random.normal(rngs.params(), (d_in, config.lora_rank))
            )
            self.lora_b = nnx.Param(jnp.zeros((config.lora_rank, d_out)))

    def __call__(self, x: jax.Array) -> jax.Array:
        """(..., d_in) to (..., d_out), in the compute dtype."""
        # As a matrix (tokens, d_in): XLA's CPU backend transposes three-dimensional operands of the
        # kernel's gradient element by element.
        tokens = x.reshape(-1, x.shape[-1])
        y = tokens @ self._in_use()
        y = partition.constrain(y, partition.ROWS, None if self.by_row else partition.TENSOR)

        # The low-rank update, (tokens, d_in) to (tokens, rank) to (tokens, d_out).
        if self.has_lora:
            a, b = self._update()
            y += (tokens @ a) @ b * self.lora_scale
        return y.reshape(*x.shape[:-1], -1)

    def to_heads(self, x: jax.Array, heads: int) -> jax.Array:
        """(B, L, d_in) to (B, heads, L, D) with d_out = heads * D, in the compute dtype.

        The product itself puts the heads in front. Where they are cut out of (B, L, d_out)
        afterwards, a TPU writes everything again: D is half of the width of its registers. A CPU
        takes a tenth longer to write texts with the one product, so it cuts.
        """
        if partition.on_cpu():
            return self(x).reshape(*x.shape[:-1], heads, -1).swapaxes(1, 2)

        def by_head(matrix: jax.Array) -> jax.Array:
            return matrix.reshape(len(matrix), heads, -1)

        y = jnp.einsum("bli,ihd->bhld", x, by_head(self._in_use()))
        y = partition.constrain(y, partition.ROWS, P.UNCONSTRAINED)

        # The low-rank update, (B, L, d_in) to (B, L, rank) to (B, heads, L, D).
        if self.has_lora:
            a, b = self._update()
            y += jnp.einsum("blr,rhd->bhld", x @ a, by_head(b)) * self.lora_scale
        return y

    def from_heads(self, x: jax.Array) -> jax.Array:
        """(B, heads, L, D) to (B, L, d_out) with d_in = heads * D; see `to_heads`."""
        if partition.on_cpu():
            x = x.swapaxes(1, 2)
            return self(x.reshape(*x.shape[:2], -1))

        def by_head(matrix: jax.Array) -> jax.Array:
            return matrix.reshape(x.shape[1], x.shape[3], -1)

        y = partition.rows(jnp.einsum("bhld,hdo->blo", x, by_head(self._in_use())))

        # The low-rank update, (B, heads, L, D) to (B, L, rank) to (B, L, d_out).
        if self.has_lora:
            a, b = self._update()
            y += jnp.einsum("bhld,hdr->blr", x, by_head(a)) @ b * self.lora_scale
        return y

    def _in_use(self) -> jax.Array:
        """The kernel (d_in, d_out) in the compute dtype, as it lies on the mesh in use.

        `tensor` splits it by row in `o` and `wo`, and else by column, which splits the output too.
        """
        split = (partition.TENSOR, None) if self.by_row else (None, partition.TENSOR)
        return partition.constrain(self.kernel[...].astype(self.dtype), *split)

    def _update(self) -> tuple[jax.Array, jax.Array]:
        """The low-rank update's factors, (d_in, rank) and (rank, d_out), in the compute dtype."""
        return self.lora_a[...].astype(self.dtype), self.lora_b[...].astype(self.dtype)
