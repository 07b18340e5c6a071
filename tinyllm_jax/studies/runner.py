"""Trains and tests the cells of a study, each once, whatever happened before."""

import dataclasses
import json
import sys
import time
import traceback

import jax
from etils import epath

from tinyllm_jax import storage
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError
from tinyllm_jax.evaluation import results, score
from tinyllm_jax.selection.select import POLICIES
from tinyllm_jax.studies.derive import corpus_of
from tinyllm_jax.studies.study import ZERO_SHOT, Cell, Study
from tinyllm_jax.tasks.question import SPLITS
from tinyllm_jax.training import initial, loop, metrics, restore

CELL, FAILED, TEST = "cell.json", "failed.json", "test"
MEND = "delete it, and run the study again"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A cell that is tested.

    Attributes:
      result: of its test questions.
      curve: the rows of its metrics.jsonl.
      terms: what it learned to write; () where nothing was trained.
    """

    result: results.Result
    curve: list[dict]
    terms: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Done:
    """What a study's directory holds.

    Attributes:
      trained: the cells that are trained: what `_train` noted of each.
      tested: the cells that are tested.
      failed: the cells that failed, each with the reason.
      stopped: whether the study was asked to stop before its end.
    """

    trained: dict[Cell, dict]
    tested: dict[Cell, Outcome]
    failed: dict[Cell, str]
    stopped: bool = False


def run(study: Study, out: epath.Path, shard: tuple[int, int] = (0, 1)) -> Done:
    """Does what is left of a study.

    A cell that fails is noted and the others go on; it is tried again by the next call.

    Args:
      study: the study.
      out: where everything is kept; the same directory goes on with a study that was stopped.
      shard: (i, n): only every n-th seed's, task's, student's and fraction's cells, from the i-th;
        the cells among which a weight is chosen stay together.

    Returns:
      What the directory holds now, of all shards.

    Raises:
      UserError: the directory holds another study, or cannot be written; or a corpus is missing, or
        lacks a split that a study needs.
    """
    _check_same(study, out)
    cells = _of_shard(study.cells(), shard)
    _check_corpora(study, cells)
    left = [cell for cell in cells if not (_folder(out, cell) / CELL).exists()]
    print(f"study: {len(cells)} cells, {len(cells) - len(left)} trained before", file=sys.stderr)
    began, stopped = time.monotonic(), False
    for index, cell in enumerate(left):
        print(f"\ncell {index + 1} of {len(left)}  {cell.name}{_eta(began, index, len(left))}")
        sys.stdout.flush()
        folder = _folder(out, cell)
        try:
            stopped = not _train(study, cell, folder, out)
        except Exception as error:  # the other cells of the table go on
            _note_failure(folder, error)
            continue
        if stopped:
            break
        (folder / FAILED).unlink(missing_ok=True)
        _test_chosen(study, cells, out)
        jax.clear_caches()
    if not stopped:
        _test_chosen(study, cells, out)
    return dataclasses.replace(read(study, out), stopped=stopped)


def read(study: Study, out: epath.Path) -> Done:
    """What a study's directory holds, without doing anything."""
    trained, tested, failed = {}, {}, {}
    for cell in study.cells():
        folder = _folder(out, cell)
        if (folder / CELL).exists():
            trained[cell] = storage.read_json(folder / CELL, MEND, ("validation_accuracy",))
        elif (folder / FAILED).exists():
            failed[cell] = storage.read_json(folder / FAILED, MEND, ("reason",))["reason"]
        if (folder / TEST / "results.json").exists():
            path = folder / "run" / "run.json"
            terms = json.loads(path.read_text())["objective"]["terms"] if path.exists() else ()
            curve = metrics.read(folder / "run" / "metrics.jsonl")
            tested[cell] = Outcome(results.read(folder / TEST), curve, tuple(terms))
    return Done(trained, tested, failed)


def chosen(study: Study, out: epath.Path) -> list[Cell]:
    """The trained cells that are tested: of each choice among weights, the best on validation.

    The weight is chosen once for all seeds, by the mean over those that are trained, so nothing is
    chosen while a cell among which it is chosen is missing.
    """
    accuracy = {}
    for cell in study.cells():
        path = _folder(out, cell) / CELL
        if path.exists():
            note = storage.read_json(path, MEND, ("validation_accuracy",))
            accuracy[cell] = note["validation_accuracy"]
    groups: dict[tuple, dict[float | None, list[Cell]]] = {}
    for cell in study.cells():
        key = (cell.method, cell.task, cell.student, cell.fraction)
        groups.setdefault(key, {}).setdefault(cell.weight, []).append(cell)
    found = []
    for by_weight in groups.values():
        several = len(by_weight) > 1
        if several and any(cell not in accuracy for some in by_weight.values() for cell in some):
            continue
        best = max(by_weight.values(), key=lambda some: sum(accuracy.get(c, 0.0) for c in some))
        found += [cell for cell in best if cell in accuracy]
    return found


