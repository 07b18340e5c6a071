"""Chooses one rationale among the rows that a teacher wrote about a question.

Unforced samples that state another answer than the gold one, or none, are rejected. Of the other
rows, the first by this order becomes the rationale:

    1. a sound one (without a flag of `quality.BAD`) before one that is not;
    2. an unforced one before a forced one, since nobody showed the teacher where to arrive;
    3. the one with the fewest flags;
    4. the one with the highest mean log-probability;
    5. the one with the lowest sample number.

Where every row is rejected there is no rationale. The unforced samples also say how accurate the
teacher itself is.
"""

import collections
import math
from collections.abc import Mapping, Sequence

from tinyllm_jax.corpus.joining.logs import Identity, identity_of
from tinyllm_jax.corpus.judging import quality
from tinyllm_jax.corpus.judging.answers import stated_answer
from tinyllm_jax.corpus.logrow import LogRow
from tinyllm_jax.corpus.schema import Rationale
from tinyllm_jax.intervals import wilson
from tinyllm_jax.tasks.question import Question

# By the number of each unforced sample of a question the answer that it states; None where it
# states none, or none that is clear.
StatedAnswers = dict[int, str | None]


def stated_answers(rows: Sequence[LogRow], question: Question) -> StatedAnswers:
    """The answer that each unforced row states in its text."""
    stated: StatedAnswers = {}
    for row in rows:
        if not row.forced:
            index = stated_answer(row.text, question)
            stated[row.sample] = None if index is None else question.choices[index]
    return stated


def rationale(
    rows: Sequence[LogRow], question: Question, stated: StatedAnswers
) -> Rationale | None:
    """The rationale of a question, or None where the rows hold none.

    Args:
      rows: a teacher's good rows about the question, as in `logs.LoggedRows`.
      question: the question.
      stated: the rows' `stated_answers`.
    """
    right = [row for row in rows if not row.forced and stated[row.sample] == question.answer]
    candidates = right + [row for row in rows if row.forced]
    if not candidates:
        return None
    flags = {row.key: quality.flags_of(row.text, question, row.finish_reason) for row in candidates}

    def order(row: LogRow) -> tuple:
        bad = any(flag in quality.BAD for flag in flags[row.key])
        return bad, row.forced, len(flags[row.key]), -_log_probability(row), row.sample

    best = min(candidates, key=order)
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
        votes=_votes(question, stated),
    )


def _votes(question: Question, stated: StatedAnswers) -> tuple[float, ...]:
    """The share of the samples that states each choice; () where there are no samples."""
    if not stated:
        return ()
    counts = collections.Counter(stated.values())
    return tuple(counts[choice] / len(stated) for choice in question.choices)


def _log_probability(row: LogRow) -> float:
    return -math.inf if row.mean_logprob is None else row.mean_logprob


def accuracy(questions: Sequence[Question], stated: Mapping[Identity, StatedAnswers]) -> dict:
    """How often a teacher that does not see the gold answer arrives at it, as JSON.

    Args:
      questions: of one split.
      stated: by question the `stated_answers` of its rows; a question may be absent.

    Returns:
      The `questions` that have samples; of their `samples` how many are `stated` (state an answer),
      `right` (the gold one) and `rejected` (another or none); and the accuracy of the `first`
      sample (number 0) alone and of the majority `vote`, each as `correct`, `n` and the 95 %
      interval `low`, `high`. Among equal votes the answer of the lowest sample is taken. A sample
      that states no answer, or none that can be read, counts neither as right nor as wrong.
    """
    sampled = []
    for question in questions:
        answers = stated.get(identity_of(question))
        if answers:
            sampled.append((question.answer, answers))
    samples = [(gold, answer) for gold, answers in sampled for answer in answers.values()]
    right = sum(answer == gold for gold, answer in samples)
    # An answer that cannot be read is not known to be wrong.
    firsts = [answers[0] == gold for gold, answers in sampled if answers.get(0) is not None]
    majorities = [(gold, _majority(answers)) for gold, answers in sampled]
    votes = [answer == gold for gold, answer in majorities if answer is not None]
    return {
        "questions": len(sampled),
        "samples": len(samples),
        "stated": sum(answer is not None for _, answer in samples),
        "right": right,
        "rejected": len(samples) - right,
        "first": _interval(firsts),
        "vote": _interval(votes),
    }


def _majority(answers: StatedAnswers) -> str | None:
    """The answer that most samples state; among equal counts that of the lowest sample."""
    # `most_common` keeps the order of counting among equal counts.
    in_order = [answers[sample] for sample in sorted(answers)]
    votes = collections.Counter(answer for answer in in_order if answer is not None)
    return votes.most_common(1)[0][0] if votes else None


def _interval(right: Sequence[bool]) -> dict:
    """How many are right, of how many, and the 95 % interval of the share."""
    low, high = wilson(sum(right), len(right)) if right else (0.0, 1.0)
    return {"correct": sum(right), "n": len(right), "low": round(low, 6), "high": round(high, 6)}
