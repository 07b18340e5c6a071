"""How much a rationale helps: what a reader of it knows better than a reader of the question alone.

    u(q, t) = log p(gold | choices, rationale of t with the answer masked) - log p(gold | choices)

with p normalised over the choices. The reader is a student that learned to choose among q's choices
with one teacher's rationale, or none, in front of them. The question itself it never sees: with it,
a reader learns questions by heart where it should learn to read. And it is cross-fitted: the
questions are dealt into folds by what they ask about, and a reader judges only the fold that it was
not trained on. So it cannot know the answer, and has to read.

On the demonstration (seed 10) such readers tell a careless teacher's right rationales from his
wrong ones with an area under the curve of 0.91, those that see the question 0.84. Half of the folds
leave too little to learn from; more deals, each into other folds, give a mean of several
judgements, for as many more readers, and little more (0.92 with three).
"""

import dataclasses
import re
import sys
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath

from tinyllm_jax.corpus import store
from tinyllm_jax.corpus.schema import Row
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.evaluation import score
from tinyllm_jax.student.student import Student
from tinyllm_jax.tasks.question import Question, place
from tinyllm_jax.training import loop, restore
from tinyllm_jax.training.run import MOST_SEED, Run

FOLDS = 5
DEALS = 1
HELD_OUT = 10  # every so many-th subject of a fold's training questions chooses its checkpoint
ASKED = "Which is right?"  # what stands in place of the question
MASK = "…"  # what stands where the rationale names the answer


def utilities(corpus: Corpus, run: Run, directory: epath.Path) -> np.ndarray:
    """Trains a reader for each fold of each deal, and judges every training rationale.

    A rationale that a teacher wrote more than once about the same subject is judged once, by the
    mean over its questions.

    Args:
      corpus: the corpus; its training rationales of weight above 0 are judged.
      run: how the readers are trained; its objective is replaced by answers alone.
      directory: where the readers are kept; what is finished there is not done again.

    Returns:
      (Q, T) nats in the order of the corpus's training rows and teachers; NaN where there is no
      rationale.

    Raises:
      UserError: as `loop.train`, or the directory holds readers of another corpus.
    """
    rows = corpus.nonempty_rows("train")
    run = dataclasses.replace(run, objective=run.objective.answers_alone())

    # The mean over deals of the gold choice's log-probability, by what the reader saw: a teacher's
    # column, or the last column for nothing.
    known = np.zeros((len(rows), len(corpus.teachers) + 1))
    for deal in range(DEALS):
        folds = dealt(rows, FOLDS, f"deal {deal}")
        for fold in range(FOLDS):
            print(f"\nreader {deal * FOLDS + fold + 1} of {DEALS * FOLDS}", file=sys.stderr)
            own = dataclasses.replace(run, seed=(run.seed + deal) % (MOST_SEED + 1))
            others = [row for row, at in zip(rows, folds, strict=True) if at != fold]
            where = directory / f"reader-{deal}-{fold}"
            _train(others, corpus, own, where)
            judged = np.flatnonzero(folds == fold)
            known[judged] += _judge(where, [rows[index] for index in judged], corpus.teachers, own)
    known /= DEALS
    utility = known[:, :-1] - known[:, -1:]
    return _averaged(utility, rows, corpus.teachers)


def dealt(rows: Sequence[Row], parts: int, salt: str) -> np.ndarray:
    """Deals rows into parts of equal size, (rows,) from 0; questions of equal text share a part.

    Args:
      rows: any.
      parts: how many. Part 0 is never empty.
      salt: another text deals otherwise.
    """
    subjects = sorted({row.question.question for row in rows}, key=lambda text: place(salt, text))
    part = {subject: rank % parts for rank, subject in enumerate(subjects)}
    return np.array([part[row.question.question] for row in rows])


def masked(text: str, question: Question) -> str:
    """A rationale in which the gold answer's text and its letter are replaced by `MASK`."""
    letter = question.letter(question.gold)
    answer = rf"(?<!\w){re.escape(question.answer)}(?!\w)"
    named = rf"\(\s*{letter}\s*\)|\b(?:answer is|option|choice)\s+\(?{letter}\b\)?"
    return re.sub(f"{answer}|{named}", MASK, text, flags=re.IGNORECASE)


