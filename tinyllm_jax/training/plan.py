"""Which questions share a batch, and where in its rows each of their sequences goes.

A row of a batch holds one unit (see `student.packing`), or, packed, as many as fit. Every batch has
`batch_size` questions (but for what the last ones lack) and one of a few static shapes, so that a
run compiles a handful of steps and never again.
"""

import dataclasses
import functools
import itertools
from typing import NamedTuple

import numpy as np

from tinyllm_jax.student.packing import MULTIPLE, Room, by_length, choose_room, place

CUTS = (0.5, 0.75, 0.9, 0.97)  # where the questions, ordered by length, may be parted into classes
SAMPLE = 1024  # units on which a candidate shape is tried, in `TRIED` batches
TRIED = 4, 64
EPOCHS, MOST = (
    4,
    128,
)  # a class's number of rows is chosen by so many of its batches, from so many epochs
UNFIT = 0.05  # the share of them that may need more; such a batch swaps a question with another, at most `SWAPS` times
SWAPS = 256
DRAWS = 10  # shuffles of an epoch that are tried at most
READS = 3  # rows of inputs that one of targets reads at most


class Shape(NamedTuple):
    """A batch's static shape: the encoder's and the decoder's rows, and the tokens of a row."""

    inputs: tuple[int, int]
    targets: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Batch:
    """One batch of a plan.

    Attributes:
      index: (batch_size,) the questions, -1 for none.
      shape: its rows and their lengths.
      row: (batch_size * units, 2) each unit's row on the encoder's and on the decoder's side,
        question by question.
      offset: (batch_size * units, 2) where in its rows a unit begins.
    """

    index: np.ndarray
    shape: Shape
    row: np.ndarray
    offset: np.ndarray


