"""Your own multiple-choice questions, as JSON lines: `task=custom`, source `jsonl:PATH`.

PATH is a file whose rows name their split, or a directory of `train.jsonl`, `validation.jsonl` and
`test.jsonl`. A row:

    {"id": "q1", "split": "train", "context": "", "question": "Which is heavier?",
     "choices": ["a feather", "an anvil"], "answer": "an anvil"}

`question`, at least two `choices` and `answer` (one of the choices, verbatim) are needed. `id` is a
text, unique within its split, and follows from the question's content when absent, wherever the row
stands; `context` is a passage that may be truncated; `split` is "train" when absent. A field of
another name is an error. Any other task's questions can be read from such files too.
"""

import json
from collections.abc import Iterator
from typing import Any

from etils import epath

from tinyllm_jax.errors import UserError, unknown
from tinyllm_jax.tasks import files
from tinyllm_jax.tasks.question import SPLITS, Question, problem, with_content_id

OTHER_SOURCE = "give your file as jsonl:PATH"
MAX_INPUT = 512
FIELDS = ("id", "split", "context", "question", "choices", "answer")


def read(path: str, task: str = "custom") -> dict[str, list[Question]]:
    """The questions of a JSONL file or directory, by split.

    Raises:
      UserError: nothing to read there, or a bad row; the message names the file and the line.
    """
    splits: dict[str, dict[str, Question]] = {split: {} for split in SPLITS}  # questions by id
    for split, file in files.split_files(path, ".jsonl").items():
        for place, row in _rows(file):
            question = _question(place, row, task, split)
            same_split = splits[question.split]
            if "id" not in row:
                question = with_content_id(question, same_split)
            if question.id in same_split:
                raise UserError(
                    f"{place}: id '{question.id}' is already used in split {question.split}"
                )
            same_split[question.id] = question
    return {split: list(questions.values()) for split, questions in splits.items() if questions}


def _rows(file: epath.Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """("FILE, line N", the row) for each line that is not blank."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {error}") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            place = f"{file}, line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{place}: not a JSON object: {error}") from None
            if not isinstance(row, dict):
                raise UserError(f"{place}: not a JSON object")
            yield place, row


def _question(place: str, row: dict[str, Any], task: str, split: str) -> Question:
    """The question in a row; `split` is that of a row that names none."""
    for field in row:
        if field not in FIELDS:
            raise UserError(f"{place}: {unknown('field', field, FIELDS)}")
    absent = files.absent_fields(row, ("question", "choices", "answer"))
    if absent:
        raise UserError(f"{place}: {absent}")
    if not isinstance(row["choices"], list):
        raise UserError(f"{place}: choices is not a list")
    split = row.get("split", split)
    if split not in SPLITS:
        raise UserError(f"{place}: {unknown('split', str(split), SPLITS)}")
    question = Question(
        id=row.get("id", "none"),
        task=task,
        split=split,
        context=row.get("context", ""),
        question=row["question"],
        choices=tuple(row["choices"]),
        answer=row["answer"],
    )
    wrong = problem(question)
    if wrong:
        raise UserError(f"{place}: {wrong}")
    return question
