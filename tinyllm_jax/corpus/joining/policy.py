"""Policies: how quality flags become row weights. The weight is data in the corpus; training knows no policy.

keep-all         every rationale weighs 1, an empty one 0: it could only teach to write nothing. As
                 in the paper.
clean            a rationale with a bad flag (`quality.BAD`) weighs 0.
clean+truncate   one that is unterminated or echoes the prompt is first cut to its last full
                 sentence before that; its flags are found anew, `truncated` is added, and then as
                 `clean`. One without a full sentence stays.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

from tinyllm_jax.corpus.judging import quality, sentences
from tinyllm_jax.corpus.judging.statistics import mark_duplicates
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.errors import unknown
from tinyllm_jax.tasks.question import Question

KEEP_ALL, CLEAN, CLEAN_TRUNCATE = POLICIES = ("keep-all", "clean", "clean+truncate")


def check(policy: str) -> None:
    """Raises `UserError` for a name that is no policy."""
    if policy not in POLICIES:
        raise unknown("policy", policy, POLICIES)


def apply(policy: str, rows: Sequence[Row]) -> list[Row]:
    """The rows of one split with each rationale's text, flags (`duplicate` included) and weight as the policy says."""
    if policy == CLEAN_TRUNCATE:
        rows = [
            Row(
                row.question,
                {
                    teacher: truncate(rationale, row.question)
                    for teacher, rationale in row.rationales.items()
                },
            )
            for row in rows
        ]
    return [
        Row(
            row.question,
            {
                teacher: dataclasses.replace(rationale, weight=weight_of(rationale.flags, policy))
                for teacher, rationale in row.rationales.items()
            },
        )
        for row in mark_duplicates(rows)
    ]


def weight_of(flags: Sequence[str], policy: str = KEEP_ALL) -> float:
    """A rationale's weight in the objective."""
    bad = ("empty",) if policy == KEEP_ALL else quality.BAD
    return 0.0 if any(flag in bad for flag in flags) else 1.0


def truncate(rationale: Rationale, question: Question) -> Rationale:
    """The rationale cut to its last full sentence, where it is unterminated or echoes the prompt and has one."""
    if not {"unterminated", "echo"} & {*rationale.flags}:
        return rationale
    own = rationale.text[: quality.echo_start(rationale.text)]
    ends = sentences.ends(own)
    if not ends:
        return rationale
    text = own[: ends[-1]]
    # What contradicts the gold answer led to another one, even where the statement itself is cut
    # off now.
    flags = {
        *quality.flags_of(text, question),
        "truncated",
        *({"contradicts"} & {*rationale.flags}),
    }
    return dataclasses.replace(rationale, text=text, flags=tuple(sorted(flags)))


def report(policy: str, rows: Mapping[str, Sequence[Row]], teachers: Sequence[str]) -> dict:
    """What a policy did, as JSON: its `name`, and per teacher the rationales `kept` and `dropped` (weight 0), how many of
    the dropped ones have each flag that costs the weight (`flags`; one may have several), and how
    many were `truncated`.
    """
    return {
        "name": policy,
        "teachers": {teacher: _told(policy, rows, teacher) for teacher in teachers},
    }


def _told(policy: str, rows: Mapping[str, Sequence[Row]], teacher: str) -> dict:
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
