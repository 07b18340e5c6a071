"""What a train step costs against the number of teachers, the input length, and the batch.

The number of teachers is varied in both prefix modes.
Real rows and weights. More teachers than the corpus has are its two again under other names: real
texts, repeated. "A teacher" is the slope of a least-squares line. Each figure is an epoch's mean:
every shape is timed on one of its batches (the median of steps, after one untimed) and weighted by
its share of the steps.

    python tests/benchmarks/bench_cost.py --parts teachers,length,batch
"""

import argparse
import dataclasses
import functools
import time

import common
import numpy as np


def main() -> None:
    """A table per part and student."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default="teachers,length,batch")
    parser.add_argument("--tasks", default="pubmedqa,obqa", help="of the part teachers")
    parser.add_argument("--teachers", default="0,1,2,4,8")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    common.need()
    numbers = lambda text: [int(n) for n in text.split(",")]
    for size, (student, params) in common.students().items():
        seconds = functools.partial(step_seconds, student, params, arguments.rounds)
        if "teachers" in arguments.parts:
            for task in arguments.tasks.split(","):
                teachers(size, seconds, task, numbers(arguments.teachers), arguments.batch)
        if "length" in arguments.parts:
            rows, lines = common.whole_rows("pubmedqa"), []
            for length in (128, 256, 512, 1024):
                taken, useful = seconds(rows, "pubmedqa", arguments.batch, input_length=length)
                lines.append(
                    (
                        length,
                        f"{taken:.2f}",
                        f"{arguments.batch / taken:.2f}",
                        f"{100 * useful:.0f} %",
                    )
                )
            common.table(
                f"**pubmedqa, {size}: contexts cut to a length (no question is), "
                f"{arguments.batch} questions a step**",
                ("input length", "s a step", "questions/s", "useful tokens"),
                lines,
            )
        if "batch" in arguments.parts:
            rows, lines = common.whole_rows("obqa"), []
            for batch in (4, 8, 16, 32, 64):
                taken, useful = seconds(rows, "obqa", batch)
                lines.append(
                    (batch, f"{taken:.2f}", f"{batch / taken:.2f}", f"{100 * useful:.0f} %")
                )
            common.table(
                f"**obqa, {size}**",
                ("questions a step", "s a step", "questions/s", "useful tokens"),
                lines,
            )


def teachers(size, seconds, task, counts, batch) -> None:
    """The table of one task, and the slope of each mode."""
    found: dict[str, list[float]] = {"encoder": [], "decoder": []}
    lines = []
    for count in counts:
        names = [f"{common.TEACHERS[n % 2]}-{n // 2}" for n in range(count)]
        rows = [
            dataclasses.replace(
                row,
                rationales={
                    name: dataclasses.replace(row.rationales[common.TEACHERS[n % 2]], teacher=name)
                    for n, name in enumerate(names)
                },
            )
            for row in common.whole_rows(task)
        ]
        for prefix, values in found.items():
            values.append(seconds(rows, task, batch, prefix=prefix, teachers=tuple(names))[0])
        lines.append(
            (
                count,
                *(f"{values[-1]:.2f}" for values in found.values()),
                f"{found['encoder'][-1] / found['decoder'][-1]:.2f}",
            )
        )
    slope = {prefix: np.polyfit(counts, values, 1)[0] for prefix, values in found.items()}
    lines.append(
        (
            "a teacher",
            *(f"{v:.2f}" for v in slope.values()),
            f"{slope['encoder'] / slope['decoder']:.2f}",
        )
    )
    common.table(
        f"**{task}, {size}, {batch} questions a step: seconds** (a teacher with `prefix=decoder` "
        f"costs {100 * slope['decoder'] / slope['encoder']:.0f} % of one with `prefix=encoder`)",
        ("teachers", "prefix=encoder", "prefix=decoder", "ratio"),
        lines,
    )


def step_seconds(student, params, rounds, rows, task, batch, **how) -> tuple[float, float]:
    """The mean seconds of an epoch's steps, and the corpus's share of useful tokens.

    Each shape is timed on its first batch.
    """
    batches, _ = common.batches_of(rows, task, batch, **how)
    trainer, mean = common.Trainer(student, params), 0.0
    for step, share in common.steps_by_shape(batches).items():
        found, seconds = batches(step), []
        trainer(found)
        for _ in range(rounds):
            began = time.perf_counter()
            trainer(found)
            seconds.append(time.perf_counter() - began)
        mean += share * common.median(seconds)
    return mean, batches.useful_tokens()["both"]


if __name__ == "__main__":
    main()
