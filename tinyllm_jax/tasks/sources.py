"""Reading published datasets, with Hugging Face `datasets` and with TensorFlow Datasets.

Both give (split, row) pairs; a task's module turns a row into the fields of a `Question`.
Script-based datasets no longer load in `datasets` 4 and later, so every hub name in this package is
of parquet files.
"""

import collections
import sys
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import Any

from tinyllm_jax.errors import UserError, printable
from tinyllm_jax.tasks.question import SPLITS, Question, problem, with_content_id

Rows = Iterable[tuple[str, dict[str, Any]]]


def hub_rows(
    name: str, config: str | None, revision: str | None, other: str = ""
) -> Iterator[tuple[str, dict]]:
    """Yields (split, row) of a dataset on the Hugging Face hub, or of a local copy of its files.

    Args:
      name: the dataset's name on the hub.
      config: the name of its configuration there; None where it has one alone.
      revision: the revision to read; None for the newest.
      other: another hub name, or a local directory of parquet or JSON files named after their
        splits (with one sub-directory per config, as in a clone, or without).

    Raises:
      UserError: there is no such directory, or the dataset cannot be loaded.
    """
    import datasets

    arguments: dict[str, str | None]
    local = Path(other).expanduser()
    if other and local.is_dir():
        inside = local / config if config and (local / config).is_dir() else local
        arguments = {"path": str(inside)}
    elif other and (other.startswith((".", "/", "~")) or other.count("/") > 1):
        raise UserError(f"no such directory: {other}")
    else:
        arguments = {"path": other or name, "name": config, "revision": None if other else revision}
    splits = loaded(
        f"dataset {arguments['path']}",
        lambda: datasets.load_dataset(**arguments),
        "a local copy can be read with hf:DIRECTORY",
    )
    for split, rows in splits.items():
        for row in rows:
            yield split, row


def loaded(what: str, load: Callable[[], Any], mend: str) -> Any:
    """What `load`, a call of Hugging Face `datasets`, returns.

    Args:
      what: what it loads, for the message.
      load: the call.
      mend: what else the user can do, for the message.

    Raises:
      UserError: it fails, for whatever reason.
    """
    try:
        return load()
    except Exception as error:
        # `datasets` raises its own, the hub's, the network's and pyarrow's exceptions.
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(f"cannot load {what}: {reason}; {mend}") from None


def tfds_rows(name: str, data_dir: str = "") -> Iterator[tuple[str, dict]]:
    """Yields (split, row) of a TFDS dataset.

    Data that is not there yet is downloaded and stored as ArrayRecord, which needs no TensorFlow;
    data that was prepared as TFRecord needs it. Values are Python's: bytes become str, class labels
    stay numbers.

    Args:
      name: the dataset's name, and its configuration's where it has several.
      data_dir: where TFDS prepares it; "" is TFDS's default directory.

    Raises:
      UserError: a package is missing, or the dataset cannot be loaded.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir or None)
        if not builder.info.splits:
            builder.download_and_prepare(file_format="array_record")
            builder = tfds.builder(name, data_dir=data_dir or None)
        splits = {split: _tfds_split(builder, split) for split in builder.info.splits}
    except ModuleNotFoundError as error:
        package = "tinyllm_jax[tf]" if error.name == "tensorflow" else error.name
        raise UserError(
            f"TFDS dataset {name} needs {error.name} here: pip install '{package}'"
        ) from None
    except Exception as error:  # the network's, the archive's, and TFDS's own
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(f"cannot load TFDS dataset {name}: {reason}") from None
    for split, rows in splits.items():
        for row in rows:
            yield split, _plain(row)


def _tfds_split(builder, split: str) -> Iterable[dict]:
    if builder.info.file_format.value == "array_record":
        return builder.as_data_source(split=split)
    import tensorflow  # noqa: F401  TFDS would fail later, with a message that names no package

    return builder.as_dataset(split=split, shuffle_files=False).as_numpy_iterator()


def _plain(value: Any) -> Any:
    """A value with NumPy's values as Python's and bytes as str, in nested dicts and arrays."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return _plain(value.tolist()) if hasattr(value, "tolist") else value


def questions(
    task: str, rows: Rows, convert: Callable[[dict], dict]
) -> tuple[dict[str, list[Question]], list[str]]:
    """Turns the rows of a published dataset into questions, and leaves out those that it cannot.

    Args:
      task: the task's name.
      rows: (split, row) pairs; a split that is none of `SPLITS` is left out, and counted.
      convert: gives a row's `question`, `choices` and `answer`, and `context` and `id` where it has
        them. An answer of None means that the label is not public; the id follows from the content
        where the dataset has no ids.

    Returns:
      The questions by split; and one note per split and reason that says how many rows were left
      out, with the first of them.

    Raises:
      UserError: no row at all could be used; the message holds the first row's problem.
    """
    good: dict[str, dict[str, Question]] = {split: {} for split in SPLITS}  # by split and id
    row_count: collections.Counter[str] = collections.Counter()
    left_out: collections.Counter[tuple[str, str]] = collections.Counter()  # by split and reason
    first: dict[tuple[str, str], str] = {}  # the first row left out, by split and reason
    for split, row in rows:
        index = row_count[split]
        row_count[split] += 1
        try:
            question = _convert(task, split, good.get(split, ()), row, convert)
            if question.id in good[split]:
                raise _LeftOut("id used twice", question.id)
            good[split][question.id] = question
        except _LeftOut as wrong:
            left_out[split, wrong.reason] += 1
            first.setdefault((split, wrong.reason), f"row {index}: {wrong.detail}")
    notes = [
        f"{split}: {count} of {row_count[split]} rows left out: {reason} "
        f"(first: {first[split, reason]})"
        for (split, reason), count in left_out.items()
    ]
    splits = {split: list(questions.values()) for split, questions in good.items() if questions}
    if not splits:
        raise UserError(
            f"{task}: no usable row in the source; {notes[0] if notes else 'it is empty'}"
        )
    return splits, notes


class _LeftOut(Exception):
    """A row cannot be used: the reason, by which rows are counted, and what it is in this row."""

    def __init__(self, reason: str, detail: str):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def _convert(
    task: str, split: str, taken: Container[str], row: dict, convert: Callable[[dict], dict]
) -> Question:
    """The question in a row; raises `_LeftOut` where there is none that can be used.

    `taken` are the ids of the questions of its split so far.
    """
    if split not in SPLITS:
        raise _LeftOut("a split that is not used", split)
    try:
        converted = convert(row)
    except KeyError as error:
        names = ", ".join(map(str, row))
        raise _LeftOut("malformed", f"no field {error}; its fields are {names}") from None
    except (IndexError, TypeError, ValueError, AttributeError) as error:
        raise _LeftOut("malformed", str(error)) from None
    fields = {"id": "without an id", "context": "", **converted}
    if fields["answer"] is None:
        raise _LeftOut("no public label", fields["id"])
    question = Question(task=task, split=split, **{**fields, "choices": tuple(fields["choices"])})
    wrong = problem(question)
    if wrong:
        raise _LeftOut("malformed", wrong)
    return question if "id" in converted else with_content_id(question, taken)


def print_notes(task: str, notes: Iterable[str]) -> None:
    """Prints what was left out, so that no row is lost in silence."""
    for note in notes:
        print(f"{task}: {printable(note)}", file=sys.stderr)


def choice_of(key: str, labels: list[str], texts: list[str]) -> str | None:
    """The text of the choice labelled `key`.

    None for an empty key, which is how a label that is not public is published.
    """
    return texts[labels.index(key)] if key else None
