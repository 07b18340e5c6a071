"""What a question is, and where each task's questions come from.

One short file per task holds an example record, where the dataset is published, how one source row
becomes a `Question`, and `MAX_INPUT`, the prompt length that the task needs. There are the six
datasets of the paper (arXiv 2402.04616), in `arc.py`, `bioasq.py`, `obqa.py`, `piqa.py`,
`pubmedqa.py` and `riddle.py`; `things.py`, which makes up its own questions; and `custom.py`, for
yours. The other files serve them:

    question.py             the `Question`, and what makes one bad
    sources.py              rows of Hugging Face `datasets` and TensorFlow Datasets
    released_questions.py   the files that the TinyLLM authors released
    files.py                what the readers of question files share

Importing this package imports only the standard library and `etils.epath`.
"""

import types
from collections.abc import Callable

from tinyllm_jax.errors import UserError, unknown
from tinyllm_jax.tasks import (
    arc,
    bioasq,
    custom,
    obqa,
    piqa,
    pubmedqa,
    released_questions,
    riddle,
    sources,
    things,
)
from tinyllm_jax.tasks.question import SPLITS, Question, problem

__all__ = ["MAX_INPUT", "SPLITS", "TASKS", "Question", "check_task", "load", "problem"]

TASKS: dict[str, types.ModuleType] = {
    "obqa": obqa,
    "arc": arc,
    "piqa": piqa,
    "riddle": riddle,
    "pubmedqa": pubmedqa,
    "bioasq": bioasq,
    "things": things,
    "custom": custom,
}

# Prompt length by task, in tokens of the student: T5's sentence pieces, words or bytes for
# `things`. Every released question fits with its choices, measured with T5's tokenizer (RiddleSense
# and BioASQ: estimated); a longer context is cut.
MAX_INPUT: dict[str, int] = {task: module.MAX_INPUT for task, module in TASKS.items()}


def check_task(task: str) -> None:
    """Checks that there is such a task.

    Raises:
      UserError: it is none of `TASKS`; the message names the nearest.
    """
    if task not in TASKS:
        raise unknown("task", task, TASKS)


def load(task: str, source: str = "") -> dict[str, list[Question]]:
    """The questions of a task by split; only the splits that the source has.

    Every question is checked (`question.problem`, ids unique within a split). Of a published
    dataset, rows without a public label and rows that fail the check are left out, and counted on
    standard error; in your own files a bad row is an error. A source is one of

        ""                the task's default: the Hugging Face hub; `things` are generated
        hf[:NAME|DIR]     Hugging Face `datasets`: the hub, another hub name, or a local copy of
                          the dataset's files
        tfds[:DATA_DIR]   TensorFlow Datasets (obqa, arc, piqa), prepared in DATA_DIR or downloaded
                          there
        released:DIR      the TinyLLM authors' files, `DIR/TASK/TASK_train.json` (see
                          `released_questions.py`)
        jsonl:PATH        your own JSON lines (see `custom.py`)
        json:PATH         BioASQ's official JSON (see `bioasq.py`)
        train=1000,…      the sizes and the seed of `things` (see `things.py`)

    Args:
      task: one of `TASKS`.
      source: where the questions come from.

    Raises:
      UserError: an unknown task or source, a source that the task does not have, or a bad row in
        your own file.
    """
    check_task(task)
    kind, _, rest = source.partition(":")
    if task == "things" and (not source or "=" in kind):
        splits = things.generate(source)
    elif kind in ("", "hf"):
        splits = _from_hub(task, rest)
    elif kind == "tfds":
        splits = _from_tfds(task, rest)
    elif kind == "released":
        splits, notes = released_questions.read(rest, task)
        sources.print_notes(task, notes)
    elif kind == "jsonl":
        splits = custom.read(rest, task)
    elif kind == "json" and task == "bioasq":
        splits = bioasq.read(rest)
    else:
        known = ["hf", "tfds", "released", "jsonl"]
        if task == "bioasq":
            known.append("json")
        raise unknown("source", kind, known)
    empty = [split for split, questions in splits.items() if not questions]
    if empty or not splits:
        raise UserError(
            f"{task}: no question in split {', '.join(empty) or 'train'} of source '{source}'"
        )
    return splits


def _from_hub(task: str, other: str) -> dict[str, list[Question]]:
    """The questions of the task's dataset on the hub, or of another copy of it."""
    module = TASKS[task]
    if not hasattr(module, "HUB"):
        raise UserError(f"task '{task}' has no hub dataset; {module.OTHER_SOURCE}")
    name, config, revision = module.HUB
    return _usable(task, sources.hub_rows(name, config, revision, other), module.from_hub)


def _from_tfds(task: str, data_dir: str) -> dict[str, list[Question]]:
    """The questions of the task's dataset in TensorFlow Datasets."""
    module = TASKS[task]
    if not hasattr(module, "TFDS"):
        raise UserError(f"task '{task}' has no TFDS dataset; {module.OTHER_SOURCE}")
    return _usable(task, sources.tfds_rows(module.TFDS, data_dir), module.from_tfds)


def _usable(
    task: str, rows: sources.Rows, convert: Callable[[dict], dict]
) -> dict[str, list[Question]]:
    """The questions of a published dataset; prints what was left out."""
    splits, notes = sources.questions(task, rows, convert)
    sources.print_notes(task, notes)
    return splits
