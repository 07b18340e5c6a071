"""What a question is, and where each task's questions come from.

One short file per task: an example record, where it is published, how one source row becomes a
`Question`, and `MAX_INPUT`, the prompt length that the task needs. There are the six datasets of
the paper (arXiv 2402.04616), `things`, which makes its own questions, and `custom`, for yours.
Importing this package imports only the standard library.
"""

from tinyllm_jax.errors import UserError, unknown
from tinyllm_jax.tasks import (
    arc,
    bioasq,
    custom,
    obqa,
    piqa,
    pubmedqa,
    released,
    riddle,
    sources,
    things,
)
from tinyllm_jax.tasks.question import SPLITS, Question, problem

TASKS = {
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
MAX_INPUT = {task: module.MAX_INPUT for task, module in TASKS.items()}


def load(task: str, source: str = "") -> dict[str, list[Question]]:
    """The questions of a task by split; only the splits that the source has.

    Every question is checked (`question.problem`, ids unique within a split). Of a published
    dataset, rows without a public label and rows that fail the check are left out, and counted on
    standard error; in your own files a bad row is an error.

    Args:
      task: one of `TASKS`.
      source: where the questions come from:
        ""              the task's default: the Hugging Face hub; `things` are generated
        hf[:NAME|DIR]   Hugging Face `datasets`: the hub, another hub name, or a local copy of the
                        dataset's files
        tfds[:DATA_DIR] TensorFlow Datasets (obqa, arc, piqa), prepared in DATA_DIR or downloaded
        there released:DIR    the TinyLLM authors' files, `DIR/TASK/TASK_train.json` (see
        `released.py`) jsonl:PATH      your own JSON lines (see `custom.py`)
        json:PATH       BioASQ's official JSON (see `bioasq.py`)
        train=1000,…    the sizes and the seed of `things` (see `things.py`)

    Raises:
      UserError: an unknown task or source, a source that the task does not have, or a bad row in
        your own file.
    """
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    kind, _, rest = source.partition(":")
    if task == "things" and (not source or "=" in kind):
        splits = things.generate(source)
    elif kind in ("", "hf"):
        splits = _published(task, "HUB", lambda where: sources.hub_rows(*where, rest))
    elif kind == "tfds":
        splits = _published(task, "TFDS", lambda where: sources.tfds_rows(where, rest))
    elif kind == "released":
        splits, notes = released.read(rest, task)
        sources.say(task, notes)
    elif kind == "jsonl":
        splits = custom.read(rest, task)
    elif kind == "json" and task == "bioasq":
        splits = bioasq.read(rest)
    else:
        raise unknown(
            "source", kind, ["hf", "tfds", "released", "jsonl"] + ["json"] * (task == "bioasq")
        )
    empty = [split for split, questions in splits.items() if not questions]
    if empty or not splits:
        raise UserError(
            f"{task}: no question in split {', '.join(empty) or 'train'} of source '{source}'"
        )
    return splits


def _published(task: str, where: str, rows) -> dict[str, list[Question]]:
    """The questions of a published dataset; `where` is the constant of the task's module that names it."""
    module = TASKS[task]
    if not hasattr(module, where):
        raise UserError(
            f"task '{task}' has no {'hub dataset' if where == 'HUB' else 'TFDS dataset'}; "
            f"{module.OTHER_SOURCE}"
        )
    convert = module.from_hub if where == "HUB" else module.from_tfds
    splits, notes = sources.questions(task, rows(getattr(module, where)), convert)
    sources.say(task, notes)
    return splits
