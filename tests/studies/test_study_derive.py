"""The corpora that cells learn from: a share of the labels, and the teachers' answers."""

import collections
import dataclasses

import pytest
from etils import epath
from test_study_runner import small

from tinyllm_jax.corpus import store
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError
from tinyllm_jax.studies import derive
from tinyllm_jax.studies.study import study_of
from tinyllm_jax.tasks.question import Question

CHOICES = ("one", "two", "three")


def question(index: int, text: str = "", split: str = "train") -> Question:
    text = text or f"Which is {index}?"
    return Question(f"{split}{index}", "things", split, f"{index}", text, CHOICES, "two")


def write(path, rows, teachers=()) -> Corpus:
    splits = {"train": rows, "validation": [Row(question(0, split="validation"), {})]}
    store.write_corpus(path, "things", teachers, splits, {}, "by hand")
    return Corpus(path)


def derived(corpus, tmp_path, method, **fields) -> Corpus:
    """The corpus of the study's last cell."""
    methods = ({"name": "answers only"}, {"name": "it", **method})
    study = study_of(small(corpus.directory, methods, **fields))
    return derive.corpus_of(study, study.cells()[-1], epath.Path(tmp_path / "derived"))


def test_a_share_of_the_labels_takes_that_share_of_every_text(tmp_path):
    texts = [f"What can {name} do?" for name in "abcdefgh" for _ in range(4)]
    rows = [Row(question(index, text), {}) for index, text in enumerate(texts)]
    rows += [Row(question(index), {}) for index in range(100, 300)]
    corpus = write(tmp_path / "corpus", rows)
    kept = {}
    for fraction in (0.25, 0.5, 0.75):
        corpus_of = derived(corpus, tmp_path, {}, fractions=(fraction,))
        kept[fraction] = {row.question.id for row in corpus_of.rows("train")}
        counts = collections.Counter(row.question.question for row in corpus_of.rows("train"))
        assert {counts[text] for text in texts} == {4 * fraction}
        single = sum(int(name[5:]) >= 100 for name in kept[fraction])
        assert abs(single - 200 * fraction) < 30
        assert len(corpus_of.rows("validation")) == 1
    assert kept[0.25] < kept[0.5] < kept[0.75]


def test_standard_kd_learns_the_teachers_answers(tmp_path, capsys):
    votes = Rationale("It rises.", "a", votes=(0.25, 0.5, 0.0))  # a quarter states no answer
    stated = Rationale("It rises. So the answer is (c).", "b")
    silent = Rationale("It rises.", "b")
    rows = [
        Row(question(index), {"a": votes, "b": stated if index % 2 else silent})
        for index in range(400)
    ]
    corpus = write(tmp_path / "corpus", rows, ("a", "b"))
    found = derived(corpus, tmp_path, {"policy": "standard-kd", "teachers": "all"})
    answers: dict = {"a": collections.Counter(), "b": collections.Counter()}
    for row in found.rows("train"):
        assert not row.rationales
        name, _, teacher = row.question.id.partition("/")
        original = question(int(name[5:]))
        assert row.question == dataclasses.replace(
            original, id=row.question.id, answer=row.question.answer
        )
        answers[teacher][row.question.answer] += 1
    assert answers["b"] == {"three": 200}
    assert set(answers["a"]) == {"one", "two"}
    assert abs(answers["a"]["one"] - 100) < 30 and abs(answers["a"]["two"] - 200) < 35
    assert found.manifest.report["answers"] == answers["a"].total() + 200
    assert found.manifest.report["right"] == answers["a"]["two"]
    assert [row.question.answer for row in found.rows("validation")] == ["two"]

    # One teacher alone, who is asked for by name.
    capsys.readouterr()
    alone = derived(corpus, tmp_path, {"policy": "standard-kd", "teachers": "b"})
    assert len(alone.rows("train")) == 200
    told = "Standard-KD: 200 of 400 rationales give an answer, 0 the gold one\n"
    assert capsys.readouterr().err == told
    with pytest.raises(UserError, match="unknown teacher 'c'"):
        derived(corpus, tmp_path, {"policy": "standard-kd", "teachers": "c"})


def test_standard_kd_needs_a_teacher_that_answers(tmp_path):
    rows = [Row(question(0), {"b": Rationale("It rises.", "b")})]
    corpus = write(tmp_path / "corpus", rows, ("b",))
    with pytest.raises(UserError, match="none of b states an answer"):
        derived(corpus, tmp_path, {"policy": "standard-kd", "teachers": "all"})
