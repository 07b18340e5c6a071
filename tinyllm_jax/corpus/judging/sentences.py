"""Finds where sentences end in what a model wrote, and which of them point back.

The ends are good enough to cut a text after its last full sentence. In doubt a sentence goes on: a
cut that comes too late leaves half a sentence, but one that comes too early loses a whole one.
"""

import itertools
import re
from collections.abc import Sequence

_CLOSING = "\"'”’)\\]}*_`"
# What may end a sentence: ".", "?!", "…", "。", "।", with the quotes and brackets behind it.
_STOP = re.compile(rf"(?:\.+|[!?…]+)[{_CLOSING}]*(?=\s|$)|[。！？।؟۔]+[{_CLOSING}]*")
# Never the last word of a sentence: "e.g.", "Dr.".
_ABBREVIATION = re.compile(
    r"(?<![\w.])(?:e\.g|i\.e|eg|ie|vs|cf|mr|mrs|ms|dr|prof|approx|ca|resp|viz|jr|sr|al|gen|gov|rev)\.$",
    re.IGNORECASE,
)
# No end where a number follows: "fig. 2", "no. 3".
_COUNTED = re.compile(r"(?<!\w)(?:no|nr|fig|figs|eq|vol|ch|pp?)\.$", re.IGNORECASE)
# The number of what follows: "1. Heat it.", "a. iron", "iv. wood".
_NUMBERS = re.compile(r"(?:^|\n|[.!?:;]\s)[\s*#>(-]*(?:\d{1,2}|[a-zA-Z]|[ivx]{2,4})\.$")
# A person's initial, "J. K. Rowling"; but not the letter of "the answer is B."
_INITIAL = re.compile(r"(?<!\bis)(?<!\bbe)(?<!answer)(?<!option)(?<!choice)\s[A-Z]\.$")
# No end where a small letter follows: "etc.", "5 p.m.", "Wait...".
_MAYBE = re.compile(r"(?:(?<!\w)(?:etc|inc|ltd|co|[a-z]\.[a-z])\.|\.\.|…)$", re.IGNORECASE)
# "It is wood.", "So, these are magnetic.": about what the question, or the text before, is about.
_REFERS = re.compile(
    r"\W*(?:(?:hence|so|then|therefore|thus)\W+)?(?:it|they|this|these|those|he|she)\b",
    re.IGNORECASE,
)
_BACK = 24  # characters before a full stop that are looked at


def ends(text: str) -> list[int]:
    """The offsets just behind the end of each sentence and its closing quotes and brackets."""
    return [match.end() for match in _STOP.finditer(text) if _is_end(text, match)]


def split(text: str, ends: Sequence[int]) -> list[str]:
    """The text cut at `ends` and at its line breaks."""
    parts = []
    for start, end in itertools.pairwise([0, *ends, len(text)]):
        parts += [line.strip() for line in text[start:end].splitlines()]
    return [part for part in parts if part]


def refers_back(sentence: str) -> bool:
    """Whether it begins by pointing to what was spoken of before: "So, these are magnetic."."""
    return bool(_REFERS.match(sentence))


def _is_end(text: str, match: re.Match) -> bool:
    """Whether a match of `_STOP` ends a sentence."""
    mark = match[0].rstrip(_CLOSING.replace("\\", ""))
    if mark[-1] not in ".…":
        return True
    stop = match.start() + len(mark)
    before = text[max(0, stop - _BACK) : stop]
    following = text[match.end() :].lstrip()[:1]
    if _ABBREVIATION.search(before) or _NUMBERS.search(before):
        return False
    if _COUNTED.search(before):
        return not following.isdigit()
    if _MAYBE.search(before):
        return not following.islower()
    return not (following and _INITIAL.search(before))
