"""One row of a corpus: a question and, per teacher, its rationale with provenance."""

import dataclasses
import re

from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks.question import Question

TEACHER = re.compile(r"[a-z0-9][a-z0-9._-]*")  # a teacher's name


def check_teacher(name: str) -> None:
    """Checks the name of a teacher.

    Raises:
      UserError: it does not match `TEACHER`.
    """
    if not TEACHER.fullmatch(name):
        raise UserError(
            f"teacher name '{name}': use lower-case letters, digits and . _ - and begin with a "
            f"letter or digit"
        )


@dataclasses.dataclass(frozen=True)
class Rationale:
    """What one teacher wrote about one question, and how it came to be.

    Attributes:
      text: the rationale.
      teacher: the teacher's name, `[a-z0-9][a-z0-9._-]*`: a column of the corpus and a target of
        the student.
      model: the model that wrote it (a hub name or path; "" when not known).
      revision: the model's revision ("" when not known).
      prompt_hash: sha256 of the prompt template ("" when not known).
      sampling: the sampling parameters as JSON with sorted keys ("{}" when not known).
      forced: whether the teacher was shown the gold answer.
      finish_reason: "stop", "length", or "unknown".
      tokens: tokens that the teacher generated (-1 when not known).
      weight: the row's weight in the objective; 0 keeps it out of training.
      flags: quality flags, sorted, e.g. ("echo", "unterminated").
      votes: for each choice the share of the teacher's answers that name it; () when there is no
        answer of its own. Answers are those of unforced samples, or the one that an imported
        rationale stated. An answer that names no choice counts too, so the sum may be below 1.
    """

    text: str
    teacher: str
    model: str = ""
    revision: str = ""
    prompt_hash: str = ""
    sampling: str = "{}"
    forced: bool = True
    finish_reason: str = "unknown"
    tokens: int = -1
    weight: float = 1.0
    flags: tuple[str, ...] = ()
    votes: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Row:
    """A question and its rationales by teacher name; a missing rationale has no entry."""

    question: Question
    rationales: dict[str, Rationale]
