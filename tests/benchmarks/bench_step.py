"""The train step with three terms on released rows and real weights, against PyTorch; and its share of the peak.

Ours against (a) the reference's way, three padded forward passes at its lengths, and (b) the best plain PyTorch: dynamic
padding, one concatenated forward pass, fused AdamW. Same rows, same weights, dropout off; the first step's losses are printed
and must agree to 1e-4 in float32. The FLOPs are `common.model_flops`, the peak is a 4096³ product in jax in the same run.

    python tests/benchmarks/bench_step.py --tasks obqa,arc --batch 16 --rounds 3 --lengths 100,1024
"""

import argparse
import functools

import common
import numpy as np
import peers
import torch


def main() -> None:
    """One table a task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="obqa,arc,pubmedqa")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lengths", default="100,1024", help="(a)'s input lengths: the released script's and the paper's")
    arguments = parser.parse_args()
    common.need()
    device, dtype = ("cuda", torch.bfloat16) if common.on_gpu() else ("cpu", torch.float32)
    for size, (student, params) in common.students().items():
        for task in arguments.tasks.split(","):
            one_task(task, size, student, params, arguments, device, dtype)


def one_task(task, size, student, params, arguments, device, dtype) -> None:
    """Prints the table of one task and student."""
    rows = common.whole_rows(task)
    batches, config = common.batches_of(rows, task, arguments.batch)
    told, _ = common.batches_of(rows, task, arguments.batch, prefix="decoder")
    boxes, _ = common.batches_of(rows, task, arguments.batch, packed=False)
    # A batch of the commonest shape, and its questions in every peer's way.
    step = common.commonest(batches)
    asked = [rows[i] for i in batches.planned(step).index]
    own = {"ours": batches(step), "prefix=decoder": told(common.commonest(told)), "one target a row": boxes(common.commonest(boxes))}
    ways, losses = {}, {}
    for name, batch in own.items():
        trainer = common.Trainer(student, params)
        losses[name] = float(trainer(batch)["loss"])
        ways[name] = functools.partial(trainer, batch)
    if size == "small":
        ids = peers.encode(config, common.tokenizer(), asked)
        for length in map(int, arguments.lengths.split(",")):
            ways[f"(a) reference, length {length}"] = functools.partial(
                peers.Torch(common.WEIGHTS, config, device, dtype).reference, ids, length)
        ways["(b) plain PyTorch"] = functools.partial(peers.Torch(common.WEIGHTS, config, device, dtype).plain, ids)
        losses |= {name: way() for name, way in ways.items() if name not in own}
    seconds = common.paired(ways, arguments.rounds)
    top = common.peak(student.dtype)
    flops = {name: common.model_flops(student, batch) for name, batch in own.items()}
    lines = []
    for name, found in seconds.items():
        work = flops.get(name, flops["ours"]) / common.median(found)
        lines.append((name, f"{losses[name]:.4f}", f"{common.median(found):.2f}", f"{arguments.batch / common.median(found):.2f}",
                      common.ratio(found, seconds["ours"]), f"{100 * work / top:.0f} %"))
    shares = {n: b.useful_tokens() for n, b in (("packed", batches), ("prefix=decoder", told), ("one target a row", boxes))}
    common.table(f"**{task}, {size}, {student.dtype}, {arguments.batch} questions a step** (peak {top / 1e9:,.0f} GFLOP/s; useful "
                 "tokens, inputs and targets: " + "; ".join(f"{n} {100 * s['input']:.0f} % and {100 * s['target']:.0f} %"
                                                            for n, s in shares.items()) + ")",
                 ("way", "first loss", "s a step", "questions/s", "time ÷ ours", "useful FLOP/s of the peak"), lines)
    same = [losses["ours"], *(v for n, v in losses.items() if n.startswith("("))]
    if student.dtype == "float32":
        np.testing.assert_allclose(same, same[0], rtol=1e-4)


if __name__ == "__main__":
    main()
