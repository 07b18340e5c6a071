"""The files that the TinyLLM authors released: `DIR/T/T_train.json`, `T_valid.json` and `T_test.json` per task T.

A file is a JSON list, or JSON lines, of

    {"id": "7-980", "question": "The sun is responsible for", "choices": ["puppies learning new
    tricks", …],
     "answer": "plants sprouting, blooming and wilting"}

An id may be a number. PubMedQA's and BioASQ's passage stands in front of the question in one
string, its parts joined by a lone line break; `split_context` takes it apart again.
"""

import json
from pathlib import Path
from typing import Any

from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks.question import Question, problem

FILE_SPLITS = {
    "train": "train",
    "validation": "valid",
    "test": "test",
}  # our name of a split: theirs
CONTEXT_TASKS = ("pubmedqa", "bioasq")
SEPARATOR = " \n "


def path(directory: Path | str, task: str, split: str) -> Path:
    """Where the released questions of one split lie."""
    return Path(directory) / task / f"{task}_{FILE_SPLITS[split]}.json"


def parse_rows(
    file: Path | str, task: str, split: str
) -> tuple[list[tuple[int, Question]], list[tuple[int, str]]]:
    """The questions of one released file, each with its row's index, and what is wrong with the other rows.

    Returns:
      ([(index, question)], [(index, what is wrong)]): every row of the file is in exactly one of
      the two lists.

    Raises:
      UserError: the file cannot be read or is neither a JSON list nor JSON lines.
    """
    good, bad, first_with = [], [], {}
    for index, row in enumerate(read_json(file)):
        question, wrong = _question(row, task, split)
        if question and question.id in first_with:
            wrong = f"id {question.id!r} was already used by row {first_with[question.id]}"
        if wrong:
            bad.append((index, wrong))
        else:
            first_with[question.id] = index
            good.append((index, question))
    return good, bad


def read(directory: Path | str, task: str) -> tuple[dict[str, list[Question]], list[str]]:
    """All splits of a task that the directory has, and one line per malformed row, naming its file and index."""
    splits, notes = {}, []
    for split in FILE_SPLITS:
        file = path(directory, task, split)
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
    """(context, question) of a text whose last part is the question; the context is "" when there is one part."""
    context, _, question = text.rpartition(SEPARATOR)
    return context, question


def read_json(file: Path | str) -> list[Any]:
    """The rows of a JSON list or of JSON lines; a line that is not JSON becomes a `ValueError` in the row's place."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {error}") from None
    if not text.lstrip().startswith("["):
        return [_line(line) for line in text.split("\n") if line.strip()]
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{file} is not valid JSON ({error}); fetch it again") from None


def _line(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        return error


def _question(row: Any, task: str, split: str) -> tuple[Question | None, str]:
    """(the question or None, what is wrong or "")."""
    if isinstance(row, ValueError):
        return None, f"not JSON: {row}"
    if not isinstance(row, dict):
        return None, f"not a JSON object: {str(row)[:60]!r}"
    missing = [field for field in ("id", "question", "choices", "answer") if field not in row]
    if missing:
        return None, f"no field {', '.join(missing)}"
    if not isinstance(row["question"], str) or not isinstance(row["choices"], list):
        return None, "question is not a text, or choices not a list"
    context, text = (
        split_context(row["question"]) if task in CONTEXT_TASKS else ("", row["question"])
    )
    question = Question(
        str(row["id"]), task, split, context, text, tuple(row["choices"]), row["answer"]
    )
    wrong = problem(question)
    return (None, wrong) if wrong else (question, "")
