"""Which questions share a batch, epoch by epoch, and in which rows their units stand."""

import dataclasses

import numpy as np

from tinyllm_jax.batching.arrays import Shape
from tinyllm_jax.batching.rows import (
    SAMPLE,
    TAIL,
    Lengths,
    by_length,
    choose_lengths,
    choose_rows,
    place,
    round_up,
)


@dataclasses.dataclass(frozen=True)
class Batch:
    """One batch of an epoch.

    Attributes:
      index: (batch_size,), its questions; -1 for none.
      rows: the units of each row. Unit u of the question at `index[i]` is i * (units a question) +
        u.
      shape: its rows may be more than `rows`; the others are empty.
    """

    index: np.ndarray
    rows: list[list[int]]
    shape: Shape


class Epochs:
    """The batches of every epoch, a pure function of the seed and the epoch.

    Questions of like length are a class, and a batch has questions of one class. What stands in
    which row does not depend on the devices: `row_multiple` only adds empty rows.

    Args:
      sizes: (questions, units, 2), each unit's input and target tokens. A unit without target
        tokens is left out.
      batch_size: questions a batch.
      seed: of the order.
      buckets: the most static shapes.
      packed: whether a row may hold several units.
      row_multiple: the rows of a batch are a multiple of this.
      length_multiple: the row lengths are multiples of this.
    """

    def __init__(
        self,
        sizes: np.ndarray,
        batch_size: int,
        seed: int,
        buckets: int,
        packed: bool,
        row_multiple: int,
        length_multiple: int,
    ):
        self.sizes = sizes
        self.batch_size = batch_size
        self.seed = seed
        self.packed = packed

        self.classes = _classes(sizes, batch_size, buckets, packed)
        self.per_class = buckets // len(self.classes)

        # The row lengths of each class, and how many rows each batch of the first epoch needs.
        self.lengths: list[Lengths] = []
        self.needed: list[np.ndarray] = []
        self.first: list[list[tuple[np.ndarray, list[list[int]]]]] = []
        for number, members in enumerate(self.classes):
            dealt = self._deal(members, self._generator(0, number))
            lengths = self._choose_lengths(members, dealt, length_multiple)
            self.lengths.append(lengths)
            self.first.append([(index, self._place(index, lengths)) for index in dealt])
            self.needed.append(np.array([len(rows) for _, rows in self.first[-1]]))
        self.steps = sum(map(len, self.first))
        self.share(row_multiple)

    def share(self, row_multiple: int) -> None:
        """Chooses the numbers of rows of each class anew, as multiples of `row_multiple`."""
        units = np.array([self.batch_size * self.sizes.shape[1]])
        self.rows = [
            choose_rows(needed if self.packed else units, self.per_class, row_multiple)
            for needed in self.needed
        ]

    def __call__(self, epoch: int) -> list[Batch]:
        """The batches of an epoch: each question once, in random order."""
        batches = []
        for number, members in enumerate(self.classes):
            lengths, (few, most) = self.lengths[number], self.rows[number]
            placed = self.first[number]
            if epoch > 0:
                dealt = self._deal(members, self._generator(epoch, number))
                placed = [(index, self._place(index, lengths)) for index in dealt]
            # A batch of a later epoch may need more rows than any of the first. A larger shape
            # would have to be compiled, so such a class has the batches of the first epoch again
            # (in another order), which are known to fit. Room that devices add changes none of it.
            if max(len(rows) for _, rows in placed) > self.needed[number].max():
                placed = self.first[number]
            for index, rows in placed:
                count = few if len(rows) <= few else most
                batches.append(
                    Batch(index, rows, Shape((count, lengths.inputs), (count, lengths.targets)))
                )
        order = self._generator(epoch, len(self.classes)).permutation(len(batches))
        return [batches[at] for at in order]

    def _generator(self, epoch: int, stream: int) -> np.random.Generator:
        """Random numbers of an epoch: stream k deals class k, and one more orders the batches."""
        return np.random.Generator(np.random.Philox(key=[self.seed, epoch + (stream << 32)]))

    def _deal(self, members: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Deals the questions of a class into batches, of which the last ones may lack some."""
        missing = np.full(-len(members) % self.batch_size, -1)
        totals = np.concatenate([self.sizes.sum(axis=1), [[0, 0]]])  # at -1: no question, no tokens
        return deal(np.concatenate([members, missing]), totals, self.batch_size, rng)

    def _choose_lengths(self, members: np.ndarray, dealt: np.ndarray, multiple: int) -> Lengths:
        """The row lengths of a class, which do not depend on the devices.

        Args:
          members: its questions.
          dealt: its batches of the first epoch, of which some are looked at.
          multiple: the lengths are multiples of this.
        """
        longest = self.sizes[members].max(axis=(0, 1))
        multiples = multiple, multiple
        if not self.packed:
            return round_up(longest, multiples)
        units = self.batch_size * self.sizes.shape[1]
        sample = [self._unit_sizes(index) for index in dealt[: max(1, SAMPLE // units)]]
        return choose_lengths(sample, longest, multiples, self.per_class)

    def _place(self, index: np.ndarray, lengths: Lengths) -> list[list[int]]:
        """The units of each row of a batch."""
        sizes = self._unit_sizes(index)
        if self.packed:
            return place(sizes, lengths)
        return [[unit] for unit in np.flatnonzero(sizes[:, 1]).tolist()]

    def _unit_sizes(self, index: np.ndarray) -> np.ndarray:
        """The sizes of a batch's units, (batch_size * units, 2); 0 where there is no question."""
        return np.where((index >= 0)[:, None, None], self.sizes[index], 0).reshape(-1, 2)


def _classes(sizes: np.ndarray, batch_size: int, buckets: int, packed: bool) -> list[np.ndarray]:
    """The questions of each class, from the shortest to the longest; arguments as of `Epochs`.

    All classes but the last fill whole batches.
    """
    questions = len(sizes)
    if packed:
        ends = [int(questions * (1 - TAIL))] if buckets > 1 else []
    else:  # each class holds two thirds of the questions that the ones before have left
        ends = [questions - questions // 3**k for k in range(1, buckets)]
    ends = sorted({end // batch_size * batch_size for end in ends} - {0, questions})
    return np.split(by_length(sizes.max(axis=1)), ends)


def deal(
    pool: np.ndarray, sizes: np.ndarray, batch_size: int, rng: np.random.Generator
) -> np.ndarray:
    """Deals questions into random batches that are much alike, so that they need equally many rows.

    Ordered by length, the questions are cut into `batch_size` strata, and each batch gets one
    question of each stratum. Of a stratum the larger questions go to the batches that have less so
    far. That is balanced on both sides, by looking in turn at the sum of the sides and at their
    difference.

    Args:
      pool: the questions, `batch_size` times the number of batches.
      sizes: (questions, 2), the tokens of each question on both sides; `pool` are its indices.
      batch_size: questions a batch.
      rng: the source of random numbers.

    Returns:
      (batches, batch_size), the questions of each batch.
    """
    batches = len(pool) // batch_size
    strata = pool[by_length(sizes[pool])].reshape(batch_size, batches)
    share = sizes / np.maximum(sizes[pool].mean(axis=0), 1)
    measures = np.stack([share.sum(axis=1), share[:, 0] - share[:, 1]])
    load = np.zeros((2, batches))  # what each batch has so far, of both measures
    dealt = []
    for turn, stratum in enumerate(rng.permutation(strata)):
        measure = turn % 2
        stratum = rng.permutation(stratum)
        largest_first = stratum[(-measures[measure, stratum]).argsort(kind="stable")]
        given = np.empty(batches, np.int64)
        given[load[measure].argsort(kind="stable")] = largest_first
        load += measures[:, given]
        dealt.append(given)
    return np.stack(dealt, axis=1)
