"""Finds what is wrong with a rationale, from its text alone.

    empty          nothing was written
    unterminated   it does not end where a sentence does, or the teacher stopped at its token limit
    echo           a line of it is the prompt's own form (`Question:`, `Options:`, …): the teacher
                   began another question
    contradicts    it states an answer, and that is not the gold one
    duplicate      an earlier row of the split has the same text from the same teacher
    no_new_word    every content word of it stands already in the question or choices
    repetition     a sentence or line with three content words stands in it twice, any other
                   sentence stands in it more often than there are choices (a teacher that goes
                   through the choices may say the same of each), or two words or more are repeated
                   four times in a row
    copied         it begins by giving the gold answer, by letter or text, before it says anything
                   else
    truncated      a policy cut it to its last full sentence

A flag of `BAD` says that a student should not learn from the rationale, for these reasons. A
student should never write a text that is `empty`, `unterminated`, an `echo` or a `repetition`. A
text that `contradicts` argues for a wrong answer. A `duplicate` says nothing about its own
question; if the question is a duplicate too, its first row remains. A text with `no_new_word`
repeats question and answer, which the answer target teaches already. A rationale without a bad flag
is called sound.

`copied` is not bad: what follows the answer may well explain it, and where nothing does, the text
has `no_new_word` too.

An empty rationale has no other flag. What follows an echo is about another question and is not
looked at. Words of the context count as new, because to quote it is reasoning.
"""

import collections
import dataclasses
import itertools
import re

from tinyllm_jax.corpus.judging import sentences
from tinyllm_jax.tasks.question import Question

BAD = ("empty", "unterminated", "echo", "contradicts", "duplicate", "no_new_word", "repetition")
FLAGS = (*BAD, "copied", "truncated")

# The prompt's own form at the beginning of a line: "Question:", "### Question 4:", "Q.5",
# "Options:", "Answer Choices:", "Rationale:".
_ECHO = re.compile(
    r"^[\s#*>_-]*"
    r"(?:Question\b[^\n:]{0,10}:|Q\.?\s?\d+\b|Options?\s*:|Answer Choices\s*:|Rationale\s*:)",
    re.MULTILINE,
)

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
_QUOTES = str.maketrans("“”„«»‘’‚`\xa0", '"""""\'\'\'" ')
# Marks around words that say nothing: "**b**", "__b__", "\text{b}", "$(b)$".
_MARKS = re.compile(
    r"(?<!\w)\*+|\*+(?!\w)|(?<![^\W_])_+|_+(?![^\W_])|\\(?:text|textbf|mathrm|mathbf)(?=\{)"
)
_MATHS = re.compile(r"\$(\(?[a-z]\)?|\s*\\boxed\{.*?\}\s*)\$", re.IGNORECASE)

# What leads to an announcement: "Therefore, the correct", "So the".
_LEADS_TO_ANSWER = re.compile(
    rf"(?:\b(?:hence|so|then|therefore|thus|the|final|{_BEST})\b[\s,:]*)*$", re.IGNORECASE
)
_ENDED = re.compile(r"[.!?…:][\"'”’)\]*]*\s*$|\n\s*$")  # a sentence or line ended just before

