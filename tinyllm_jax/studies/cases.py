"""Test questions on which methods differ, with what teachers wrote about their like."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

from tinyllm_jax.corpus.schema import Row
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.evaluation.report import HEADLINE
from tinyllm_jax.studies.runner import Done
from tinyllm_jax.studies.study import Study
from tinyllm_jax.studies.tables import Table
from tinyllm_jax.tasks.question import Question

WON, LOST = 2, 1  # questions that the best method alone, and the baseline alone, answers right


@dataclasses.dataclass(frozen=True)
class Case:
    """A test question.

    Attributes:
      question: it.
      answers: of each method its number in the table, its name, the likeliest choice's index, and
        that choice's share of the probability of all choices.
      rationales: (teacher, text), of the corpus's questions with the same text.
    """

    question: Question
    answers: Sequence[tuple[int, str, int, float]]
    rationales: Sequence[tuple[str, str]]


def cases(study: Study, done: Done, table: Table) -> list[Case]:
    """The first questions on which the best method and the baseline differ, of the first seed."""
    best = max(table.lines, key=lambda line: line.accuracy.mean).method
    seed = min(min(line.rates) for line in table.lines)
    cells = {method: cells[seed] for method, cells in table.cells.items() if seed in cells}
    results = {method: done.tested[cell].result for method, cell in cells.items()}
    if best == study.baseline or not {best, study.baseline} <= set(results):
        return []

    # The questions that one of the two answers better than the other.
    right = {name: results[name].right(HEADLINE) for name in (best, study.baseline)}
    pairs = list(zip(right[best], right[study.baseline], strict=True))
    won = [index for index, (first, second) in enumerate(pairs) if first > second]
    lost = [index for index, (first, second) in enumerate(pairs) if second > first]

    corpus = Corpus(study.corpus(cells[best]), task=table.task)
    rows = {split: corpus.rows(split) for split in corpus.splits}
    questions = {row.question.id: row.question for row in rows["test"]}
    found = []
    for index in won[:WON] + lost[:LOST]:
        question = questions[results[best].predictions[index].id]
        answers = []
        for number, line in enumerate(table.lines):
            if line.method in results:
                prediction = results[line.method].predictions[index]
                chosen = prediction.likelihood, prediction.confidence
                answers.append((number, line.method, *chosen))
        found.append(
            Case(question, answers, _rationales(itertools.chain(*rows.values()), question))
        )
    return found


def _rationales(rows: Iterable[Row], question: Question) -> list[tuple[str, str]]:
    """What teachers wrote about questions of the same text, each text once."""
    written = [
        (teacher, rationale.text)
        for row in rows
        if row.question.question == question.question
        for teacher, rationale in row.rationales.items()
        if rationale.text
    ]
    return sorted(set(written))
