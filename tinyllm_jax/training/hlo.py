"""What stands in a compiled program's text (XLA's optimised HLO): its cycles and its collectives.

The text is a list of computations. One of them is the entry; instructions of it call others: a loop
its body, a fusion what it fuses. A loop's body stands there once, so whatever is counted in it
counts as often as the loop runs.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterator, Mapping

COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")

BYTES = {
    **dict.fromkeys(("pred", "s8", "u8"), 1),
    **dict.fromkeys(("bf16", "f16", "s16", "u16"), 2),
    **dict.fromkeys(("f32", "s32", "u32"), 4),
    **dict.fromkeys(("f64", "s64", "u64"), 8),
}

_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (.*?)\s([a-z][\w\-]*)\((.*)")
_ARRAY = re.compile(r"\b(\w+)\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
      name: its name.
      result: the type of what it computes, as "f32[8,128]{1,0}", or a tuple of such.
      opcode: "fusion", "while", "all-gather-start" …
      rest: what stands behind the opcode: its operands and attributes.
    """

    name: str
    result: str
    opcode: str
    rest: str

    def attribute(self, pattern: str) -> str | None:
        """The first group of a pattern that is looked for in `rest`; None where it is not there."""
        found = re.search(pattern, self.rest)
        return found[1] if found else None

    @property
    def sizes(self) -> list[int]:
        """The bytes of every array of the result."""
        sizes = []
        for dtype, dimensions in _ARRAY.findall(self.result):
            size = BYTES.get(dtype, 0)
            for dimension in filter(None, dimensions.split(",")):
                size *= int(dimension)
            sizes.append(size)
        return sizes


@dataclasses.dataclass(frozen=True)
class Moved:
    """What one kind of collective moves in a step.

    Attributes:
      times: how often.
      size: the bytes of the results on one device, all times together.
    """

    times: int
    size: int


Computations = Mapping[str, list[Instruction]]


def cycles(text: str) -> int:
    """The cycles that XLA's TPU compiler expects of a program's instructions, loops included.

    They stand beside the instructions of the entry and of loops, and speak for what those fuse. No
    waiting is in them, so the program takes at least that long.
    """
    computations, entry = read(text)
    found = 0
    for instruction, times in _run(computations, entry, fused=False):
        found += times * int(instruction.attribute(r'"estimated_cycles":"(\d+)"') or 0)
    return found


def collectives(text: str) -> dict[str, Moved]:
    """What each kind of collective of a program moves.

    An asynchronous one is spread over several fusions, which share its channel: it counts once. The
    first channel says nothing: those that the program itself asks for, and not the partitioner, and
    those that the compiler has put together all have it.
    """
    computations, entry = read(text)
    found = {}
    for instruction, times in _run(computations, entry, fused=True):
        kind = instruction.opcode.removesuffix("-start")
        if kind in COLLECTIVES and instruction.sizes:
            channel = instruction.attribute(r"channel_id=(\d+)") or "1"
            name = instruction.name if channel == "1" else channel
            # The start of an asynchronous one names what it sends, too, and the result is as large
            # or larger.
            is_start = instruction.opcode.endswith("-start")
            size = max(instruction.sizes) if is_start else sum(instruction.sizes)
            found[name] = kind, times, times * size

    totals: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
    for kind, times, size in found.values():
        totals[kind][0] += times
        totals[kind][1] += size
    return {kind: Moved(*total) for kind, total in sorted(totals.items())}


def read(text: str) -> tuple[Computations, str]:
    """The computations of a program by their names, and the entry's name."""
    computations: dict[str, list[Instruction]] = {}
    current = entry = ""
    for line in text.splitlines():
        if begins := _COMPUTATION.match(line):
            current = begins[2]
            computations[current] = []
            entry = current if begins[1] else entry
        elif current and (found := _INSTRUCTION.match(line)):
            computations[current].append(Instruction(*found.groups()))
    return computations, entry


def _run(
    computations: Computations, name: str, fused: bool, times: int = 1
) -> Iterator[tuple[Instruction, int]]:
    """Every instruction that a computation runs, with how often; `fused`: those in fusions too."""
    for instruction in computations.get(name, ()):
        yield instruction, times
        if instruction.opcode == "while":
            body = instruction.attribute(r"body=%?([\w.\-]+)")
            rounds = times * _rounds(computations, instruction)
            yield from _run(computations, body or "", fused, rounds)
            continue
        called = []
        if instruction.opcode == "call":
            called.append(instruction.attribute(r"to_apply=%?([\w.\-]+)"))
        if fused:
            called.append(instruction.attribute(r"calls=%?([\w.\-]+)"))
        for other in filter(None, called):
            yield from _run(computations, other, fused, times)


def _rounds(computations: Computations, loop: Instruction) -> int:
    """How often a loop runs: XLA says it, or it is the constant that the condition compares with.

    A loop that is neither counts once, so that what is computed of it is a lower bound.
    """
    known = loop.attribute(r'"known_trip_count":\{"n":"(\d+)"')
    if known:
        return int(known)
    condition = computations.get(loop.attribute(r"condition=%?([\w.\-]+)") or "", [])
    constants = {
        each.name: int(each.rest.split(")")[0])
        for each in condition
        if each.opcode == "constant" and each.result.startswith("s32[]")
    }
    for each in condition:
        if each.opcode == "compare" and "direction=LT" in each.rest:
            operands = re.findall(r"%?([\w.\-]+)", each.rest.split(")")[0])
            return next((constants[name] for name in operands if name in constants), 1)
    return 1
