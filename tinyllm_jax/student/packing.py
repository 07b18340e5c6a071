"""Sequences of different lengths in rows of one length, and what belongs together behind segment ids.

A unit is what is encoded together with what is decoded from it: one input with one or several
targets. A row of inputs holds
as many as fit, and a row of targets reads one or several rows of inputs, those whose targets it
has: with long inputs, which leave no room for a second, and short targets, both sides are full that
way. Segment ids number the inputs and the targets from 1; 0 is padding. Nothing sees past its own
segment (`model.hidden`), so a row's tokens get what they would get alone.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

MULTIPLE = 8  # a row's lengths are multiples of this

# The cost of a row beside that of an encoder token: a decoder token has cross-attention and the
# output vocabulary, a pair of attended positions is mostly memory traffic. A fit to FLAN-T5-small's
# step on two CPU cores (1.45, 0.0004, within 5 % of eleven shapes, rows of 128 to 1024 tokens);
# only the ratios matter.
DECODER_TOKEN, PAIR = 1.5, 0.0005
PARTS = (
    7 / 8,
    1,
)  # where `pack` parts the units, ordered by length: the long tail has rows of its own
SAMPLE = 128  # units on which row lengths are tried
GROWTH = 1.03  # from one length that is tried to the next
ROOMS, FULLEST = (
    64,
    1.03,
)  # row lengths that are tried at most; rows are not filled better than that
CANDIDATES = 96  # units that are looked at, by pairs, to complete a row
TRIES = 8  # orders of a batch's units that are tried
MOST = 32768  # positions of a side that a batch of `pack` has at most, for the memory of long sequences


class Room(NamedTuple):
    """A row's: tokens of inputs and of targets, and how many rows of inputs one of targets reads."""

    inputs: int
    targets: int
    reads: int = 1


def pack(
    inputs: Sequence[Sequence[int]],
    targets: Sequence[Sequence[Sequence[int]]],
    count: int,
    multiple: int = 1,
) -> list[dict[str, np.ndarray]]:
    """All units in batches of at most `len(PARTS)` static shapes.

    Args:
      inputs: each unit's input ids.
      targets: each unit's targets' ids, at least one that is not empty.
      count: about how many units a batch holds.
      multiple: a batch's rows are a multiple of this.

    Returns:
      Batches of "inputs" and "input_segments" (R, Le), "targets", "target_segments" and
      "target_inputs" (R, Lt), int32. A unit's input is segment i + 1, i its index; targets are
      numbered from 1 in order, unit by unit.
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
        _, room = choose_room([sizes[sample]], longest, step)
        row, offset, used = place(sizes[part], room)
        rows = max(1, min(-(-used * count // len(part)), MOST // max(room[:2])))
        rows = -(-used // -(-used // rows))  # as full as the others, the last batch too
        rows = -(-rows // multiple) * multiple
        total = -(-used // rows) * rows
        tables = {
            name: np.zeros((total, room[side]), np.int32)
            for name, side in (
                ("inputs", 0),
                ("input_segments", 0),
                ("targets", 1),
                ("target_segments", 1),
                ("target_inputs", 1),
            )
        }
        for i, r, (at, to) in zip(part, row, offset):
            tables["inputs"][r, at : at + len(inputs[i])] = inputs[i]
            tables["input_segments"][r, at : at + len(inputs[i])] = i + 1
            for n, ids in enumerate(targets[i]):
                span = slice(to, to + len(ids))
                tables["targets"][r, span], tables["target_segments"][r, span] = (
                    ids,
                    first[i] + n + 1,
                )
                tables["target_inputs"][r, span], to = i + 1, to + len(ids)
        batches += [
            {name: a[k : k + rows] for name, a in tables.items()} for k in range(0, total, rows)
        ]
    return batches


def sum_targets(sums: np.ndarray, batch: dict[str, np.ndarray], values: np.ndarray) -> None:
    """Adds a batch's values per target token, (R, Lt), to the targets' `sums`, in place and by `pack`'s numbers."""
    segments = batch["target_segments"]
    np.add.at(sums, segments[segments > 0] - 1, values[segments > 0])


def by_length(lengths: np.ndarray) -> np.ndarray:
    """The order of (n, sides) lengths by the larger of their ranks: no side is then much longer than its neighbours'."""
    return lengths.argsort(0, kind="stable").argsort(0, kind="stable").max(1).argsort(kind="stable")


