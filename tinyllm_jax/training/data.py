"""A corpus split as tokens, and the batches of a run: `batch = f(seed, step)`.

A batch holds `batch_size` questions; each brings one row per term, (question with the target's prefix, target). Its
shape is one of a few static boxes (input length, target length), chosen once for the corpus, so that a run compiles
a handful of steps and never again: every epoch has the same number of batches of each box.
"""

import dataclasses
import functools
import itertools

import numpy as np

from tinyllm_jax import tasks
from tinyllm_jax.corpus.schema import Row
from tinyllm_jax.errors import UserError
from tinyllm_jax.student import inputs as text
from tinyllm_jax.training import config as run_config

MULTIPLE = 8  # a box's lengths are multiples of this


class Ragged:
    """Rows of token ids of different lengths, flat in memory."""

    def __init__(self, rows: list[list[int]]):
        self.lengths = np.array([len(r) for r in rows], np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)[:-1]]).astype(np.int64)
        # One more than there are: where all rows are empty, the padding is still read from somewhere.
        self.tokens = np.fromiter(itertools.chain(*rows, [0]), np.int32, int(self.lengths.sum()) + 1)

    def padded(self, index: np.ndarray, length: int) -> np.ndarray:
        """Rows `index` as (n, length) int32, padded with 0; an index of -1 is an empty row."""
        at = np.arange(length)
        inside = (at < self.lengths[index][:, None]) & (index >= 0)[:, None]
        flat = np.where(inside, self.starts[index][:, None] + at, 0)
        return np.where(inside, self.tokens[flat], 0).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class Tokens:
    """One split as tokens.

    Attributes:
      inputs: per term, every question's input.
      targets: per term, every question's target (empty where the rationale is missing).
      weight: (terms, questions) float32, the corpus's row weights; 0 where the rationale is missing.
      report: counts to print: questions, and per term the missing rationales, the cut contexts, the cut targets.
    """

    inputs: list[Ragged]
    targets: list[Ragged]
    weight: np.ndarray
    report: dict

    def __len__(self) -> int:
        return self.weight.shape[1]


def encode(tokenizer, questions: list[tasks.Question], target: str, config) -> tuple[Ragged, int, int]:
    """The questions' inputs for one target of a resolved config.

    Returns:
      The inputs, how many contexts were cut, and the input length: the config's (else the task's), or more where a
      question with its choices alone needs more.
    """
    prefix = config.objective.prefixes[target]
    limit = text.fit_length(tokenizer, questions, prefix, config.lengths.input or tasks.MAX_INPUT[config.task])
    rows, cut = text.encode_questions(tokenizer, questions, prefix, limit)
    return Ragged(rows), int(np.count_nonzero(cut)), limit


def tokenize(rows: list[Row], tokenizer, config) -> Tokens:
    """The rows of a split as tokens, for the terms of a resolved config.

    Raises:
      UserError: no row has any target.
    """
    names = tuple(run_config.terms(config))
    questions = [row.question for row in rows]
    inputs, targets, weights = [], [], []
    report = {"questions": len(rows), "target_length": config.lengths.target, "terms": {}}
    for name in names:
        encoded, contexts_cut, limit = encode(tokenizer, questions, name, config)
        texts, weight = zip(*(_target(row, name) for row in rows))
        weight = np.array(weight, np.float32)
        written, cut = text.encode_targets(tokenizer, texts, config.lengths.target)
        inputs.append(encoded)
        targets.append(Ragged([ids if w else [] for ids, w in zip(written, weight)]))
        weights.append(weight)
        report["terms"][name] = {
            "targets": int(np.count_nonzero(weight)),
            "missing_or_weightless": int(np.count_nonzero(weight == 0)),
            "input_length": limit,
            "contexts_cut": contexts_cut,
            "targets_cut": int(np.count_nonzero(np.array(cut) * weight)),
        }
    if not any(w.any() for w in weights):
        raise UserError(f"the corpus has no target for any of the terms {', '.join(names)}; choose other teachers")
    return Tokens(inputs, targets, np.stack(weights), report)


def _target(row: Row, name: str) -> tuple[str, float]:
    if name == run_config.ANSWER:
        return row.question.answer, 1.0
    rationale = row.rationales.get(name)
    return (rationale.text, rationale.weight) if rationale and rationale.text else ("", 0.0)


