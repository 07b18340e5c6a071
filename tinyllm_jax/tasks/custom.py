"""Your own multiple-choice questions, as JSON lines: `task=custom`, source `jsonl:PATH`.

PATH is a file whose rows name their split, or a directory of `train.jsonl`, `validation.jsonl` and
`test.jsonl`. A row:

    {"id": "q1", "split": "train", "context": "", "question": "Which is heavier?",
     "choices": ["a feather", "an anvil"], "answer": "an anvil"}

`question`, at least two `choices` and `answer` (one of the choices, verbatim) are needed. `id` is a
text, unique within its split, and is the row's line number when absent; `context` is a passage that
may be truncated; `split` is "train" when absent. A field of another name is an error. Any other
task's questions can be read from such files too.
"""

import json
from pathlib import Path

from tinyllm_jax.errors import UserError, unknown
from tinyllm_jax.tasks.question import SPLITS, Question, problem

OTHER_SOURCE = "give your file as jsonl:PATH"
MAX_INPUT = 512
FIELDS = ("id", "split", "context", "question", "choices", "answer")


def read(path: str, task: str = "custom") -> dict[str, list[Question]]:
    """The questions of a JSONL file or directory, by split.

    Raises:
      UserError: nothing to read there, or a bad row; the message names the file and the line.
    """
    root = Path(path).expanduser()
    files = {"train": root}
    if root.is_dir():
        files = {
            split: root / f"{split}.jsonl" for split in SPLITS if (root / f"{split}.jsonl").exists()
        }
    if not files:
        raise UserError(f"{root} has none of train.jsonl, validation.jsonl, test.jsonl")
    found: dict[tuple[str, str], Question] = {}
    for split, file in files.items():
        for place, row in _rows(file):
            question = _question(place, row, task, split)
            if (question.split, question.id) in found:
                raise UserError(
                    f"{place}: id '{question.id}' is already used in split {question.split}"
                )
            found[question.split, question.id] = question
    splits = {
        split: [question for question in found.values() if question.split == split]
        for split in SPLITS
    }
    return {split: questions for split, questions in splits.items() if questions}


def _rows(file: Path):
    """("FILE, line N", the row) for each line that is not blank."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {error}") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            place = f"{file}, line {number}"
            try:
                yield place, {"id": str(number), **json.loads(line)}
            except (ValueError, TypeError) as error:
                raise UserError(f"{place}: not a JSON object: {error}") from None


def _question(place: str, row: dict, task: str, split: str) -> Question:
    extra = [field for field in row if field not in FIELDS]
    if extra:
        raise UserError(f"{place}: {unknown('field', extra[0], FIELDS)}")
    missing = [field for field in ("question", "choices", "answer") if field not in row]
    if missing or not isinstance(row["choices"], list):
        raise UserError(
            f"{place}: "
            + (f"no field {', '.join(missing)}" if missing else "choices is not a list")
        )
    row = {"context": "", "split": split, **row, "choices": tuple(row["choices"]), "task": task}
    if row["split"] not in SPLITS:
        raise UserError(f"{place}: {unknown('split', str(row['split']), SPLITS)}")
    question = Question(**row)
    wrong = problem(question)
    if wrong:
        raise UserError(f"{place}: {wrong}")
    return question
