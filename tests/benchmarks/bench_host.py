"""What a training step costs on the host: Python's part, beside the device's.

"batch" and "transfer" run in a thread ahead of the step; the others are what the loop's own thread
does a step. "Python's part of the call" is the call of a compiled function that takes, donates and
returns the same arrays and computes next to nothing; the call of the step itself returns before its
result is there, but after the backend has made room for it. All are medians.

    python tests/benchmarks/bench_host.py --task obqa --batch 16 --steps 30
"""

import argparse
import time

import common
import jax
import numpy as np

from tinyllm_jax.errors import UserError
from tinyllm_jax.training import sharding, throughput
from tinyllm_jax.training.run import MeshShape
from tinyllm_jax.training.window import Window


def main() -> None:
    """One table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="obqa")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=30)
    arguments = parser.parse_args()
    common.need()
    student, params = common.students()["small"]
    batches, run = common.batches_of(
        common.corpus_rows(arguments.task), arguments.task, arguments.batch
    )
    mesh = sharding.make_mesh(MeshShape())
    batch_times, transfer_times = [], []
    for step in range(arguments.steps):
        began = time.perf_counter()
        batch = batches(step)
        batch_times.append(time.perf_counter() - began)
        began = time.perf_counter()
        sharding.step_batch(batch, mesh)
        transfer_times.append(time.perf_counter() - began)
    trainer = common.Trainer(student, params)
    batch, _ = sharding.step_batch(batches(0), mesh)
    dispatch, whole = [], []
    for _ in range(4):
        began = time.perf_counter()
        trainer.state, out = trainer.step(trainer.state, batch)
        dispatch.append(time.perf_counter() - began)
        jax.block_until_ready(out)
        whole.append(time.perf_counter() - began)
    empty, nothing = (
        jax.jit(
            lambda state, batch: ({**state, "step": state["step"] + 1}, batch["scale"].sum()),
            donate_argnums=0,
        ),
        [],
    )
    for _ in range(arguments.steps):
        began = time.perf_counter()
        trainer.state, _ = empty(trainer.state, batch)
        nothing.append(time.perf_counter() - began)
        jax.block_until_ready(trainer.state)
    window = Window(
        list(run.objective.terms),
        arguments.batch,
        _Nothing(),  # type: ignore[arg-type]
        lambda step: 0.0,
        run.stop_after_skipped,
        lambda step, what: UserError(what),
    )
    note = []
    for step in range(arguments.steps):
        began = time.perf_counter()
        window.add(step, out, np.ones(3), throughput.Work(0, 0.0))
        note.append(time.perf_counter() - began)
    ms = lambda values: f"{1000 * common.median(values):.2f}"
    common.table(
        f"**{arguments.task}, {arguments.batch} questions a step, "
        f"{len(jax.tree.leaves(trainer.state))} arrays of state**",
        ("part", "ms a step", "thread"),
        [
            ("batch", ms(batch_times), "ahead"),
            ("transfer", ms(transfer_times), "ahead"),
            ("Python's part of the call", ms(nothing), "the loop's"),
            ("call of the step, until it returns", ms(dispatch[1:]), "the loop's"),
            ("bookkeeping", ms(note), "the loop's"),
            ("the step itself", ms(whole[1:]), "device"),
        ],
    )


class _Nothing:
    """A log that keeps nothing."""

    def write(self, *row, **more):
        """Nothing."""


if __name__ == "__main__":
    main()