class Plan:
    """The batches of every epoch: `plan(epoch)` is a pure function of the seed and the epoch.

    Args:
      sizes: (questions, units, 2): each unit's input and target tokens; a unit of no target is left
        out.
      batch_size: questions a batch.
      seed: of the order.
      shapes: the most static shapes.
      packed: whether a row may hold several units.
      multiple: a batch's rows are a multiple of this.
    """

    def __init__(
        self,
        sizes: np.ndarray,
        batch_size: int,
        seed: int,
        shapes: int,
        packed: bool,
        multiple: int,
    ):
        self.sizes, self.batch_size, self.seed, self.packed, self.multiple = (
            sizes,
            batch_size,
            seed,
            packed,
            multiple,
        )
        choose = functools.partial(choose_packed, batch_size=batch_size) if packed else choose_boxes
        self.boxes, self.box = choose(sizes, shapes)
        self.rows = [batch_size * sizes.shape[1]] * len(self.boxes)
        if packed:
            index, box = (
                np.concatenate(each)
                for each in zip(*(self._deal(epoch)[:2] for epoch in range(EPOCHS)))
            )
            self.rows = [
                self._rows(index[box == k][:MOST], room) for k, room in enumerate(self.boxes)
            ]

    def _units(self, index: np.ndarray) -> np.ndarray:
        """A batch's units' sizes, (batch_size * units, 2); 0 where there is no question."""
        return np.where((index >= 0)[:, None, None], self.sizes[index], 0).reshape(-1, 2)

    def _rows(self, batches: np.ndarray, room: Room) -> int:
        """The fewest rows that all but `UNFIT` of the batches can be packed into."""
        units = [self._units(index) for index in batches]
        first = [place(some, room)[2] for some in units]
        rows = int(np.median(first)) if units else 1
        while sum(
            n > rows and place(some, room, rows)[2] > rows for n, some in zip(first, units)
        ) > UNFIT * len(units):
            rows += 1
        return rows

    def __call__(self, epoch: int) -> list[Batch]:
        """The epoch's batches: each question once, in random order."""
        if not self.packed:
            index, box, _ = self._deal(epoch)
            units = self.batch_size * self.sizes.shape[1]
            return [
                self._batch(i, k, np.arange(units), np.zeros((units, 2), np.int64), units)
                for i, k in zip(index, box)
            ]
        # A shuffle that needs more rows than the shapes have is drawn again; in the end a batch may
        # get more rows than that.
        for attempt in range(DRAWS):
            index, box, rng = self._deal(epoch, attempt)
            packed = [
                place(self._units(i), self.boxes[k], self.rows[k]) for i, k in zip(index, box)
            ]
            if all(
                [
                    packed[at][2] <= self.rows[k] or self._swap(at, index, box, packed, rng)
                    for at, k in enumerate(box)
                ]
            ):
                break
        return [self._batch(i, k, *each) for i, k, each in zip(index, box, packed)]

    def _batch(
        self, index: np.ndarray, box: int, row: np.ndarray, offset: np.ndarray, used: int
    ) -> Batch:
        """As `place` has packed it. Only here `multiple` counts: what is packed where must not depend on the devices."""
        inputs, targets, reads = self.boxes[box]
        rows = -(-max(self.rows[box], used) // self.multiple) * self.multiple
        return Batch(
            index,
            Shape((rows * reads, inputs), (rows, targets)),
            np.stack([row, row // reads], -1),
            offset,
        )

    def _swap(
        self, at: int, index: np.ndarray, box: np.ndarray, packed: list, rng: np.random.Generator
    ) -> bool:
        """Exchanges a question of batch `at` for one of another batch of its class, until both fit, in place; whether they do."""
        room, rows = self.boxes[box[at]], self.rows[box[at]]
        others = np.flatnonzero((box == box[at]) & (np.arange(len(box)) != at))
        for _ in range(SWAPS if len(others) else 0):
            other, ours, theirs = (
                rng.choice(others),
                rng.integers(self.batch_size),
                rng.integers(self.batch_size),
            )
            pair = index[[at, other]]
            pair[0, ours], pair[1, theirs] = pair[1, theirs], pair[0, ours]
            both = [place(self._units(one), room) for one in pair]
            if all(used <= rows for _, _, used in both):
                index[[at, other]], (packed[at], packed[other]) = pair, both
                return True
        return False

    def _deal(
        self, epoch: int, attempt: int = 0
    ) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
        """The batches' questions and their boxes, shuffled, and the epoch's source of random numbers."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, epoch + (attempt << 32)]))
        totals = np.concatenate([self.sizes.sum(1), [[0, 0]]])  # of no question, -1, too
        order, carried, dealt, boxes = (
            rng.permutation(len(self.sizes)),
            np.zeros(0, np.int64),
            [],
            [],
        )
        for k in range(len(self.boxes)):
            # What does not fill a batch goes up to the next class, whose rows hold it; only the
            # last one is filled up.
            pool = np.concatenate([carried, order[self.box[order] == k]])
            if k == len(self.boxes) - 1:
                pool = np.concatenate([pool, np.full(-len(pool) % self.batch_size, -1)])
            whole = len(pool) // self.batch_size * self.batch_size
            dealt.append(deal(pool[:whole], totals, self.batch_size, rng))
            boxes += [k] * len(dealt[-1])
            carried = pool[whole:]
        shuffle = rng.permutation(len(boxes))
        return np.concatenate(dealt)[shuffle], np.array(boxes)[shuffle], rng


def deal(
    pool: np.ndarray, sizes: np.ndarray, batch_size: int, rng: np.random.Generator
) -> np.ndarray:
    """Parts the questions of `pool` into batches that are much alike, (batches, batch_size).

    The pool's questions, by length, are parted into `batch_size` strata, and each batch gets one of
    each: the larger go to the batches that have less so far, in turn by the total and by the
      difference of the sides.
    """
    count = len(pool) // batch_size
    if not count:
        return np.zeros((0, batch_size), np.int64)
    strata = pool[by_length(sizes[pool])].reshape(batch_size, count)
    pool = rng.permuted(rng.permutation(strata), axis=1).reshape(-1)
    share = sizes[pool] / np.maximum(sizes[pool].mean(0), 1)
    measures = np.stack([share.sum(1), share[:, 0] - share[:, 1]])
    load, rounds = np.zeros((2, count)), []
    for n, at in enumerate(np.arange(len(pool)).reshape(batch_size, count)):
        by = n % 2
        given = np.empty(count, np.int64)
        given[load[by].argsort(kind="stable")] = at[(-measures[by][at]).argsort(kind="stable")]
        load += measures[:, given]
        rounds.append(pool[given])
    return np.stack(rounds, 1)


def choose_boxes(sizes: np.ndarray, count: int) -> tuple[list[Room], np.ndarray]:
    """At most `count` lengths that hold all questions' units one a row, each as large as the one before, with the least padding.

    The cuts in the order of `_by_length` are found by dynamic programming over the padded size, at
    up to 64 places.

    Args:
      sizes: (n, units, 2), each unit's input and target tokens.
      count: the number of boxes.

    Returns:
      The boxes, and each question's box index, (n,).
    """
    n = len(sizes)
    order, upto = _by_length(sizes)
    cuts = np.unique(np.linspace(0, n, min(n, 64) + 1).astype(int))
    cost = {
        (i, j): (cuts[j] - cuts[i]) * upto[cuts[j] - 1].sum()
        for i, j in itertools.combinations(range(len(cuts)), 2)
    }
    ends = cuts[_best_cuts(cost, len(cuts), count)]
    return [Room(*upto[e - 1].tolist()) for e in ends], _classes(order, ends)


def choose_packed(sizes: np.ndarray, count: int, batch_size: int) -> tuple[list[Room], np.ndarray]:
    """At most `count` rooms of rows that hold all questions packed, at the least cost a batch; arguments as `choose_boxes`.

    For each part of the questions in the order of `_by_length`, row lengths from that of its
    longest unit up to four times it are tried on a few of its batches; the best parting is found by
    dynamic programming.
    """
    n = len(sizes)
    order, upto = _by_length(sizes)
    cuts = np.unique(
        [0, n, *(c for c in (int(n * q) for q in CUTS) if batch_size <= c <= n - batch_size)]
    )
    rng, tried = np.random.Generator(np.random.Philox(key=[n, batch_size])), {}
    for i, j in itertools.combinations(range(len(cuts)), 2):
        part = order[cuts[i] : cuts[j]]
        size = min(batch_size, len(part))
        whole = len(part) // size * size
        many = int(np.clip(SAMPLE // (size * sizes.shape[1]), *TRIED))
        dealt = [
            deal(rng.permutation(part)[:whole], sizes.sum(1), size, rng)
            for _ in range(-(-many * size // whole))
        ]
        batches = rng.permutation(np.concatenate(dealt))[:many]
        cost, room = choose_room(
            sizes[batches].reshape(len(batches), -1, 2), upto[cuts[j] - 1], reads=READS
        )
        tried[i, j] = cost * (cuts[j] - cuts[i]) / size, room
    picked = _best_cuts({k: cost for k, (cost, _) in tried.items()}, len(cuts), count)
    return [tried[i, j][1] for i, j in itertools.pairwise([0, *picked])], _classes(
        order, cuts[picked]
    )


def _by_length(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Questions ordered by the larger of their two length ranks, and the longest input and target up to each, rounded up."""
    longest = sizes.max(1)
    order = by_length(longest)
    return order, np.maximum.accumulate(-(-np.maximum(longest[order], 1) // MULTIPLE) * MULTIPLE)


def _best_cuts(cost: dict[tuple[int, int], float], places: int, count: int) -> list[int]:
    """The ends of at most `count` parts of places 0 … `places` - 1 whose costs, `cost[begin, end]`, sum to the least."""
    best = [(0.0, [])] + [(np.inf, [])] * (places - 1)
    for _ in range(count):
        best = [best[0]] + [
            min(
                [best[j], *((best[i][0] + cost[i, j], best[i][1] + [j]) for i in range(j))],
                key=lambda c: c[0],
            )
            for j in range(1, places)
        ]
    return best[-1][1]


def _classes(order: np.ndarray, ends: np.ndarray) -> np.ndarray:
    index = np.empty(len(order), np.int64)
    index[order] = np.searchsorted(ends, np.arange(len(order)), side="right")
    return index
