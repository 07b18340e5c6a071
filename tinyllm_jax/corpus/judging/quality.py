"""Finds what is wrong with a rationale, from its text alone.

    empty          nothing was written
    unterminated   it does not end where a sentence does, or the teacher stopped at its token limit
    echo           it falls into the prompt's own form (`Question:`, `# 13.`, …; see `echo.py`): the
                   teacher began another question, or gave the answer as the prompt does
    contradicts    it states an answer, and that is not the gold one
    duplicate      an earlier row of the split has the same text from the same teacher
    no_new_word    every content word of it stands already in the question or choices
    repetition     a sentence stands in it twice, one word four times in a row, or several (see
                   `_repeats`)
    off_topic      no content word of it stands in question, choices or context, and it states no
                   answer; but "It is wood." is about what the question is about
    other_language it is in another language than the question, or a word of it in another script
    mojibake       characters of it were garbled in a wrong encoding
    refusal        the teacher says that it will not or cannot answer
    error_message  it is the error message of a server or program
    copied         it begins by giving the gold answer, by letter or text, before it says anything
                   else
    truncated      a policy cut it to its last full sentence

A flag of `BAD` says that a student should not learn from the rationale, for these reasons. A
student should never write a text that is `empty`, `unterminated`, an `echo`, a `repetition`,
`mojibake`, a `refusal` or an `error_message`, nor in an `other_language`. A text that `contradicts`
argues for a wrong answer. A `duplicate` and an `off_topic` text say nothing about their question;
if the question of a `duplicate` is one too, its first row remains. A text with `no_new_word`
repeats question and answer, which the answer target teaches already. A rationale without a bad flag
is called sound.

`copied` is not bad: what follows the answer may well explain it, and where nothing does, the text
has `no_new_word` too.

An empty rationale has no other flag. What follows an echo is about another question and is not
looked at. Words of the context count as new, because to quote it is reasoning. Content words are
what `words.py` takes for such: the letter of a choice is none, and inflected forms are one word. A
text with one of the four last bad flags is not `off_topic` as well.
"""

import collections
import dataclasses
import itertools
import re
from collections.abc import Collection

from tinyllm_jax.corpus.judging import echo, languages, refusals, sentences, words
from tinyllm_jax.tasks.question import Question

BAD = (
    "empty",
    "unterminated",
    "echo",
    "contradicts",
    "duplicate",
    "no_new_word",
    "repetition",
    "off_topic",
    "other_language",
    "mojibake",
    "refusal",
    "error_message",
)
FLAGS = (*BAD, "copied", "truncated")

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

_ENDS = re.compile(r"[.!?\s]*$|[.!?]+\s")  # where a sentence or the text ends
_VERDICTS = ("yes", "no", "maybe", "true", "false")  # answers that may stand before a sentence

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
# "It is wood.", "So, these are magnetic.": about what the question, or the text before, is about.
_REFERS = re.compile(
    r"\W*(?:(?:hence|so|then|therefore|thus)\W+)?(?:it|they|this|these|those|he|she)\b",
    re.IGNORECASE,
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
    """The offset at which a rationale begins another question; None if it does not."""
    return echo.start(text)


def own_end(text: str) -> int:
    """Where what the teacher itself has to say ends: at any echo, else at the end of the text."""
    return echo.own_end(text)


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
    own = text[: own_end(text)]
    ends = sentences.ends(text)
    parts = sentences.split(own, [end for end in ends if end <= len(own)])
    flags = {
        "unterminated": finish_reason == "length" or ends[-1:] != [len(text.rstrip())],
        "echo": own != text,
        "contradicts": stated is not None and question.choices[stated] != question.answer,
        "repetition": _repeats(own, parts, len(question.choices)),
        "copied": bool(parts) and _copies(own, parts, question),
    }
    found = {flag for flag, applies in flags.items() if applies}
    if own.strip():
        found |= _flags_of_content(own, question)
    return tuple(sorted(found))


def _flags_of_content(own: str, question: Question) -> set[str]:
    """The flags that tell what a text, without an echo, is about and what it adds."""
    asked = f"{question.question}\n" + "\n".join(question.choices)
    said, known = {*words.content(own)}, {*words.content(asked)}
    on_topic = _share_words(said, known) or _share_words(said, words.content(question.context))
    garbled = languages.is_garbled(own)
    foreign = languages.is_foreign(own, f"{asked}\n{question.context}", on_topic)
    flags = {
        "no_new_word": said <= known | words.LINKING,
        "other_language": foreign and not garbled,
        "mojibake": garbled,
        "refusal": refusals.is_refusal(own),
        "error_message": refusals.is_error_message(own),
    }
    found = {flag for flag, applies in flags.items() if applies}
    # What asks for numbers alone ("What is 1 + 2?") shares no word with its explanation.
    may_share = bool(said) and any(map(str.isalpha, known)) and not _REFERS.match(own)
    if may_share and not on_topic and not found and stated_answer(own, question) is None:
        return {"off_topic"}
    return found


def _share_words(some: Collection[str], others: Collection[str]) -> bool:
    """Whether two collections of stems have a word in common, or two that begin alike.

    Five equal letters are enough: "nutrient" and "nutriment", "vibrate" and "vibration".
    """
    return not {word[:5] for word in some}.isdisjoint(word[:5] for word in others)


def _repeats(text: str, parts: list[str], choices: int) -> bool:
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
    counts: collections.Counter[tuple[str, ...]] = collections.Counter()
    before: tuple[str, ...] | None = None
    for part in itertools.chain.from_iterable(map(_RUN_ON.split, parts)):
        unlabelled = _LABEL.sub("", part, count=1)
        if len(words.split(unlabelled)) < 2:
            continue
        said = words.said(unlabelled)
        counts[said] += 1
        of_each = goes_through or _REFERS.match(unlabelled) or _announces(unlabelled)
        few = 3 if of_each else 2
        twice = counts[said] == 2 and len({*words.content(unlabelled)}) >= few
        in_a_row = said == before and not goes_through
        if twice or in_a_row or counts[said] > choices:
            return True
        before = said

    if _EMPTY_LOOP.search(text):
        return True
    # Some words that are repeated in a row; numbers may be. In most texts no pair of words occurs
    # three times, and they need no slow search.
    every = words.split(text)
    pairs = collections.Counter(itertools.pairwise(every))
    if max(pairs.values(), default=0) < 3:
        return False
    loops = _LOOP.finditer(" ".join(every))
    return any(any(map(str.isalpha, loop[1])) for loop in loops)


def _copies(text: str, parts: list[str], question: Question) -> bool:
    """Whether the first sentence is the gold answer and nothing else, or announces it at once."""
    first, gold = parts[0], _plain(question.answer)
    if len(parts) > 1 and {*_words(first)} <= _LEAD:  # "Answer:" on a line of its own
        first = f"{first} {parts[1]}"

    # It is the answer's text: "Iron nails.", "Iron nails is the correct answer.", "No, it is not."
    plain = _plain(text)
    if plain.startswith(gold):
        if _ENDS.match(plain, len(gold)) or _IS_ANSWER.match(plain, len(gold)):
            return True
        if gold in _VERDICTS and plain.startswith(",", len(gold)):
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
    return words.split(text)
