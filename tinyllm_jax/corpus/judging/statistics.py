"""What is told of a corpus's rows as a whole: which texts recur, and the counts per split and teacher."""

import collections
import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from tinyllm_jax.corpus.judging.quality import BAD, FLAGS, normal, stated_answer
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.tasks.question import Question


def mark_duplicates(rows: Sequence[Row]) -> list[Row]:
    """The rows of one split, with `duplicate` on just those rationales whose text their teacher gave in an earlier row."""
    seen, marked = set(), []
    for row in rows:
        rationales = {}
        for teacher, rationale in row.rationales.items():
            text = (teacher, normal(rationale.text))
            flags = {*rationale.flags} - {"duplicate"} | (
                {"duplicate"} if text in seen and text[1] else set()
            )
            rationales[teacher] = dataclasses.replace(rationale, flags=tuple(sorted(flags)))
            seen.add(text)
        marked.append(Row(row.question, rationales))
    return marked


def statistics(rows: Mapping[str, Sequence[Row]], teachers: Sequence[str]) -> dict:
    """Counts of a corpus, as JSON.

    Returns:
      "splits": per split its `questions`, `duplicate_questions` (rows whose content an earlier row
      has) and, per teacher, `rationales`, `missing`, `sound` (how many have no bad flag), `stated`
      (how many state an answer), `zero_weight`, `mean_words` and one count per flag. "overlap": per
      pair of splits the rows of the second whose content is in the first.
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
    overlap = {
        f"{first}/{second}": sum(content in set_of_first for content in contents[second])
        for first, second in itertools.combinations(rows, 2)
        for set_of_first in [set(contents[first])]
    }
    return {"splits": splits, "overlap": overlap}


def _content(question: Question) -> tuple[str, ...]:
    """Equal for questions that differ only in case, spaces or the order of their choices."""
    return (
        normal(question.context),
        normal(question.question),
        *sorted(map(normal, question.choices)),
    )


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
