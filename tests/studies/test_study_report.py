"""What a study's tables and cases say of answers that are known beforehand."""

import dataclasses
import math

import pytest
from test_study_runner import small

from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.evaluation.results import Prediction, Result
from tinyllm_jax.studies import page, report
from tinyllm_jax.studies.cases import cases
from tinyllm_jax.studies.runner import Done, Outcome
from tinyllm_jax.studies.study import study_of
from tinyllm_jax.studies.tables import tables

METHODS = (
    {"name": "answers only"},
    {"name": "material", "teachers": "material"},
    {"name": "both", "teachers": "all"},
)
TERMS = {
    "answers only": ("answer",),
    "material": ("answer", "material"),
    "both": ("answer", "material", "shape"),
}
# Which of the 24 test questions each method answers right.
RIGHT = {"answers only": range(6), "material": range(14), "both": range(2, 22)}


@pytest.fixture
def known(things_corpus):
    """A study whose methods answer what `RIGHT` says, and what its directory would hold."""
    study = study_of(small(things_corpus, METHODS))
    questions = [row.question for row in Corpus(things_corpus).rows("test")]
    tested = {}
    for cell in study.cells():
        predictions = []
        for index, question in enumerate(questions):
            gold = question.gold
            chosen = gold if index in RIGHT[cell.method] else (gold + 1) % 4
            scores = tuple(math.log(0.7 if at == chosen else 0.1) for at in range(4))
            predictions.append(
                Prediction(
                    question.id,
                    question.key,
                    gold,
                    scores,
                    tokens=(2, 2, 2, 2),
                    likelihood=chosen,
                    likelihood_per_token=chosen,
                    likelihood_credit=float(chosen == gold),
                    likelihood_per_token_credit=float(chosen == gold),
                    generated=question.choices[chosen],
                    exact_match=chosen == gold,
                    normalised_match=chosen == gold,
                    cut=False,
                    unfinished=False,
                )
            )
        result = Result("things", "test", tuple(predictions), 0.25, None, {}, 1.0, 2)
        curve = [
            {"step": step, "questions_per_second": rate, "model_flops_per_second": 3e12 * rate}
            for step, rate in ((2, 5.0), (5, 8.0))
        ]
        tested[cell] = Outcome(result, curve, TERMS[cell.method])
    trained = {cell: {"seconds_in_steps": 1.0} for cell in tested}
    return study, Done(trained, tested, {})


def test_what_a_teacher_adds_to_all_others(known):
    (table,) = tables(*known)
    # `material` is all but `shape`; no method is all but `material`.
    (shape,) = table.contributions.items()
    assert shape[0] == "shape" and shape[1].mean == pytest.approx(6 / 24)
    assert "| shape | +25.0" in report.markdown("A study", *known)


def test_the_cost_is_that_of_every_step(known):
    (table,) = tables(*known)
    # Five steps of eight questions, three TFLOP each.
    assert table.lines[0].flops == pytest.approx(5 * 8 * 3e12)
    assert "| 120 | 1 |" in report.markdown("A study", *known)


def test_methods_are_shown_while_the_baseline_waits(known):
    study, done = known
    tested = {cell: done.tested[cell] for cell in done.tested if cell.method != study.baseline}
    done = dataclasses.replace(done, tested=tested)
    (table,) = tables(study, done)
    assert [line.method for line in table.lines] == ["material", "both"]
    assert all(line.against_baseline is None for line in table.lines)
    assert "Not tested yet: answers only." in report.markdown("A study", study, done)
    assert cases(study, done, table) == []


def test_cases_show_where_the_best_method_and_the_baseline_differ(known, things_corpus):
    study, done = known
    (table,) = tables(study, done)
    found = cases(study, done, table)
    questions = [row.question for row in Corpus(things_corpus).rows("test")]
    # Both: 6 to 21 alone; answers only: 0 and 1 alone.
    assert [case.question for case in found] == [questions[6], questions[7], questions[0]]
    first = found[0]
    assert [(number, method) for number, method, _, _ in first.answers] == [
        (0, "answers only"),
        (1, "material"),
        (2, "both"),
    ]
    assert [choice == first.question.gold for _, _, choice, _ in first.answers] == [
        *(False, True, True)
    ]
    assert all(share == pytest.approx(0.7) for *_, share in first.answers)
    # Both teachers wrote about the thing where training asks about it.
    assert {teacher for teacher, _ in first.rationales} == {"material", "shape"}
    html = page.html_page("A study", study, done)
    assert "Where methods differ" in html and first.rationales[0][1] in html


def test_guessing_and_the_paper_stand_beside(known):
    (table,) = tables(*known)
    assert report.beside(table) == ["Picking at random is right in 25.0 % of the questions."]
    # The paper has the task, and its numbers come with what they are worth.
    said = report.beside(dataclasses.replace(table, task="arc"))[-1]
    assert "FLAN-T5 small (80M) zero-shot 19.3, LoRA 27.1, fine-tuning 27.5, TinyLLM 31.9;" in said
    assert "base (250M) fine-tuning 38.9, TinyLLM 48.0" in said and "LLaMA 2 45.9." in said
    assert "single runs" in said
    page_text = page.html_page("A study", *known)
    assert "Picking at random is right in 25.0 %" in page_text
