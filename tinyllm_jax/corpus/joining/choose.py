"""What becomes of several rows that a teacher wrote about one question: its rationale, and its own accuracy.

Unforced samples that state another answer than the gold one, or none, are rejected. Of the others
and the forced row a sound one (`quality.BAD`) comes first, then an unforced one, since nobody
showed the teacher where to arrive; then the one with the fewest flags, the likeliest, the first.
There may be none.
"""

import collections
import math
from collections.abc import Mapping, Sequence

from tinyllm_jax.corpus.joining.logs import Slot, slot_of
from tinyllm_jax.corpus.judging import quality
from tinyllm_jax.corpus.logrow import LogRow
from tinyllm_jax.corpus.schema import Rationale
from tinyllm_jax.intervals import wilson
from tinyllm_jax.tasks.question import Question

Answers = dict[
    int, str | None
]  # what each unforced sample of a question states, by its number; None: nothing clear


def answers(rows: Sequence[LogRow], question: Question) -> Answers:
    """The answer that each unforced row states in its text."""
    stated = {
        row.sample: quality.stated_answer(row.text, question) for row in rows if not row.forced
    }
    return {
        sample: None if index is None else question.choices[index]
        for sample, index in stated.items()
    }


def rationale(rows: Sequence[LogRow], question: Question, stated: Answers) -> Rationale | None:
    """The rationale of a question, or None where the rows hold none.

    Args:
      rows: a teacher's good rows about the question, as in `logs.Logged`.
      question: the question.
      stated: the rows' `answers`.
    """
    right = [row for row in rows if not row.forced and stated[row.sample] == question.answer]
    candidates = right + [row for row in rows if row.forced]
    flags = {row.key: quality.flags_of(row.text, question, row.finish_reason) for row in candidates}
    best = min(
        candidates,
        default=None,
        key=lambda row: (
            any(flag in quality.BAD for flag in flags[row.key]),
            row.forced,
            len(flags[row.key]),
            -_likelihood(row),
            row.sample,
        ),
    )
    if best is None:
        return None
    return Rationale(
        text=best.text,
        teacher=best.teacher,
        model=best.model,
        revision=best.revision,
        prompt_hash=best.prompt_hash,
        sampling=best.sampling,
        forced=best.forced,
        finish_reason=best.finish_reason,
        tokens=best.tokens,
        flags=flags[best.key],
        vote_share=len(right) / len(stated) if stated else -1.0,
    )


def _likelihood(row: LogRow) -> float:
    return -math.inf if row.mean_logprob is None else row.mean_logprob


def accuracy(questions: Sequence[Question], stated: Mapping[Slot, Answers]) -> dict:
    """How often a teacher that does not see the gold answer arrives at it, as JSON.

    Args:
      questions: of one split.
      stated: by question the `answers` of its rows; a question may be absent.

    Returns:
      The `questions` that have samples; of their `samples` how many are `stated` (state an answer),
      `right` (the gold one) and `rejected` (another or none); and the accuracy of the `first`
      sample (number 0) alone and of the majority `vote`, each as `correct`, `n` and the 95 %
      interval `low`, `high`. Among equal votes the answer of the lowest sample is taken. A question
      of which no sample states an answer counts as answered wrong.
    """
    asked = [
        (question.answer, found)
        for question in questions
        if (found := stated.get(slot_of(question)))
    ]
    samples = [(gold, answer) for gold, found in asked for answer in found.values()]
    firsts = [found[0] == gold for gold, found in asked if 0 in found]
    right = sum(answer == gold for gold, answer in samples)
    return {
        "questions": len(asked),
        "samples": len(samples),
        "stated": sum(answer is not None for _, answer in samples),
        "right": right,
        "rejected": len(samples) - right,
        "first": _interval(firsts),
        "vote": _interval([_vote(found) == gold for gold, found in asked]),
    }


def _vote(found: Answers) -> str | None:
    votes = collections.Counter(answer for _, answer in sorted(found.items()) if answer is not None)
    return (
        votes.most_common(1)[0][0] if votes else None
    )  # of equal counts, the one that was counted first


def _interval(right: Sequence[bool]) -> dict:
    low, high = wilson(sum(right), len(right)) if right else (0.0, 1.0)
    return {"correct": sum(right), "n": len(right), "low": round(low, 6), "high": round(high, 6)}
