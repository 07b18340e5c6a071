"""Finds which choice of a question a text names, by its letter or by its own text."""

import re

from tinyllm_jax.corpus.judging.plain import plain
from tinyllm_jax.tasks.question import Question

_LONGEST_FRAME = 24  # characters that a bare choice may have around its text


def bare(text: str, question: Question) -> int | None:
    """The index of the choice whose text or letter, or both, are the whole text; else None."""
    if len(text) > max(map(len, question.choices)) + _LONGEST_FRAME:
        return None
    texts = list(map(plain, question.choices))
    whole = plain(text)
    unannounced = plain(re.sub(r"^(?:answer|option|choice)\b\W*", "", whole))
    for candidate in (whole, unannounced):
        if candidate in texts:
            return texts.index(candidate)

    # It may be a letter, "b", or a letter and behind it the text of that choice, "b) a metal cup".
    index = _index(unannounced[:1], question)
    if index is None:
        return None
    following = plain(unannounced[1:])
    is_letter = following == "" and len(unannounced) == 1
    is_labelled = unannounced[1:2] in tuple(").:]") and following == texts[index]
    return index if is_letter or is_labelled else None


def named_first(text: str, question: Question) -> int | None:
    """The index of the longest choice with whose text the text begins; None where there is none."""
    text = plain(text)
    fits = []
    for index, choice in enumerate(map(plain, question.choices)):
        following = text[len(choice) : len(choice) + 1]
        if choice and text.startswith(choice) and not following.isalnum():
            fits.append((len(choice), index))
    return max(fits)[1] if fits else None


def lettered_first(text: str, question: Question) -> int | None:
    """The index of the choice whose letter is the text, or stands there before its own text."""
    index = _index(text[:1].lower(), question)
    if index is None:
        return None
    following = text[1:]
    is_letter = following == ""
    is_labelled = following[:1] == " " and named_first(following, question) == index
    return index if is_letter or is_labelled else None


def _index(letter: str, question: Question) -> int | None:
    """The index of the choice that a letter names; None where no choice has it."""
    letters = [question.letter(index) for index in range(len(question.choices))]
    return letters.index(letter) if letter in letters else None
