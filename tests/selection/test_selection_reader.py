"""What a reader is shown, and whom it judges."""

import dataclasses

import numpy as np
import pytest

from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.selection import reader
from tinyllm_jax.tasks.question import Question
from tinyllm_jax.training.recipes import default_config, run_of, set_student

QUESTION = Question("q", "obqa", "train", "", "What floats?", ("a stone", "cork", "iron"), "cork")


@pytest.mark.parametrize(
    "text, shown",
    [
        ("Cork is light, so cork floats.", "… is light, so … floats."),
        ("The answer is (b) cork.", "The … …."),
        ("Option b is right; not (a) or (c).", "… is right; not (a) or (c)."),
        ("The answer is b.", "The …."),
        ("A corkscrew sinks, but not a (b)oat.", "A corkscrew sinks, but not a …oat."),
        ("A bee is not a stone.", "A bee is not a stone."),
    ],
)
def test_the_answer_is_masked(text, shown):
    assert reader.masked(text, QUESTION) == shown


def test_questions_of_equal_text_share_a_fold_and_folds_are_even():
    texts = [f"What does {index // 2} do?" for index in range(1000)]
    rows = [Row(dataclasses.replace(QUESTION, question=text), {}) for text in texts]
    parts = reader.dealt(rows, 5, "x")
    assert (parts[::2] == parts[1::2]).all() and (np.bincount(parts) == 200).all()
    assert (parts != reader.dealt(rows, 5, "y")).mean() > 0.7
    np.testing.assert_array_equal(reader.dealt(rows[::-1], 5, "x"), parts[::-1])
    assert reader.dealt(rows[:1], 5, "x").tolist() == [0]


def test_equal_texts_about_equal_questions_are_judged_together():
    texts = ["It floats.", "It floats.", "It sinks."]
    rows = [
        Row(dataclasses.replace(QUESTION, id=str(i)), {"a": Rationale(text, "a")})
        for i, text in enumerate(texts)
    ]
    found = reader._averaged(np.array([[1.0], [-0.5], [3.0]]), rows, ("a",))
    assert found.tolist() == [[0.25], [0.25], [3.0]]


@pytest.mark.usefixtures("quick_compilation", "one_device")
def test_every_rationale_with_a_weight_is_judged_and_readers_are_kept(
    things_corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr(reader, "FOLDS", 2)
    monkeypatch.setattr(reader, "DEALS", 1)
    corpus = Corpus(things_corpus)
    config = default_config()
    set_student(config, "word-tiny")
    config.task, config.steps, config.batch_size, config.log_every = "things", 2, 8, 1
    run = run_of(config)
    found = reader.utilities(corpus, run, tmp_path)
    assert found.shape == (96, 2) and np.isfinite(found).all()
    # A second call trains nothing, and judges alike.
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("checkpoints/*/*/*") if p.is_file()}
    np.testing.assert_array_equal(reader.utilities(corpus, run, tmp_path), found)
    assert before == {p: p.stat().st_mtime_ns for p in before} and before

    # No question stands among those that its own reader has learned from.
    for fold in range(2):
        learned = Corpus(tmp_path / f"reader-0-{fold}" / "corpus").rows("train")
        subjects = {row.question.question for row in learned}
        rows = corpus.rows("train")
        parts = reader.dealt(rows, 2, "deal 0")
        judged = [row.question.question for row, at in zip(rows, parts, strict=True) if at == fold]
        assert judged and not subjects & set(judged)
