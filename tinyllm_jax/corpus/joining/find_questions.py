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
from typing import Any

from tinyllm_jax.tasks.question import Question

Words = tuple[str, ...]

_WORD = re.compile(r"\w+|[^\w\s]")
_SEPARATOR = re.compile(r"[a-z]|\d{1,2}|i{2,3}|iv|option|choice|and|or|\W")
_LONGEST_SEPARATOR = 8  # words and marks between two choices
_HERE = ""  # the key of what ends at a node of a tree; no word is empty

# A tree of words: a node holds the node of each next word, and under `_HERE` what ends there.
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
        self._of_content: dict[tuple[Words, ...], list[Question]] = collections.defaultdict(list)
        self._texts: set[Words] = set()
        # The tree of all texts, so that a row is not compared with each question. Where a text ends
        # is a tree of the first choices, for many questions may have one text; where a first choice
        # ends are the questions, each with its other choices.
        self._tree: _Tree = {}
        for question in questions:
            text, first, *others = words(question.question), *_choices(question)
            self._of_id[question.id].append(question)
            self._of_content[text, first, *others].append(question)
            self._texts.add(text)
            first_choices = _node(self._tree, text).setdefault(_HERE, {})
            _node(first_choices, first).setdefault(_HERE, []).append((question, others))

    def of_id(self, id: str) -> list[Question] | str:
        """The questions of an id, one at most in each split."""
        return self._of_id.get(id) or "no question has its id"

    def of_content(self, text: str, choices: Sequence[str]) -> list[Question] | str:
        """The questions with this text and these choices, in this order."""
        found = self._of_content.get((words(text), *map(words, choices)))
        if found:
            return found
        if words(text) in self._texts:
            return "a question has its text, but other choices or another order of them"
        return "no question has its text"

    def in_text(self, text: str) -> list[Question] | str:
        """The questions that stand in a text, with all their choices behind them.

        A question inside of a longer one does not count. Where several stand beside each other, as
        in a prompt with examples, there is no telling which one is asked.
        """
        text_words = words(text)
        matches: list[_Match] = []
        for start in range(len(text_words)):
            for end, first_choices in _walk(self._tree, text_words, start):
                for question, choices_end in _chosen(first_choices, text_words, end):
                    own = end - start + sum(map(len, _choices(question)))
                    matches.append(_Match(start, choices_end, own, question))
        if not matches:
            return "no question stands in it with all its choices behind it"
        best = max(matches, key=lambda match: match.size)
        if any(match.start < best.start or match.end > best.end for match in matches):
            return "several questions stand in it"
        # A question is once in it, though its choices may be found there in two ways.
        return list(dict.fromkeys(match.question for match in matches if match.size == best.size))


def words(text: str) -> Words:
    """The words and punctuation marks of a text, in one case."""
    return tuple(_WORD.findall(text.casefold()))


def _choices(question: Question) -> list[Words]:
    return [words(choice) for choice in question.choices]


def _node(tree: _Tree, path: Words) -> _Tree:
    """The node that some words lead to; it is made where there is none."""
    for word in path:
        tree = tree.setdefault(word, {})
    return tree


def _walk(tree: _Tree, text: Words, start: int) -> Iterator[tuple[int, Any]]:
    """Yields (the position behind it, what ends there) for all that begins at `start` in a text."""
    for position in range(start, len(text)):
        if text[position] not in tree:
            return
        tree = tree[text[position]]
        if _HERE in tree:
            yield position + 1, tree[_HERE]


def _chosen(first_choices: _Tree, text: Words, start: int) -> Iterator[tuple[Question, int]]:
    """Yields each question whose choices follow behind its text, and where the last one ends."""
    for position in range(start, len(text)):
        if position == start or _SEPARATOR.fullmatch(text[position - 1]):
            for end, questions in _walk(first_choices, text, position):
                for question, others in questions:
                    last_end = _end_of_choices(text, end, others)
                    if last_end is not None:
                        yield question, last_end


def _end_of_choices(text: Words, start: int, choices: Sequence[Words]) -> int | None:
    """The position behind the last choice, if the choices follow one another from `start` on.

    A choice may be a letter, as labels are, so that it may seem to stand in several places: all of
    them are followed up.
    """
    ends = [start]
    for choice in choices:
        next_ends: set[int] = set()
        for end in ends:
            for position in range(end, min(end + _LONGEST_SEPARATOR, len(text)) + 1):
                if text[position : position + len(choice)] == choice:
                    next_ends.add(position + len(choice))
                if position == len(text) or not _SEPARATOR.fullmatch(text[position]):
                    break
        ends = sorted(next_ends)
    return max(ends, default=None)
