"""A student's accuracy, by the likelihood of each choice and by the answer that it writes.

What a student writes is compared with the gold answer as its tokenizer spells it, which is what the
student was taught to write: T5's spells "m²" as "m2".
"""

import contextlib
import dataclasses
import functools
import itertools
import re
import string
import time
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from tinyllm_jax.errors import UserError
from tinyllm_jax.evaluation import stats
from tinyllm_jax.evaluation.results import Prediction, Result
from tinyllm_jax.progress import Progress
from tinyllm_jax.student import decoding, inputs, partition, scoring
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

    All devices that the student's parameters lie on share the questions. Where they are those of
    several processes, each of these calls this alike and has the same result.

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
    jax.block_until_ready(student.params)  # they may still be on their way to the device
    with _compilations() as compilations:
        began = time.monotonic()
        encoded = student.encode(questions)
        choices = _choices(student, questions, encoded.rows, batch_size)
        scored = _likelihoods(student, questions, choices)
        written = generate(student, encoded.rows, max_answer, batch_size)
        seconds = time.monotonic() - began

    spelled = as_spelled(student.tokenizer, questions)
    predictions = tuple(
        _prediction(*each)
        for each in zip(questions, spelled, choices.gold, scored, written, encoded.cut, strict=True)
    )
    return Result(
        task,
        split,
        predictions,
        stats.chance(questions),
        stats.majority(train_questions, questions),
        _counts(student.tokenizer, questions, encoded.rows, choices, scored, predictions),
        seconds - sum(compilations),
        step,
        sum(compilations),
    )


def _counts(
    tokenizer,
    questions: Sequence[Question],
    encoded: Sequence[Sequence[int]],
    choices: scoring.Choices,
    scored: Sequence[tuple[np.ndarray, np.ndarray]],
    predictions: Sequence[Prediction],
) -> dict[str, int]:
    """How often what was found says less than it seems to; the arguments are `evaluate`'s."""
    return {
        "inputs_cut": sum(prediction.cut for prediction in predictions),
        "inputs_with_unknown_words": inputs.unknown_tokens(tokenizer, encoded),
        "choices_spelled_alike": choices.alike,
        "ties": sum(_ties(sums) for sums, _ in scored),
        "ties_per_token": sum(_ties(sums / tokens) for sums, tokens in scored),
        "answers_unfinished": sum(prediction.unfinished for prediction in predictions),
        "answers_only_a_letter": sum(is_letter(p.generated) for p in predictions),
        "answers_unwritable": unwritable(tokenizer, [q.answer for q in questions]),
    }


@contextlib.contextmanager
def _compilations() -> Iterator[list[float]]:
    """Yields a list to which the seconds of each compilation in a `with` block are added."""
    seconds: list[float] = []

    def note(event: str, duration_secs: float, **_: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            seconds.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield seconds
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


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
    choices = _choices(student, questions, encoded, batch_size)
    return _likelihoods(student, questions, choices)


def _choices(
    student: Student,
    questions: Sequence[Question],
    encoded: Sequence[Sequence[int]],
    batch_size: int,
) -> scoring.Choices:
    """The choices of the questions, on the devices that the student's parameters lie on."""
    with partition.mesh_of(student.params):
        return scoring.Choices(
            student.tokenizer,
            questions,
            encoded,
            batch_size,
            row_multiple=partition.shards(),
            put=partition.put_rows,
        )


def _likelihoods(
    student: Student, questions: Sequence[Question], choices: scoring.Choices
) -> list[tuple[np.ndarray, np.ndarray]]:
    """`likelihoods`, from the choices of the questions."""
    progress = Progress("score", len(questions), "questions", quiet=jax.process_index() > 0)
    score = functools.partial(decoding.score, student.config, student.params)
    with partition.mesh_of(student.params):
        found = choices.scores(score, progress)
    progress.close()
    for question, sums in zip(questions, found, strict=True):
        if not np.isfinite(sums).all():
            raise UserError(
                f"the student's likelihoods for question {question.id} are not finite: "
                "its weights are damaged or its training diverged; evaluate another checkpoint"
            )
    return list(zip(found, choices.tokens, strict=True))


def _ties(scores: np.ndarray) -> bool:
    """Whether several choices have exactly the highest score, (choices,)."""
    return bool(np.count_nonzero(scores == scores.max()) > 1)


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


def as_spelled(tokenizer, questions: Sequence[Question]) -> list[Question]:
    """Each question with its choices as the student's tokenizer spells them.

    A piece that the tokenizer does not know is left out, as it is from what a student writes. Where
    that leaves nothing of the gold answer, or makes it equal to another choice, the question stays
    as it is: the answer has to be written to the letter.
    """
    texts = [choice for question in questions for choice in question.choices]
    spellings = iter(_spelled(tokenizer, texts))
    found = []
    for question in questions:
        choices = tuple(itertools.islice(spellings, len(question.choices)))
        answer = choices[question.gold]
        alike = {
            choice
            for choice, spelled in zip(question.choices, choices, strict=True)
            if spelled.split() == answer.split()
        }
        if answer and len(alike) == 1:
            question = dataclasses.replace(question, choices=choices, answer=answer)
        found.append(question)
    return found


def unwritable(tokenizer, answers: Sequence[str]) -> int:
    """How many of `answers` the tokenizer cannot spell to the letter, white space apart.

    T5's, for example, has no "{".
    """
    spelled = _spelled(tokenizer, answers)
    return sum(
        text.split() != answer.split() for text, answer in zip(spelled, answers, strict=True)
    )


def _spelled(tokenizer, texts: Sequence[str]) -> list[str]:
    """What a student writes that has learned to write each text."""
    encoded, _ = inputs.encode_targets(tokenizer, texts, scoring.WHOLE)
    return inputs.decode(tokenizer, encoded)


def _one_split(questions: Sequence[Question]) -> tuple[str, str]:
    found = sorted({(question.task, question.split) for question in questions})
    if not found:
        raise UserError("there are no questions to evaluate; choose a split that has some")
    if len(found) > 1:
        raise UserError(
            f"one task and split is evaluated at a time, not {', '.join(map(' '.join, found))}"
        )
    return found[0]


def _prediction(
    question: Question,
    spelled: Question,
    gold: np.ndarray,
    scored: tuple[np.ndarray, np.ndarray],
    written: tuple[str, bool],
    lost: int,
) -> Prediction:
    """What was found of one question; the arguments are its own of those in `evaluate`."""
    sums, tokens = scored
    text, unfinished = written
    return Prediction(
        id=question.id,
        key=question.key,
        gold=question.gold,
        scores=tuple(float(x) for x in sums),
        tokens=tuple(int(x) for x in tokens),
        likelihood=int(sums.argmax()),
        likelihood_per_token=int((sums / tokens).argmax()),
        likelihood_credit=scoring.credit(sums, gold),
        likelihood_per_token_credit=scoring.credit(sums / tokens, gold),
        generated=text,
        exact_match=exact_match(text, spelled),
        normalised_match=normalised_match(text, spelled),
        cut=lost > 0,
        unfinished=unfinished,
    )
