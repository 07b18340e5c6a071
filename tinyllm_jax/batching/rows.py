"""Packs units of different lengths into rows of one length.

Units differ on two sides, inputs and targets, and a row is full when either side is. How many
positions hold a token depends on how well the units of a row complete one another, and on row
lengths that suit the corpus; `place` sees to the first and `choose_lengths` to the second. The
simpler way, to add whichever single unit fits best, leaves about four more positions in a hundred
empty.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# The relative cost of a row: a token of the inputs counts 1, one of the targets more (it has
# cross-attention and the output vocabulary), a pair of attended positions little. Fitted to
# FLAN-T5-small's training step on two CPU cores. Only the ratios matter.
DECODER_TOKEN, PAIR = 1.5, 0.0005

TAIL = 0.1  # the share of the questions, the longest ones, whose rows are longer than the others'
SAMPLE = 512  # the units, about, on which row lengths are tried
TRIED = np.geomspace(1, 4, 24)  # the row lengths that are tried, in lengths of the longest input
CANDIDATES = 32  # units that are looked at, singly and in pairs, to complete a row


class Lengths(NamedTuple):
    """The lengths of a row: its tokens of inputs and of targets."""

    inputs: int
    targets: int


def by_length(sizes: np.ndarray) -> np.ndarray:
    """Orders units, or questions, so that neither side is much longer than its neighbours'.

    Args:
      sizes: (n, 2), the tokens on both sides.

    Returns:
      The indices, (n,), ordered by the larger of the ranks that the two sides have.
    """
    ranks = sizes.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    return ranks.max(axis=1).argsort(kind="stable")


def place(sizes: np.ndarray, lengths: Lengths) -> list[list[int]]:
    """Packs units into rows, one row after the other.

    A row begins with the largest unit that is left. Then, as long as any unit fits, the one or two
    that leave the least room are added (bin completion, after Martello and Toth, "Knapsack
    Problems", 1990, here in two dimensions).

    Args:
      sizes: (units, 2), each unit's input and target tokens. A unit without target tokens is left
        out; every other one fits into a row.
      lengths: a row's.

    Returns:
      The rows, each a list of units in the order in which they stand in it.
    """
    share = sizes / np.array(lengths)  # what each unit takes of a row, on either side
    left = np.flatnonzero(sizes[:, 1])
    left = left[(-share[left].max(axis=1)).argsort(kind="stable")]
    rows = []
    while len(left):
        row = [int(left[0])]
        free = 1 + 1e-9 - share[left[0]]  # a little more than what is free, against rounding
        left = left[1:]
        while True:
            fitting = np.flatnonzero((share[left] <= free).all(axis=1))
            if not len(fitting):
                break
            # Pairs are many. A part of the units, from the largest to the smallest, is enough.
            if len(fitting) > CANDIDATES:
                fitting = fitting[np.linspace(0, len(fitting) - 1, CANDIDATES).astype(int)]
            added = fitting[_best_completion(share[left[fitting]], free)]
            row += left[added].tolist()
            free = free - share[left[added]].sum(axis=0)
            left = np.delete(left, added)
        rows.append(row)
    return rows


def _best_completion(share: np.ndarray, free: np.ndarray) -> list[int]:
    """Finds the one or two units that leave the least of a row free.

    Args:
      share: (units, 2), what each takes of a row; each fits.
      free: (2,), what is free of the row.

    Returns:
      The indices of one unit, or of two.
    """
    # What is free after each unit, (units, 2), and after each pair, (units, units, 2).
    after_one = free - share
    after_two = after_one[:, None] - share
    # Squares, because two sides that are half empty are better than one that is wholly so: another
    # unit may still fit.
    waste_one = (after_one**2).sum(axis=-1)
    waste_two = (after_two**2).sum(axis=-1)
    # A pair must fit, and consist of two.
    waste_two[(after_two < 0).any(axis=-1)] = np.inf
    np.fill_diagonal(waste_two, np.inf)
    if waste_one.min() <= waste_two.min():
        return [int(waste_one.argmin())]
    first, second = np.unravel_index(waste_two.argmin(), waste_two.shape)
    return [int(first), int(second)]


def choose_lengths(
    batches: Sequence[np.ndarray], longest: np.ndarray, multiple: tuple[int, int], buckets: int = 1
) -> Lengths:
    """Chooses the row lengths at which batches cost the least, by packing a few of them.

    Both sides of a row should be full at the same time. The target length therefore follows from
    the input length, and from how many tokens the batches have on either side; a little more is
    tried too, because packing is easier when only one side is tight.

    Args:
      batches: (units, 2) each, the units' sizes.
      longest: (2,), the tokens of inputs and of targets that a row must hold.
      multiple: the row lengths are multiples of these, for inputs and for targets.
      buckets: how many shapes, 1 or 2, the batches may have, see `choose_rows`.
    """
    tokens = np.array([sizes.sum(axis=0) for sizes in batches])
    inputs, targets = np.maximum(tokens.sum(axis=0), 1)
    least, best = np.inf, round_up(longest, multiple)
    for length in longest[0] * TRIED:
        wanted = np.maximum(longest, [length, length * targets / inputs])
        exact = round_up(wanted, multiple)
        for lengths in (exact, Lengths(exact.inputs, exact.targets + multiple[1])):
            # So many rows cost too much even if they were all full: not worth packing.
            fewest = np.ceil(tokens / np.array(lengths)).max(axis=1).sum()
            if fewest * _cost(lengths) >= least:
                continue
            rows = np.array([len(place(sizes, lengths)) for sizes in batches])
            few, most = choose_rows(rows, buckets)
            cost = np.where(rows <= few, few, most).sum() * _cost(lengths)
            if cost < least:
                least, best = float(cost), lengths
    return best


def choose_rows(rows: np.ndarray, buckets: int, row_multiple: int = 1) -> tuple[int, int]:
    """Chooses how many rows the shapes of some batches have.

    One batch in ten or so needs a row more than the others. If all had as many rows as that one,
    most rows that it adds would be empty; with two shapes only the larger batches have them.

    Args:
      rows: (batches,), the rows that each needs.
      buckets: how many shapes there may be: one, or at least two.
      row_multiple: both are multiples of this.

    Returns:
      The rows of the smaller shape and those of the larger, which are enough for any. They are
      equal where one shape is as good as two.
    """
    # A batch without any target needs no row, but a shape has one.
    rows = np.ceil(np.maximum(rows, 1) / row_multiple).astype(int) * row_multiple
    most = int(rows.max())
    few, least = most, most * len(rows)
    if buckets > 1:
        for number in np.unique(rows).tolist():
            total = int(np.where(rows <= number, number, most).sum())
            if total < least:
                few, least = number, total
    return few, most


def round_up(sizes: np.ndarray, multiple: tuple[int, int]) -> Lengths:
    """Rounds the sizes of both sides up to multiples, and to one multiple at least."""
    inputs, targets = np.maximum(np.ceil(sizes / np.array(multiple)), 1).astype(int) * multiple
    return Lengths(int(inputs), int(targets))


def _cost(lengths: Lengths) -> float:
    """The relative cost of computing one row (see `DECODER_TOKEN`, `PAIR`)."""
    inputs, targets = lengths
    pairs = inputs**2 + targets**2 + inputs * targets
    return inputs + DECODER_TOKEN * targets + PAIR * pairs
