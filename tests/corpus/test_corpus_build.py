"""Building from logs: the join, what is counted, and bytes that do not depend on the logs' order."""

import dataclasses
import random

import pytest

from tinyllm_jax.corpus import tfrecord
from tinyllm_jax.corpus.build import build
from tinyllm_jax.corpus.logrow import LogRow, row_key
from tinyllm_jax.corpus.report import format_report
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks.question import Question

QUESTIONS = {split: [Question(f"{split}{index}", "puzzles", split, "", f"What is {index} + 1?", ("0", str(index + 1)),
                              str(index + 1)) for index in range(count)] for split, count in (("train", 6), ("test", 2))}


def log_row(question, teacher="b-teacher", seed=0, **fields):
    row = LogRow(
        key=row_key(question.key, question.id, question.split, teacher, "the prompt", "{}", seed), question_id=question.id,
        question_key=question.key, task="puzzles", split=question.split, teacher=teacher, model="org/m", revision="r1",
        prompt_hash="h", sampling="{}", seed=seed, forced=True, text=f"We add one to {question.id}, giving a sum.",
        finish_reason="stop", prompt_tokens=9, tokens=12, seconds=0.5)
    return dataclasses.replace(row, **fields)


def write_log(path, rows):
    with path.open("wb") as file:
        for row in rows:
            tfrecord.write_record(file, row.to_bytes())
    return path


def all_rows(teacher="b-teacher"):
    return [log_row(question, teacher) for part in QUESTIONS.values() for question in part]


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_join(tmp_path):
    first, *rest = all_rows()
    logs = [write_log(tmp_path / "a", [first, *rest[1:]]), write_log(tmp_path / "b", all_rows("a-teacher"))]
    manifest = build("puzzles", QUESTIONS, logs, tmp_path / "out")
    corpus = Corpus(tmp_path / "out", "puzzles")
    assert corpus.teachers == ("a-teacher", "b-teacher")
    rows = corpus.rows("train")
    assert [row.question for row in rows] == QUESTIONS["train"]
    assert [sorted(row.rationales) for row in rows[:2]] == [["a-teacher", "b-teacher"], ["a-teacher"]]
    got = rows[0].rationales["b-teacher"]
    for name in ("model", "revision", "prompt_hash", "sampling", "forced", "text", "finish_reason", "tokens", "teacher"):
        assert getattr(got, name) == getattr(first, name)
    assert got.weight == 1 and got.flags == ()
    assert manifest.report["splits"]["train"]["teachers"]["b-teacher"]["missing"] == 1
    assert "a-teacher" in format_report(manifest.report)


def test_bytes_do_not_depend_on_the_order(tmp_path):
    rows = all_rows() + all_rows("a-teacher")
    rows.append(dataclasses.replace(rows[0], text="Another run wrote this.", seconds=0.1))  # the same key again
    for name, seed in (("one", 1), ("two", 2)):
        random.Random(seed).shuffle(rows)
        logs = [write_log(tmp_path / f"{name}{part}", rows[part::3]) for part in range(3)]
        report = build("puzzles", QUESTIONS, logs[::-1], tmp_path / name).report
        assert report["log"]["rows logged twice"] == 1
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_rows_of_unknown_and_changed_questions_are_counted(tmp_path):
    stranger = Question("x", "puzzles", "train", "", "Who?", ("a", "b"), "a")
    changed = log_row(QUESTIONS["train"][0], text="old", question_key="0" * 64)
    log = write_log(tmp_path / "log", [log_row(stranger), changed, *all_rows()])
    report = build("puzzles", QUESTIONS, [log], tmp_path / "out").report
    assert report["log"] == {"rows": 10, "rows of an unknown or changed question": 2, "rows logged twice": 0,
                             "bytes of a torn last row": 0}
    assert "unknown or changed question 2" in format_report(report)


def test_a_torn_tail_is_counted(tmp_path):
    log = write_log(tmp_path / "log", all_rows())
    log.write_bytes(log.read_bytes()[:-5])
    report = build("puzzles", QUESTIONS, [log], tmp_path / "out").report
    last = len(tfrecord.frame(all_rows()[-1].to_bytes()))
    assert report["log"]["bytes of a torn last row"] == last - 5
    assert report["splits"]["test"]["teachers"]["b-teacher"]["missing"] == 1


def test_an_empty_rationale_has_no_weight(tmp_path):
    log = write_log(tmp_path / "log", [log_row(QUESTIONS["train"][0], text=" "), *all_rows()[1:]])
    build("puzzles", QUESTIONS, [log], tmp_path / "out")
    rationale = Corpus(tmp_path / "out").rows("train")[0].rationales["b-teacher"]
    assert (rationale.weight, rationale.flags) == (0, ("empty",))


def _two_versions(tmp_path):
    question = QUESTIONS["train"][0]
    return [write_log(tmp_path / "a", [log_row(question)]), write_log(tmp_path / "b", [log_row(question, seed=1)])]


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


@pytest.mark.parametrize("make, message", [
    (_two_versions, r"two different rationales of b-teacher for question 'train0' of train: .*/a \(key .*/b \(key"),
    (_damaged, "damaged file .*log: record 0 at byte 0"),
    (_not_a_log, "log: record 0: not a row"),
    (lambda tmp_path: [tmp_path / "absent"], "cannot read .*absent"),
    (lambda tmp_path: [], "no row of no log"),
    (lambda tmp_path: [write_log(tmp_path / "log", [log_row(QUESTIONS["train"][0], task="obqa")])], "is of task 'obqa'"),
])
def test_bad_logs(tmp_path, make, message):
    with pytest.raises(UserError, match=message):
        build("puzzles", QUESTIONS, make(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()
