"""The collectives of the compiled step on eight virtual devices, beside what theory asks for.

Only compiled, never run. A collective inside a loop counts as often as the loop's trip count, which
XLA writes down. XLA's CPU backend has no reduce-scatter pass: it writes an all-reduce whose result
is sliced. So "all-reduce or reduce-scatter" is one kind here. Those of less than 64 kB (norms'
gradients, losses, softmax statistics) are listed apart. `SHOW=1` prints where each comes from.
Exits with 1 where the partitioner reports an involuntary full rematerialisation.

    python tests/benchmarks/bench_sharding.py
"""

import argparse
import collections
import os
import re
import sys
import tempfile

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import common
import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from tinyllm_jax.student.config import student_config
from tinyllm_jax.training import sharding

MESHES = {
    "data=8": (8, 1, 1),
    "fsdp=8": (1, 8, 1),
    "data=2 fsdp=4": (2, 4, 1),
    "fsdp=4 tensor=2": (1, 4, 2),
}
KINDS = {
    "all-gather": "all-gather",
    "reduce-scatter": "all-reduce or reduce-scatter",
    "all-reduce": "all-reduce or reduce-scatter",
    "all-to-all": "all-to-all",
    "collective-permute": "collective-permute",
}
BYTES = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "pred": 1}
COLLECTIVE = rf"= (.*?) ({'|'.join(KINDS)})(?:-start)?\("


def main() -> None:
    """One table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--student", default="flan-t5-small")
    parser.add_argument("--rows", type=int, default=32)
    arguments = parser.parse_args()
    student, lines, involuntary = student_config(arguments.student, dropout_rate=0.0), [], 0
    for name, shape in MESHES.items():
        text, warnings = compile_step(student, shape, arguments.rows)
        involuntary += warnings
        found = count(text)
        for kind in dict.fromkeys(KINDS.values()):
            inside, outside = found[kind, "loop"], found[kind, "once"]
            small = found[kind, "small"]
            times, megabytes = sum(n for n, _ in small), sum(n * b for n, b in small) / 1e6
            if inside or outside or small:
                lines.append(
                    (
                        name,
                        kind,
                        _show(inside),
                        _show(outside),
                        f"{times} of {megabytes:.1f} MB",
                        theory(kind, shape),
                    )
                )
    common.table(
        f"**{arguments.student}, {arguments.rows} rows, 8 virtual devices, jax {jax.__version__}**",
        ("mesh", "collective", "in the layers' loops", "outside of loops", "small", "theory"),
        lines,
    )
    print(f"\ninvoluntary full rematerialisations: {involuntary}")
    sys.exit(1 if involuntary else 0)


def theory(kind: str, mesh: tuple[int, int, int]) -> str:
    """What the mesh's kinds of parallelism need.

    They are data parallelism, fully sharded parameters (arXiv 1910.02054), and tensor parallelism
    (arXiv 1909.08053).
    """
    data, fsdp, tensor = mesh
    if kind == "all-gather":
        return "each kernel once a pass" if fsdp > 1 else "none"
    if kind.startswith("all-reduce"):
        needs = []
        if data * fsdp > 1:
            needs.append("each gradient once")
        if tensor > 1:
            needs.append("one per block and pass")
        return "; ".join(needs)
    return (
        "the embedding of each row's tokens, exchanged"
        if kind == "all-to-all" and fsdp > 1
        else "none"
    )


def compile_step(student, shape, rows) -> tuple[str, int]:
    """The compiled step's text, and the partitioner's warnings of full rematerialisation."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(shape), sharding.AXES)
    step, state, batch = common.step_shapes(student, rows, 128)
    shardings, everywhere = sharding.state_shardings(state, mesh), NamedSharding(mesh, P())
    batch_shardings = {
        name: everywhere if name == "scale" else NamedSharding(mesh, sharding.BATCH)
        for name in batch
    }
    step = jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(shardings, batch_shardings),
        out_shardings=(shardings, everywhere),
    )
    with tempfile.TemporaryFile() as file:
        before = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            with jax.set_mesh(mesh):
                text = step.lower(state, batch).compile().as_text()
        finally:
            os.dup2(before, 2)
        file.seek(0)
        said = file.read().decode(errors="replace")
    assert text is not None, "this backend does not write its compiled programs"
    return text, len(re.findall("nvoluntary full rematerialization", said))


def count(text: str) -> dict:
    """The collectives of a compiled module: (kind, place) → [(times, bytes)].

    The place is "loop", "once", or "small".
    """
    bodies, current, trips = collections.defaultdict(list), None, {}
    for line in text.splitlines():
        header = re.match(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$", line)
        if header and "=" not in line.split("(")[0]:
            current = header.group(1)
        bodies[current].append(line)
        loop = re.search(r"body=%?([\w.\-]+)", line)
        if loop:
            known = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
            trips[loop.group(1)] = current, int(known.group(1)) if known else 1
    found = collections.defaultdict(list)
    for body, lines in bodies.items():
        times, at = 1, body
        while at in trips:
            at, n = trips[at]
            times *= n
        for line in lines:
            match = re.search(COLLECTIVE, line)
            if not match:
                continue
            for kind, dims in re.findall(r"(f32|bf16|s32|u32|pred)\[([\d,]*)\]", match.group(1)):
                size = BYTES[kind] * int(np.prod([int(d) for d in dims.split(",") if d] or [1]))
                place = "small" if size < 64e3 else "loop" if times > 1 else "once"
                found[KINDS[match.group(2)], place].append((times, size))
                if os.environ.get("SHOW") and size >= 64e3:
                    op = re.search(r'op_name="([^"]*)"', line)
                    print(
                        match.group(2),
                        times,
                        f"{kind}[{dims}]",
                        op.group(1)[-110:] if op else "",
                        file=sys.stderr,
                    )
    return found


def _show(items) -> str:
    return (
        f"{sum(n for n, _ in items)} of {sum(n * b for n, b in items) / 1e6:.0f} MB"
        if items
        else ""
    )


if __name__ == "__main__":
    main()
