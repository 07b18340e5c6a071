"""What an evaluation found, and its two files.

`results.json` holds the numbers, `predictions.jsonl` one line a question.
"""

import collections
import dataclasses
import json
import math
import os
from collections.abc import Sequence

import numpy as np

from tinyllm_jax import storage
from tinyllm_jax.errors import UserError
from tinyllm_jax.evaluation.stats import Accuracy, Majority, Paired, paired

# The four accuracies, in the order of every table: key in the files → heading.
METRICS = {
    "likelihood": "likelihood",
    "likelihood_per_token": "per-token likelihood",
    "exact_match": "exact match",
    "normalised_match": "normalised match",
}
# The metrics by which choices can tie, with the field of `Prediction` that says what one is worth.
CREDITS = {
    "likelihood": "likelihood_credit",
    "likelihood_per_token": "likelihood_per_token_credit",
}


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One question's scores and generated answer.

    Attributes:
      id: the question's id.
      key: its content hash (`Question.key`), by which students' answers are paired.
      gold: the index of the gold answer.
      scores: the log-likelihood of each choice given the question, in nats.
      tokens: each choice's target tokens, end of sequence included.
      likelihood: the index of the choice with the highest score, the first where several have it.
      likelihood_per_token: the index of the choice with the highest score per token.
      likelihood_credit, likelihood_per_token_credit: what that is worth: 1 or 0, or the gold
        answer's share of a tie (see `scoring.credit`).
      generated: what the student wrote (greedy decoding).
      exact_match, normalised_match: whether that is the gold answer (see `score.exact_match` and
        `normalised_match`).
      cut: whether the question's context was truncated to fit.
      unfinished: whether generation stopped at its token limit.
    """

    id: str
    key: str
    gold: int
    scores: tuple[float, ...]
    tokens: tuple[int, ...]
    likelihood: int
    likelihood_per_token: int
    likelihood_credit: float
    likelihood_per_token_credit: float
    generated: str
    exact_match: bool
    normalised_match: bool
    cut: bool
    unfinished: bool

    @property
    def confidence(self) -> float:
        """The likeliest choice's share of the probability of all choices."""
        scores = np.array(self.scores)
        return float(np.exp(scores.max() - np.logaddexp.reduce(scores)))

    def right(self, metric: str) -> float:
        """How right the answer is under `metric`, a key of `METRICS`: 1, 0, or in part at a tie."""
        return float(getattr(self, CREDITS.get(metric, metric)))


@dataclasses.dataclass(frozen=True)
class Result:
    """One student on one split of one task.

    Attributes:
      task, split: what was evaluated.
      predictions: one per question, in the order of the questions.
      chance: the accuracy of picking at random, a fraction.
      majority: the training split's commonest answer as a baseline; None when no training questions
        were given.
      counts: everything that was cut, tied, unfinished or could not be written, by name; zeros
        included.
      seconds: wall time of scoring and generating together, without compilation.
      step: the checkpoint's step; None for a student that was not trained here.
      compilation: seconds of compilation, which came on top.
    """

    task: str
    split: str
    predictions: tuple[Prediction, ...]
    chance: float
    majority: Majority | None
    counts: dict[str, int]
    seconds: float
    step: int | None = None
    compilation: float = 0.0

    @property
    def n(self) -> int:
        """The number of questions."""
        return len(self.predictions)

    def right(self, metric: str) -> list[float]:
        """Per question, how right it was answered under `metric`."""
        return [prediction.right(metric) for prediction in self.predictions]

    def accuracy(self, metric: str) -> Accuracy:
        """The accuracy under `metric`, a key of `METRICS`."""
        return Accuracy(math.fsum(self.right(metric)), self.n)

    def by_question(self, metric: str) -> dict[str, float]:
        """How right each question was answered, by its content.

        Where a question occurs again, its second answer is under "KEY 2", and so on.
        """
        asked: collections.Counter[str] = collections.Counter()
        found = {}
        for prediction in self.predictions:
            asked[prediction.key] += 1
            again = asked[prediction.key]
            name = prediction.key if again == 1 else f"{prediction.key} {again}"
            found[name] = prediction.right(metric)
        return found

    def against(self, other: "Result", metric: str) -> Paired | None:
        """This student against another on the same questions; None when their questions differ."""
        own, others = self.by_question(metric), other.by_question(metric)
        if own.keys() != others.keys():
            return None
        return paired(list(own.values()), [others[question] for question in own])

    def to_json(self) -> dict:
        """The content of results.json: everything but the predictions."""
        return {
            "task": self.task,
            "split": self.split,
            "n": self.n,
            "step": self.step,
            "metrics": {metric: _accuracy_json(self.accuracy(metric)) for metric in METRICS},
            "chance": self.chance,
            "majority": self.majority
            and {
                "rule": self.majority.rule,
                "answer": self.majority.answer,
                **_accuracy_json(self.majority.accuracy),
            },
            "counts": self.counts,
            "seconds": self.seconds,
            "seconds_of_compilation": self.compilation,
            "questions_per_second": self.n / self.seconds,
        }


