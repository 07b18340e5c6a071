"""The question: the one type that every other package shares."""

import dataclasses
import hashlib
import json
from collections.abc import Container

SPLITS = ("train", "validation", "test")
MOST_CHOICES = 26  # each is shown and named by a letter
ID_LENGTH = 16  # characters of an id that follows from a question's content
SEPARATOR = " \n "  # between the parts of a context, and between it and its question


@dataclasses.dataclass(frozen=True)
class Question:
    """One multiple-choice question.

    Attributes:
      id: the dataset's own id, unique within its task and split; `with_content_id` makes one.
      task: the task's name, e.g. "obqa".
      split: "train", "validation" or "test".
      context: a passage that the question is about ("" for most tasks). Only this may be truncated.
      question: the question itself.
      choices: the choices' texts, in the order in which they are shown.
      answer: the gold answer: one of `choices`, verbatim.
    """

    id: str
    task: str
    split: str
    context: str
    question: str
    choices: tuple[str, ...]
    answer: str

    @property
    def gold(self) -> int:
        """The index of the gold answer in `choices`."""
        return self.choices.index(self.answer)

    @staticmethod
    def letter(index: int) -> str:
        """The letter by which the choice of an index is shown and named: "a" for 0, "b" for 1."""
        return chr(ord("a") + index)

    @property
    def lettered(self) -> tuple[str, ...]:
        """The choices as they are shown, each with its letter: "(a) iron nails"."""
        return tuple(f"({self.letter(index)}) {text}" for index, text in enumerate(self.choices))

    @property
    def key(self) -> str:
        """A content hash: equal for equal questions, whatever their id, split or row number."""
        content = json.dumps(
            [self.task, self.context, self.question, self.choices, self.answer], ensure_ascii=False
        )
        return hashlib.sha256(content.encode()).hexdigest()


def place(*texts: str) -> float:
    """A number from 0 to below 1 that follows from the texts alone, on any machine: it deals."""
    digest = hashlib.sha256(json.dumps(texts).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def with_content_id(question: Question, taken: Container[str]) -> Question:
    """The question of a dataset without ids, with an id that follows from its content.

    So it is the same question wherever its row stands. One that occurs again gets "-2", "-3", ….

    Args:
      question: the question, without a `problem` but for its id.
      taken: the ids of the questions of its split so far.
    """
    content_id, count = question.key[:ID_LENGTH], 1
    while content_id in taken:
        count += 1
        content_id = f"{question.key[:ID_LENGTH]}-{count}"
    return dataclasses.replace(question, id=content_id)


def problem(question: Question) -> str:
    """What is wrong with a question, in a few words; "" when nothing is."""
    texts = {
        "id": question.id,
        "context": question.context,
        "question": question.question,
        "answer": question.answer,
    }
    for name, value in texts.items():
        if not isinstance(value, str):
            return f"{name} is not a text: {value!r}"
        if _unwritable(value):
            return f"{name} holds {_unwritable(value)}: {value!r}"
    if not question.id:
        return "empty id"
    if not question.question.strip():
        return "empty question"
    if len(question.choices) < 2:
        return f"{len(question.choices)} choices; a question needs at least 2"
    if len(question.choices) > MOST_CHOICES:
        return f"{len(question.choices)} choices; there are letters for {MOST_CHOICES}"
    if not all(isinstance(choice, str) and choice.strip() for choice in question.choices):
        return f"an empty choice, or one that is not a text: {list(question.choices)!r}"
    for choice in question.choices:
        if _unwritable(choice):
            return f"a choice holds {_unwritable(choice)}: {choice!r}"
    if question.answer not in question.choices:
        return (
            f"the answer {question.answer!r} is not one of the choices {list(question.choices)!r}"
        )
    return ""


def _unwritable(text: str) -> str:
    """What a text holds that no file or terminal can take; "" where it is all right."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "half of a surrogate pair"
    return "a NUL or an escape character" if "\0" in text or "\x1b" in text else ""