# The words that may stand in front of the answer in a rationale that begins with it: "So, the
# correct option is (a)".
_LEAD = frozenset(
    re.findall(
        r"\w+", "answer best choice clearly correct hence option right so the therefore thus"
    )
)
# A first sentence that begins with a letter: "(a)", "Answer: b.", "option c) iron nails".
_COPIED_LETTER = re.compile(
    r"(?:answer|option|choice)?[\W_]*(?P<letter>[a-z])(?:[)\].:*]+|$)(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
# What follows the answer's text where that is announced: "iron nails is the correct answer".
_IS_ANSWER = re.compile(
    r"[\s,'\"]*(?:which )?is (?:the )?(?:answer|correct|right|best (?:answer|choice|option))\b"
)

# What numbers a sentence or line and is no part of what it says: "1.", "(b)", "a)", "option c",
# "Second,".
_LABEL = re.compile(
    r"[\W_]*(?:\(?(?:\d{1,2}|[a-z])[).:]|option [a-z]\b"
    r"|(?:first|second|third|fourth|fifth)(?:ly)?,)?",
    re.IGNORECASE,
)
# Two to twelve words four times in a row: "and steel and steel and steel and steel".
_LOOP = re.compile(r"\b(\w+(?: \w+){1,11})(?: \1){3,}\b")
_WORD = re.compile(r"\w+")
_COMMON = frozenset(  # words that carry no content of their own
    _WORD.findall(
        """
        a about all also an and answer any are as at be because been but by can choice could did
        do does each for from had has have he her his how i if in into is it its let may means
        might more most must no not of on one only option or other our out question s she should
        so some step such t than that the their them then there therefore these they think this
        those thus to up us was we were what when which who why will with would you your
        """
    )
)


def stated_answer(text: str, question: Question) -> int | None:
    """The index of the choice that a rationale states as the answer, by its letter or its text.

    The last statement counts. A text that is nothing but a letter or a choice states it, and so
    does a line "B) a metal cup" where no other line begins with a choice's letter. What stands
    after an echo of the prompt is not looked at.

    Returns:
      The index, or None where no choice is stated, or none that is clear.
    """
    bare = _bare_choice(text, question)
    if bare is not None:
        return bare
    statement = _last_statement(text, question)
    return _lettered_line(text, question) if statement is None else statement.index


def without_stated_answer(text: str, question: Question) -> str:
    """A rationale without the sentence at its end that does nothing but state the answer.

    "Steel holds iron. Therefore, the answer is (a) iron nails." becomes "Steel holds iron.". A
    sentence that also says something else stays whole: "Steel holds iron, so the answer is (a).".
    A text that is nothing but a letter or a choice becomes empty.
    """
    text = text.strip()
    if _bare_choice(text, question) is not None:
        return ""
    statement = _last_statement(text, question)
    while statement is not None and _is_all(
        _readable(text)[statement.end :], statement.index, question
    ):
        readable = _readable(text)
        before = _LEADS_TO_ANSWER.sub("", readable[: statement.start])
        own_sentence = readable[len(before) :].lstrip()[:1].isupper() or not before.strip()
        if not (own_sentence or _ENDED.search(before)):
            break
        # Marks that close the sentence before are no part of this one.
        closing = re.match(r"[*_]*", text[len(before.rstrip()) :])
        text = text[: len(before.rstrip())] + (closing[0] if closing and before.strip() else "")
        text = text.strip()
        statement = _last_statement(text, question)
    return text


@dataclasses.dataclass(frozen=True)
class _Statement:
    """Where a text announces an answer, where the announcement ends, and the choice's index."""

    start: int
    end: int
    index: int


def _last_statement(text: str, question: Question) -> _Statement | None:
    """The last place before any echo at which a choice is announced as the answer."""
    if not _announces(text):
        return None
    found = []
    text = _readable(text[: echo_start(text)])
    for match in _STATED.finditer(text):
        letter = match["after"] or match["before"] or match["alone"] or match["only"]
        named = _named_choice(letter or match["text"], question)
        if named is None:
            named = _lettered_choice(letter or match["text"], question)
        if named is not None:
            found.append(_Statement(match.start(), match.end(), named))
    for match in _NAMED_BEFORE.finditer(text):
        start = max(text.rfind(mark, 0, match.start()) for mark in ".!?:\n") + 1
        lead = _LEADS.match(text, start + len(text[start:]) - len(text[start:].lstrip()))
        start = lead.end() if lead else start
        named = _bare_choice(text[start : match.start()], question)
        if named is not None:
            found.append(_Statement(start, match.end(), named))
    return max(found, key=lambda statement: statement.end, default=None)


def _readable(text: str) -> str:
    r"""The text, of the same length, with plain quotes and without marks of Markdown and LaTeX.

    "\boxed{" becomes "answer:", for it announces the answer.
    """
    text = _MATHS.sub(r" \1 ", text.translate(_QUOTES))
    if "\\boxed{" in text:
        text = _MARKS.sub(_blank, text).replace("\\boxed{", "answer:")
        text = text.replace("{", " ").replace("}", " ")
    return _MARKS.sub(_blank, text)


def _blank(match: re.Match) -> str:
    return " " * len(match[0])


def _is_all(rest: str, index: int, question: Question) -> bool:
    """Whether nothing stands behind an announcement but the choice of that index, or not even it.

    The choice may have its letter before it.
    """
    choice = _plain(question.choices[index])
    letter = question.letter(index)
    plain = _plain(rest)
    return plain in ("", choice) or (plain[:1] == letter and _plain(plain[1:]) == choice)


def _announces(text: str) -> bool:
    """Whether a word of an announcement is in the text, so that a slow search pays."""
    lower = text.lower()
    return any(word in lower for word in _ANNOUNCES)


def _bare_choice(text: str, question: Question) -> int | None:
    """The index of the choice whose text or letter, or both, are the whole text."""
    if len(text) > max(map(len, question.choices)) + 24:
        return None
    whole = _plain(text)
    plain = _plain(re.sub(r"^(?:answer|option|choice)\b\W*", "", whole))
    texts = list(map(_plain, question.choices))
    for candidate in (whole, plain):
        if candidate in texts:
            return texts.index(candidate)
    index = ord(plain[0]) - ord("a") if plain else -1
    rest = _plain(plain[1:])
    named = rest == "" and len(plain) == 1
    labelled = plain[1:2] in tuple(").:]") and rest == (texts[index : index + 1] or [""])[0]
    return index if 0 <= index < len(texts) and (named or labelled) else None


def _lettered_line(text: str, question: Question) -> int | None:
    """The index of the one choice that stands on a line of its own, with its letter before it."""
    lines = [line.strip() for line in _readable(text[: echo_start(text)]).splitlines()]
    labelled = [line for line in lines if re.match(r"\(?[a-z][).:]", line, re.IGNORECASE)]
    return _bare_choice(labelled[0], question) if len(labelled) == 1 else None


def _named_choice(text: str, question: Question) -> int | None:
    """The index of the longest choice with which the text begins."""
    text = _plain(text)
    fits = []
    for index, choice in enumerate(map(_plain, question.choices)):
        following = text[len(choice) : len(choice) + 1]
        if choice and text.startswith(choice) and not following.isalnum():
            fits.append((len(choice), index))
    return max(fits)[1] if fits else None


def _lettered_choice(text: str, question: Question) -> int | None:
    """The index of the choice whose letter is the text, or stands there before its own text."""
    index = ord(text[0].lower()) - ord("a")
    if not 0 <= index < len(question.choices):
        return None
    rest = text[1:]
    named = not rest or (rest[0] == " " and _named_choice(rest, question) == index)
    return index if named else None


def _plain(text: str) -> str:
    """The text as choices are compared: in one case, without the punctuation around it."""
    return normalize(_readable(text)).strip(" .,:;!\"'*()[]<>")


def normalize(text: str) -> str:
    """The text in one case and with single spaces; texts that become equal count as the same."""
    return " ".join(text.casefold().split())


def echo_start(text: str) -> int | None:
    """The offset at which a rationale begins to repeat the prompt's form; None if it does not."""
    echo = _ECHO.search(text)
    return echo.start() if echo else None


def flags_of(
    text: str, question: Question, finish_reason: str = "unknown", stated: int | None = None
) -> tuple[str, ...]:
    """The flags of one rationale, sorted.

    `duplicate`, which depends on other rows, and `truncated`, which a policy sets, are not among
    them.

    Args:
      text: the rationale.
      question: the question that it is about.
      finish_reason: as in `Rationale`.
      stated: the index of the choice that the teacher is known to have stated elsewhere than in
        the text; None to look for it in the text.
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
    return tuple(sorted(flag for flag, applies in flags.items() if applies))


def _repeats(text: str, parts: list[str], choices: int) -> bool:
    """Whether a text repeats itself; `parts` are its sentences and lines."""
    # A sentence or line that stands in it too often.
    counts: collections.Counter[tuple[str, ...]] = collections.Counter()
    for part in parts:
        said = tuple(_words(_LABEL.sub("", part, count=1)))
        if len(said) < 2:
            continue
        counts[said] += 1
        content_words = {*said} - _COMMON
        if counts[said] > choices or (counts[said] == 2 and len(content_words) >= 3):
            return True

    # Some words that are repeated in a row; numbers may be. In most texts no pair of words occurs
    # four times, and they need no slow search.
    words = _words(text)
    pairs = collections.Counter(itertools.pairwise(words))
    if max(pairs.values(), default=0) < 4:
        return False
    loops = _LOOP.finditer(" ".join(words))
    return any(any(map(str.isalpha, loop[1])) for loop in loops)


def _copies(text: str, parts: list[str], question: Question) -> bool:
    """Whether the first sentence is the gold answer and nothing else, or announces it at once."""
    first, gold = parts[0], _plain(question.answer)
    if len(parts) > 1 and {*_words(first)} <= _LEAD:  # "Answer:" on a line of its own
        first = f"{first} {parts[1]}"

    # It is the answer's text: "Iron nails.", "Iron nails is the correct answer."
    plain = _plain(first)
    if plain == gold or (plain.startswith(gold) and _IS_ANSWER.match(plain, len(gold))):
        return True

    # It is the answer's letter, alone or with the text: "(a)", "(a) iron nails."
    lettered = _COPIED_LETTER.match(first.lstrip("(*[ "))
    if lettered and lettered["letter"].lower() == _letter(question.gold):
        rest = _plain(lettered["rest"])
        if rest in ("", gold):
            return not _goes_through_choices(text, question)

    # It announces the answer: "So, the correct option is (a) because steel holds iron."
    announced = _STATED.search(first) if _announces(first) else None
    if announced is None:
        return False
    before = {*_words(first[: announced.start()])}
    return before <= _LEAD and stated_answer(first, question) == question.gold


def _goes_through_choices(text: str, question: Question) -> bool:
    """Whether a letter of another choice than the gold one begins a sentence or line: "(b)"."""
    indices = range(len(question.choices))
    others = "".join(_letter(index) for index in indices if index != question.gold)
    return bool(re.search(rf"(?:^|[\n.!?:]\s*)\(?[{others}]\)", text.lower()))


def _letter(index: int) -> str:
    return chr(ord("a") + index)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
