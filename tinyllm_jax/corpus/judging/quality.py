"""Finds what is wrong with a rationale, from its text alone.

    empty          nothing was written
    unterminated   it does not end where a sentence does, or the teacher stopped at its token limit
    echo           it falls into the prompt's own form (`Question:`, `# 13.`, …; see `echo.py`): the
                   teacher began another question, or gave the answer as the prompt does
    contradicts    it states an answer, and that is not the gold one
    duplicate      an earlier row of the split has the same text from the same teacher
    no_new_word    every content word of it stands already in the question or choices
    repetition     a sentence stands in it twice, one word four times in a row, or several (see
                   `repetition.py`)
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

from collections.abc import Collection

from tinyllm_jax.corpus.judging import (
    answers,
    copied,
    echo,
    languages,
    refusals,
    repetition,
    sentences,
    words,
)
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
        stated = answers.stated_answer(text, question)
    own = text[: echo.own_end(text)]
    ends = sentences.ends(text)
    parts = sentences.split(own, [end for end in ends if end <= len(own)])
    flags = {
        "unterminated": finish_reason == "length" or ends[-1:] != [len(text.rstrip())],
        "echo": own != text,
        "contradicts": stated is not None and question.choices[stated] != question.answer,
        "repetition": repetition.repeats(own, parts, len(question.choices)),
        "copied": bool(parts) and copied.is_copied(own, parts, question),
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
    may_share = bool(said) and any(map(str.isalpha, known)) and not sentences.refers_back(own)
    if may_share and not on_topic and not found and answers.stated_answer(own, question) is None:
        return {"off_topic"}
    return found


def _share_words(some: Collection[str], others: Collection[str]) -> bool:
    """Whether two collections of stems have a word in common, or two that begin alike.

    Five equal letters are enough: "nutrient" and "nutriment", "vibrate" and "vibration".
    """
    return not {word[:5] for word in some}.isdisjoint(word[:5] for word in others)
