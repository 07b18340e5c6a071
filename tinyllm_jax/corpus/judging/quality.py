"""What is wrong with a rationale, from its text alone.

    empty          nothing was written
    unterminated   it does not end where a sentence does, or the teacher stopped at its token limit
    echo           a line of it is the prompt's own form (`Question:`, `Options:`, …): the teacher
                   began another question
    contradicts    it states an answer, and that is not the gold one
    duplicate      an earlier row of the split has the same text from the same teacher
    no_new_word    every content word of it stands already in the question or choices
    repetition     a sentence or line with three content words stands in it twice, any other one
                   more often than there are choices (who goes through the choices may say the same
                   of each), or two words or more go round four times
    copied         it begins by giving the gold answer, by letter or text, before it says anything
                   else
    truncated      a policy cut it to its last full sentence

`BAD` flags say that a student should not learn from the rationale: `empty`, `unterminated`, `echo`
and `repetition` texts are none that it should write; what `contradicts` argues for a wrong answer;
a `duplicate` says nothing about its own question, and if the question is a duplicate too, the first
row stands; `no_new_word` is question and answer over again, which the answer target teaches
already. `copied` is not bad: what follows the answer may well explain it, and where nothing does,
it is `no_new_word`. A rationale without a bad flag is called sound. An empty rationale has no other
flag. What follows an echo is about another question and says nothing about this one. Quoting the
context is reasoning, so that its words count as new.
"""

import collections
import re

from tinyllm_jax.corpus.judging import sentences
from tinyllm_jax.tasks.question import Question

BAD = ("empty", "unterminated", "echo", "contradicts", "duplicate", "no_new_word", "repetition")
FLAGS = (*BAD, "copied", "truncated")

