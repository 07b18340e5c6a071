"""A typed question, and what a student makes of it.

People type questions of any length, and every new shape would be compiled anew. So inputs and
choices are padded to powers of two between `LEAST` and `MOST`, which are seven lengths. A student
has at most 7 × 7 programs that score and 7 × 3 that write (and one that makes room for a longer
text); a handful serve most questions.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from tinyllm_jax.errors import UserError
from tinyllm_jax.student import decoding, inputs
from tinyllm_jax.student.scoring import Choices
from tinyllm_jax.student.student import ANSWER, Student
from tinyllm_jax.tasks.question import Question

LEAST, MOST = 64, 4096  # tokens of an input, and of all choices together: powers of two
WRITTEN = 128  # tokens of a text, those that the decoder is given included
FEWEST_CHOICES, MOST_CHOICES = 2, 26


@dataclasses.dataclass(frozen=True)
class Reply:
    """What a student makes of a question.

    Attributes:
      probabilities: of each choice, in their order; they add up to 1.
      written: the answer that it writes.
      rationales: for each teacher that it learned, what it writes in that teacher's style.
      cut: how many tokens at the end of the context it did not read.
    """

    probabilities: tuple[float, ...]
    written: str
    rationales: Mapping[str, str]
    cut: int


def typed_question(question: str, choices: str, context: str = "") -> Question:
    """The question that somebody typed.

    Args:
      question: the question.
      choices: one a line; empty lines are skipped.
      context: a passage that it is about, or "".

    Returns:
      The question. Nobody said which choice is right, so the first one stands as the answer.

    Raises:
      UserError: the question is empty, or there are too few or too many choices.
    """
    if not question.strip():
        raise UserError("there is no question; type one")
    lines = tuple(line.strip() for line in choices.splitlines() if line.strip())
    if not FEWEST_CHOICES <= len(lines) <= MOST_CHOICES:
        raise UserError(
            f"a question needs {FEWEST_CHOICES} to {MOST_CHOICES} choices, one a line, "
            f"not {len(lines)}"
        )
    return Question("typed", "custom", "test", context.strip(), question.strip(), lines, lines[0])


def ask(student: Student, question: Question) -> Reply:
    """Has a student judge the choices, answer, and explain as each of its teachers.

    Args:
      student: the student.
      question: what it is asked.

    Returns:
      Its reply. The probabilities are the softmax of the choices' log-likelihoods, as
      `evaluation` scores them; the texts are written greedily.

    Raises:
      UserError: the question or its choices are too long, or the student's likelihoods are not
        finite.
    """
    encoded = student.encode([question])
    scores = _likelihoods(student, question, encoded.rows[0])
    if not np.isfinite(scores).all():
        raise UserError(
            "the student's likelihoods are not finite: its weights are damaged or its training "
            "diverged; choose another checkpoint"
        )
    return Reply(
        tuple(float(share) for share in np.asarray(jax.nn.softmax(scores))),
        _write(student, question, ANSWER),
        {teacher: _write(student, question, teacher) for teacher in student.teachers},
        encoded.cut[0],
    )


def _likelihoods(student: Student, question: Question, ids: Sequence[int]) -> np.ndarray:
    """The log-likelihood of each choice, (choices,), from batches of a few shapes."""

    def score(batch: dict[str, np.ndarray]) -> np.ndarray:
        padded = {name: _padded(rows) for name, rows in batch.items()}
        logs = decoding.score(student.config, student.params, padded)
        return np.asarray(logs)[:, : batch["targets"].shape[1]]

    (scores,) = Choices(student.tokenizer, [question], [ids], batch_size=1).scores(score)
    return scores


def _write(student: Student, question: Question, target: str) -> str:
    """What the student writes as a target: its answer, or a teacher's rationale."""
    ids = student.encode([question], target).rows
    begin = student.decoder_prefix(target)
    tokens = decoding.greedy(
        student.config,
        student.params,
        _padded(np.array(ids, np.int32)),
        WRITTEN - len(begin),
        prefix_tokens=begin,
    )
    return inputs.decode(student.tokenizer, tokens.tolist())[0]


def _padded(rows: np.ndarray) -> np.ndarray:
    """Rows, (R, L), with zeros up to the next power of two, `LEAST` at least.

    Raises:
      UserError: they are longer than `MOST`.
    """
    length = rows.shape[1]
    if length > MOST:
        raise UserError(
            f"the question or its choices need {length:,} tokens; the demo takes up to {MOST:,}: "
            "shorten them"
        )
    room = max(LEAST, 1 << (length - 1).bit_length())
    return np.pad(rows, [(0, 0), (0, room - length)])
