"""Where sentences end in what a model wrote: good enough to cut a text after its last full one.

In doubt a sentence goes on: a cut that comes too early loses a sentence, one that comes too late
leaves half of one.
"""

import re
from collections.abc import Sequence

_CLOSING = "\"'”’)\\]}*_`"
_STOP = re.compile(rf"(?:\.+|[!?…]+)[{_CLOSING}]*(?=\s|$)|[。！？]+[{_CLOSING}]*")
_ABBREVIATION = re.compile(  # never the last word of a sentence
    r"(?<![\w.])(?:e\.g|i\.e|eg|ie|vs|cf|mr|mrs|ms|dr|prof|approx|ca|resp|viz|jr|sr|al|gen|gov|rev)\.$",
    re.IGNORECASE,
)
_COUNTED = re.compile(
    r"(?<!\w)(?:no|nr|fig|figs|eq|vol|ch|pp?)\.$", re.IGNORECASE
)  # goes on where a number follows
_NUMBERS = re.compile(
    r"(?:^|\n|[.!?:;]\s)[\s*#>(-]*(?:\d{1,2}|[a-zA-Z]|[ivx]{2,4})\.$"
)  # "1." in front of what it numbers
_INITIAL = re.compile(r"(?<!\bis)(?<!\bbe)(?<!answer)(?<!option)(?<!choice)\s[A-Z]\.$")
_MAYBE = re.compile(
    r"(?:(?<!\w)(?:etc|inc|ltd|co|[a-z]\.[a-z])\.|\.\.|…)$", re.IGNORECASE
)  # a sentence's end or not: etc., p.m.
_NEXT = re.compile(r"\s*(\S?)")
_BACK = 24  # characters up to a full stop that tell what it is


def ends(text: str) -> list[int]:
    """The offsets just behind each sentence's end, its closing quotes and brackets included."""
    return [match.end() for match in _STOP.finditer(text) if _is_end(text, match)]


def split(text: str, ends: Sequence[int]) -> list[str]:
    """The text cut at `ends` and at its line breaks."""
    cuts = [0, *ends, len(text)]
    parts = (
        line.strip() for start, end in zip(cuts, cuts[1:]) for line in text[start:end].splitlines()
    )
    return [part for part in parts if part]


def _is_end(text: str, match: re.Match) -> bool:
    mark = match[0].rstrip(_CLOSING.replace("\\", ""))
    if mark[-1] not in ".…":
        return True
    stop = match.start() + len(mark)
    before = text[max(0, stop - _BACK) : stop]
    following = _NEXT.match(text, match.end())[1]
    if _ABBREVIATION.search(before) or _NUMBERS.search(before):
        return False
    if _COUNTED.search(before):
        return not following.isdigit()
    if _MAYBE.search(before):
        return not following.islower()
    return not (following and _INITIAL.search(before))
