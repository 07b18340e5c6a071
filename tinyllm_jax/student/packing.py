"""Sequences of different lengths in rows of one length, and what belongs together behind segment ids.

A unit is what is encoded together with what is decoded from it: one input with one or several targets. A row has an
encoder's and a decoder's side, and holds as many units as fit both. Segment ids number the inputs and the targets from 1;
0 is padding. Nothing sees past its own segment (`model.hidden`), so a row's tokens get what they would get alone.
"""

import itertools
from collections.abc import Sequence

import numpy as np

MULTIPLE = 8  # a row's lengths are multiples of this

# The cost of a row beside that of an encoder token: a decoder token has cross-attention and the output vocabulary, a pair of
# attended positions is mostly memory traffic. From FLAN-T5-small's step on two CPU cores; only the ratios matter.
DECODER_TOKEN, PAIR = 1.7, 0.0015
PARTS = (7 / 8, 1)  # where `pack` parts the units, ordered by length: the long tail has rows of its own
SAMPLE = 128  # units on which row lengths are tried
MOST = 32768  # positions of a side that a batch of `pack` has at most, for the memory of long sequences


def pack(inputs: Sequence[Sequence[int]], targets: Sequence[Sequence[Sequence[int]]], count: int,
         multiple: int = 1) -> list[dict[str, np.ndarray]]:
    """All units in batches of at most `len(PARTS)` static shapes.

    Args:
      inputs: each unit's input ids.
      targets: each unit's targets' ids, at least one that is not empty.
      count: about how many units a batch holds.
      multiple: a batch's rows are a multiple of this.

    Returns:
      Batches of "inputs" and "input_segments" (R, Le), "targets", "target_segments" and "target_inputs" (R, Lt), int32.
      A unit's input is segment i + 1, i its index; targets are numbered from 1 in order, unit by unit.
    """
    if not len(inputs):
        return []
    sizes = np.array([(len(ids), sum(map(len, some))) for ids, some in zip(inputs, targets)])
    first = np.concatenate([[0], np.cumsum([len(some) for some in targets])])
    order = by_length(sizes)
    ends = [int(len(order) * part) for part in PARTS] if len(order) > 2 * count else [len(order)]
    batches = []
    for start, end in zip([0, *ends], ends):
        part = order[start:end]
        sample = part[np.linspace(0, len(part) - 1, min(SAMPLE, len(part))).astype(int)]
        step = np.array([MULTIPLE, min(MULTIPLE, sizes[:, 1].max())])
        longest = -(-sizes[part].max(0) // step) * step
        _, room = choose_room(sizes[sample][None], longest, step)
        row, offset, used = place(sizes[part][None], room)
        rows = max(1, min(-(-used[0] * count // len(part)), MOST // max(room)))
        rows = -(-used[0] // -(-used[0] // rows))  # as full as the others, the last batch too
        rows = -(-rows // multiple) * multiple
        total = -(-used[0] // rows) * rows
        tables = {name: np.zeros((total, room[side]), np.int32) for name, side in (
            ("inputs", 0), ("input_segments", 0), ("targets", 1), ("target_segments", 1), ("target_inputs", 1))}
        for i, r, (at, to) in zip(part, row[0], offset[0]):
            tables["inputs"][r, at:at + len(inputs[i])] = inputs[i]
            tables["input_segments"][r, at:at + len(inputs[i])] = i + 1
            for n, ids in enumerate(targets[i]):
                span = slice(to, to + len(ids))
                tables["targets"][r, span], tables["target_segments"][r, span] = ids, first[i] + n + 1
                tables["target_inputs"][r, span], to = i + 1, to + len(ids)
        batches += [{name: a[k:k + rows] for name, a in tables.items()} for k in range(0, total, rows)]
    return batches


def sum_targets(sums: np.ndarray, batch: dict[str, np.ndarray], values: np.ndarray) -> None:
    """Adds a batch's values per target token, (R, Lt), to the targets' `sums`, in place and by `pack`'s numbers."""
    segments = batch["target_segments"]
    np.add.at(sums, segments[segments > 0] - 1, values[segments > 0])


def by_length(lengths: np.ndarray) -> np.ndarray:
    """The order of (n, sides) lengths by the larger of their ranks: no side is then much longer than its neighbours'."""
    return lengths.argsort(0, kind="stable").argsort(0, kind="stable").max(1).argsort(kind="stable")


def place(sizes: np.ndarray, room: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Packs each batch's units into rows: the largest first, each into the row whose free room is most like it in shape.

    Vector packing by the cosine between a unit and the free room (after Panigrahy et al., "Heuristics for vector bin
    packing", 2011): a unit with much to decode goes where much room to decode is left.

    Args:
      sizes: (batches, units, 2), the units' tokens; one without a target takes no place.
      room: a row's tokens on both sides; every unit fits.

    Returns:
      Each unit's row (batches, units), its offsets in it (batches, units, 2), and the rows that each batch needs.
    """
    batches, units, _ = sizes.shape
    sizes = np.where(sizes[..., 1:] > 0, sizes, 0)
    share = sizes / np.array(room)
    order = (-share.max(-1)).argsort(1, kind="stable")
    free = np.broadcast_to(np.array(room), (batches, units, 2)).copy()
    row, offset = np.zeros((batches, units), np.int64), np.zeros((batches, units, 2), np.int64)
    every, used = np.arange(batches), np.zeros(batches, np.int64)
    for unit in order.T:
        size, open_rows = sizes[every, unit], used.max(initial=0) + 1
        left = free[:, :open_rows]
        left_share = left / np.array(room)
        alike = (left_share * share[every, unit][:, None]).sum(-1) / np.maximum(np.linalg.norm(left_share, axis=-1), 1e-9)
        alike -= 10 * (np.arange(open_rows) >= used[:, None])  # a new row, only where no other will do
        best = np.where((left >= size[:, None]).all(-1), alike, -np.inf).argmax(1)
        best = np.where(size[:, 1] > 0, best, 0)
        row[every, unit], offset[every, unit] = best, np.array(room) - free[every, best]
        free[every, best] -= size
        used = np.maximum(used, np.where(size[:, 1] > 0, best + 1, 0))
    return row, offset, used


def choose_room(units: np.ndarray, longest: np.ndarray, step=(MULTIPLE, MULTIPLE)) -> tuple[float, tuple[int, int]]:
    """The least cost of a batch, and its row lengths: the best of a grid, and then of its neighbours.

    Args:
      units: (batches, units, 2), batches to try lengths on.
      longest: of both sides: the least lengths. A multiple of `step`, as all lengths are.
      step: of both sides.
    """
    tokens = (units * (units[..., 1:] > 0)).sum(1).max(0)

    def price(room):
        return room[0] + DECODER_TOKEN * room[1] + PAIR * (room[0] ** 2 + room[1] ** 2 + room[0] * room[1])

    best, tried = (np.inf, None), set()

    def look(room):
        nonlocal best
        if room in tried or min(np.array(room) - longest) < 0:
            return
        tried.add(room)
        if price(room) * max(1, *-(-tokens // room)) < best[0]:
            best = min(best, (price(room) * int(place(units, room)[2].max()), room))

    for room in itertools.product(*map(_lengths, longest, step)):
        look(room)
    at = None
    while at != best[1]:
        at = best[1]
        for more in itertools.product((-2, -1, 0, 1, 2), repeat=2):
            look((at[0] + int(step[0]) * more[0], at[1] + int(step[1]) * more[1]))
    return best


def _lengths(longest: int, step: int) -> list[int]:
    """Row lengths to try for units of at most `longest` tokens."""
    return sorted({int(-(-x // step) * step) for x in longest * np.array([1, 1.2, 1.5, 1.9, 2.4, 3, 4])})
