"""Finds where a rationale falls back into the form of the prompt, which shows solved questions.

    Question: Which is a bird?
    Options:
    (a) cat
    (b) owl
    Answer:
    b
    Rationale: …

A teacher that has said all that it had to say often goes on with another such question, in this
form or in one like it: "Q. Which …", "# 13." of a book of exercises, or just the question.
"""

import re

# What a line begins with that is the prompt's: "Question:", "### Question 4:", "Q.5", "Q: 30",
# "Options:", "Answer Choices:", "Rationale:".
_BEGINNING = (
    r"(?:Question\b[^\n:]{0,10}:|Q(?:\.?\s?\d+\b|\s?[.:)])|Options?\s*:|(?:Answer )?Choices\s*:"
    r"|Rationale\s*:)"
)
# A whole line that is the prompt's: "Question", "Q", "### QUESTION NO. 164", "Options".
_WHOLE = (
    r"(?:Q|Options?|Rational(?:e|ization)?|(?:[A-Z]{1,12} )?Question(?: No\.?)?(?: ?[\d.]+)?)"
    r"[ *_.:]*$"
)
# The number of an exercise: "# 13.", "# **31**", "# 24. What is …", "Chapter 11"; but "### 1." and
# "### 1. Heat it" number a step.
_EXERCISE = r"(?:#[ *]*\d+(?:\.\d+)*\b|(?:#[ *]*)?chapter \d+[ *]*$)"
_FORM = re.compile(
    rf"^(?:[ #*>_-]*(?:{_BEGINNING}|(?i:{_WHOLE}))|[ *>_-]*(?i:{_EXERCISE}))", re.MULTILINE
)
_BEFORE = re.compile(r"(?:[\s#]*+[\d.]++)?[\s#*>_-]*+")  # "#", "***", "### 2."
# A question that is asked and answered in this form but without its headings: "Which is a bird?",
# maybe its choices, and "Answer:".
_ASKED = re.compile(
    r"^[^\n]*(?:\?|__\.?)[ *]*\n+(?:[ *]*\(?[a-e][).:][^\n]*\n+)*[ *]*Answers?[ *]*:[ *]*\n"
    r"[ *]*\(?[a-e](?:[).:*]|$)",
    re.MULTILINE | re.IGNORECASE,
)
# A numbered line, and whether it is a question: "12. Which is a bird?".
_NUMBERED = re.compile(r"^[ #*]*(\d{1,3})\b(?P<asks>[.)]\s+[^\n]*(?:\?|__)[ *]*$)?", re.MULTILINE)
# "Answer:" with a letter on the next line, and nothing more on it.
_LETTER = re.compile(
    r"(?<=\S)\n+[ #*>_-]*Answers?[ *]*:[ *]*\n+[ *]*\(?[a-e](?:[).:*][^\n]*)?$",
    re.MULTILINE | re.IGNORECASE,
)


def start(text: str) -> int | None:
    """The offset at which a text begins another question in the prompt's form, or None.

    Lines without a word before it belong to it.
    """
    matches = _FORM.search(text), _ASKED.search(text), _numbered_question(text)
    first = min((match.start() for match in matches if match), default=None)
    if first is None:
        return None
    lines = text[:first].splitlines(keepends=True)
    while lines and _BEFORE.fullmatch(lines[-1]):
        first -= len(lines.pop())
    return first


def _numbered_question(text: str) -> re.Match | None:
    """The first numbered question that continues no list of the teacher's own: 12 without 11."""
    seen = {0, 1}
    for match in _NUMBERED.finditer(text):
        if match["asks"] and int(match[1]) - 1 not in seen:
            return match
        seen.add(int(match[1]))
    return None


def own_end(text: str) -> int:
    """Where what the teacher itself has to say ends: at any echo, else at the end of the text.

    An answer in the prompt's form, "Answer:" and a letter on the next line, is an echo too, but one
    that still answers the teacher's own question.
    """
    own = text[: start(text)]
    letter = _LETTER.search(own)
    return letter.start() if letter else len(own)