_ECHO = re.compile(
    r"^[\s#*>_-]*(?:Question\b[^\n:]{0,10}:|Q\.?\s?\d+\b|Options?\s*:|Answer Choices\s*:|Rationale\s*:)",
    re.MULTILINE,
)
_LETTER = r"(?:option |choice )?[\"'(\[*]*(?P<after>[a-z])(?:[\"')\]*]|(?=\s*(?:[.,;:\n]|$)))"
_BEST = r"(?:correct|right|best|appropriate)"
_STATED = re.compile(
    rf"\b(?:answer|{_BEST} (?:option|choice))(?: choice| option)? ?(?:is|must be|should be|would be|:)"
    rf"(?: clearly| definitely| therefore)?[:\s]*(?:{_LETTER}|(?P<text>[^\n]+))"
    rf"|(?:\b(?:option|choice) [\"'(]?|[\"'(])(?P<before>[a-z])[)\"']?,?(?: which)? is (?:the )?(?:answer|{_BEST})\b",
    re.IGNORECASE,
)
_ANNOUNCES = ("answer", "correct", "right", "best", "appropriate")
_LEAD = frozenset(
    [
        "answer",
        "best",
        "choice",
        "clearly",
        "correct",
        "hence",
        "option",
        "right",
        "so",
        "the",
        "therefore",
        "thus",
    ]
)  # may open a copy
_COPIED_LETTER = re.compile(
    r"(?:answer|option|choice)?[\W_]*(?P<letter>[a-z])(?:[)\].:*]+|$)(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_IS_ANSWER = re.compile(
    r"[\s,'\"]*(?:which )?is (?:the )?(?:answer|correct|right|best (?:answer|choice|option))\b"
)
_LABEL = re.compile(
    r"[\W_]*(?:\(?(?:\d{1,2}|[a-z])[).:]|option [a-z]\b|(?:first|second|third|fourth|fifth)(?:ly)?,)?",
    re.IGNORECASE,
)
_LOOP = re.compile(r"\b(\w+(?: \w+){1,11})(?: \1){3,}\b")
_WORD = re.compile(r"\w+")
_COMMON = frozenset(  # words that carry no content of their own
    [
        "a",
        "about",
        "all",
        "also",
        "an",
        "and",
        "answer",
        "any",
        "are",
        "as",
        "at",
        "be",
        "because",
        "been",
        "but",
        "by",
        "can",
        "choice",
        "could",
        "did",
        "do",
        "does",
        "each",
        "for",
        "from",
        "had",
        "has",
        "have",
        "he",
        "her",
        "his",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "let",
        "may",
        "means",
        "might",
        "more",
        "most",
        "must",
        "no",
        "not",
        "of",
        "on",
        "one",
        "only",
        "option",
        "or",
        "other",
        "our",
        "out",
        "question",
        "s",
        "she",
        "should",
        "so",
        "some",
        "step",
        "such",
        "t",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "therefore",
        "these",
        "they",
        "think",
        "this",
        "those",
        "thus",
        "to",
        "up",
        "us",
        "was",
        "we",
        "were",
        "what",
        "when",
        "which",
        "who",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)


def stated_answer(text: str, question: Question) -> int | None:
    """The index of the choice that a rationale states last as the answer, by its letter or its text; None when it
    states none (or none that is clear). A text that is nothing but a letter or a choice states it.
    What stands after an echo of the prompt is not looked at.
    """
    if (
        len(text) <= max(map(len, question.choices)) + 8
        and (bare := _bare_choice(text, question)) is not None
    ):
        return bare
    lower = text.lower()
    if not any(
        word in lower for word in _ANNOUNCES
    ):  # most rationales: spares them the slow search
        return None
    found = None
    for match in _STATED.finditer(text[: echo_start(text)]):
        letter = match["after"] or match["before"]
        named = _named_choice(letter or match["text"], question)
        if named is None and letter and ord(letter.lower()) - ord("a") < len(question.choices):
            named = ord(letter.lower()) - ord("a")
        found = found if named is None else named
    return found


def _bare_choice(text: str, question: Question) -> int | None:
    """The choice whose text or letter is the whole text."""
    plain = _plain(text)
    texts = list(map(_plain, question.choices))
    if plain in texts:
        return texts.index(plain)
    index = ord(plain) - ord("a") if len(plain) == 1 else -1
    return index if 0 <= index < len(texts) else None


def _named_choice(text: str, question: Question) -> int | None:
    """The longest choice with which the text begins."""
    text = _plain(text)
    fits = [
        (len(choice), index)
        for index, choice in enumerate(map(_plain, question.choices))
        if choice and text.startswith(choice) and not text[len(choice) : len(choice) + 1].isalnum()
    ]
    return max(fits)[1] if fits else None


def _plain(text: str) -> str:
    return normal(text).strip(" .,:;\"'*()")


def normal(text: str) -> str:
    """The text in one case and with single spaces: what counts as the same text."""
    return " ".join(text.casefold().split())


def echo_start(text: str) -> int | None:
    """Where the prompt's own form begins in a rationale; None where it does not."""
    echo = _ECHO.search(text)
    return echo and echo.start()


def flags_of(
    text: str, question: Question, finish_reason: str = "unknown", stated: int | None = None
) -> tuple[str, ...]:
    """The flags of one rationale, sorted; without `duplicate`, which needs the other rows, and `truncated`.

    Args:
      text: the rationale.
      question: the question that it is about.
      finish_reason: as in `Rationale`.
      stated: the index of the choice that the teacher is known to have stated, where not in the
        text itself.
    """
    if not text.strip():
        return ("empty",)
    if stated is None:
        stated = stated_answer(text, question)
    own = text[: echo_start(text)]
    ends = sentences.ends(text)
    parts = sentences.split(own, [end for end in ends if end <= len(own)])
    known = {word for part in (question.question, *question.choices) for word in _words(part)}
    flags = {
        "unterminated": finish_reason == "length" or ends[-1:] != [len(text.rstrip())],
        "echo": own != text,
        "contradicts": stated is not None and question.choices[stated] != question.answer,
        "no_new_word": all(word in known or word in _COMMON for word in _words(text)),
        "repetition": _repeats(own, parts, len(question.choices)),
        "copied": bool(parts) and _copies(own, parts, question),
    }
    return tuple(sorted(flag for flag, there in flags.items() if there))


def _repeats(text: str, parts: list[str], choices: int) -> bool:
    seen = collections.Counter()
    for part in parts:
        words = tuple(_words(_LABEL.sub("", part, count=1)))
        seen[words] += len(words) > 1
        if seen[words] > choices or (seen[words] == 2 and len({*words} - _COMMON) >= 3):
            return True
    words = _words(text)
    if (
        max(collections.Counter(zip(words, words[1:])).values(), default=0) < 4
    ):  # spares most texts the slow search
        return False
    return any(any(map(str.isalpha, loop[1])) for loop in _LOOP.finditer(" ".join(words)))


def _copies(text: str, parts: list[str], question: Question) -> bool:
    """Whether the first sentence gives the gold answer and nothing else, or announces it at once."""
    first, gold = parts[0], _plain(question.answer)
    if len(parts) > 1 and {*_words(first)} <= _LEAD:  # "Answer:" on a line of its own
        first = f"{first} {parts[1]}"
    plain = _plain(first)
    if plain == gold or (plain.startswith(gold) and _IS_ANSWER.match(plain, len(gold))):
        return True
    lettered = _COPIED_LETTER.match(first.lstrip("(*[ "))
    if (
        lettered
        and lettered["letter"].lower() == _letter(question.gold)
        and _plain(lettered["rest"]) in ("", gold)
    ):
        return not _goes_through_choices(text, question)
    if not any(word in first.lower() for word in _ANNOUNCES):
        return False
    announced = _STATED.search(first)
    return (
        bool(announced)
        and {*_words(first[: announced.start()])} <= _LEAD
        and (stated_answer(first, question) == question.gold)
    )


def _goes_through_choices(text: str, question: Question) -> bool:
    others = "".join(
        _letter(index) for index in range(len(question.choices)) if index != question.gold
    )
    return bool(re.search(rf"(?:^|[\n.!?:]\s*)\(?[{others}]\)", text.lower()))


def _letter(index: int) -> str:
    return chr(ord("a") + index)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
