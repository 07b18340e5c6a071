"""Columns of finished corpora beside those of logs: the join, its counts, and names that clash."""

import dataclasses

import pytest
from small_logs import QUESTIONS, all_rows, contents, log_row, write_log

from tinyllm_jax.corpus import store
from tinyllm_jax.corpus.joining.build import build
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks.question import Question

TRAIN = QUESTIONS["train"]


def write(out, questions, teacher="old", weight=1.0, flags=()):
    """A corpus with a rationale of `teacher` on each train question."""
    rows = [
        Row(
            question,
            {
                teacher: Rationale(
                    f"Known of {question.question}",
                    teacher,
                    model="org/old",
                    weight=weight,
                    flags=flags,
                )
            },
        )
        for question in questions
    ]
    store.write_corpus(
        out, "things", [teacher], {"train": rows}, {"splits": {}, "overlap": {}}, "a test"
    )
    return out


def renamed(question, new_id):
    return dataclasses.replace(question, id=new_id)


def texts(out, teacher="old"):
    return [
        row.rationales[teacher].text if teacher in row.rationales else None
        for row in Corpus(out).rows("train")
    ]


def test_columns_side_by_side(tmp_path):
    log = write_log(tmp_path / "log", all_rows())
    old = write(tmp_path / "old", TRAIN[::-1])
    manifest = build("things", QUESTIONS, [log], tmp_path / "out", [old])
    assert Corpus(tmp_path / "out").teachers == ("b-teacher", "old")
    assert texts(tmp_path / "out") == [f"Known of {question.question}" for question in TRAIN]
    assert manifest.source == "rationale logs and other corpora"
    (summary,) = manifest.report["corpora"]
    assert summary == {
        "source": "a test",
        "fingerprint": Corpus(old).fingerprint,
        "teachers": ["old"],
        "rows": 6,
        "rows joined by content alone": 0,
        "rows that match no question": 0,
    }
    assert str(tmp_path) not in str(manifest)


def test_corpora_need_no_log_and_their_order_does_not_matter(tmp_path):
    corpora = [write(tmp_path / "a", TRAIN[:2], "a"), write(tmp_path / "b", TRAIN, "b")]
    build("things", QUESTIONS, [], tmp_path / "one", corpora)
    build("things", QUESTIONS, [], tmp_path / "two", corpora[::-1])
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert Corpus(tmp_path / "one").manifest.source == "other corpora"


def test_another_id_is_joined_by_content_where_that_is_unique(tmp_path):
    stranger = Question("s", "things", "train", "", "Who?", ("a", "b"), "a")
    old = write(tmp_path / "old", [renamed(TRAIN[1], "other"), TRAIN[2], stranger])
    report = build("things", QUESTIONS, [], tmp_path / "out", [old]).report
    assert [text is not None for text in texts(tmp_path / "out")] == [
        False,
        True,
        True,
        False,
        False,
        False,
    ]
    (summary,) = report["corpora"]
    assert (
        summary["rows"],
        summary["rows joined by content alone"],
        summary["rows that match no question"],
    ) == (3, 1, 1)


@pytest.mark.parametrize(
    "theirs, ours",
    [
        ([renamed(TRAIN[0], "x"), renamed(TRAIN[0], "y"), TRAIN[1]], TRAIN),
        ([renamed(TRAIN[0], "x"), TRAIN[1]], [*TRAIN, renamed(TRAIN[0], "again")]),
        ([renamed(TRAIN[0], "x"), TRAIN[0], TRAIN[1]], [renamed(TRAIN[0], "z"), TRAIN[1]]),
    ],
)
def test_content_that_is_not_unique_joins_nothing(tmp_path, theirs, ours):
    old = write(tmp_path / "old", theirs)
    (summary,) = build("things", {"train": ours}, [], tmp_path / "out", [old]).report["corpora"]
    assert (
        summary["rows joined by content alone"] == 0
        and summary["rows that match no question"] == len(theirs) - 1
    )


def test_the_same_content_in_another_split_is_no_match(tmp_path):
    moved = {"test": [dataclasses.replace(TRAIN[0], split="test")], "train": [TRAIN[1]]}
    old = write(tmp_path / "old", TRAIN[:2])
    (summary,) = build("things", moved, [], tmp_path / "out", [old]).report["corpora"]
    assert summary["rows that match no question"] == 1


def test_the_policy_weighs_imported_columns_too(tmp_path):
    old = write(tmp_path / "old", TRAIN, weight=0.25, flags=("contradicts", "duplicate"))
    build("things", QUESTIONS, [], tmp_path / "kept", [old])
    build("things", QUESTIONS, [], tmp_path / "clean", [old], "clean")
    kept, clean = (
        [row.rationales["old"] for row in Corpus(tmp_path / name).rows("train")]
        for name in ("kept", "clean")
    )
    assert {rationale.weight for rationale in kept} == {1} and {
        rationale.weight for rationale in clean
    } == {0}
    assert {rationale.flags for rationale in kept} == {
        ("contradicts",)
    }  # no text of this selection occurs twice


def test_a_teacher_in_two_inputs(tmp_path):
    log = write_log(tmp_path / "log", [log_row(teacher="old")])
    corpora = [write(tmp_path / "one", TRAIN), write(tmp_path / "two", TRAIN)]
    with pytest.raises(UserError, match="teacher 'old' is in .*/one and in .*/two"):
        build("things", QUESTIONS, [], tmp_path / "out", corpora)
    with pytest.raises(UserError, match="teacher 'old' is in .*/log and in .*/one"):
        build("things", QUESTIONS, [log], tmp_path / "out", corpora[:1])
    with pytest.raises(UserError, match="teacher 'old' is in .*/one and in .*/one"):
        build("things", QUESTIONS, [], tmp_path / "out", [corpora[0], corpora[0]])
    assert not (tmp_path / "out").exists()


def test_corpora_that_do_not_fit(tmp_path):
    stranger = Question("s", "things", "train", "", "Who?", ("a", "b"), "a")
    with pytest.raises(UserError, match="no row of .*/old is about a question"):
        build("things", QUESTIONS, [], tmp_path / "out", [write(tmp_path / "old", [stranger])])
    with pytest.raises(UserError, match="is a corpus of task 'things', not of 'obqa'"):
        build("obqa", {"train": []}, [], tmp_path / "out", [tmp_path / "old"])
