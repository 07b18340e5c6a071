"""The question files that the TinyLLM authors released.

For a task T these are `DIR/T/T_train.json`, `T_valid.json` and `T_test.json`. A file is a JSON
list, or JSON lines, of

    {"id": "7-980", "question": "The sun is responsible for",
     "choices": ["puppies learning new tricks", …],
     "answer": "plants sprouting, blooming and wilting"}

An id may be a number. The passage of a PubMedQA or BioASQ question stands before the question in
the same string; its parts, and the question after it, are separated by a lone line break.
`split_context` takes passage and question apart.
"""

import json
import os
from typing import Any

from etils import epath

from tinyllm_jax import storage
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks import files
from tinyllm_jax.tasks.question import SEPARATOR, Question, problem

# Our name of a split → the authors' name of it.
FILE_SPLITS = {"train": "train", "validation": "valid", "test": "test"}
CONTEXT_TASKS = ("pubmedqa", "bioasq")


def path(directory: str | os.PathLike, task: str, split: str) -> epath.Path:
    """The file that holds the released questions of one split."""
    return epath.Path(directory) / task / f"{task}_{FILE_SPLITS[split]}.json"


def parse_rows(
    file: str | os.PathLike, task: str, split: str
) -> tuple[list[tuple[int, Question]], list[tuple[int, str]]]:
    """Reads the questions of one released file, and says what is wrong with its malformed rows.

    Returns:
      ([(index, question)], [(index, what is wrong)]): every row of the file is in exactly one of
      the two lists.

    Raises:
      UserError: the file cannot be read or is neither a JSON list nor JSON lines.
    """
    good: list[tuple[int, Question]] = []
    bad: list[tuple[int, str]] = []
    index_of_id: dict[str, int] = {}
    for index, row in enumerate(read_json(file)):
        question = _question(row, task, split)
        if isinstance(question, str):
            bad.append((index, question))
        elif question.id in index_of_id:
            first = index_of_id[question.id]
            bad.append((index, f"id {question.id!r} was already used by row {first}"))
        else:
            index_of_id[question.id] = index
            good.append((index, question))
    return good, bad


def read(directory: str | os.PathLike, task: str) -> tuple[dict[str, list[Question]], list[str]]:
    """Reads all released splits of a task.

    Returns:
      The questions by split, for the splits whose file exists; and one note for each malformed row,
      which names its file and its index.

    Raises:
      UserError: there is no file of the task, or one cannot be read.
    """
    splits, notes = {}, []
    folder = storage.path(directory)
    for split in FILE_SPLITS:
        file = path(folder, task, split)
        if file.exists():
            good, bad = parse_rows(file, task, split)
            splits[split] = [question for _, question in good]
            notes += [f"{file}: row {index} left out: {what}" for index, what in bad]
    if not splits:
        raise UserError(
            f"no released files of task '{task}': {path(directory, task, 'train')} does not exist"
        )
    return splits, notes


def split_context(text: str) -> tuple[str, str]:
    """(context, question) of a text that ends in the question; the context may be ""."""
    context, _, question = text.rpartition(SEPARATOR)
    return context, question


def read_json(file: str | os.PathLike) -> list[Any]:
    """The rows of a JSON list or of JSON lines.

    A line that is not JSON becomes a `ValueError` in the row's place.

    Raises:
      UserError: the file cannot be read, or begins like a JSON list and is not JSON.
    """
    try:
        text = epath.Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {error}") from None
    if not text.lstrip().startswith("["):
        return [_parse_line(line) for line in text.split("\n") if line.strip()]
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not valid JSON ({error}); fetch it again") from None


def _parse_line(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return ValueError(str(error))


def _question(row: Any, task: str, split: str) -> Question | str:
    """The question in a row, or what is wrong with the row."""
    if isinstance(row, ValueError):
        return f"not JSON: {row}"
    if not isinstance(row, dict):
        return f"not a JSON object: {str(row)[:60]!r}"
    absent = files.absent_fields(row, ("id", "question", "choices", "answer"))
    if absent:
        return absent
    if not isinstance(row["question"], str) or not isinstance(row["choices"], list):
        return "question is not a text, or choices not a list"
    context, text = "", row["question"]
    if task in CONTEXT_TASKS:
        context, text = split_context(text)
    question = Question(
        id=str(row["id"]),
        task=task,
        split=split,
        context=context,
        question=text,
        choices=tuple(row["choices"]),
        answer=row["answer"],
    )
    return problem(question) or question
