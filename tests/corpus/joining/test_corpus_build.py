"""Building from logs: the join, the counts, and bytes that do not depend on the logs' order."""

import dataclasses
import random

import pytest
from small_logs import FIRST, QUESTIONS, all_rows, contents, failed, log_row, write_log

from tinyllm_jax.corpus import tfrecord
from tinyllm_jax.corpus.joining.build import build
from tinyllm_jax.corpus.showing.report import format_report
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks.question import Question


def test_join(tmp_path):
    first, *rest = all_rows()
    logs = [
        write_log(tmp_path / "a", [first, *rest[1:]]),
        write_log(tmp_path / "b", all_rows("a-teacher")),
    ]
    manifest = build("things", QUESTIONS, logs, tmp_path / "out")
    corpus = Corpus(tmp_path / "out", "things")
    assert corpus.teachers == ("a-teacher", "b-teacher")
    rows = corpus.rows("train")
    assert [row.question for row in rows] == QUESTIONS["train"]
    assert [sorted(row.rationales) for row in rows[:2]] == [
        ["a-teacher", "b-teacher"],
        ["a-teacher"],
    ]
    got = rows[0].rationales["b-teacher"]
    for name in (
        "model",
        "revision",
        "prompt_hash",
        "sampling",
        "forced",
        "text",
        "finish_reason",
        "tokens",
        "teacher",
    ):
        assert getattr(got, name) == getattr(first, name)
    assert got.weight == 1 and got.flags == () and got.votes == ()
    assert manifest.report["splits"]["train"]["teachers"]["b-teacher"]["missing"] == 1
    assert "a-teacher" in format_report(manifest.report)


def test_bytes_do_not_depend_on_the_order(tmp_path):
    rows = all_rows() + all_rows("a-teacher")
    rows.append(
        dataclasses.replace(rows[0], text="Another run wrote this.", seconds=0.1)
    )  # the same key again
    for name, seed in (("one", 1), ("two", 2)):
        random.Random(seed).shuffle(rows)
        logs = [write_log(tmp_path / f"{name}{part}", rows[part::3]) for part in range(3)]
        report = build("things", QUESTIONS, logs[::-1], tmp_path / name).report
        assert report["log"]["rows logged twice"] == 1
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_rows_of_unknown_and_changed_questions_are_counted(tmp_path):
    stranger = Question("x", "things", "train", "", "Who?", ("a", "b"), "a")
    changed = log_row(QUESTIONS["train"][0], text="old", question_key="0" * 64)
    log = write_log(tmp_path / "log", [log_row(stranger), changed, *all_rows()])
    report = build("things", QUESTIONS, [log], tmp_path / "out").report
    assert report["log"] == {
        "rows": 10,
        "rows of an unknown or changed question": 2,
        "rows logged twice": 0,
        "failed rows": 0,
        "failed, never made good": 0,
        "bytes of a torn last row": 0,
    }
    assert "unknown or changed question 2" in format_report(report)


def test_a_torn_tail_is_counted(tmp_path):
    log = write_log(tmp_path / "log", all_rows())
    log.write_bytes(log.read_bytes()[:-5])
    report = build("things", QUESTIONS, [log], tmp_path / "out").report
    last = len(tfrecord.frame(all_rows()[-1].to_bytes()))
    assert report["log"]["bytes of a torn last row"] == last - 5
    assert report["splits"]["test"]["teachers"]["b-teacher"]["missing"] == 1


def test_an_empty_row_of_an_older_log_is_a_failed_row(tmp_path):
    log = write_log(tmp_path / "log", [log_row(QUESTIONS["train"][0], text=" "), *all_rows()[1:]])
    report = build("things", QUESTIONS, [log], tmp_path / "out").report
    assert Corpus(tmp_path / "out").rows("train")[0].rationales == {}
    assert report["log"]["failed, never made good"] == 1


def test_failed_rows_are_never_used(tmp_path):
    good = all_rows()
    rows = [failed(good[0]), failed(good[0]), failed(good[1]), *good[1:]]
    report = build(
        "things", QUESTIONS, [write_log(tmp_path / "log", rows)], tmp_path / "out"
    ).report
    assert report["log"]["failed rows"] == 3 and report["log"]["failed, never made good"] == 1
    assert report["log"]["rows logged twice"] == 0
    assert report["splits"]["train"]["teachers"]["b-teacher"]["missing"] == 1
    first, second, *_ = Corpus(tmp_path / "out").rows("train")
    assert first.rationales == {} and second.rationales["b-teacher"].text == good[1].text
    text = format_report(report)
    assert "failed rows 3" in text and "failed, never made good 1" in text


