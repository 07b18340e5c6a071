"""Questions of different lengths in batches of a few static shapes, so that a whole evaluation compiles a handful."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

MULTIPLE = 8  # the lengths of a shape are multiples of this

# Where the questions, ordered by length, are parted: lengths have a long tail, so the parts shrink towards it.
PARTS = (1 / 2, 3 / 4, 7 / 8, 1)


@dataclasses.dataclass(frozen=True)
class Batch:
    """Questions that are computed together.

    Attributes:
      index: which questions, at most `rows` of them.
      lengths: the padded length of each kind of sequence.
      rows: the batch's static number of rows.
    """

    index: np.ndarray
    lengths: tuple[int, ...]
    rows: int

    def pad(self, which: int, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        """The batch's questions' sequences of kind `which` as (rows, lengths[which]) int32, padded with 0."""
        table = np.zeros((self.rows, self.lengths[which]), np.int32)
        for row, i in zip(table, self.index):
            row[: len(sequences[i])] = sequences[i]
        return table


def plan(lengths: Sequence[Sequence[int]], batch_size: int, most_cells: int | None = None) -> list[Batch]:
    """Batches of at most `len(PARTS)` shapes that hold every question once, short ones first.

    Args:
      lengths: (n, k): each question's length in tokens, for each of k kinds of sequence.
      batch_size: questions a batch.
      most_cells: where rows × the last kind's length would exceed this, a batch has fewer rows (at least one).
    """
    if not len(lengths):
        return []
    lengths = np.asarray(lengths)
    # By the larger of a question's ranks: none of its sequences is then much longer than its neighbours'.
    order = lengths.argsort(0, kind="stable").argsort(0, kind="stable").max(1).argsort(kind="stable")
    batches = -(-len(order) // batch_size)
    ends = sorted({min(len(order), math.ceil(batches * part) * batch_size) for part in PARTS})
    planned = []
    for start, end in zip([0, *ends], ends):
        box = tuple(int(-(-length // MULTIPLE) * MULTIPLE) for length in lengths[order[start:end]].max(0))
        rows = batch_size if most_cells is None else max(1, min(batch_size, most_cells // box[-1]))
        planned += [Batch(order[i : min(i + rows, end)], box, rows) for i in range(start, end, rows)]
    return planned
