"""A corpus split as tokens, and the batches of a run: `batch = f(seed, step)`.

A batch holds `batch_size` questions, and every target that they have. Segment ids say what belongs
together, so that one row can hold several questions and targets; where each goes is `plan`'s
choice.
"""

import collections
import dataclasses
import functools
import itertools

import numpy as np

from tinyllm_jax import tasks
from tinyllm_jax.corpus.schema import Row
from tinyllm_jax.errors import UserError
from tinyllm_jax.student import inputs as text
from tinyllm_jax.training import config as run_config
from tinyllm_jax.training.plan import Batch, Plan, Shape


class Ragged:
    """Rows of token ids of different lengths, flat in memory."""

    def __init__(self, rows: list[list[int]]):
        self.lengths = np.array([len(r) for r in rows], np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)[:-1]]).astype(np.int64)
        self.tokens = np.fromiter(itertools.chain(*rows), np.int32, int(self.lengths.sum()))

    def rows(self) -> list[np.ndarray]:
        """The rows again."""
        return [
            self.tokens[start : start + length] for start, length in zip(self.starts, self.lengths)
        ]


@dataclasses.dataclass(frozen=True)
class Tokens:
    """One split as tokens.

    Attributes:
      inputs: every question's input: per term, or one for all terms where the decoder is told the
        target.
      targets: per term, every question's target (empty where the rationale is missing).
      weight: (terms, questions) float32, the corpus's row weights; 0 where the rationale is
        missing.
      report: counts to print: questions, and per term the missing rationales, the cut contexts, the
        cut targets.
      told: per term, how many tokens each target begins with that the student is given and does not
        learn to write.
    """

    inputs: list[Ragged]
    targets: list[Ragged]
    weight: np.ndarray
    report: dict
    told: tuple[int, ...] = ()

    def __len__(self) -> int:
        return self.weight.shape[1]


def encode(
    tokenizer, questions: list[tasks.Question], target: str, config
) -> tuple[Ragged, int, int]:
    """The questions' inputs for one target of a resolved config.

    Returns:
      The inputs, how many contexts were cut, and the input length: the config's (else the task's),
      or more where a question with its choices alone needs more.
    """
    prefix = config.objective.prefixes[target]
    limit = text.fit_length(
        tokenizer, questions, prefix, config.lengths.input or tasks.MAX_INPUT[config.task]
    )
    rows, cut = text.encode_questions(tokenizer, questions, prefix, limit)
    return Ragged(rows), int(np.count_nonzero(cut)), limit


def tokenize(rows: list[Row], tokenizer, config) -> Tokens:
    """The rows of a split as tokens, for the terms of a resolved config.

    Raises:
      UserError: no row has any target.
    """
    names = tuple(run_config.terms(config))
    questions = [row.question for row in rows]
    asked = {name: run_config.asked_as(config.objective.prefix, name) for name in names}
    encoded = {
        target: encode(tokenizer, questions, target, config)
        for target in dict.fromkeys(asked.values())
    }
    told = [
        text.prefix_tokens(tokenizer, config.objective.prefixes[name])
        if name != asked[name]
        else []
        for name in names
    ]
    targets, weights = [], []
    report = {"questions": len(rows), "target_length": config.lengths.target, "terms": {}}
    for name, given in zip(names, told):
        _, contexts_cut, limit = encoded[asked[name]]
        texts, weight = zip(*(target_of(row, name) for row in rows))
        weight = np.array(weight, np.float32)
        written, cut = text.encode_targets(tokenizer, texts, config.lengths.target)
        targets.append(Ragged([given + ids if w else [] for ids, w in zip(written, weight)]))
        weights.append(weight)
        report["terms"][name] = {
            "targets": int(np.count_nonzero(weight)),
            "missing_or_weightless": int(np.count_nonzero(weight == 0)),
            "input_length": limit,
            "contexts_cut": contexts_cut,
            "targets_cut": int(np.count_nonzero(np.array(cut) * weight)),
        }
    if not any(w.any() for w in weights):
        raise UserError(
            f"the corpus has no target for any of the terms {', '.join(names)}; choose other teachers"
        )
    return Tokens(
        [inputs for inputs, _, _ in encoded.values()],
        targets,
        np.stack(weights),
        report,
        tuple(map(len, told)),
    )


def target_of(row: Row, name: str) -> tuple[str, float]:
    """The text that a row's question has as the target of a term, and its weight; ("", 0) where it has none."""
    if name == run_config.ANSWER:
        return row.question.answer, 1.0
    rationale = row.rationales.get(name)
    return (rationale.text, rationale.weight) if rationale and rationale.text else ("", 0.0)


