r"""Finds the question that a row of a foreign file is about: by its id, its content, or in a text.

Texts are compared as their words and punctuation marks, in one case: white space counts for
nothing. In a text a question is found if its own text stands there and all its choices follow in
their order. Before each choice stands at most a separator: punctuation, and a label such as "A",
"2" or "option b".

    Q: The sun is responsible for Answer choices: A: puppies learning new tricks, B: children …
    The sun is responsible for\n(a) puppies learning new tricks\n(b) children …

What stands between the question and the first choice's separator is free, and so is what stands
before the question and after the last choice.
"""

import collections
import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence

from tinyllm_jax.tasks.question import Question

Words = tuple[str, ...]

_WORD = re.compile(r"\w+|[^\w\s]")
_SEPARATOR = re.compile(r"[a-z]|\d{1,2}|i{2,3}|iv|option|choice|and|or|\W")
_LONGEST_SEPARATOR = 8  # words and marks between two choices
_HERE = ""  # the key of the questions whose text ends at a node of the tree; no word is empty

# A tree of words: the child of each next word, and under `_HERE` a list of questions.
_Tree = dict


@dataclasses.dataclass(frozen=True)
class _Match:
    """A question in a text: where it begins and its last choice ends, in words, and its own."""

    start: int
    end: int
    words: int
    question: Question

    @property
    def size(self) -> tuple[int, int]:
        return self.end - self.start, self.words


class QuestionIndex:
    """Questions by id, by content, and by the words of their text.

    Each of the methods returns every question that fits equally well, or, where none does, why not.

    Args:
      questions: the questions; several may be equal.
    """

    def __init__(self, questions: Iterable[Question]):
        self._of_id: dict[str, list[Question]] = collections.defaultdict(list)
        self._of_text: dict[Words, list[Question]] = collections.defaultdict(list)
        self._tree: _Tree = {}
        for question in questions:
            text = words(question.question)
            self._of_id[question.id].append(question)
            self._of_text[text].append(question)
            node = self._tree
            for word in text:
                node = node.setdefault(word, {})
            node.setdefault(_HERE, []).append(question)

    def of_id(self, id: str) -> list[Question] | str:
        """The questions of an id, one at most in each split."""
        return self._of_id.get(id) or "no question has its id"

    def of_content(self, text: str, choices: Sequence[str]) -> list[Question] | str:
        """The questions with this text and these choices, in this order."""
        same_text = self._of_text.get(words(text))
        if not same_text:
            return "no question has its text"
        wanted = [words(choice) for choice in choices]
        found = [question for question in same_text if _choices(question) == wanted]
        return found or "a question has its text, but other choices or another order of them"

    def in_text(self, text: str) -> list[Question] | str:
        """The questions that stand in a text, with all their choices behind them.

        A question inside of a longer one does not count. Where several stand beside each other, as
        in a prompt with examples, there is no telling which one is asked.
        """
        text_words = words(text)
        matches: list[_Match] = []
        without_choices = False
        for start in range(len(text_words)):
            for end, question in self._asked_at(text_words, start):
                choices = _choices(question)
                choices_end = _end_of_choices(text_words, end, choices)
                if choices_end is None:
                    without_choices = True
                else:
                    own = end - start + sum(map(len, choices))
                    matches.append(_Match(start, choices_end, own, question))
        if not matches and without_choices:
            return "a question's text stands in it, but its choices do not follow in their order"
        if not matches:
            return "no question's text stands in it"
        best = max(matches, key=lambda match: match.size)
        if any(match.start < best.start or match.end > best.end for match in matches):
            return "several questions stand in it"
        return [match.question for match in matches if match.size == best.size]

    def _asked_at(self, text: Words, start: int) -> Iterator[tuple[int, Question]]:
        """Yields each question whose text begins at `start`, behind the end of its text."""
        node = self._tree
        for position in range(start, len(text)):
            if text[position] not in node:
                return
            node = node[text[position]]
            for question in node.get(_HERE, ()):
                yield position + 1, question


def words(text: str) -> Words:
    """The words and punctuation marks of a text, in one case."""
    return tuple(_WORD.findall(text.casefold()))


def _choices(question: Question) -> list[Words]:
    return [words(choice) for choice in question.choices]


def _end_of_choices(text: Words, start: int, choices: Sequence[Words]) -> int | None:
    """The position behind the last choice, if all choices follow one another from `start` on.

    A choice may be a letter, as labels are, so that it may seem to stand in several places: all of
    them are followed up.
    """
    first, *others = choices
    ends = []
    for position in range(start, len(text)):
        before = text[position - 1]
        if _stands(first, text, position) and (position == start or _SEPARATOR.fullmatch(before)):
            ends.append(position + len(first))
    for choice in others:
        next_ends: set[int] = set()
        for end in ends:
            for position in range(end, min(end + _LONGEST_SEPARATOR, len(text)) + 1):
                if _stands(choice, text, position):
                    next_ends.add(position + len(choice))
                if position == len(text) or not _SEPARATOR.fullmatch(text[position]):
                    break
        ends = sorted(next_ends)
    return max(ends, default=None)


def _stands(words: Words, text: Words, position: int) -> bool:
    return text[position : position + len(words)] == words
