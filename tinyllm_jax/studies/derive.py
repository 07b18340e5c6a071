"""The corpus that a cell learns from, made from its task's: a policy, a baseline, a fraction."""

import bisect
import dataclasses
import random
import sys
from collections.abc import Sequence

from etils import epath

from tinyllm_jax.corpus import store
from tinyllm_jax.corpus.judging.answers import stated_answer
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError, unknown
from tinyllm_jax.selection import select
from tinyllm_jax.studies.study import PERMUTED, STANDARD_KD, ZERO_SHOT, Cell, Study
from tinyllm_jax.tasks.question import Question, place
from tinyllm_jax.training.recipes import teacher_weights


def corpus_of(study: Study, cell: Cell, root: epath.Path) -> Corpus:
    """The corpus of a cell; what is made is kept under `root` and made once.

    Args:
      study: the study.
      cell: one of its cells.
      root: where derived corpora lie.

    Raises:
      UserError: the task's corpus cannot be read, or a policy cannot judge it.
    """
    corpus = Corpus(study.corpus(cell), task=cell.task)
    if cell.fraction < 1:
        corpus = _fraction(corpus, cell, root)
    method = study.methods[cell.method]
    policy, threshold = method.policy, method.threshold
    if policy in ("", ZERO_SHOT):
        return corpus
    # The readers are shared by all policies of a corpus, so their directory does not name one.
    name = f"{_name(cell)}-s{cell.seed}"
    setting = {"helpful": f"{threshold:+g}", STANDARD_KD: f"-{method.teachers}"}.get(policy, "")
    out = root / f"{name}-{policy}{setting}"
    if not out.exists():
        if policy == PERMUTED:
            _permute(corpus, cell, out)
        elif policy == STANDARD_KD:
            named = teacher_weights(method.teachers)
            _take_answers(corpus, corpus.teachers if named is None else list(named), cell, out)
        else:
            readers = root / f"{name}-readers"
            manifest = select.select(corpus, policy, out, study.reader(cell), readers, threshold)
            print(*select.lines(manifest.report["selection"]), sep="\n", file=sys.stderr)
    return Corpus(out, task=cell.task)


def _name(cell: Cell) -> str:
    """What the derived corpora of a cell have in their names, whatever its method."""
    parts = [cell.task, cell.student.replace("/", "_")]
    parts += [f"{cell.fraction:g}" if cell.fraction < 1 else ""]
    return "-".join(part for part in parts if part)


def _fraction(corpus: Corpus, cell: Cell, root: epath.Path) -> Corpus:
    """A share of the training questions, chosen by their content: a smaller one is a subset.

    Of questions with one text, which ask about the same, it takes that share too: with a half, two
    of four.
    """
    out = root / f"{cell.task}-{cell.fraction:g}-{corpus.fingerprint[:12]}"
    if not out.exists():
        rows = corpus.rows("train")
        at = _places([row.question for row in rows])
        rows = [row for row, here in zip(rows, at, strict=True) if here < cell.fraction]
        report = {"fraction": cell.fraction}
        store.write_with_train(out, corpus, rows, report, f"{cell.fraction:g} of it")
    return Corpus(out, task=cell.task)


def _places(questions: Sequence[Question]) -> list[float]:
    """Each question's place from 0 to below 1; those of one text are spread out evenly."""
    own = [place(question.key) for question in questions]
    groups: dict[str, list[float]] = {}
    for question, at in zip(questions, own, strict=True):
        groups.setdefault(question.question, []).append(at)
    for group in groups.values():
        group.sort()
    places = []
    for question, at in zip(questions, own, strict=True):
        group = groups[question.question]
        rank = bisect.bisect_left(group, at)
        places.append((rank + place("group", question.question)) / len(group))
    return places


def _permute(corpus: Corpus, cell: Cell, out: epath.Path) -> None:
    """Writes the corpus with each training question's rationales put to another question."""
    rows = corpus.rows("train")
    rationales = [row.rationales for row in rows]
    random.Random(cell.seed).shuffle(rationales)
    permuted = [Row(row.question, other) for row, other in zip(rows, rationales, strict=True)]
    store.write_with_train(out, corpus, permuted, {"permuted": cell.seed}, "permuted")


def _take_answers(corpus: Corpus, teachers: Sequence[str], cell: Cell, out: epath.Path) -> None:
    """Writes the corpus of Standard-KD: each training question with its teachers' answers as gold.

    A question stands there once for each teacher that answers it. Where a teacher was asked several
    times, its answer is drawn from its votes: over many questions that is the loss of soft targets.

    Raises:
      UserError: a teacher is not of the corpus, or none of them states any answer.
    """
    for teacher in teachers:
        if teacher not in corpus.teachers:
            raise unknown("teacher", teacher, corpus.teachers)
    rng = random.Random(f"standard-kd {cell.seed}")
    rows, right, rationales = [], 0, 0
    for row in corpus.rows("train"):
        for teacher in teachers:
            if teacher not in row.rationales:
                continue
            rationales += 1
            answer = _answer(row, row.rationales[teacher], rng)
            if answer:
                question = row.question
                right += answer == question.answer
                name = f"{question.id}/{teacher}"
                rows.append(Row(dataclasses.replace(question, id=name, answer=answer), {}))
    if not rows:
        raise UserError(
            f"{corpus.directory}: none of {', '.join(teachers)} states an answer in its training "
            "rationales, so there is nothing for Standard-KD; leave the method out"
        )
    counts = f"{len(rows):,} of {rationales:,} rationales give an answer, {right:,} the gold one"
    print(f"Standard-KD: {counts}", file=sys.stderr)
    report = {"answers of": list(teachers), "answers": len(rows), "right": right}
    store.write_with_train(out, corpus, rows, report, f"answers of {', '.join(teachers)}")


def _answer(row: Row, rationale: Rationale, rng: random.Random) -> str | None:
    """The answer that a teacher gives to a question: drawn from its votes, else what it states."""
    choices = row.question.choices
    if rationale.votes:
        # What is left of 1 are samples that state no answer.
        left = rng.random()
        for choice, share in zip(choices, rationale.votes, strict=True):
            left -= share
            if left < 0:
                return choice
        return None
    stated = stated_answer(rationale.text, row.question)
    return None if stated is None else choices[stated]
