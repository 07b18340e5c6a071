"""Policies: how the flags of a rationale become its weight in training.

The weight is data in the corpus; training knows no policy.

    keep-all        every rationale has weight 1, as in the paper; an empty one has weight 0, for
                    it could only teach to write nothing
    clean           a rationale with a bad flag (`quality.BAD`) has weight 0
    clean+truncate  a rationale that is unterminated or echoes the prompt is first cut to its last
                    full sentence before the flaw, if it has one: its flags are found anew and
                    `truncated` is added. Then it is treated as by `clean`.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

from tinyllm_jax.corpus.judging import echo, quality, sentences
from tinyllm_jax.corpus.judging.statistics import mark_duplicates
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.errors import unknown
from tinyllm_jax.tasks.question import Question

KEEP_ALL, CLEAN, CLEAN_TRUNCATE = POLICIES = ("keep-all", "clean", "clean+truncate")


def check_policy(policy: str) -> None:
    """Checks the name of a policy.

    Raises:
      UserError: there is no such policy.
    """
    if policy not in POLICIES:
        raise unknown("policy", policy, POLICIES)


def apply_policy(policy: str, rows: Sequence[Row]) -> list[Row]:
    """The rows of one split as the policy makes them.

    Each rationale gets its weight and its flags, `duplicate` included, and by clean+truncate its
    text.
    """
    if policy == CLEAN_TRUNCATE:
        rows = [_truncate_row(row) for row in rows]
    return [_weigh_row(row, policy) for row in mark_duplicates(rows)]


def _truncate_row(row: Row) -> Row:
    rationales = {}
    for teacher, rationale in row.rationales.items():
        rationales[teacher] = truncate(rationale, row.question)
    return Row(row.question, rationales)


def _weigh_row(row: Row, policy: str) -> Row:
    rationales = {}
    for teacher, rationale in row.rationales.items():
        weight = weight_of(rationale.flags, policy)
        rationales[teacher] = dataclasses.replace(rationale, weight=weight)
    return Row(row.question, rationales)


def weight_of(flags: Sequence[str], policy: str = KEEP_ALL) -> float:
    """The weight in the objective of a rationale with these flags."""
    bad = ("empty",) if policy == KEEP_ALL else quality.BAD
    return 0.0 if any(flag in bad for flag in flags) else 1.0


def truncate(rationale: Rationale, question: Question) -> Rationale:
    """The rationale cut to its last full sentence, if it has one.

    A rationale that is neither unterminated nor echoes the prompt stays as it is.
    """
    if "unterminated" not in rationale.flags and "echo" not in rationale.flags:
        return rationale
    own = rationale.text[: echo.own_end(rationale.text)]
    ends = sentences.ends(own)
    if not ends:
        return rationale
    text = own[: ends[-1]]
    flags = {*quality.flags_of(text, question), "truncated"}
    # A text that argued for another answer still does, though the statement of it is cut off now.
    if "contradicts" in rationale.flags:
        flags.add("contradicts")
    return dataclasses.replace(rationale, text=text, flags=tuple(sorted(flags)))


def policy_report(policy: str, rows: Mapping[str, Sequence[Row]], teachers: Sequence[str]) -> dict:
    """What a policy did, as JSON.

    Args:
      policy: its name.
      rows: by split the rows that `apply_policy` returned.
      teachers: the teachers' names.

    Returns:
      The policy's `name`, and for each of the `teachers` the numbers of its rationales: those
      `kept`, those `dropped` (weight 0), those that were `truncated`, and by name the `flags` that
      cost a rationale its weight (one rationale may have several).
    """
    counts = {teacher: _count_kept(policy, rows, teacher) for teacher in teachers}
    return {"name": policy, "teachers": counts}


def _count_kept(policy: str, rows: Mapping[str, Sequence[Row]], teacher: str) -> dict:
    found = [
        row.rationales[teacher]
        for part in rows.values()
        for row in part
        if teacher in row.rationales
    ]
    flags = collections.Counter(flag for rationale in found for flag in rationale.flags)
    kept = sum(rationale.weight > 0 for rationale in found)
    costly = [flag for flag in quality.BAD if weight_of((flag,), policy) == 0]
    return {
        "kept": kept,
        "dropped": len(found) - kept,
        "truncated": flags["truncated"],
        "flags": {flag: flags[flag] for flag in costly if flags[flag]},
    }
