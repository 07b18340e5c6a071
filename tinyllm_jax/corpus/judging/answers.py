"""Finds the answer that a rationale states, such as "(b)" in "So the answer is (b)."."""

import dataclasses
import itertools
import re
from collections.abc import Iterator

from tinyllm_jax.corpus.judging import choices, echo
from tinyllm_jax.corpus.judging.plain import plain, readable
from tinyllm_jax.tasks.question import Question

# A choice's letter: "(b)", "[b]", "<b>", "option b.", "letter b"; but not the "a" of "a metal cup",
# nor one of several letters: "a, b, and c", "(a) or (b)".
_ANOTHER = (
    r"(?!\s*(?:,|/|&|or\b|and\b)\s*(?:or\s+|and\s+)?(?:option |choice )?"
    r"(?:[\"'(\[<][a-z][\"')\]>]|[a-z]\s*(?:[.,;:!\n]|$|or\b|and\b)))"
)
_LETTER = (
    r"(?:(?:the )?(?:option|choice|letter)\s+)?[\"'(\[<]*(?P<after>[a-z])"
    r"(?:[\"')\]>]+|(?=\s*(?:[.,;:!\n]|$)))" + _ANOTHER
)
_BEST = r"(?:correct|right|best|appropriate)"
_SURELY = (
    r"(?:,? (?:clearly|definitely|therefore|thus|then|hence|indeed|obviously|most likely|likely),?)"
)
_IS = (
    rf"(?:is\b|(?:must|should|would|will|has to|can only|could only){_SURELY}? be\b|[:=–—]|-(?=\s))"
)
# An announcement, and behind it the answer: "the answer is (b)", "Answer: a metal cup", "the
# correct option must be b", "I choose b". The answer's text is only looked at, for another
# announcement may stand in it: "the best answer is that … The answer is B".
_ANSWER_AFTER = (
    rf"(?:\b(?:(?:answer|ans\.?)(?: choice| option)?"
    rf"|{_BEST} (?:option|choice|one|response)|solution(?!:?\s*\n))"
    rf"(?:,? (?:to|among|of|for) (?:the|this|these|all)\b[^.,:\n]{{0,40}}?)?{_SURELY}?\s*{_IS}"
    rf"|\b(?:I|we)(?:'d| would|'ll| will)? (?:choose|pick|select|go with)\b)"
    rf"{_SURELY}*[:,\s]*(?:answer:\s*)?(?:{_LETTER}|(?=(?P<text>[^\n]+)))"
)
_IS_IT = (
    rf",?(?: which)? (?:is|must be|would be){_SURELY}? (?:the )?(?:only )?(?:answer\b"
    rf"|{_BEST}(?: answer| option| choice| one|(?=\s*(?:[.,;:!\n]|$|because\b|since\b|as\b))))"
)
# The answer's letter, and behind it that it is the answer: "option d is correct", "(b) is the
# answer", "B is right", "(b), which is the best".
_ANSWER_BEFORE = (
    rf"(?:(?:\b(?:option|choice|answer) [\"'(\[]?|[\"'(\[])(?P<before>[a-z])[)\]\"']*"
    rf"|\b(?P<alone>(?-i:[A-Z]))\)?){_IS_IT}"
)
# A letter and nothing else: "Therefore, (b).", "#### B".
_ANSWER_ALONE = (
    r"(?:^|(?<=[.!?])\s)\s*(?:(?:hence|so|then|therefore|thus),? (?:it (?:is|must be) )?"
    r"(?:(?:option|choice) [(]?|[(])|\#{4} *[(]?)(?P<only>[a-z])[)]?\s*[.!]?\s*$"
)
_STATED = re.compile(
    f"{_ANSWER_AFTER}|{_ANSWER_BEFORE}|{_ANSWER_ALONE}", re.IGNORECASE | re.MULTILINE
)
# What follows the answer's text: "a metal cup is the correct answer".
_NAMED_BEFORE = re.compile(rf"[)\]\"']*{_IS_IT}", re.IGNORECASE)
_LEADS = re.compile(r"(?:(?:hence|so|then|therefore|thus|the|and)\b[\s,]*)+", re.IGNORECASE)
# One of them is in every match.
_ANNOUNCES = (
    *("ans", "solution", "correct", "right", "best", "appropriate", "choose", "pick", "select"),
    *("go with", "hence", "so", "then", "thus", "therefore", "####", "boxed"),
)
# What leads to an announcement: "Therefore, the correct", "So the".
_LEADS_TO_ANSWER = re.compile(
    rf"(?:\b(?:hence|so|then|therefore|thus|the|final|{_BEST})\b[\s,:]*)*$", re.IGNORECASE
)
_ENDED = re.compile(r"[.!?…:][\"'”’)\]*]*\s*$|\n\s*$")  # a sentence or line ended just before


