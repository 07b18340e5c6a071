"""BioASQ: the yes/no questions of task B, with the snippets that answer them.

Tsatsaronis et al. 2015. The data needs registration at participants-area.bioasq.org and may not be
passed on, so there is no default source: give the official JSON as `json:PATH`, either a file (its
questions are the train split) or a directory of `train.json`, `validation.json` and `test.json`. A
file holds

    {"questions": [{"id": "55031181e9bde69634000014",
                    "type": "yesno",
                    "body": "Is Hirschsprung disease a mendelian …?",
                    "snippets": [{"text": "Hirschsprung disease is …", …}],
                    "exact_answer": "yes",
                    …}, …]}

Questions of the other types are left out and counted. The snippets are the context.
"""

import json

from etils import epath

from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks import files, sources
from tinyllm_jax.tasks.question import SEPARATOR, Question

OTHER_SOURCE = "it needs registration: give its official JSON as json:PATH, or released:DIR"
MAX_INPUT = 640
CHOICES = ("yes", "no")


def read(path: str) -> dict[str, list[Question]]:
    """The yes/no questions of an official file, or of a directory with one official file per split.

    Raises:
      UserError: the path is missing, a file is not BioASQ's JSON, or a yes/no question is
        malformed.
    """
    return {
        split: _read_file(file, split) for split, file in files.split_files(path, ".json").items()
    }


def _read_file(file: epath.Path, split: str) -> list[Question]:
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))["questions"]
        yes_no = [(split, row) for row in rows if row["type"] == "yesno"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"cannot read BioASQ's official JSON from {file}: {type(error).__name__}: {error}"
        ) from None
    others = len(rows) - len(yes_no)
    if others:
        note = f"{file}: left out {others} of {len(rows)} questions, which are not yes/no"
        sources.print_notes("bioasq", [note])
    questions, notes = sources.questions("bioasq", yes_no, from_official)
    if notes:
        raise UserError(f"{file}: {notes[0]}")
    return questions[split]


def from_official(row: dict) -> dict:
    """The fields of a `Question` in one official yes/no question."""
    answer = row["exact_answer"]
    if isinstance(answer, list):  # some years write ["yes"]
        answer = answer[0]
    return {
        "id": row["id"],
        "context": SEPARATOR.join(snippet["text"] for snippet in row.get("snippets", [])),
        "question": row["body"],
        "choices": CHOICES,
        "answer": answer.strip().lower(),
    }
