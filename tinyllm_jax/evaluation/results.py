"""What an evaluation found, and its two files.

`results.json` holds the numbers, `predictions.jsonl` one line a question.
"""

import dataclasses
import json
import os
from collections.abc import Sequence

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


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One question's scores and generated answer.

    Attributes:
      id: the question's id.
      gold: the index of the gold answer.
      scores: the log-likelihood of each choice given the question, in nats.
      tokens: each choice's target tokens, end of sequence included.
      likelihood: the index of the choice with the highest score.
      likelihood_per_token: the index of the choice with the highest score per token.
      generated: what the student wrote (greedy decoding).
      exact_match, normalised_match: whether that is the gold answer (see `score.exact_match` and
        `normalised_match`).
      cut: whether the question's context was truncated to fit.
      unfinished: whether generation stopped at its token limit.
    """

    id: str
    gold: int
    scores: tuple[float, ...]
    tokens: tuple[int, ...]
    likelihood: int
    likelihood_per_token: int
    generated: str
    exact_match: bool
    normalised_match: bool
    cut: bool
    unfinished: bool

    def right(self, metric: str) -> bool:
        """Whether the question counts as answered right under `metric`, a key of `METRICS`."""
        value = getattr(self, metric)
        return value == self.gold if metric.startswith("likelihood") else value


@dataclasses.dataclass(frozen=True)
class Result:
    """One student on one split of one task.

    Attributes:
      task, split: what was evaluated.
      predictions: one per question, in the order of the questions.
      chance: the accuracy of picking at random, a fraction.
      majority: the training split's commonest answer as a baseline; None when no training questions
        were given.
      counts: everything that was cut, unfinished or could not be written, by name; zeros included.
      seconds: wall time of scoring and generating together, compilation included.
      step: the checkpoint's step; None for a student that was not trained here.
    """

    task: str
    split: str
    predictions: tuple[Prediction, ...]
    chance: float
    majority: Majority | None
    counts: dict[str, int]
    seconds: float
    step: int | None = None

    @property
    def n(self) -> int:
        """The number of questions."""
        return len(self.predictions)

    def right(self, metric: str) -> list[bool]:
        """Per question, whether it was answered right under `metric`."""
        return [prediction.right(metric) for prediction in self.predictions]

    def accuracy(self, metric: str) -> Accuracy:
        """The accuracy under `metric`, a key of `METRICS`."""
        return Accuracy(sum(self.right(metric)), self.n)

    def against(self, other: "Result", metric: str) -> Paired | None:
        """This student against another on the same questions; None when their questions differ."""
        if [p.id for p in self.predictions] != [p.id for p in other.predictions]:
            return None
        return paired(self.right(metric), other.right(metric))

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
    return Prediction(
        **(found | {"scores": tuple(found["scores"]), "tokens": tuple(found["tokens"])})
    )
