"""Runs a policy over a corpus, and writes the corpus with the weights that it gives."""

import dataclasses
import json
import os
from collections.abc import Callable, Sequence

import jax
import numpy as np
from etils import epath

from tinyllm_jax import directories, storage
from tinyllm_jax.corpus import store
from tinyllm_jax.corpus.judging import quality
from tinyllm_jax.corpus.manifest import Manifest
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError, unknown
from tinyllm_jax.selection import reader, router, weights
from tinyllm_jax.student import model
from tinyllm_jax.student.student import Student
from tinyllm_jax.tasks.question import Question
from tinyllm_jax.training.run import Run

POLICIES = {
    "clean": "drops the rationales with a bad flag",
    "helpful": "drops what harms a reader by far, and most of what teachers say who harm often",
    "selected": "keeps each question's most helpful rationale",
    "soft": "shares each question's weight out by how helpful its rationales are",
    "router": "keeps the rationale of the teacher that a router chooses from the question alone",
    "votes": "weighs a rationale by how often its teacher's own answers are right",
}


def select(
    corpus: Corpus,
    policy: str,
    out: str | os.PathLike,
    run: Run | None = None,
    directory: epath.Path | None = None,
    threshold: float = weights.THRESHOLD,
) -> Manifest:
    """Writes a corpus whose training rationales have the weights that a policy gives them.

    A weight is multiplied with the one that the rationale has, so that what `corpus build` dropped
    stays out. Validation and test are as they were.

    Args:
      corpus: the corpus; it stays as it is.
      policy: one of `POLICIES`.
      out: the corpus to write.
      run: how the readers are trained; `clean` and `votes` need none.
      directory: where the readers and the utilities are kept; likewise.
      threshold: of `helpful`, in nats.

    Raises:
      UserError: an unknown policy, a threshold that is not below 0, a policy that lacks what it
        needs, `out` is not free, or the corpus has nothing that the policy can judge.
    """
    if policy not in POLICIES:
        raise unknown("policy", policy, POLICIES)
    if threshold >= 0:
        raise UserError(f"the threshold is {threshold:g} nats; it must be below 0")
    directories.require_free(out)
    if not corpus.teachers:
        raise UserError(f"{corpus.directory} has no rationales: there is nothing to select")
    rows = corpus.nonempty_rows("train")

    judged = _judge(corpus, rows, policy, run, directory, threshold)
    if np.isnan(judged.known).all():
        raise UserError(f"{corpus.directory} has nothing that policy {policy} can judge by")

    weighed = [
        _weigh(row, dict(zip(corpus.teachers, line, strict=True)))
        for row, line in zip(rows, judged.weights.tolist(), strict=True)
    ]
    kept = _kept(rows, weighed, corpus.teachers)
    made_from = {"policy": policy, **judged.made_from, "kept": kept}
    return store.write_with_train(out, corpus, weighed, {"selection": made_from}, policy)


def lines(made_from: dict) -> list[str]:
    """A line for each teacher: what a policy kept of its rationales, and why.

    Args:
      made_from: the report's "selection" of a corpus that `select` wrote.
    """
    found = []
    for teacher, kept in made_from["kept"].items():
        line = f"{teacher}: {kept['after']:,} of {kept['before']:,} rationales keep a weight"
        judged = made_from.get("teachers", {}).get(teacher)
        if judged:
            line += (
                f", {judged['mean_utility']:+.2f} nats on the mean, "
                f"{100 * judged['helpful']:.0f} % helpful"
            )
        if teacher in made_from.get("doubted", ()):
            line += "; doubted, for it harms clearly more often than others"
        found.append(line)
    return found


@dataclasses.dataclass(frozen=True)
class _Judged:
    """What a policy makes of a corpus's training rationales.

    Attributes:
      known: (Q, T), what it knows of each rationale, by which it weighs; NaN where that is nothing.
      weights: (Q, T), the weights that follow.
      made_from: what the new corpus's report says of how they came about.
    """

    known: np.ndarray
    weights: np.ndarray
    made_from: dict = dataclasses.field(default_factory=dict)


def _judge(
    corpus: Corpus,
    rows: Sequence[Row],
    policy: str,
    run: Run | None,
    directory: epath.Path | None,
    threshold: float,
) -> _Judged:
    """Weighs the training rows by a policy; the arguments are those of `select`."""
    if policy == "clean":
        flags = flagged(rows, corpus.teachers)
        return _Judged(flags, np.where(flags > 0, 0.0, 1.0))
    if policy == "votes":
        shares = right_votes(rows, corpus.teachers)
        return _Judged(shares, weights.votes(shares))
    if run is None or directory is None:
        raise UserError(f"policy {policy} trains readers: it needs --config and --workdir")
    return _judge_by_readers(corpus, rows, policy, run, directory, threshold)