class Batches:
    """`batches(step)` is the batch of that step: a pure function of the seed and the step.

    Every epoch visits each question exactly once. Where they do not fill the last batch, some
    batches have a question less, and empty room for it. The global batch does not depend on the
    number of processes or devices, but for the empty rows that fill its shape up to a multiple of
    `multiple`.

    Args:
      tokens: the split.
      term_weights: each term's weight in the objective.
      batch_size: questions a batch.
      seed: the run's seed.
      shapes: the most static shapes.
      packed: whether a row may hold more than one input.
      accumulate: microbatches a batch; the leading axis of its arrays.
      multiple: the rows of a microbatch are a multiple of this (the devices that share them).
    """

    def __init__(
        self,
        tokens: Tokens,
        term_weights: list[float],
        batch_size: int,
        seed: int,
        shapes: int = 4,
        packed: bool = True,
        accumulate: int = 1,
        multiple: int = 1,
    ):
        self.tokens, self.batch_size, self.accumulate = tokens, batch_size, accumulate
        self.term_weights = np.array(term_weights, np.float32)
        terms = range(len(tokens.targets))
        self.terms_of = [[t] for t in terms] if len(tokens.inputs) == len(terms) else [list(terms)]
        self.sizes = np.stack(
            [
                _sizes(i, [tokens.targets[t] for t in of])
                for i, of in zip(tokens.inputs, self.terms_of)
            ],
            1,
        )
        self.plan = functools.lru_cache(maxsize=2)(
            Plan(self.sizes, batch_size, seed, shapes, packed, accumulate * multiple).__call__
        )
        self.steps_per_epoch = -(-len(tokens) // batch_size)

    def planned(self, step: int) -> Batch:
        """Which questions the batch of `step` has, and where."""
        epoch, at = divmod(step, self.steps_per_epoch)
        return self.plan(epoch)[at]

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        """The batch of `step`.

        Returns:
          int32 unless said otherwise, for A microbatches of R rows, each of which reads E rows of
          inputs: "inputs" and "input_segments", (A, R*E, Li), ids and which input a token belongs
            to, from 1, with 0 for padding;
          "targets", "target_segments" and "target_inputs", (A, R, Lt), ids, which target a token
          belongs to, and which input that is of; "term" (A, R, Lt); "weight" (A, R, Lt) float32,
          the corpus's weight of the target, 0 where nothing is to be learned; "scale" (T,) float32
          (see `objective.weighted_loss`); and "tokens" (T,) int64, each term's target tokens (for
          the reader; the step does not need it).
        """
        plan, tokens, units = self.planned(step), self.tokens, len(self.terms_of)
        ids, segments = (
            [np.zeros(rows * length, np.int32) for rows, length in plan.shape] for _ in range(2)
        )
        target_inputs, term = np.zeros_like(ids[1]), np.zeros_like(ids[1])
        weight, counts = np.zeros(len(ids[1]), np.float32), np.zeros(len(tokens.targets), np.int64)
        has = np.flatnonzero(plan.index >= 0)
        index = plan.index[has]
        for u, of in enumerate(self.terms_of):
            unit, lengths = has * units + u + 1, self.sizes[index, u, 0]
            to, begin = (
                plan.row[unit - 1] * [length for _, length in plan.shape] + plan.offset[unit - 1]
            ).T
            at = _spread(to, lengths)
            ids[0][at] = tokens.inputs[u].tokens[_spread(tokens.inputs[u].starts[index], lengths)]
            segments[0][at] = np.repeat(unit, lengths)
            for t in of:
                ragged, told = tokens.targets[t], tokens.told[t] if tokens.told else 0
                lengths = ragged.lengths[index]
                at = _spread(begin, lengths)
                ids[1][at] = ragged.tokens[_spread(ragged.starts[index], lengths)]
                segments[1][at] = np.repeat(has * len(tokens.targets) + t + 1, lengths)
                target_inputs[at], term[at] = np.repeat(unit, lengths), t
                weight[at] = np.repeat(tokens.weight[t][index], lengths)
                learned = np.maximum(lengths - told, 0)
                weight[_spread(begin, lengths - learned)] = 0
                counts[t], begin = learned.sum(), begin + lengths
        scale = np.where(counts > 0, self.term_weights / np.maximum(counts, 1), 0).astype(
            np.float32
        )
        asked, written = (
            lambda a, length=length: a.reshape(self.accumulate, -1, length)
            for _, length in plan.shape
        )
        return {
            "inputs": asked(ids[0]),
            "input_segments": asked(segments[0]),
            "targets": written(ids[1]),
            "target_segments": written(segments[1]),
            "target_inputs": written(target_inputs),
            "term": written(term),
            "weight": written(weight),
            "scale": scale,
            "tokens": counts,
        }

    def shapes(self) -> dict[Shape, int]:
        """The static shapes of the first epoch, and how many of its batches have each."""
        found = collections.Counter(batch.shape for batch in self.plan(0))
        return dict(found.most_common())

    def useful_tokens(self) -> dict[str, float]:
        """The share of input and target positions of an epoch that hold a token, 0 to 1 (1 - padding)."""
        used = self.sizes.sum((0, 1))
        room = sum(count * np.prod(shape, 1) for shape, count in self.shapes().items())
        return {
            "input": float(used[0] / room[0]),
            "target": float(used[1] / room[1]),
            "both": float(used.sum() / room.sum()),
        }


def _sizes(inputs: Ragged, targets: list[Ragged]) -> np.ndarray:
    """(questions, 2): the tokens of each question's input, and of its targets together; (0, 0) where it has none."""
    total = sum(ragged.lengths for ragged in targets)
    return np.stack([np.where(total > 0, inputs.lengths, 0), total], -1)


def _spread(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Every position of the spans `starts[i]` … `starts[i] + lengths[i]`, one span after the other."""
    return np.arange(lengths.sum()) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
