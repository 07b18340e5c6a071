"""What is wrong with a rationale, from its text alone, and the counts of it per split and teacher.

    empty          nothing was written
    unterminated   it does not end like a sentence, or the teacher stopped at its token limit
    echo           a line of it is the prompt's own form (`Question:`, `Options:`, …): the teacher began another question
    contradicts    it states an answer, and that is not the gold one
    duplicate      an earlier row of the split has the same text from the same teacher
    no_new_word    every content word of it stands already in the context, question or choices

An empty rationale has no other flag. What follows an echo is about another question and says nothing about the answer.
"""

import collections
import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence

from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.tasks.question import Question

FLAGS = ("empty", "unterminated", "echo", "contradicts", "duplicate", "no_new_word")

_END = re.compile(r"[.!?…。！？][\"'”’)\]}*_`]*$")
_ECHO = re.compile(r"^[\s#*>_-]*(?:Question\b[^\n:]{0,10}:|Q\.?\s?\d+\b|Options?\s*:|Answer Choices\s*:|Rationale\s*:)", re.M)
_LETTER = r"(?:option |choice )?[\"'(\[*]*(?P<after>[a-z])(?:[\"')\]*]|(?=\s*(?:[.,;:\n]|$)))"
_BEST = r"(?:correct|right|best|appropriate)"
_STATED = re.compile(
    rf"\b(?:answer|{_BEST} (?:option|choice))(?: choice| option)? ?(?:is|must be|should be|would be|:)"
    rf"(?: clearly| definitely| therefore)?[:\s]*(?:{_LETTER}|(?P<text>[^\n]+))"
    rf"|(?:\b(?:option|choice) [\"'(]?|[\"'(])(?P<before>[a-z])[)\"']?,?(?: which)? is (?:the )?(?:answer|{_BEST})\b", re.I)
_ANNOUNCES = ("answer", "correct", "right", "best", "appropriate")
_WORD = re.compile(r"\w+")
_COMMON = frozenset(  # words that carry no content of their own
    "a about all also an and answer any are as at be because been but by can choice could did do does each for from had has "
    "have he her his how i if in into is it its let may means might more most must no not of on one only option or other our "
    "out question s she should so some step such t than that the their them then there therefore these they think this those "
    "thus to up us was we were what when which who why will with would you your".split())


def stated_answer(text: str, question: Question) -> int | None:
    """The index of the choice that a rationale states last as the answer, by its letter or its text; None when it
    states none (or none that is clear). What stands after an echo of the prompt is not looked at."""
    lower = text.lower()
    if not any(word in lower for word in _ANNOUNCES):  # most rationales: spares them the slow search
        return None
    echo = _ECHO.search(text)
    found = None
    for match in _STATED.finditer(text[:echo.start()] if echo else text):
        letter = match["after"] or match["before"]
        named = _named_choice(letter or match["text"], question)
        if named is None and letter and ord(letter.lower()) - ord("a") < len(question.choices):
            named = ord(letter.lower()) - ord("a")
        found = found if named is None else named
    return found


def _named_choice(text: str, question: Question) -> int | None:
    """The longest choice with which the text begins."""
    text = _plain(text)
    fits = [(len(choice), index) for index, choice in enumerate(map(_plain, question.choices))
            if choice and text.startswith(choice) and not text[len(choice):len(choice) + 1].isalnum()]
    return max(fits)[1] if fits else None


def _plain(text: str) -> str:
    return normal(text).strip(" .,:;\"'*()")


def normal(text: str) -> str:
    """The text in one case and with single spaces: what counts as the same text."""
    return " ".join(text.casefold().split())


def flags_of(text: str, question: Question, finish_reason: str = "unknown", stated: int | None = None) -> tuple[str, ...]:
    """The flags of one rationale, sorted; all but `duplicate`, which needs the other rows.

    Args:
      text: the rationale.
      question: the question that it is about.
      finish_reason: as in `Rationale`.
      stated: the index of the choice that the teacher is known to have stated, where not in the text itself.
    """
    if not text.strip():
        return ("empty",)
    if stated is None:
        stated = stated_answer(text, question)
    known = {word for part in (question.context, question.question, *question.choices) for word in _words(part)}
    flags = {
        "unterminated": finish_reason == "length" or not _END.search(text.rstrip()),
        "echo": bool(_ECHO.search(text)),
        "contradicts": stated is not None and question.choices[stated] != question.answer,
        "no_new_word": all(word in known or word in _COMMON for word in _words(text)),
    }
    return tuple(sorted(flag for flag, there in flags.items() if there))


def weight_of(flags: Sequence[str]) -> float:
    """A new row's weight in the objective: 1, or 0 for an empty rationale, which could only teach to write nothing."""
    return 0.0 if "empty" in flags else 1.0


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def mark_duplicates(rows: Sequence[Row]) -> list[Row]:
    """The rows of one split, with `duplicate` added to each rationale whose text its teacher already gave earlier."""
    seen, marked = set(), []
    for row in rows:
        rationales = dict(row.rationales)
        for teacher, rationale in row.rationales.items():
            text = (teacher, normal(rationale.text))
            if text in seen and text[1]:
                flags = tuple(sorted({*rationale.flags, "duplicate"}))
                rationales[teacher] = dataclasses.replace(rationale, flags=flags)
            seen.add(text)
        marked.append(Row(row.question, rationales))
    return marked


def statistics(rows: Mapping[str, Sequence[Row]], teachers: Sequence[str]) -> dict:
    """Counts of a corpus, as JSON.

    Returns:
      "splits": per split its `questions`, `duplicate_questions` (rows whose content an earlier row has) and, per
      teacher, `rationales`, `missing`, `stated` (how many state an answer), `zero_weight`, `mean_words` and one count
      per flag. "overlap": per pair of splits the rows of the second whose content is in the first.
    """
    contents = {split: [_content(row.question) for row in part] for split, part in rows.items()}
    splits = {split: {"questions": len(part), "duplicate_questions": len(part) - len(set(contents[split])),
                      "teachers": {teacher: _teacher_statistics(part, teacher) for teacher in teachers}}
              for split, part in rows.items()}
    overlap = {f"{first}/{second}": sum(content in set_of_first for content in contents[second])
               for first, second in itertools.combinations(rows, 2) for set_of_first in [set(contents[first])]}
    return {"splits": splits, "overlap": overlap}


def _content(question: Question) -> tuple[str, ...]:
    """Equal for questions that differ only in case, spaces or the order of their choices."""
    return (normal(question.context), normal(question.question), *sorted(map(normal, question.choices)))


def _teacher_statistics(rows: Sequence[Row], teacher: str) -> dict:
    pairs = [(row.rationales[teacher], row.question) for row in rows if teacher in row.rationales]
    flags = collections.Counter(flag for rationale, _ in pairs for flag in rationale.flags)
    words = sum(len(rationale.text.split()) for rationale, _ in pairs)
    return {"rationales": len(pairs), "missing": len(rows) - len(pairs),
            "stated": sum(_states(rationale, question) for rationale, question in pairs),
            "zero_weight": sum(rationale.weight == 0 for rationale, _ in pairs),
            "mean_words": round(words / len(pairs), 1) if pairs else 0.0,
            **{flag: flags[flag] for flag in FLAGS}}


def _states(rationale: Rationale, question: Question) -> bool:
    return "contradicts" in rationale.flags or stated_answer(rationale.text, question) is not None
