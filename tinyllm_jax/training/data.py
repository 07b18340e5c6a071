"""The batches of a run: `batch = f(seed, step)`.

A batch holds `batch_size` questions, and every target that they have. Segment ids say what belongs
together, so that one row can hold several questions and targets; `batching` chooses where each
goes.
"""

import collections
import functools
from collections.abc import Callable, Sequence

import numpy as np

from tinyllm_jax.batching.arrays import Shape, fill
from tinyllm_jax.batching.epochs import Batch, Epochs
from tinyllm_jax.training.ahead import Ahead
from tinyllm_jax.training.run import Run
from tinyllm_jax.training.tokens import Ragged, Tokens


class Batches:
    """`batches(step)` is the batch of that step: a pure function of the seed and the step.

    Every epoch visits each question exactly once. Where they do not fill the last batch, some
    batches have a question less, and empty room for it. The global batch does not depend on the
    number of processes or devices, but for the empty rows that fill its shape up to a multiple of
    `row_multiple`.

    Args:
      tokens: the split.
      term_weights: each term's weight in the objective.
      batch_size: questions a batch.
      seed: the run's seed.
      buckets: the most static shapes.
      packed: whether a row may hold more than one input.
      accumulate: microbatches a batch; the leading axis of its arrays.
      row_multiple: the rows of a microbatch are a multiple of this (the devices that share them).
      length_multiple: the row lengths are multiples of this.
    """

    def __init__(
        self,
        tokens: Tokens,
        term_weights: list[float],
        batch_size: int,
        seed: int,
        buckets: int = 4,
        packed: bool = True,
        accumulate: int = 1,
        row_multiple: int = 1,
        length_multiple: int = 8,
    ):
        self.tokens = tokens
        self.term_weights = np.array(term_weights, np.float32)
        self.final_weights, self.last_step = self.term_weights, 0

        # A question's units: one for each term where every term has an input of its own, else one
        # for all terms.
        terms = list(range(len(tokens.targets)))
        self.terms_of = [[term] for term in terms] if len(tokens.inputs) == len(terms) else [terms]
        self.sizes = np.stack(
            [
                _sizes(inputs, [tokens.targets[term] for term in of_unit])
                for inputs, of_unit in zip(tokens.inputs, self.terms_of, strict=True)
            ],
            axis=1,
        )
        self.epochs = Epochs(
            self.sizes,
            batch_size,
            seed,
            buckets,
            packed,
            row_multiple,
            length_multiple,
        )
        self.row_multiple = row_multiple
        self.steps_per_epoch = self.epochs.steps
        self.split(accumulate)

    def split(self, accumulate: int) -> None:
        """Splits every batch into so many microbatches from now on."""
        self.accumulate = accumulate
        self.epochs.share(accumulate * self.row_multiple)
        # The loop asks for one step after the other, so an epoch is planned once.
        self.epoch: Callable[[int], list[Batch]] = functools.lru_cache(maxsize=2)(self.epochs)

    def ramp(self, final_weights: Sequence[float], steps: int) -> None:
        """Lets the terms' weights go linearly to `final_weights`, which the last step has."""
        self.final_weights = np.array(final_weights, np.float32)
        self.last_step = steps - 1

    def ahead(self, steps: int) -> Ahead:
        """Has each epoch planned while the one before is trained, until what is returned is closed.

        Args:
          steps: of the run.
        """
        self.epoch = Ahead(self.epochs, -(-steps // self.steps_per_epoch))
        return self.epoch

    def planned(self, step: int) -> Batch:
        """Which questions the batch of `step` has, and in which rows."""
        epoch, number = divmod(step, self.steps_per_epoch)
        return self.epoch(epoch)[number]

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        """Makes the batch of `step`.

        Returns:
          For A microbatches of R rows, int32 unless said otherwise: "inputs" and "input_segments",
          (A, R, Li), ids and which input a token belongs to, from 1, with 0 for padding; "targets",
          "target_segments" and "target_inputs", (A, R, Lt), ids, which target a token belongs to,
          and which input that is of; "term" (A, R, Lt); "weight" (A, R, Lt) float32, the corpus's
          weight of the target, 0 where nothing is to be learned; "scale" (T,) float32 (see
          `objective.weighted_loss`); and "tokens" (T,) int64, each term's target tokens (for the
          reader; the step does not need it).
        """
        planned, tokens = self.planned(step), self.tokens
        terms = len(tokens.targets)

        # The token ids of every unit. Where there is no question, -1, the last one is looked up,
        # which does not matter: such units stand in no row.
        unit_inputs, unit_targets = [], []
        for question in planned.index.tolist():
            for of_unit, rows in zip(self.terms_of, tokens.inputs, strict=True):
                unit_inputs.append(rows[question])
                unit_targets.append([tokens.targets[term][question] for term in of_unit])
        batch = fill(unit_inputs, unit_targets, planned.rows, planned.shape)

        # Each question has one target of each term, in order, so a target's number (from 1) says of
        # which term and question it is.
        written = batch["target_segments"] > 0
        number = np.maximum(batch["target_segments"] - 1, 0)
        term = np.where(written, number % terms, 0)
        question = planned.index[number // terms]

        # The prefix tokens, with which a target begins, are not learned.
        positions = _positions(batch["target_segments"])
        prefix_tokens = np.array(tokens.prefix_tokens or [0] * terms)
        learned = written & (positions >= prefix_tokens[term])

        # What follows an answer in its target is the last term.
        if tokens.after is not None:
            follows = written & (term == 0) & (positions >= tokens.after[question])
            term = np.where(follows, len(self.term_weights) - 1, term)
        weight = np.where(learned, tokens.weight[term, question], 0)

        # The loss is a mean over each term's tokens in the whole batch, not the microbatch. Where
        # only a share of the questions has a target of a term, the term counts by that share: so
        # a target counts as much however few the term has.
        counts = np.bincount(term[learned], minlength=len(self.term_weights))
        here = planned.index[planned.index >= 0]
        share = np.count_nonzero(tokens.weight[:, here], axis=1) / len(here)
        done = min(step / self.last_step, 1.0) if self.last_step > 0 else 0.0
        weights = self.term_weights + done * (self.final_weights - self.term_weights)
        scale = np.where(counts > 0, weights * share / np.maximum(counts, 1), 0)

        batch |= {"term": term.astype(np.int32), "weight": weight.astype(np.float32)}
        batch = {
            name: rows.reshape(self.accumulate, -1, rows.shape[1]) for name, rows in batch.items()
        }
        return batch | {"scale": scale.astype(np.float32), "tokens": counts}

    def shapes(self) -> dict[Shape, int]:
        """The static shapes of the first epoch, and how many of its batches have each."""
        found = collections.Counter(batch.shape for batch in self.epoch(0))
        return dict(found.most_common())

    def first_of(self, shape: Shape) -> dict[str, np.ndarray]:
        """The first batch of the first epoch that has a static shape, one of `shapes`."""
        return self([batch.shape for batch in self.epoch(0)].index(shape))

    def longest(self) -> tuple[int, int, Shape]:
        """The question with the longest input: its index, its tokens, and its batches' shape."""
        tokens = self.sizes[:, :, 0].max(axis=1)
        question = int(tokens.argmax())
        shape = next(batch.shape for batch in self.epoch(0) if question in batch.index)
        return question, int(tokens[question]), shape

    def useful_tokens(self) -> dict[str, float]:
        """The share, 0 to 1, of the "input", "target" and "both" positions that hold a token."""
        used = self.sizes.sum(axis=(0, 1))
        room = sum(count * np.prod(shape, axis=1) for shape, count in self.shapes().items())
        return {
            "input": float(used[0] / room[0]),
            "target": float(used[1] / room[1]),
            "both": float(used.sum() / room.sum()),
        }


def batches_of(run: Run, tokens: Tokens, row_multiple: int) -> Batches:
    """The batches of a resolved run on its training split.

    Args:
      run: the run.
      tokens: the split, as `tokenize` makes it of the run's terms.
      row_multiple: the devices that share the rows of a microbatch.
    """
    return Batches(
        tokens,
        list(run.objective.terms.values()),
        run.batch_size,
        run.seed,
        run.lengths.buckets,
        run.lengths.packing,
        run.accumulate or 1,
        row_multiple,
        run.lengths.multiple,
    )


def _sizes(inputs: Ragged, targets: list[Ragged]) -> np.ndarray:
    """Counts the tokens of every question's input, and of its targets together.

    Returns:
      (questions, 2); (0, 0) where a question has no target.
    """
    total = np.sum([ragged.lengths for ragged in targets], axis=0)
    return np.stack([np.where(total > 0, inputs.lengths, 0), total], axis=-1)


def _positions(segments: np.ndarray) -> np.ndarray:
    """The position of each token in its segment, from 0; (rows, length) as `segments`."""
    column = np.broadcast_to(np.arange(segments.shape[1]), segments.shape)
    begins = np.diff(segments, axis=1, prepend=-1) != 0
    return column - np.maximum.accumulate(np.where(begins, column, 0), axis=1)
