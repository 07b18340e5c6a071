"""A student's accuracy on questions, in two ways: by each choice's likelihood, and by the answer that it writes."""

import itertools
import re
import string
import time
from collections.abc import Sequence

import numpy as np

from tinyllm_jax.batching.arrays import pack, sum_targets
from tinyllm_jax.errors import UserError
from tinyllm_jax.evaluation import stats
from tinyllm_jax.evaluation.predict import generate
from tinyllm_jax.evaluation.results import Prediction, Result
from tinyllm_jax.progress import Progress
from tinyllm_jax.student import decoding, inputs
from tinyllm_jax.student.config import StudentConfig
from tinyllm_jax.tasks import Question

WHOLE = 1 << 30  # a length limit that cuts nothing


def evaluate(
    config: StudentConfig,
    params: dict,
    tokenizer,
    questions: Sequence[Question],
    *,
    prefix: str = "predict",
    max_input: int,
    max_answer: int = 64,
    batch_size: int = 64,
    train_questions: Sequence[Question] = (),
    step: int | None = None,
) -> Result:
    """Asks the student every question and scores it by all four metrics.

    Args:
      config, params, tokenizer: the student.
      questions: of one task and split.
      prefix: the answer target's word.
      max_input: input tokens; a longer question's context is cut, and counted.
      max_answer: tokens of a generated answer; one that needs more is counted as unfinished.
        Choices are scored whole, however long they are.
      batch_size: questions computed together, about.
      train_questions: the same task's training questions, from which the commonest answer is taken.
      step: the checkpoint's step, for the record.

    Raises:
      UserError: no questions, several tasks or splits, or likelihoods that are not finite.
    """
    task, split = _one_split(questions)
    began = time.monotonic()
    encoded, lost = inputs.encode_questions(tokenizer, questions, prefix, max_input)
    scored = likelihoods(config, params, tokenizer, questions, encoded, batch_size)
    written = generate(config, params, tokenizer, encoded, max_answer, batch_size)
    predictions = tuple(map(_prediction, questions, scored, written, lost))
    counts = {
        "inputs_cut": sum(prediction.cut for prediction in predictions),
        "inputs_with_unknown_words": inputs.unknown_tokens(tokenizer, encoded),
        "answers_unfinished": sum(prediction.unfinished for prediction in predictions),
        "answers_only_a_letter": sum(is_letter(p.generated) for p in predictions),
        "answers_unwritable": unwritable(tokenizer, [question.answer for question in questions]),
    }
    seconds = time.monotonic() - began
    majority = stats.majority(train_questions, questions)
    return Result(
        task, split, predictions, stats.chance(questions), majority, counts, seconds, step
    )


def likelihoods(
    config: StudentConfig,
    params: dict,
    tokenizer,
    questions: Sequence[Question],
    encoded: Sequence[Sequence[int]],
    batch_size: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The log-likelihood of every choice, in nats, and its target tokens, per question: two (choices,) arrays.

    Args:
      config, params, tokenizer: the student.
      questions: of any number of choices each.
      encoded: the questions' input tokens.
      batch_size: questions computed together, about.

    Raises:
      UserError: a likelihood is not finite.
    """
    choices = _encode_choices(tokenizer, questions)
    first = np.cumsum([0, *map(len, choices)])
    sums = np.zeros(first[-1])
    progress, done = Progress("score", len(questions), "questions"), 0
    for batch in pack(encoded, choices, batch_size):
        sum_targets(sums, batch, np.asarray(decoding.score(config, params, batch)))
        progress.update(done := done + np.count_nonzero(np.unique(batch["input_segments"])))
    progress.close()
    found = [
        (some, np.array([len(ids) for ids in of]))
        for some, of in zip(np.split(sums, first[1:-1]), choices)
    ]
    for question, (some, _) in zip(questions, found):
        if not np.isfinite(some).all():
            raise UserError(
                f"the student's likelihoods for question {question.id} are not finite: "
                "its weights are damaged or its training diverged; evaluate another checkpoint"
            )
    return found


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
    """Lower case, without punctuation, articles or extra white space, as SQuAD's official script (arXiv 1606.05250)."""
    text = text.lower().translate(str.maketrans("", "", string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def is_letter(text: str) -> bool:
    """Whether `text` is a bare choice letter, "(b)" or "b": what FLAN-T5 writes before it has learned to answer in words."""
    return re.fullmatch(r"\([a-z]\)|[a-z]", text.strip()) is not None


def unwritable(tokenizer, answers: Sequence[str]) -> int:
    """How many of `answers` the tokenizer cannot spell (T5 has no "{"): no generated text can match them exactly."""
    ids, _ = inputs.encode_targets(tokenizer, answers, WHOLE)
    spelled = tokenizer.batch_decode(ids, skip_special_tokens=True)
    return sum(text.split() != answer.split() for text, answer in zip(spelled, answers))


def _encode_choices(tokenizer, questions: Sequence[Question]) -> list[list[list[int]]]:
    ids, _ = inputs.encode_targets(
        tokenizer, [choice for question in questions for choice in question.choices], WHOLE
    )
    rows = iter(ids)
    return [list(itertools.islice(rows, len(question.choices))) for question in questions]


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
