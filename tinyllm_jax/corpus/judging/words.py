"""The content words of a text, with the inflected forms of a word as one.

What a rationale adds, what it repeats and whether it is about its question are counted in them.
"""

import functools
import re

WORD = re.compile(r"\w+")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Words that carry no content of their own: of grammar, and of the form of an explanation
# ("We are looking for …", "Explanation:", "Hence, the correct option is …"). Single letters carry
# none either, as they name choices.
COMMON = _set(
    """
    about after again all also am among an and another any are as asked asking asks at be because
    been before being between both but by can cannot could did do does doing done during each
    either every for from further furthermore had has have having he hence her here him his how
    however if in instead into is it its itself just let lets may me means might more moreover most
    much must my myself no nobody nor not now of off on once one only or other our out over own
    she should since so some such than that the their them themselves then there therefore these
    they this those though through thus to too under until up upon us very was we were what when
    where whether which while who whom whose why will with within without would yet you your
    ain aren couldn didn doesn don hadn hasn haven isn ll re shouldn ve wasn weren won wouldn
    first second third fourth fifth sixth firstly secondly thirdly lastly finally
    answer answers choice choices conclude conclusion correct explain explanation following given
    know known knows look looking option options please question questions rationale solution step
    steps think
    """
)
# Words that change nothing in what a sentence says; but "not" and "more" do, and stay.
FILLERS = _set(
    """
    a also an and are can could did do does has hence have he is it its let may might now s so that
    the their then there therefore these they this those thus was we were which will would
    """
)

# What numbers a line or step and is no content: "1. Heat it", "Step 2: Cool it".
_NUMBERING = re.compile(
    r"(?:^[^\w\n]*|\b(?:step|hint)\s)\d{1,3}(?:[.):](?=\s|$)|$)", re.MULTILINE | re.IGNORECASE
)

# Their stem is the base's; "leaf" and "leave" share one, for "leaves" may be of either.
_IRREGULAR = {
    form: base
    for base, forms in {
        "begin": "began begun",
        "blow": "blew blown",
        "break": "broke broken",
        "bring": "brought",
        "build": "built",
        "buy": "bought",
        "catch": "caught",
        "child": "children",
        "come": "came",
        "drink": "drank drunk",
        "drive": "drove driven",
        "eat": "ate eaten",
        "fall": "fell fallen",
        "feed": "fed",
        "find": "found",
        "fly": "flew flown flies",
        "foot": "feet",
        "freeze": "froze frozen",
        "get": "got gotten",
        "give": "gave given",
        "go": "goes gone went",
        "good": "better best",
        "grow": "grew grown",
        "hold": "held",
        "keep": "kept",
        "leave": "leaf",
        "lens": "lenses",
        "lose": "lost",
        "make": "made",
        "man": "men",
        "mouse": "mice",
        "run": "ran",
        "see": "saw seen",
        "shake": "shook shaken",
        "sink": "sank sunk",
        "take": "took taken",
        "tooth": "teeth",
        "wear": "wore worn",
        "wolf": "wolves",
        "woman": "women",
        "write": "wrote written",
    }.items()
    for form in forms.split()
}
_COMPARED = _set(  # adjectives whose "-er" and "-est" are known to be inflections: not "flow-er"
    """
    big bright cheap clean clear close cold cool dark deep dry early easy fast few great hard heavy
    high hot large late light long loud low near new old quick rich safe sharp short slow small soft
    strong sweet tall thick thin warm weak wet wide young
    """
)


_SYLLABLE = re.compile("(?=.*[aeiouy])..")  # two letters at least, and a vowel


@functools.lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """What the inflected forms of a lower-case English word share.

    Examples: "study", "studies", "studied" and "studying" give "studi"; "stop" and "stopped" give
    "stop"; "big" and "bigger" give "big". It is good enough to compare words, not to print them.
    """
    word = _IRREGULAR.get(word, word)
    if not word.isascii() or not word.isalpha():
        return word
    if len(word) > 3 and word[-1] == "s" and word[-2] not in "sui":  # trees, but not "grass"
        word = word[:-1]
    for ending in ("est", "er"):  # faster, but not "flower"
        base = _bare(word.removesuffix(ending))
        if word.endswith(ending) and base in _BARE_COMPARED:
            return base
    for ending in ("ing", "ed"):  # moving, seeing; but not "spring" and "seed"
        rest = word.removesuffix(ending)
        if rest != word and not word.endswith("eed") and _SYLLABLE.match(rest):
            return _bare(rest)
    rest = word.removesuffix("ly")  # quickly, but not "family", "butterfly" and "supply"
    if rest != word and len(rest) >= 4 and rest[-1] not in "ifp":
        return _bare(rest)
    return _bare(word)


def _bare(word: str) -> str:
    """The word without a last "e" or doubled consonant, and with "i" for a last "y"."""
    word = word.removesuffix("e")
    if len(word) > 2 and word[-1] == word[-2] and word[-1] not in "aeiou":
        word = word[:-1]
    return word[:-1] + "i" if word.endswith("y") else word


_BARE_COMPARED = frozenset(map(_bare, _COMPARED))
# Stems of words that say of two things only that they go together: "X is used for Y", "X helps Y".
LINKING = frozenset(map(stem, ("help", "need", "use")))


def split(text: str) -> list[str]:
    """The words of a text in one case."""
    return WORD.findall(text.casefold())


def content(text: str) -> list[str]:
    """The stems of a text's content words, in order."""
    return [stem(word) for word in split(_NUMBERING.sub("", text)) if _has_content(word)]


def said(text: str) -> tuple[str, ...]:
    """The stems of what a sentence says, in order; sentences with equal ones say the same."""
    return tuple(stem(word) for word in split(text) if word not in FILLERS)


def _has_content(word: str) -> bool:
    """Whether a word has content of its own; "b" and "the" have none, "水" and "7" have."""
    return word not in COMMON and not (len(word) == 1 and word.isascii() and word.isalpha())