def _train(study: Study, cell: Cell, folder: epath.Path, out: epath.Path) -> bool:
    """Trains a cell, and notes it as trained; False where it was stopped before its end."""
    if study.methods[cell.method].policy == ZERO_SHOT:
        note = {"cell": dataclasses.asdict(cell), "validation_accuracy": 0.0, "seconds_in_steps": 0}
        folder.mkdir(parents=True, exist_ok=True)
        storage.write(folder / CELL, json.dumps(note, indent=1))
        return True
    corpus = corpus_of(study, cell, out / "corpora")
    began = time.monotonic()
    done = loop.train(study.run(cell), corpus.directory, folder / "run")
    if done.step < done.steps:
        return False
    note = {
        "cell": dataclasses.asdict(cell),
        "corpus": corpus.fingerprint,
        "steps": done.steps,
        "best_step": done.best_step,
        "validation_accuracy": done.best_accuracy,
        "seconds_in_steps": round(done.seconds, 1),
        "seconds": round(time.monotonic() - began, 1),
    }
    storage.write(folder / CELL, json.dumps(note, indent=1))
    return True


def _test_chosen(study: Study, cells: list[Cell], out: epath.Path) -> None:
    """Tests those of the cells for which nothing is left to choose."""
    for cell in chosen(study, out):
        if cell in cells:
            _test(study, cell, out)


def _test(study: Study, cell: Cell, out: epath.Path) -> None:
    """Tests a cell's best checkpoint, unless that was done before: test is touched once."""
    folder = _folder(out, cell)
    if (folder / TEST / "results.json").exists():
        return
    corpus = Corpus(study.corpus(cell), task=cell.task)
    if study.methods[cell.method].policy == ZERO_SHOT:
        at, student = None, initial.student_as_it_is(study.run(cell), everywhere=True)
    else:
        at = restore.find_step(folder / "run")
        student = restore.restore(folder / "run", at, everywhere=True)
    questions = [row.question for row in corpus.nonempty_rows("test")]
    train = [row.question for row in corpus.rows("train")]
    result = score.evaluate(student, questions, train_questions=train, step=at)
    results.write(folder / TEST, result)


def _folder(out: epath.Path, cell: Cell) -> epath.Path:
    return out / "cells" / cell.name


def _of_shard(cells: list[Cell], shard: tuple[int, int]) -> list[Cell]:
    """The cells of a shard; those that differ in method and weight alone stay together."""
    index, count = shard
    groups: dict[tuple, int] = {}
    kept = []
    for cell in cells:
        key = (cell.task, cell.student, cell.fraction, cell.seed)
        if groups.setdefault(key, len(groups)) % count == index:
            kept.append(cell)
    return kept


def _check_same(study: Study, out: epath.Path) -> None:
    """Writes down what the study's cells are, and refuses one that holds others of a name."""
    path = out / "study.json"
    runs = {cell.name: _what_counts(study, cell) for cell in study.cells()}
    runs = json.loads(json.dumps(runs))
    before = storage.read_json(path, MEND) if path.exists() else {}
    for name, fields in runs.items():
        if before.get(name, fields) != fields:
            raise UserError(
                f"{out} holds a cell {name} of another config; choose another --out, or give the "
                "method another name"
            )
    out.mkdir(parents=True, exist_ok=True)
    storage.write(path, json.dumps(before | runs, indent=1, sort_keys=True))


def _check_corpora(study: Study, cells: list[Cell]) -> None:
    """Opens every corpus before any is learned from."""
    for directory, cell in {study.corpus(cell): cell for cell in cells}.items():
        corpus = Corpus(directory, task=cell.task)
        held_out = study.run(cell).validation.share > 0
        for split in ("train", "test") if held_out else SPLITS:
            if split not in corpus.splits or not corpus.manifest.rows(split):
                raise UserError(
                    f"{directory} has no {split} questions, and a study learns, chooses and tests: "
                    "build it with all three splits"
                )


def _what_counts(study: Study, cell: Cell) -> dict:
    """All that makes a cell's result what it is, but for its corpus's content."""
    method = study.methods[cell.method]
    found = study.run(cell).to_json() | {"corpus": study.corpus(cell), "policy": method.policy}
    if method.policy in POLICIES:
        found |= {"threshold": method.threshold, "reader": study.reader(cell).to_json()}
    return found


def _note_failure(folder: epath.Path, error: Exception) -> None:
    """Says why a cell failed, and keeps it; what is no bad input with where it was raised."""
    reason = " ".join(str(error).split()) or type(error).__name__
    detail = "" if isinstance(error, UserError) else "".join(traceback.format_exception(error))
    print(f"tinyllm: this cell failed, the others go on: {reason}", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    storage.write(folder / FAILED, json.dumps({"reason": reason, "detail": detail}))


def _eta(began: float, done: int, total: int) -> str:
    """The time left, by the mean time of the cells so far."""
    if not done:
        return ""
    left = (time.monotonic() - began) / done * (total - done)
    return f"  about {left / 60:,.0f} minutes left"