def _accuracy_json(accuracy: Accuracy) -> dict:
    return {
        "accuracy": accuracy.rate,
        "low": accuracy.low,
        "high": accuracy.high,
        "correct": accuracy.correct,
        "n": accuracy.n,
    }


def directory_name(
    split: str, corpus: str, questions: int, max_answer: int, step: int | None
) -> str:
    """The name of an evaluation's directory: equal for equal inputs, and for no others.

    Args:
      split: the split.
      corpus: the corpus's fingerprint.
      questions: the number of the split's first questions that are asked.
      max_answer: tokens of a generated answer.
      step: the checkpoint's.
    """
    return f"{split}-{corpus[:8]}-{questions}questions-{max_answer}tokens-{step}"


def write(directory: str | os.PathLike, result: Result) -> None:
    """Writes results.json and predictions.jsonl into `directory`, which is made.

    Each file appears whole or not at all.

    Raises:
      UserError: they cannot be written.
    """
    folder = storage.path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lines = (
            json.dumps(dataclasses.asdict(p), ensure_ascii=False, allow_nan=False)
            for p in result.predictions
        )
        storage.write(folder / "predictions.jsonl", "".join(line + "\n" for line in lines))
        storage.write(
            folder / "results.json",
            json.dumps(result.to_json(), indent=2, ensure_ascii=False) + "\n",
        )
    except OSError as error:
        raise UserError(
            f"cannot write the results into {directory}: {error.strerror or error}; "
            "choose another directory"
        ) from None


def write_texts(path: str | os.PathLike, target: str, texts: Sequence[tuple[str, str]]) -> None:
    """Writes what `predict` gave as JSONL: {"id": …, "target": …, "text": …} per question."""
    lines = (
        json.dumps({"id": id, "target": target, "text": text}, ensure_ascii=False)
        for id, text in texts
    )
    write_text(path, "".join(line + "\n" for line in lines))


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a file whole or not at all; a `UserError` where that is not possible."""
    try:
        storage.write(storage.path(path), text)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; choose another path"
        ) from None


def read(directory: str | os.PathLike) -> Result:
    """Reads what `write` wrote, for a report on students that were evaluated one by one.

    Raises:
      UserError: when a file is missing or is not what `write` writes.
    """
    folder = storage.path(directory)
    try:
        found = json.loads((folder / "results.json").read_bytes())
        lines = (folder / "predictions.jsonl").read_bytes().splitlines()
        predictions = tuple(_prediction(json.loads(line)) for line in lines)
        if len(predictions) != found["n"]:
            raise ValueError(f"{len(predictions)} predictions where results.json says {found['n']}")
        line = found["majority"]
        majority = line and Majority(
            line["rule"], line["answer"], Accuracy(line["correct"], line["n"])
        )
        return Result(
            found["task"],
            found["split"],
            predictions,
            found["chance"],
            majority,
            found["counts"],
            found["seconds"],
            found["step"],
            found.get("seconds_of_compilation", 0.0),
        )
    except OSError as error:
        raise UserError(
            f"cannot read the results in {directory}: {error.strerror or error}; "
            "run `tinyllm evaluate` first"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{directory} holds damaged results ({error}); run `tinyllm evaluate` again"
        ) from None


def _prediction(found: dict) -> Prediction:
    """A line of predictions.jsonl; older ones know questions by id alone, and no ties."""
    found = dict(found)
    for metric, credit in CREDITS.items():
        found.setdefault(credit, float(found[metric] == found["gold"]))
    found.setdefault("key", found["id"])
    return Prediction(
        **(found | {"scores": tuple(found["scores"]), "tokens": tuple(found["tokens"])})
    )
