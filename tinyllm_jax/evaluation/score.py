"""A student's accuracy, by the likelihood of each choice and by the answer that it writes."""

import functools
import re
import string
import time
from collections.abc import Sequence

import numpy as np

from tinyllm_jax.errors import UserError
from tinyllm_jax.evaluation import stats
from tinyllm_jax.evaluation.results import Prediction, Result
from tinyllm_jax.progress import Progress
from tinyllm_jax.student import decoding, inputs, scoring
from tinyllm_jax.student.student import Student
from tinyllm_jax.student.writing import generate
from tinyllm_jax.tasks import Question


def evaluate(
    student: Student,
    questions: Sequence[Question],
    *,
    max_answer: int = 64,
    batch_size: int = 64,
    train_questions: Sequence[Question] = (),
    step: int | None = None,
) -> Result:
    """Asks the student every question and scores it by all four metrics.

    Args:
      student: the student.
      questions: of one task and split.
      max_answer: tokens of a generated answer; one that needs more is counted as unfinished.
        Choices are scored whole, however long they are.
      batch_size: about how many questions are computed together.
      train_questions: the same task's training questions, from which the commonest answer is
        taken.
      step: the checkpoint's step, for the record.

    Raises:
      UserError: no questions, several tasks or splits, or likelihoods that are not finite.
    """
    task, split = _one_split(questions)
    began = time.monotonic()
    encoded = student.encode(questions)
    scored = likelihoods(student, questions, encoded.rows, batch_size)
    written = generate(student, encoded.rows, max_answer, batch_size)
    predictions = tuple(
        _prediction(*each) for each in zip(questions, scored, written, encoded.cut, strict=True)
    )
    answers = [question.answer for question in questions]
    counts = {
        "inputs_cut": sum(prediction.cut for prediction in predictions),
        "inputs_with_unknown_words": inputs.unknown_tokens(student.tokenizer, encoded.rows),
        "answers_unfinished": sum(prediction.unfinished for prediction in predictions),
        "answers_only_a_letter": sum(is_letter(p.generated) for p in predictions),
        "answers_unwritable": unwritable(student.tokenizer, answers),
    }
    seconds = time.monotonic() - began
    majority = stats.majority(train_questions, questions)
    return Result(
        task, split, predictions, stats.chance(questions), majority, counts, seconds, step
    )


def likelihoods(
    student: Student,
    questions: Sequence[Question],
    encoded: Sequence[Sequence[int]],
    batch_size: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The log-likelihood of every choice, and its number of tokens.

    Args:
      student: the student.
      questions: of any number of choices each.
      encoded: the token ids of each question.
      batch_size: about how many questions are computed together.

    Returns:
      For each question two arrays (choices,): nats, and tokens.

    Raises:
      UserError: a likelihood is not finite.
    """
    choices = scoring.Choices(student.tokenizer, questions, encoded, batch_size)
    progress = Progress("score", len(questions), "questions")
    score = functools.partial(decoding.score, student.config, student.params)
    found = choices.scores(score, progress)
    progress.close()
    for question, sums in zip(questions, found, strict=True):
        if not np.isfinite(sums).all():
            raise UserError(
                f"the student's likelihoods for question {question.id} are not finite: "
                "its weights are damaged or its training diverged; evaluate another checkpoint"
            )
    return list(zip(found, choices.tokens, strict=True))


def exact_match(text: str, question: Question) -> bool:
    """Whether `text` is the gold answer, apart from white space."""
    return text.split() == question.answer.split()


def normalised_match(text: str, question: Question) -> bool:
    """Whether `text` and the gold answer are equal once normalised.

    Where normalisation would leave nothing of the gold answer ("+", "A") or make it equal to
    another choice ("3" and "-3"), the match has to be exact.
    """
    gold = normalise(question.answer)
    others = {normalise(choice) for choice in question.choices if choice != question.answer}
    if not gold or gold in others:
        return exact_match(text, question)
    return normalise(text) == gold


def normalise(text: str) -> str:
    """Lower case, without punctuation, articles or extra white space.

    As SQuAD's official script has it (arXiv 1606.05250).
    """
    text = text.lower().translate(str.maketrans("", "", string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def is_letter(text: str) -> bool:
    """Whether `text` is a bare choice letter, "(b)" or "b".

    That is what FLAN-T5 writes before it has learned to answer in words.
    """
    return re.fullmatch(r"\([a-z]\)|[a-z]", text.strip()) is not None


def unwritable(tokenizer, answers: Sequence[str]) -> int:
    """How many of `answers` the tokenizer cannot spell: no generated text can match them exactly.

    T5's, for example, has no "{".
    """
    ids, _ = inputs.encode_targets(tokenizer, answers, scoring.WHOLE)
    spelled = tokenizer.batch_decode(ids, skip_special_tokens=True)
    return sum(
        text.split() != answer.split() for text, answer in zip(spelled, answers, strict=True)
    )


def _one_split(questions: Sequence[Question]) -> tuple[str, str]:
    found = sorted({(question.task, question.split) for question in questions})
    if not found:
        raise UserError("there are no questions to evaluate; choose a split that has some")
    if len(found) > 1:
        raise UserError(
            f"one task and split is evaluated at a time, not {', '.join(map(' '.join, found))}"
        )
    return found[0]


def _prediction(question: Question, scored, written: tuple[str, bool], lost: int) -> Prediction:
    sums, tokens = scored
    text, unfinished = written
    return Prediction(
        id=question.id,
        gold=question.gold,
        scores=tuple(float(x) for x in sums),
        tokens=tuple(int(x) for x in tokens),
        likelihood=int(sums.argmax()),
        likelihood_per_token=int((sums / tokens).argmax()),
        generated=text,
        exact_match=exact_match(text, question),
        normalised_match=normalised_match(text, question),
        cut=lost > 0,
        unfinished=unfinished,
    )
