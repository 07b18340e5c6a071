"""A corpus in, and out with other weights."""

import dataclasses

import pytest

from tinyllm_jax.corpus import store
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError
from tinyllm_jax.selection import reader, select
from tinyllm_jax.tasks.question import Question
from tinyllm_jax.training.recipes import default_config, run_of, set_student


def question(i: int, split: str = "train") -> Question:
    return Question(f"q{i}", "obqa", split, "", f"What is {i}?", ("one", "two"), "two")


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    voted = Rationale("Because it is.", "a", votes=(0.5, 0.25))
    rows = [
        Row(question(0), {"a": voted, "b": Rationale("So it is.", "b")}),
        Row(question(1), {"a": dataclasses.replace(voted, weight=0.5, votes=(0.0, 1.0))}),
        Row(question(2), {"b": Rationale("", "b", weight=0.0, flags=("empty",))}),
    ]
    splits = {"train": rows, "validation": [Row(question(3, "validation"), {"a": voted})]}
    store.write_corpus(tmp_path / "corpus", "obqa", ("a", "b"), splits, {}, "by hand")
    return Corpus(tmp_path / "corpus")


def weights(directory, split="train"):
    return [
        {teacher: r.weight for teacher, r in row.rationales.items()}
        for row in Corpus(directory).rows(split)
    ]


def test_votes_multiply_and_validation_stays(corpus, tmp_path):
    manifest = select.select(corpus, "votes", tmp_path / "out")
    assert weights(tmp_path / "out") == [{"a": 0.25, "b": 1.0}, {"a": 0.5}, {"b": 0.0}]
    assert weights(tmp_path / "out", "validation") == [{"a": 1.0}]
    assert manifest.report["made from"] == corpus.fingerprint
    assert manifest.report["selection"] == {
        "policy": "votes",
        "kept": {
            "a": {"before": 2, "after": 2, "weight": 0.75},
            "b": {"before": 1, "after": 1, "weight": 1.0},
        },
    }
    assert weights(corpus.directory)[0] == {"a": 1.0, "b": 1.0}


def test_clean_drops_bad_flags(corpus, tmp_path):
    select.select(corpus, "clean", tmp_path / "out")
    assert weights(tmp_path / "out") == [{"a": 1.0, "b": 1.0}, {"a": 0.5}, {"b": 0.0}]


def test_bad_input_is_one_line_before_any_work(corpus, tmp_path):
    with pytest.raises(UserError, match="unknown policy 'helpfull'; did you mean 'helpful'"):
        select.select(corpus, "helpfull", tmp_path / "out")
    with pytest.raises(UserError, match="policy helpful trains readers: it needs --config"):
        select.select(corpus, "helpful", tmp_path / "out")
    with pytest.raises(UserError, match="the threshold is 0.1 nats; it must be below 0"):
        select.select(corpus, "clean", tmp_path / "out", threshold=0.1)
    with pytest.raises(UserError, match="exists and is not an empty directory"):
        select.select(corpus, "votes", corpus.directory)


@pytest.mark.usefixtures("quick_compilation", "one_device")
def test_policies_of_readers_share_their_utilities(things_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "FOLDS", 2)
    monkeypatch.setattr(reader, "DEALS", 1)
    config = default_config()
    set_student(config, "word-tiny")
    config.task, config.steps, config.batch_size = "things", 2, 8
    run, corpus = run_of(config), Corpus(things_corpus)
    made = select.select(corpus, "selected", tmp_path / "one", run, tmp_path / "readers")
    kept = made.report["selection"]["kept"]
    assert kept["material"]["after"] + kept["shape"]["after"] == 96
    assert set(made.report["selection"]["teachers"]["shape"]) == {
        *("judged", "mean_utility", "helpful")
    }

    # No further training: the utilities are read.
    monkeypatch.setattr(reader, "utilities", lambda *_: pytest.fail("judged again"))
    router = select.select(corpus, "router", tmp_path / "two", run, tmp_path / "readers")
    assert router.report["selection"]["kept"]["material"]["before"] == 96
    assert sum(kept["after"] for kept in router.report["selection"]["kept"].values()) == 96
    with pytest.raises(UserError, match="made from another corpus or config"):
        other = dataclasses.replace(run, seed=1)
        select.select(corpus, "helpful", tmp_path / "three", other, tmp_path / "readers")


def test_a_line_for_each_teacher_says_what_is_kept_and_why():
    kept = {"before": 1200, "after": 1000, "weight": 1000.0}
    judged = {"judged": 1200, "mean_utility": 0.251, "helpful": 0.66}
    made_from = {"kept": {"a": kept, "b": kept}, "teachers": {"a": judged}, "doubted": ["b"]}
    assert select.lines(made_from) == [
        "a: 1,000 of 1,200 rationales keep a weight, +0.25 nats on the mean, 66 % helpful",
        "b: 1,000 of 1,200 rationales keep a weight; doubted, for it harms clearly more often than "
        "others",
    ]