def _judge_by_readers(
    corpus: Corpus,
    rows: Sequence[Row],
    policy: str,
    run: Run,
    directory: epath.Path,
    threshold: float,
) -> _Judged:
    """Weighs the training rows by how much readers say that each rationale helps."""
    if policy == "router" and len(corpus.teachers) < 2:
        raise UserError("a router chooses among teachers: this corpus has one")
    utility = _utilities(corpus, run, directory)
    made_from: dict = {
        "reader": {**run.to_json(), "objective": {"answer": 1.0}},
        "teachers": reader.summary(utility, corpus.teachers),
    }
    if policy == "helpful":
        given = weights.helpful(utility, threshold)
        made_from["threshold"] = threshold
        distrusted = weights.doubted(utility, threshold)
        made_from["doubted"] = [t for t, d in zip(corpus.teachers, distrusted, strict=True) if d]
    elif policy == "router":
        student = reader.reader(directory / "reader-0-0")
        suits = _routed(student, [row.question for row in rows], utility, run.seed)
        given = weights.selected(np.where(np.isnan(utility), np.nan, suits))
    elif policy == "selected":
        given = weights.selected(utility)
    else:
        given = weights.soft(utility)
    return _Judged(utility, given, made_from)


def flagged(rows: Sequence[Row], teachers: Sequence[str]) -> np.ndarray:
    """(Q, T): how many bad flags each rationale has; NaN where there is none."""
    return _table(rows, teachers, lambda r, _: sum(flag in quality.BAD for flag in r.flags))


def right_votes(rows: Sequence[Row], teachers: Sequence[str]) -> np.ndarray:
    """(Q, T): the share of each teacher's own answers that are right; NaN where it has none."""
    return _table(rows, teachers, lambda r, q: r.votes[q.gold] if r.votes else np.nan)


def _table(
    rows: Sequence[Row], teachers: Sequence[str], value: Callable[[Rationale, Question], float]
) -> np.ndarray:
    """(Q, T): a value of each rationale and its question; NaN where there is none."""
    found = np.full((len(rows), len(teachers)), np.nan)
    for index, row in enumerate(rows):
        for column, teacher in enumerate(teachers):
            if teacher in row.rationales:
                found[index, column] = value(row.rationales[teacher], row.question)
    return found


def mean_states(student: Student, questions: Sequence[Question], batch: int = 64) -> np.ndarray:
    """The mean over its tokens of each question's encoder states: (Q, d_model) float32."""
    encoded = student.encode(questions).rows
    length = max(map(len, encoded))

    @jax.jit
    def mean(params: dict, ids: jax.Array) -> jax.Array:
        states = model.encode(student.config, params, ids).astype(np.float32)
        read = (ids != 0)[..., None]
        return (states * read).sum(axis=1) / read.sum(axis=1).clip(1)

    found = []
    for start in range(0, len(encoded), batch):
        ids = np.zeros((batch, length), np.int32)
        for row, tokens in zip(ids, encoded[start : start + batch], strict=False):
            row[: len(tokens)] = tokens
        found.append(np.asarray(mean(student.params, ids)))
    return np.concatenate(found)[: len(encoded)]


def _routed(
    student: Student, questions: Sequence[Question], utility: np.ndarray, seed: int
) -> np.ndarray:
    """How well each teacher suits each question, (Q, T), as a router learns it from utilities."""
    states = mean_states(student, questions)
    return np.asarray(router.scores(router.train(states, utility, seed), states), np.float64)


def _utilities(corpus: Corpus, run: Run, directory: epath.Path) -> np.ndarray:
    """The readers' utilities: read where they were computed before, else computed and kept."""
    path = directory / "utilities.json"
    made_from = {"corpus": corpus.fingerprint, "run": run.to_json()}
    if path.exists():
        mend = "delete it, and it is made again"
        kept = storage.read_json(path, mend, ("made_from", "utilities"))
        if kept["made_from"] != made_from:
            raise UserError(
                f"{path} was made from another corpus or config; choose another --workdir"
            )
        return np.array(kept["utilities"], np.float64)
    found = reader.utilities(corpus, run, directory)
    table = [[None if np.isnan(u) else float(u) for u in line] for line in found]
    text = json.dumps({"made_from": made_from, "utilities": table})
    storage.write(path, text)
    return found


def _weigh(row: Row, given: dict[str, float]) -> Row:
    """The row with every rationale's weight multiplied by what its teacher is given."""
    return Row(
        row.question,
        {
            teacher: dataclasses.replace(rationale, weight=rationale.weight * given[teacher])
            for teacher, rationale in row.rationales.items()
        },
    )


def _kept(before: Sequence[Row], after: Sequence[Row], teachers: Sequence[str]) -> dict:
    """Of each teacher the rationales that had a weight, those that still have one, and its sum."""
    counts = {}
    for teacher in teachers:
        pairs = [
            (old.rationales[teacher].weight, new.rationales[teacher].weight)
            for old, new in zip(before, after, strict=True)
            if teacher in old.rationales
        ]
        counts[teacher] = {
            "before": sum(old > 0 for old, _ in pairs),
            "after": sum(new > 0 for _, new in pairs),
            "weight": round(sum(new for _, new in pairs), 3),
        }
    return counts
