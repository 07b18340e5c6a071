"""Peak memory of the compiled step and of the loss.

The step is measured against length, rows and remat, the loss against tokens and vocabulary.
Read off the compiled program (`memory_analysis`), which is never run: temporaries beside the train
state. "All logits" is the same step with the loss as it is usually written. The loss alone should
grow with its inputs and their gradients, "own", and not with tokens × vocabulary.

    python tests/benchmarks/bench_memory.py
"""

import argparse

import common
import jax
import jax.numpy as jnp
import numpy as np

from tinyllm_jax.student import cross_entropy
from tinyllm_jax.student.config import student_config
from tinyllm_jax.training import objective


def main() -> None:
    """Two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--student", default="flan-t5-small")
    parser.add_argument("--rows", default="8,16,32")
    parser.add_argument("--lengths", default="128,256,512", help="of both sides of a row")
    arguments = parser.parse_args()
    dtype = "bfloat16" if common.on_gpu() else "float32"
    gb, lines = lambda size: f"{size / 1e9:.2f}", []
    for rows in map(int, arguments.rows.split(",")):
        for length in map(int, arguments.lengths.split(",")):
            kept, again = (
                student_config(arguments.student, dropout_rate=0.0, dtype=dtype, remat=remat)
                for remat in (False, True)
            )
            lines.append(
                (
                    rows,
                    length,
                    *(
                        gb(step_memory(s, rows, length, loss))
                        for s, loss in (
                            (kept, objective.weighted_loss),
                            (kept, all_logits),
                            (again, objective.weighted_loss),
                            (again, all_logits),
                        )
                    ),
                )
            )
    common.table(
        f"**Temporaries of the train step, GB: {arguments.student}, {dtype}**",
        ("rows", "length", "ours", "all logits", "ours, remat", "all logits, remat"),
        lines,
    )
    lines = []
    for vocabulary in (8032, 32128, 128512):
        for tokens in (2048, 8192, 32768):
            own = 4 * 512 * (tokens + vocabulary)
            ours, usual = (
                loss_memory(f, tokens, vocabulary)
                for f in (cross_entropy.cross_entropy, usual_loss)
            )
            lines.append(
                (
                    f"{vocabulary:,}",
                    f"{tokens:,}",
                    gb(own),
                    gb(ours),
                    gb(ours - own),
                    gb(usual),
                    gb(4 * tokens * vocabulary),
                )
            )
    common.table(
        "**Temporaries of the loss and its gradient, GB: width 512, float32**",
        (
            "vocabulary",
            "tokens",
            "own",
            "ours",
            "ours - own",
            "all logits",
            "one array of all logits",
        ),
        lines,
    )


def usual_loss(hidden, kernel, targets, weight):
    """The cross-entropies from all logits at once; returns what `cross_entropy` does."""
    logits = jnp.dot(hidden, kernel.astype(hidden.dtype), preferred_element_type=jnp.float32)
    tokens = (
        jax.nn.logsumexp(logits, axis=-1)
        - jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    )
    return jnp.sum(tokens * weight), tokens


def all_logits(hidden, kernel, batch):
    """The objective from all logits at once."""
    loss, _ = usual_loss(
        hidden, kernel, batch["targets"], batch["weight"] * batch["scale"][batch["term"]]
    )
    return loss, batch["scale"]


def step_memory(student, rows, length, loss) -> int:
    """Bytes of temporaries of the compiled step with this objective."""
    step, state, batch = common.step_shapes(student, rows, length)
    before, objective.weighted_loss = objective.weighted_loss, loss
    try:
        compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    finally:
        objective.weighted_loss = before
    found = compiled.memory_analysis()
    assert found is not None, "this backend has no memory analysis"
    return found.temp_size_in_bytes


def loss_memory(loss, tokens, vocabulary) -> int:
    """Bytes of temporaries and results of the compiled gradient of a loss."""
    shapes = [
        jax.ShapeDtypeStruct(*s)
        for s in (
            ((tokens // 128, 128, 512), np.float32),
            ((512, vocabulary), np.float32),
            ((tokens // 128, 128), np.int32),
            ((tokens // 128, 128), np.float32),
        )
    ]
    found = (
        jax.jit(jax.grad(lambda *a: loss(*a)[0], (0, 1))).lower(*shapes).compile().memory_analysis()
    )
    assert found is not None, "this backend has no memory analysis"
    return found.temp_size_in_bytes + found.output_size_in_bytes


if __name__ == "__main__":
    main()
