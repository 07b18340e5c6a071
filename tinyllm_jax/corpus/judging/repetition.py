"""Finds texts that repeat themselves."""

import collections
import itertools
import re

from tinyllm_jax.corpus.judging import sentences, words
from tinyllm_jax.corpus.judging.answers import announces

# What numbers a sentence or line and is no part of what it says: "1.", "(b)", "a)", "option c",
# "Second,", "### Hint 2:", "Step 3".
_LABEL = re.compile(
    r"[\W_]*(?:\(?(?:\d{1,2}|[a-z])[).:]|option [a-z]\b|(?:hint|step|reason|point) \d{1,2}\b[.:)]?"
    r"|(?:first|second|third|fourth|fifth)(?:ly)?,)?",
    re.IGNORECASE,
)
# A line that begins with a choice's letter, of a text that goes through the choices: "(b) iron: …".
_CHOICE_LINE = re.compile(r"^[ #*_-]*(?:option )?\(?[a-h]\)", re.MULTILINE | re.IGNORECASE)
# Where a sentence ends without a space behind it: "It melts.It is hot."
_RUN_ON = re.compile(r"(?<=[a-z)][.!?])(?=[A-Z])")
# One to twelve words four times in a row: "and steel and steel and steel and steel".
_LOOP = re.compile(r"\b(\w+(?: \w+){0,11})(?: \1){3,}\b")
# The same line without a word four times, "#".
_EMPTY_LOOP = re.compile(r"^(?=\s*\S)([^\w\n]+)\n(?:\1\n){3,}", re.MULTILINE)


def repeats(text: str, parts: list[str], choices: int) -> bool:
    """Whether a text repeats itself.

    It does if a sentence or line with two content words stands in it twice, if any stands twice in
    a row or more often than there are choices, or if words stand four times in a row. But a text
    that goes through the choices may say of several that "this is a metal", and the answer may be
    stated twice.

    Args:
      text: the text.
      parts: its sentences and lines.
      choices: how many the question has.
    """
    goes_through = len(_CHOICE_LINE.findall(text)) > 1
    return (
        _repeats_sentence(parts, choices, goes_through)
        or bool(_EMPTY_LOOP.search(text))
        or _repeats_words(words.split(text))
    )


def _repeats_sentence(parts: list[str], choices: int, goes_through: bool) -> bool:
    """Whether a sentence or line stands in a text more often than it may.

    Args:
      parts: the text's sentences and lines.
      choices: how many the question has.
      goes_through: whether the text goes through the choices.
    """
    counts: collections.Counter[tuple[str, ...]] = collections.Counter()
    before: tuple[str, ...] | None = None
    for part in itertools.chain.from_iterable(map(_RUN_ON.split, parts)):
        unlabelled = _LABEL.sub("", part, count=1)
        if len(words.split(unlabelled)) < 2:
            continue
        said = words.said(unlabelled)
        counts[said] += 1
        may_recur = goes_through or sentences.refers_back(unlabelled) or announces(unlabelled)
        few = 3 if may_recur else 2
        twice = counts[said] == 2 and len({*words.content(unlabelled)}) >= few
        in_a_row = said == before and not goes_through
        if twice or in_a_row or counts[said] > choices:
            return True
        before = said
    return False


def _repeats_words(every: list[str]) -> bool:
    """Whether some of a text's words stand four times in a row; numbers may."""
    # In most texts no pair of words occurs three times, and they need no slow search.
    pairs = collections.Counter(itertools.pairwise(every))
    if max(pairs.values(), default=0) < 3:
        return False
    loops = _LOOP.finditer(" ".join(every))
    return any(any(map(str.isalpha, loop[1])) for loop in loops)