def place(sizes: np.ndarray, room: Room, rows: int = 0) -> tuple[np.ndarray, np.ndarray, int]:
    """Packs units into rows, one row after the other: the largest unit left, then those one or two that fill it best, again and
    again until none fits (bin completion, after Martello and Toth, "Knapsack Problems", 1990, here
    in two dimensions). Where a row of targets reads several of inputs, those are packed in turn, by
    their targets.

    Args:
      sizes: (units, 2), the units' tokens; one without a target takes no place.
      room: of a row; every unit fits.
      rows: with more rows than that, other orders are tried, at most `TRIES`; 0: the first is
        taken.

    Returns:
      Each unit's row of inputs (units,), of which `room.reads` after one another belong to a row of
      targets; its offsets in both (units, 2); and the number of rows of targets.
    """
    has = np.flatnonzero(sizes[:, 1] > 0)
    share = sizes[has] / np.array(room[:2])
    noise, best = np.random.Generator(np.random.Philox(key=len(has))), None
    for attempt in range(TRIES if rows and len(has) else 1):
        key = share.max(1, initial=0) * (
            1 + (0.05 if attempt else 0) * noise.standard_normal(len(has))
        )
        packed = _read_together(
            [has[members] for members in _fill(share, (-key).argsort(kind="stable"))], sizes, room
        )
        best = packed if best is None or len(packed) < len(best) else best
        if len(best) <= rows:
            break
    row, offset = np.zeros(len(sizes), np.int64), np.zeros(sizes.shape, np.int64)
    for number, together in enumerate(best):
        every = np.concatenate(together)
        offset[every, 1] = sizes[every, 1].cumsum() - sizes[every, 1]
        for n, units in enumerate(together):
            row[units], offset[units, 0] = (
                number * room.reads + n,
                sizes[units, 0].cumsum() - sizes[units, 0],
            )
    return row, offset, len(best)


def _read_together(
    packed: list[np.ndarray], sizes: np.ndarray, room: Room
) -> list[list[np.ndarray]]:
    """The rows of inputs, each given as its units, in groups that share a row of targets."""
    if room.reads == 1:
        return [[units] for units in packed]
    share = np.array(
        [(1 / room.reads, sizes[units, 1].sum() / room.targets) for units in packed]
    ).reshape(-1, 2)
    return [
        [packed[n] for n in group] for group in _fill(share, (-share[:, 1]).argsort(kind="stable"))
    ]


def _fill(share: np.ndarray, left: np.ndarray) -> list[list[int]]:
    """The rows' units; `share` (units, 2) is what each takes of a row, `left` the order in which rows are begun."""
    heavy, rows = share.sum(0) / max(share.sum(), 1e-9), []
    while len(left):
        members, free, left = [left[0]], 1 + 1e-9 - share[left[0]], left[1:]
        while len(left) and len(fits := np.flatnonzero((share[left] <= free).all(1))):
            if len(fits) > CANDIDATES:
                fits = fits[np.linspace(0, len(fits) - 1, CANDIDATES).astype(int)]
            taking = share[left[fits]]
            after = free - taking
            one = after**2 @ heavy
            both = after[:, None] - taking
            two = np.where((both >= 0).all(-1), both**2 @ heavy, np.inf)
            np.fill_diagonal(two, np.inf)
            pair = np.unravel_index(two.argmin(), two.shape)
            taken = fits[[one.argmin()]] if one.min() <= two[pair] else fits[list(pair)]
            members += left[taken].tolist()
            free = free - share[left[taken]].sum(0)
            left = np.delete(left, taken)
        rows.append(members)
    return rows


def choose_room(
    batches: Sequence[np.ndarray], longest: np.ndarray, step=(MULTIPLE, MULTIPLE), reads: int = 1
) -> tuple[float, Room]:
    """The least cost of a batch, and the room of its rows: those that could be cheapest are tried first.

    Args:
      batches: (units, 2) each, to try lengths on.
      longest: of both sides: the least lengths; the most are four times that. A multiple of `step`,
        as all lengths are.
      step: of both sides.
      reads: the most rows of inputs for one of targets.
    """
    grow = GROWTH ** np.arange(np.log(4) / np.log(GROWTH))
    lengths = [np.unique(-(-n * grow // s).astype(int) * s) for n, s in zip(longest, step)]
    fewest = [
        dict(
            zip(
                some.tolist(),
                _fewest([units[units[:, 1] > 0, side] for units in batches], some).tolist(),
            )
        )
        for side, some in enumerate(lengths)
    ]
    rooms = [
        Room(*each)
        for each in itertools.product(*(some.tolist() for some in lengths), range(1, reads + 1))
    ]
    price = np.array([_cost(room) for room in rooms])
    bound = price * [
        max(-(-fewest[0][room.inputs] // room.reads), fewest[1][room.targets]) for room in rooms
    ]
    batches = sorted(
        batches, key=lambda units: -max(units.sum(0) / longest)
    )  # the fullest first: most rooms fail there
    best = np.inf, None
    for at in bound.argsort(kind="stable")[:ROOMS]:
        if FULLEST * bound[at] >= best[0]:
            break
        rows = 0
        for units in batches:
            rows = max(rows, place(units, rooms[at])[2])
            if price[at] * rows >= best[0]:
                break
        else:
            best = float(price[at] * rows), rooms[at]
    return best


def _cost(room: Room) -> float:
    """A row's."""
    inputs, targets, reads = room
    pairs = reads * inputs**2 + targets**2 + reads * inputs * targets
    return reads * inputs + DECODER_TOKEN * targets + PAIR * pairs


def _fewest(batches: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    """No fewer rows than these of each of `lengths` hold the sizes of every batch: by their sum, and because of those sizes that
    are more than a third of a row two share one, and of those more than a half none.
    """
    least = np.ones(len(lengths), np.int64)
    for sizes in batches:
        least = np.maximum(least, -(-sizes.sum() // lengths))
        for k in (1, 2):
            least = np.maximum(least, -(-(sizes > lengths[:, None] / (k + 1)).sum(1) // k))
    return least
