"""Counts over a corpus's rows: which texts recur, and how many of each kind there are."""

import collections
import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from tinyllm_jax.corpus.judging.answers import stated_answer
from tinyllm_jax.corpus.judging.plain import normalize
from tinyllm_jax.corpus.judging.quality import BAD, FLAGS
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.tasks.question import Question


def mark_duplicates(rows: Sequence[Row]) -> list[Row]:
    """The rows of one split, with `duplicate` on every rationale that repeats an earlier one.

    A rationale repeats another if both have the same teacher and the same text. A `duplicate` that
    a rationale had before is taken off where it no longer applies.
    """
    seen: set[tuple[str, str]] = set()
    marked = []
    for row in rows:
        rationales = {}
        for teacher, rationale in row.rationales.items():
            text = normalize(rationale.text)
            flags = {*rationale.flags} - {"duplicate"}
            if text and (teacher, text) in seen:
                flags.add("duplicate")
            rationales[teacher] = dataclasses.replace(rationale, flags=tuple(sorted(flags)))
            seen.add((teacher, text))
        marked.append(Row(row.question, rationales))
    return marked


def statistics(rows: Mapping[str, Sequence[Row]], teachers: Sequence[str]) -> dict:
    """Counts of a corpus, as JSON.

    Args:
      rows: by split.
      teachers: the teachers' names.

    Returns:
      "splits": for each split its `questions`, its `duplicate_questions` (rows whose content an
      earlier row has) and, for each teacher, `rationales`, `missing`, `sound` (how many have no bad
      flag), `stated` (how many state an answer), `zero_weight`, `mean_words` and one count for each
      flag. "overlap": for each pair of splits, e.g. "train/test", the rows of the second whose
      content is in the first.
    """
    contents = {split: [_content(row.question) for row in part] for split, part in rows.items()}
    splits = {
        split: {
            "questions": len(part),
            "duplicate_questions": len(part) - len(set(contents[split])),
            "teachers": {teacher: _teacher_statistics(part, teacher) for teacher in teachers},
        }
        for split, part in rows.items()
    }
    overlap = {}
    for first, second in itertools.combinations(rows, 2):
        known = set(contents[first])
        overlap[f"{first}/{second}"] = sum(content in known for content in contents[second])
    return {"splits": splits, "overlap": overlap}


def _content(question: Question) -> tuple[str, ...]:
    """A value that is equal for questions that differ in case, spaces or order of choices only."""
    choices = sorted(map(normalize, question.choices))
    return normalize(question.context), normalize(question.question), *choices


def _teacher_statistics(rows: Sequence[Row], teacher: str) -> dict:
    pairs = [(row.rationales[teacher], row.question) for row in rows if teacher in row.rationales]
    flags = collections.Counter(flag for rationale, _ in pairs for flag in rationale.flags)
    words = sum(len(rationale.text.split()) for rationale, _ in pairs)
    return {
        "rationales": len(pairs),
        "missing": len(rows) - len(pairs),
        "sound": sum(not {*BAD} & {*rationale.flags} for rationale, _ in pairs),
        "stated": sum(_states(rationale, question) for rationale, question in pairs),
        "zero_weight": sum(rationale.weight == 0 for rationale, _ in pairs),
        "mean_words": round(words / len(pairs), 1) if pairs else 0.0,
        **{flag: flags[flag] for flag in FLAGS},
    }


def _states(rationale: Rationale, question: Question) -> bool:
    return "contradicts" in rationale.flags or stated_answer(rationale.text, question) is not None