class Batches:
    """`batches(step)` is the batch of that step: a pure function of the seed and the step.

    Every epoch visits each question exactly once. The last batch of an epoch is filled up with empty rows, which
    weigh nothing. The global batch does not depend on the number of processes or devices, but for the empty rows
    that fill its shape up to a multiple of `multiple`.

    Args:
      tokens: the split.
      term_weights: each term's weight in the objective.
      batch_size: questions a batch.
      seed: the run's seed.
      buckets: the number of static shapes.
      accumulate: microbatches a batch; the leading axis of its arrays.
      multiple: the rows of a microbatch are a multiple of this (the devices that share them).
    """

    def __init__(self, tokens: Tokens, term_weights: list[float], batch_size: int, seed: int, buckets: int = 4,
                 accumulate: int = 1, multiple: int = 1):
        self.tokens, self.batch_size, self.seed, self.accumulate = tokens, batch_size, seed, accumulate
        self.term_weights = np.array(term_weights, np.float32)
        pairs = batch_size * len(term_weights)
        self.rows = -(-pairs // (accumulate * multiple)) * accumulate * multiple
        lengths = np.stack([np.max([r.lengths for r in side], axis=0) for side in (tokens.inputs, tokens.targets)], 1)
        self.boxes, self.box = choose_boxes(lengths, buckets)
        self.steps_per_epoch = -(-len(tokens) // batch_size)
        self._plan = functools.lru_cache(maxsize=2)(self._plan)

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        """The batch of `step`.

        Returns:
          "inputs" (A, R, Li) and "targets" (A, R, Lt) int32, "term" (A, R) int32, "weight" (A, R) float32,
          "scale" (T,) float32 (see `objective.weighted_loss`), and "tokens" (T,) int64, each term's target tokens
          (for the reader; the step does not need it).
        """
        epoch, at = divmod(step, self.steps_per_epoch)
        index, box = self._plan(epoch)[at]
        terms = len(self.term_weights)
        inputs, targets = np.zeros((self.rows, box[0]), np.int32), np.zeros((self.rows, box[1]), np.int32)
        weight, term = np.zeros(self.rows, np.float32), np.zeros(self.rows, np.int32)
        pairs = len(index) * terms
        for t in range(terms):
            inputs[t:pairs:terms] = self.tokens.inputs[t].padded(index, box[0])
            targets[t:pairs:terms] = self.tokens.targets[t].padded(index, box[1])
            weight[t:pairs:terms] = np.where(index >= 0, self.tokens.weight[t][index], 0)
            term[t:pairs:terms] = t
        inputs[weight == 0] = 0
        counts = np.bincount(term, (targets != 0).sum(1) * (weight > 0), minlength=terms).astype(np.int64)
        scale = np.where(counts > 0, self.term_weights / np.maximum(counts, 1), 0).astype(np.float32)
        fold = lambda a: a.reshape(self.accumulate, self.rows // self.accumulate, *a.shape[1:])
        return {"inputs": fold(inputs), "targets": fold(targets), "term": fold(term), "weight": fold(weight),
                "scale": scale, "tokens": counts}

    def _plan(self, epoch: int) -> list[tuple[np.ndarray, tuple[int, int]]]:
        """The epoch's batches: question indices (-1: none) and the box of each."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        order, batches, carried = rng.permutation(len(self.tokens)), [], np.zeros(0, np.int64)
        for k, box in enumerate(self.boxes):
            # What does not fill a batch goes up to the next box, which holds it; only the last one is filled up.
            pool = np.concatenate([carried, order[self.box[order] == k]])
            whole = len(pool) // self.batch_size * self.batch_size
            batches += [(chunk, box) for chunk in pool[:whole].reshape(-1, self.batch_size)]
            carried = pool[whole:]
        if len(carried):
            fill = np.full(self.batch_size - len(carried), -1)
            batches.append((np.concatenate([carried, fill]), self.boxes[-1]))
        return [batches[i] for i in rng.permutation(len(batches))]

    def useful_tokens(self) -> dict[str, float]:
        """The share of input and target positions of an epoch that hold a token, 0 to 1 (1 - padding)."""
        counted = self.tokens.weight > 0
        used = [sum(int((r.lengths * w).sum()) for r, w in zip(side, counted))
                for side in (self.tokens.inputs, self.tokens.targets)]
        plan = self._plan(0)
        room = [self.rows * sum(box[i] for _, box in plan) for i in (0, 1)]
        return {"input": used[0] / room[0], "target": used[1] / room[1], "both": sum(used) / sum(room)}


def choose_boxes(lengths: np.ndarray, count: int) -> tuple[list[tuple[int, int]], np.ndarray]:
    """At most `count` shapes that hold all rows, each as large as the one before, with the least padding.

    Rows are ordered by the larger of their two length ranks, which makes a chain of boxes natural; the cuts in that
    order are found by dynamic programming over the padded size, at up to 64 candidate places.

    Args:
      lengths: (n, 2), each row's input and target length.
      count: the number of boxes.

    Returns:
      The boxes (input length, target length), and each row's box index, (n,).
    """
    n = len(lengths)
    ranks = lengths.argsort(0, kind="stable").argsort(0, kind="stable")
    order = ranks.max(1).argsort(kind="stable")
    upto = np.maximum.accumulate(-(-np.maximum(lengths[order], 1) // MULTIPLE) * MULTIPLE)
    cuts = np.unique(np.linspace(0, n, min(n, 64) + 1).astype(int))
    size = upto[cuts[1:] - 1].sum(1)  # of a row, were its box to end at that cut
    best = [(0.0, [])] + [(np.inf, [])] * (len(cuts) - 1)
    for _ in range(min(count, len(cuts) - 1)):
        best = [best[0]] + [
            min(((best[i][0] + (cuts[j] - cuts[i]) * size[j - 1], best[i][1] + [cuts[j]]) for i in range(j + 1)),
                key=lambda c: c[0]) for j in range(1, len(cuts))]
    ends = sorted(set(best[-1][1]))
    index = np.empty(n, np.int64)
    index[order] = np.searchsorted(ends, np.arange(n), side="right")
    return [tuple(int(x) for x in upto[e - 1]) for e in ends], index