def test_totals_of_what_was_generated(tmp_path):
    rows = [
        log_row(QUESTIONS["train"][index], tokens=tokens, context_cut=cut)
        for index, (tokens, cut) in enumerate([(5, 0), (-1, 7), (3, 2)])
    ]
    report = build(
        "things", QUESTIONS, [write_log(tmp_path / "log", [*rows, rows[0]])], tmp_path / "out"
    ).report
    assert report["generations"] == {
        "b-teacher": {
            "rows": 3,
            "prompt_tokens": 27,
            "tokens": 8,
            "contexts_cut": 2,
            "context_words_cut": 9,
        }
    }


def test_times_are_not_in_a_corpus(tmp_path):
    """A job that was killed and went on has other times, and makes the same corpus."""
    for name, seconds in (("one", 0.5), ("two", 70.0)):
        rows = [dataclasses.replace(row, seconds=seconds) for row in all_rows()]
        build("things", QUESTIONS, [write_log(tmp_path / f"{name}.log", rows)], tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize(
    "other, differs",
    [
        (dict(seed=1), "seed 0: 8 rows.*seed 1: 1 row"),
        (dict(revision="r2"), "model r1: 8 rows.*model r2: 1 row"),
        (dict(revision="", model="org/other"), "model r1: 8 rows.*model org/other: 1 row"),
        (
            dict(sampling='{"stop":[],"top_p":0.5}'),
            r"stop none, top_p none: 8 rows.*stop \[\], top_p 0.5: 1 row",
        ),
        (
            dict(prompt_hash="another"),
            "forced prompt the forced prompt: 8 rows.*forced prompt another: 1 row",
        ),
    ],
)
def test_rows_made_in_two_ways_are_not_mixed(tmp_path, other, differs):
    stray = dataclasses.replace(log_row(QUESTIONS["test"][0]), key="f" * 64, **other)
    logs = [write_log(tmp_path / "a", all_rows()), write_log(tmp_path / "b", [stray])]
    with pytest.raises(
        UserError,
        match=rf"teacher 'b-teacher' were not all made in one way: .*a \({differs}.*--log",
    ) as error:
        build("things", QUESTIONS, logs, tmp_path / "out")
    assert str(tmp_path / "a") in str(error.value) and str(tmp_path / "b") in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_revision_names_the_weights_wherever_they_lie(tmp_path):
    rows = [
        dataclasses.replace(row, model=f"/somewhere/{index}")
        for index, row in enumerate(all_rows())
    ]
    build("things", QUESTIONS, [write_log(tmp_path / "log", rows)], tmp_path / "out")
    assert len(Corpus(tmp_path / "out").manifest.teachers["b-teacher"]) == 8


def test_failed_rows_and_strangers_of_another_setting_are_no_mix(tmp_path):
    stranger = Question("x", "things", "train", "", "Who?", ("a", "b"), "a")
    rows = [*all_rows(), failed(log_row(FIRST, seed=1)), log_row(stranger, seed=2)]
    report = build(
        "things", QUESTIONS, [write_log(tmp_path / "log", rows)], tmp_path / "out"
    ).report
    assert report["log"]["failed, never made good"] == 1


def _two_versions(tmp_path):
    row = log_row(FIRST)
    return [
        write_log(tmp_path / "a", [row]),
        write_log(tmp_path / "b", [dataclasses.replace(row, key="f" * 64)]),
    ]


def _damaged(tmp_path):
    log = write_log(tmp_path / "log", all_rows())
    data = bytearray(log.read_bytes())
    data[40] ^= 1
    log.write_bytes(data)
    return [log]


def _not_a_log(tmp_path):
    with (tmp_path / "log").open("wb") as file:
        tfrecord.write_record(file, b"{}")
    return [tmp_path / "log"]


@pytest.mark.parametrize(
    "make, message",
    [
        (
            _two_versions,
            r"two different rationales of b-teacher for question 'train0' of train: "
            r".*/a \(key .*/b \(key",
        ),
        (_damaged, "damaged file .*log: record 0 at byte 0"),
        (_not_a_log, "log: record 0: not a row"),
        (lambda tmp_path: [tmp_path / "absent"], "cannot read .*absent"),
        (lambda tmp_path: [], "no row of no log"),
        (
            lambda tmp_path: [write_log(tmp_path / "log", map(failed, all_rows()))],
            "all 8 rows of .*log failed, one with: timed",
        ),
        (
            lambda tmp_path: [write_log(tmp_path / "log", [log_row(FIRST, task="obqa")])],
            "is of task 'obqa'",
        ),
    ],
)
def test_bad_logs(tmp_path, make, message):
    with pytest.raises(UserError, match=message):
        build("things", QUESTIONS, make(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()
