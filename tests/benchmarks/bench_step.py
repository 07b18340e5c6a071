"""The train step, timed in our ways and against PyTorch, and its share of the machine's peak.

It has three terms, of released rows and real weights.
Our ways are timed on a batch of each of their shapes, and weighted by the shapes' shares of an
epoch: they batch other questions together. PyTorch has the questions of our commonest shape's
batch: (a) the reference's way, three padded forward passes at its lengths, and (b) the best plain
PyTorch: dynamic padding, one concatenated forward pass, fused AdamW. Same weights, dropout off; the
first step's losses on the same questions are printed and must agree to 1e-4 in float32. The FLOPs
are `throughput.model_flops`, the peak is a 4096³ product in jax in the same run.

    python tests/benchmarks/bench_step.py --tasks obqa,arc --batch 16 --rounds 3 --lengths 100,1024
"""

import argparse
import functools

import common
import numpy as np
import peers
import torch

from tinyllm_jax.training import throughput


def main() -> None:
    """One table a task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="obqa,arc,pubmedqa")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="without PyTorch")
    parser.add_argument(
        "--lengths",
        default="100,1024",
        help="(a)'s input lengths: the released script's and the paper's",
    )
    arguments = parser.parse_args()
    common.need()
    device, dtype = ("cuda", torch.bfloat16) if common.on_gpu() else ("cpu", torch.float32)
    for size, (student, params) in common.students().items():
        for task in arguments.tasks.split(","):
            one_task(task, size, student, params, arguments, device, dtype)


def one_task(task, size, student, params, arguments, device, dtype) -> None:
    """Prints the table of one task and student."""
    rows = common.whole_rows(task)
    batches, run = common.batches_of(rows, task, arguments.batch)
    decoder, _ = common.batches_of(rows, task, arguments.batch, prefix="decoder")
    unpacked, _ = common.batches_of(rows, task, arguments.batch, packed=False)
    own = {"ours": batches, "prefix=decoder": decoder, "one target a row": unpacked}
    steps = {name: common.steps_by_shape(found) for name, found in own.items()}
    common_step = next(iter(steps["ours"]))
    ways, flops = {}, {}
    losses: dict[str, float] = {}
    for name, found in own.items():
        trainer = common.Trainer(student, params)
        for step in steps[name]:
            batch = found(step)
            losses.setdefault(name, float(trainer(batch)["loss"]))
            ways[name, step], flops[name, step] = (
                functools.partial(trainer, batch),
                throughput.model_flops(student, batch),
            )
    peers_ways = {}
    if size == "small" and not arguments.alone:
        ids = peers.encode(
            run, common.tokenizer(), [rows[i] for i in batches.planned(common_step).index]
        )
        torch_student = lambda: peers.Torch(common.WEIGHTS, run, device, dtype)
        for length in map(int, arguments.lengths.split(",")):
            peers_ways[f"(a) reference, length {length}"] = functools.partial(
                torch_student().reference, ids, length
            )
        peers_ways["(b) plain PyTorch"] = functools.partial(torch_student().plain, ids)
        losses |= {name: way() for name, way in peers_ways.items()}
    timed = common.paired(ways | peers_ways, arguments.rounds)
    top, lines = common.peak(student.dtype), []

    def line(name, what, seconds, ours, work) -> None:
        middle = common.median(seconds)
        lines.append(
            (
                name,
                what,
                f"{losses[name]:.4f}",
                f"{middle:.2f}",
                f"{arguments.batch / middle:.2f}",
                common.ratio(seconds, ours),
                f"{100 * work / middle / top:.0f} %",
            )
        )

    epoch = {
        name: [
            sum(share * timed[name, step][n] for step, share in steps[name].items())
            for n in range(arguments.rounds)
        ]
        for name in own
    }
    for name in own:
        work = sum(share * flops[name, step] for step, share in steps[name].items())
        line(name, "an epoch", epoch[name], epoch["ours"], work)
    one = "ours", common_step
    for name, seconds in (
        {"ours": timed[one]} | {name: timed[name] for name in peers_ways}
    ).items():
        line(name, "one batch", seconds, timed[one], flops[one])
    shares = {name: found.useful_tokens() for name, found in own.items()}
    common.table(
        f"**{task}, {size}, {student.dtype}, {arguments.batch} questions a step** "
        f"(peak {top / 1e9:,.0f} GFLOP/s; useful tokens, inputs and targets: "
        + "; ".join(
            f"{n} {100 * s['input']:.0f} % and {100 * s['target']:.0f} %" for n, s in shares.items()
        )
        + ")",
        (
            "way",
            "of",
            "first loss",
            "s a step",
            "questions/s",
            "time ÷ ours",
            "useful FLOP/s of the peak",
        ),
        lines,
    )
    same = [losses[name] for name in ("ours", *peers_ways)]
    if student.dtype == "float32":
        np.testing.assert_allclose(same, same[0], rtol=1e-4)


if __name__ == "__main__":
    main()
