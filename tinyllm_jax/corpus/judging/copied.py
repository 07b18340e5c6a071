"""Finds rationales that give the gold answer at once, before they say anything else."""

import re

from tinyllm_jax.corpus.judging import answers, words
from tinyllm_jax.corpus.judging.plain import plain
from tinyllm_jax.tasks.question import Question

# The words that may stand in front of the answer in a rationale that begins with it: "So, the
# correct option is (a)".
_LEAD = frozenset(
    words.split("answer best choice clearly correct hence option right so the therefore thus")
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


def is_copied(text: str, parts: list[str], question: Question) -> bool:
    """Whether the first sentence is the gold answer and nothing else, or announces it at once.

    Args:
      text: the rationale, without an echo.
      parts: its sentences and lines, at least one.
      question: the question that it is about.
    """
    first = parts[0]
    if len(parts) > 1 and _only_leads(first):  # "Answer:" on a line of its own
        first = f"{first} {parts[1]}"
    if _begins_with_text(text, question):
        return True
    if _is_letter(first, question):
        return not _goes_through_choices(text, question)
    return _announces_at_once(first, question)


def _begins_with_text(text: str, question: Question) -> bool:
    """Whether a text begins with the gold answer's text, and this is or ends a sentence.

    Such are "Iron nails.", "Iron nails is the correct answer." and "No, it is not.".
    """
    text, gold = plain(text), plain(question.answer)
    if not text.startswith(gold):
        return False
    is_verdict = gold in _VERDICTS and text.startswith(",", len(gold))
    return bool(_ENDS.match(text, len(gold)) or _IS_ANSWER.match(text, len(gold)) or is_verdict)


def _is_letter(sentence: str, question: Question) -> bool:
    """Whether a sentence is the gold answer's letter, alone or with the text: "(a) iron nails."."""
    lettered = _COPIED_LETTER.match(sentence.lstrip("(*[ "))
    if not lettered or lettered["letter"].lower() != question.letter(question.gold):
        return False
    return plain(lettered["rest"]) in ("", plain(question.answer))


def _announces_at_once(sentence: str, question: Question) -> bool:
    """Whether a sentence begins by announcing the gold answer.

    Such is "So, the correct option is (a) because steel holds iron."
    """
    start = answers.announcement_start(sentence)
    if start is None or not _only_leads(sentence[:start]):
        return False
    return answers.stated_answer(sentence, question) == question.gold


def _only_leads(text: str) -> bool:
    """Whether no word of a text says more than that the answer follows."""
    return _LEAD.issuperset(words.split(text))


def _goes_through_choices(text: str, question: Question) -> bool:
    """Whether a letter of another choice than the gold one begins a sentence or line: "(b)"."""
    letters = [question.letter(index) for index in range(len(question.choices))]
    others = "".join(letter for letter in letters if letter != question.letter(question.gold))
    return bool(re.search(rf"(?:^|[\n.!?:]\s*)\(?[{others}]\)", text.lower()))