def reader(directory: epath.Path) -> Student:
    """A trained reader, from its own directory, on all devices."""
    step = restore.find_step(directory / "run")
    return restore.restore(directory / "run", step, everywhere=True)


def _train(rows: Sequence[Row], corpus: Corpus, run: Run, directory: epath.Path) -> None:
    """Trains a reader to answer these rows' questions, with and without rationales."""
    splits: dict[str, list[Row]] = {"train": [], "validation": []}
    for row, part in zip(rows, dealt(rows, HELD_OUT, "held out"), strict=True):
        split = "validation" if part == 0 else "train"
        for column, question in enumerate(_readings(row, corpus.teachers)):
            if question:
                name = f"{question.id}/{column}"
                question = dataclasses.replace(question, id=name, split=split)
                splits[split].append(Row(question, {}))
    path = directory / "corpus"
    if not path.exists():
        report = {"made from": corpus.fingerprint}
        store.write_corpus(path, corpus.task, (), splits, report, "questions with rationales")
    loop.train(run, path, directory / "run")


def _judge(
    directory: epath.Path, rows: Sequence[Row], teachers: Sequence[str], run: Run
) -> np.ndarray:
    """A reader's log-probability of each row's gold choice: (rows, teachers + 1).

    The last column is what it knows without a rationale; NaN stands where there is none.
    """
    asked, cells = [], []
    for index, row in enumerate(rows):
        for column, question in enumerate(_readings(row, teachers)):
            if question:
                asked.append(question)
                cells.append((index, column))
    known = np.full((len(rows), len(teachers) + 1), np.nan)
    if asked:
        found = _log_gold(reader(directory), asked, run.validation.batch_size)
        known[tuple(np.array(cells).T)] = found
    return known


def _readings(row: Row, teachers: Sequence[str]) -> list[Question | None]:
    """The choices with each teacher's rationale in front of them, and alone."""
    question = dataclasses.replace(row.question, context="", question=ASKED)
    readings: list[Question | None] = []
    for teacher in teachers:
        rationale = row.rationales.get(teacher)
        reading = None
        # Only what training would see is judged.
        if rationale and rationale.text and rationale.weight > 0:
            reading = dataclasses.replace(question, context=masked(rationale.text, question))
        readings.append(reading)
    return [*readings, question]


def _log_gold(student: Student, questions: Sequence[Question], batch_size: int) -> np.ndarray:
    """The log-probability of each question's gold choice among its choices, (questions,)."""
    encoded = student.encode(questions).rows
    found = score.likelihoods(student, questions, encoded, batch_size)
    return np.array(
        [
            nats[question.gold] - np.logaddexp.reduce(nats)
            for question, (nats, _) in zip(questions, found, strict=True)
        ]
    )


def _averaged(utility: np.ndarray, rows: Sequence[Row], teachers: Sequence[str]) -> np.ndarray:
    """The utilities, those of one teacher's equal texts about equal questions by their mean."""
    groups: dict[tuple[str, int, str], list[int]] = {}
    for index, row in enumerate(rows):
        for column, teacher in enumerate(teachers):
            if not np.isnan(utility[index, column]):
                key = (row.question.question, column, row.rationales[teacher].text)
                groups.setdefault(key, []).append(index)
    averaged = utility.copy()
    for (_, column, _), members in groups.items():
        averaged[members, column] = utility[members, column].mean()
    return averaged


def summary(utility: np.ndarray, teachers: Sequence[str]) -> Mapping[str, dict[str, float]]:
    """Of each teacher how many rationales were judged, their mean utility, the share above 0."""
    said = {}
    for column, teacher in enumerate(teachers):
        known = utility[:, column][~np.isnan(utility[:, column])]
        if len(known):
            said[teacher] = {
                "judged": len(known),
                "mean_utility": round(float(known.mean()), 4),
                "helpful": round(float((known > 0).mean()), 4),
            }
    return said
