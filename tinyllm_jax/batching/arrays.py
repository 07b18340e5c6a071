"""Rows of units as arrays of token ids and segment ids."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tinyllm_jax.batching.rows import SAMPLE, TAIL, by_length, choose_lengths, place

MOST = 32768  # positions of a side that a batch of `pack` has at most, to bound its memory

Ids = Sequence[int] | np.ndarray


class Shape(NamedTuple):
    """The static shape of a batch: (rows, row length) of the inputs, and of the targets."""

    inputs: tuple[int, int]
    targets: tuple[int, int]


def fill(
    inputs: Sequence[Ids],
    targets: Sequence[Sequence[Ids]],
    rows: Sequence[Sequence[int]],
    shape: Shape,
) -> dict[str, np.ndarray]:
    """Writes units into the rows of a batch, each behind the one before.

    The input of unit i is segment i + 1. Targets are numbered from 1 in their order, unit by unit;
    those of a unit that stands in no row have numbers too, which then do not occur.

    Args:
      inputs: the units' input ids.
      targets: the units' targets' ids.
      rows: the units that stand in each row.
      shape: the batch's. Its rows may be more than `rows`; the others are empty.

    Returns:
      "inputs" and "input_segments", (rows, input length), int32: token ids, and the input that each
      belongs to. "targets", "target_segments" and "target_inputs", (rows, target length), int32:
      token ids, the target that each belongs to, and the input that this target is decoded from.
    """
    batch = {name: np.zeros(shape.inputs, np.int32) for name in ("inputs", "input_segments")}
    for name in ("targets", "target_segments", "target_inputs"):
        batch[name] = np.zeros(shape.targets, np.int32)
    first_target = np.cumsum([1, *map(len, targets)])
    for row, units in enumerate(rows):
        input_end = target_end = 0
        for unit in units:
            begin, input_end = input_end, input_end + len(inputs[unit])
            batch["inputs"][row, begin:input_end] = inputs[unit]
            batch["input_segments"][row, begin:input_end] = unit + 1
            for number, ids in enumerate(targets[unit], start=first_target[unit]):
                begin, target_end = target_end, target_end + len(ids)
                batch["targets"][row, begin:target_end] = ids
                batch["target_segments"][row, begin:target_end] = number
                batch["target_inputs"][row, begin:target_end] = unit + 1
    return batch


def pack(
    inputs: Sequence[Ids],
    targets: Sequence[Sequence[Ids]],
    count: int,
    row_multiple: int = 1,
    length_multiple: int = 8,
) -> list[dict[str, np.ndarray]]:
    """Packs all units into batches of at most two static shapes.

    Args:
      inputs: each unit's input ids.
      targets: each unit's targets' ids, at least one that is not empty.
      count: about how many units a batch holds.
      row_multiple: the rows of a batch are a multiple of this.
      length_multiple: the row lengths are multiples of this; target lengths are not where every
        unit has fewer target tokens than that.

    Returns:
      The batches, as `fill` makes them. A unit and a target have the same number in all of them.
    """
    if not inputs:
        return []
    sizes = np.array(
        [(len(ids), sum(map(len, some))) for ids, some in zip(inputs, targets, strict=True)]
    )
    multiple = length_multiple, min(length_multiple, int(sizes[:, 1].max()))
    # The longest units have longer rows than the others, unless they are too few for that.
    order = by_length(sizes)
    classes = [order]
    if len(order) > 2 * count:
        classes = np.split(order, [int(len(order) * (1 - TAIL))])
    batches = []
    for units in classes:
        sample = units[np.linspace(0, len(units) - 1, min(SAMPLE, len(units))).astype(int)]
        lengths = choose_lengths([sizes[sample]], sizes[units].max(axis=0), multiple)
        placed = [units[row].tolist() for row in place(sizes[units], lengths)]
        # As many rows as `count` units need, or as the memory allows; then as many batches as that
        # makes, with equally many rows, so that the last one is as full as the others.
        rows = max(1, min(-(-len(placed) * count // len(units)), MOST // max(lengths)))
        rows = -(-len(placed) // -(-len(placed) // rows))
        rows = -(-rows // row_multiple) * row_multiple
        shape = Shape((rows, lengths.inputs), (rows, lengths.targets))
        batches += [
            fill(inputs, targets, placed[begin : begin + rows], shape)
            for begin in range(0, len(placed), rows)
        ]
    return batches


def sum_targets(sums: np.ndarray, batch: dict[str, np.ndarray], values: np.ndarray) -> None:
    """Adds values of target tokens to the sums of their targets.

    Args:
      sums: (targets,), changed in place; in the order in which `pack` was given the targets.
      batch: one of the batches of `pack`.
      values: (rows, target length), one for each position of the batch.
    """
    segments = batch["target_segments"]
    np.add.at(sums, segments[segments > 0] - 1, values[segments > 0])
