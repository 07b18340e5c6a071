"""What an accuracy is worth: its interval, its baselines, and the test of two students."""

import collections
import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import TypeVar

from tinyllm_jax.intervals import wilson
from tinyllm_jax.tasks import Question

T = TypeVar("T", int, str)


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """How many of `n` questions were answered right: `correct`.

    A question whose choices tie counts in part (see `scoring.credit`). `rate`, `low` and `high` are
    fractions in [0, 1].
    """

    correct: float
    n: int

    @property
    def rate(self) -> float:
        """The fraction answered right."""
        return self.correct / self.n

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval."""
        return wilson(self.correct, self.n)[0]

    @property
    def high(self) -> float:
        """The upper end of the 95 % interval."""
        return wilson(self.correct, self.n)[1]


@dataclasses.dataclass(frozen=True)
class Majority:
    """The line of a student that always gives the training split's commonest answer.

    Attributes:
      rule: "text" (the same answer text each time) or "position" (the same choice each time).
      answer: the text, or the choice's letter as "(a)".
      accuracy: how that does on the evaluated split.
    """

    rule: str
    answer: str
    accuracy: Accuracy


@dataclasses.dataclass(frozen=True)
class Paired:
    """Two students on the same questions, compared by the exact McNemar test.

    The test knows right and wrong alone: a question whose choices tie for a student counts there as
    one that it did not answer right. In `points` it counts in part, as in the accuracy.

    Attributes:
      first_only: questions that only the first student answered right.
      second_only: questions that only the second answered right.
      n: the number of all questions.
      p: the two-sided p-value of `mcnemar`.
      points: how far the first is ahead of the second, in percentage points (negative: behind).
    """

    first_only: int
    second_only: int
    n: int
    p: float
    points: float


def chance(questions: Sequence[Question]) -> float:
    """The expected accuracy of picking a choice at random.

    It is the mean of 1 / (number of choices); a choice that is the gold answer again counts too.
    """
    shares = [q.choices.count(q.answer) / len(q.choices) for q in questions]
    return sum(shares) / len(questions)


def majority(train: Sequence[Question], questions: Sequence[Question]) -> Majority | None:
    """How a student does that gives the commonest answer of `train` to every question.

    Where every training question offers the same choices (yes / no / maybe), the commonest answer
    is a *text*. Anywhere else a text hardly recurs, and the commonest answer is a *position*. A
    question without that text or position counts as answered wrong. Of equally common answers the
    first in the alphabet, or the first position, is taken.

    Args:
      train: the questions of the training split.
      questions: the evaluated questions.

    Returns:
      The baseline, or None when `train` is empty.
    """
    if not train:
        return None
    if len({frozenset(question.choices) for question in train}) == 1:
        text = _commonest(question.answer for question in train)
        return Majority(
            "text", text, Accuracy(sum(q.answer == text for q in questions), len(questions))
        )
    position = _commonest(question.gold for question in train)
    right = sum(q.answer in q.choices[position : position + 1] for q in questions)
    return Majority("position", f"({Question.letter(position)})", Accuracy(right, len(questions)))


def _commonest(values: Iterable[T]) -> T:
    counts = collections.Counter(values)
    return min(counts, key=lambda value: (-counts[value], value))


def mcnemar(first_only: int, second_only: int) -> float:
    """The exact two-sided McNemar p-value of two students that answered the same questions.

    If the students do not differ, each question that just one of them got right is a fair coin's
    toss. McNemar (1947), Psychometrika 12; the exact form as in statsmodels' `mcnemar(exact=True)`.

    Args:
      first_only: the number of questions that only the first student answered right.
      second_only: the number of questions that only the second answered right.
    """
    tosses = first_only + second_only
    if not tosses:
        return 1.0
    from scipy.stats import binomtest  # here, because it takes a second to import

    return float(binomtest(min(first_only, second_only), tosses, 0.5).pvalue)


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """Compares two students by how right each of them was on question i: 1, 0, or in part.

    Args:
      first: the first student's answers, in the order of the questions.
      second: the second student's answers to the same questions.
    """
    first_only = sum(a == 1 and b != 1 for a, b in zip(first, second, strict=True))
    second_only = sum(b == 1 and a != 1 for a, b in zip(first, second, strict=True))
    points = 100 * (math.fsum(first) - math.fsum(second)) / len(first)
    return Paired(first_only, second_only, len(first), mcnemar(first_only, second_only), points)