@dataclasses.dataclass(frozen=True)
class _Statement:
    """An announcement of the answer in a text, as `readable` spells it.

    Attributes:
      start: where it begins.
      end: where it ends; the choice's text may stand behind it.
      index: the index of the choice that it announces.
    """

    start: int
    end: int
    index: int


def stated_answer(text: str, question: Question) -> int | None:
    """The index of the choice that a rationale states as the answer, by its letter or its text.

    The last statement counts. A text that is nothing but a letter or a choice states it, and so
    does a line "B) a metal cup" where no other line begins with a choice's letter. What stands
    after an echo of the prompt is not looked at.

    Returns:
      The index, or None where no choice is stated, or none that is clear.
    """
    bare = choices.bare(text, question)
    if bare is not None:
        return bare
    statement = _last_statement(text, question)
    return _only_lettered_line(text, question) if statement is None else statement.index


def without_stated_answer(text: str, question: Question) -> str:
    """A rationale without the sentence at its end that does nothing but state the answer.

    "Steel holds iron. Therefore, the answer is (a) iron nails." becomes "Steel holds iron.". A
    sentence that also says something else stays whole: "Steel holds iron, so the answer is (a).".
    A text that is nothing but a letter or a choice becomes empty.
    """
    text = text.strip()
    if choices.bare(text, question) is not None:
        return ""
    while (shorter := _without_last_statement(text, question)) is not None:
        text = shorter
    return text


def announces(text: str) -> bool:
    """Whether a word of an announcement is in the text, so that a slow search for one pays."""
    lower = text.lower()
    return any(word in lower for word in _ANNOUNCES)


def announcement_start(text: str) -> int | None:
    """Where the first announcement of an answer begins, "the answer is (b)"; None without one."""
    found = _STATED.search(text) if announces(text) else None
    return None if found is None else found.start()


def _last_statement(text: str, question: Question) -> _Statement | None:
    """The last place before any echo at which a choice is announced as the answer."""
    if not announces(text):
        return None
    text = readable(text[: echo.start(text)])
    statements = itertools.chain(
        _announced_choices(text, question), _choices_named_before(text, question)
    )
    return max(statements, key=lambda statement: statement.end, default=None)


def _announced_choices(text: str, question: Question) -> Iterator[_Statement]:
    """Yields the statements that `_STATED` finds: "the answer is (b)", "(b) is the answer"."""
    for match in _STATED.finditer(text):
        said = match["after"] or match["before"] or match["alone"] or match["only"] or match["text"]
        index = choices.named_first(said, question)
        if index is None:
            index = choices.lettered_first(said, question)
        if index is not None:
            yield _Statement(match.start(), match.end(), index)


def _choices_named_before(text: str, question: Question) -> Iterator[_Statement]:
    """Yields the statements with a choice's text before them: "a metal cup is the answer"."""
    for match in _NAMED_BEFORE.finditer(text):
        # The sentence begins behind the last mark that ends one, and behind "So the" or the like.
        start = max(text.rfind(mark, 0, match.start()) for mark in ".!?:\n") + 1
        lead = _LEADS.match(text, len(text) - len(text[start:].lstrip()))
        if lead:
            start = lead.end()
        index = choices.bare(text[start : match.start()], question)
        if index is not None:
            yield _Statement(start, match.end(), index)


def _only_lettered_line(text: str, question: Question) -> int | None:
    """The index of the choice on the one line that begins with a letter: "B) a metal cup"."""
    lines = [line.strip() for line in readable(text[: echo.start(text)]).splitlines()]
    lettered = [line for line in lines if re.match(r"\(?[a-z][).:]", line, re.IGNORECASE)]
    return choices.bare(lettered[0], question) if len(lettered) == 1 else None


def _without_last_statement(text: str, question: Question) -> str | None:
    """The text without a last sentence that only states the answer; None without such a one."""
    statement = _last_statement(text, question)
    spelled = readable(text)
    if statement is None or not _is_only(spelled[statement.end :], statement.index, question):
        return None

    # The sentence may begin before the announcement: "Therefore, the correct …".
    before = _LEADS_TO_ANSWER.sub("", spelled[: statement.start])
    if not before.strip():
        return ""
    if not spelled[len(before) :].lstrip()[:1].isupper() and not _ENDED.search(before):
        return None

    # Marks that close the sentence before are no part of this one.
    end = len(before.rstrip())
    marks = len(text[end:]) - len(text[end:].lstrip("*_"))
    return text[: end + marks].strip()


def _is_only(rest: str, index: int, question: Question) -> bool:
    """Whether nothing stands behind an announcement but the choice of that index, or not even it.

    The choice may have its letter before it.
    """
    choice = plain(question.choices[index])
    rest = plain(rest)
    is_lettered = rest[:1] == question.letter(index) and plain(rest[1:]) == choice
    return rest in ("", choice) or is_lettered
