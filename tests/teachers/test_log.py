"""The log: torn tails are cut, damage and second writers are refused, nothing is lost."""

import dataclasses
import subprocess
import sys

import pytest

from tinyllm_jax.corpus import tfrecord
from tinyllm_jax.corpus.logrow import LogRow, read_log, row_key
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks import Question
from tinyllm_jax.teachers.log import Log

ROW = LogRow(
    "k",
    "q1",
    "c",
    "things",
    "train",
    "shape",
    "scripted:shape",
    "",
    "p",
    "{}",
    0,
    True,
    0,
    "naïve → 3.",
    "stop",
    10,
    5,
    -0.5,
    0,
    0.25,
    "",
)


def write(path, count: int) -> None:
    with Log(path, "things", "shape") as log:
        for i in range(count):
            log.append(dataclasses.replace(ROW, key=f"k{i}"))


def test_rows_come_back_equal(tmp_path):
    path = tmp_path / "a" / "shape.tfrecord"
    write(path, 3)
    assert list(read_log(path)) == [dataclasses.replace(ROW, key=f"k{i}") for i in range(3)]
    with Log(path, "things", "shape") as log:
        assert list(log.rows) == ["k0", "k1", "k2"] and log.cut == 0 and not log.failed


def test_row_bytes_are_pinned():
    assert ROW.to_bytes().decode() == (
        '{"context_cut":0,"error":"","finish_reason":"stop","forced":true,"key":"k","mean_logprob":-0.5,'
        '"model":"scripted:shape","prompt_hash":"p","prompt_tokens":10,"question_id":"q1","question_key":"c","revision":"",'
        '"sample":0,"sampling":"{}","seconds":0.25,"seed":0,"split":"train","task":"things","teacher":"shape",'
        '"text":"naïve → 3.","tokens":5}'
    )
    assert (
        LogRow.from_bytes(dataclasses.replace(ROW, mean_logprob=None).to_bytes()).mean_logprob
        is None
    )


def test_key_covers_everything_that_decides_the_text():
    question = Question("b", "things", "train", "", "Why?", ("x", "y"), "x")
    base = dict(
        question=question, teacher="c", model="m", prompt="d", sampling="{}", seed=0, sample=0
    )
    other = {"seed": 1, "sample": 1, "question": dataclasses.replace(question, answer="y")}
    changed = [row_key(**{**base, name: other.get(name, "x")}) for name in base]
    changed += [
        row_key(**{**base, "question": dataclasses.replace(question, **{name: "test"})})
        for name in ("id", "split")
    ]
    assert len({row_key(**base), *changed}) == len(base) + 3


def test_a_failed_row_is_made_good_by_a_later_one(tmp_path):
    path = tmp_path / "shape.tfrecord"
    failed = dataclasses.replace(ROW, text="", error="timed out")
    with Log(path, "things", "shape") as log:
        log.append(failed)
    with Log(path, "things", "shape") as log:
        assert not log.rows and log.failed == {"k": failed}
        log.append(ROW)
        assert log.rows == {"k": ROW} and not log.failed
    with Log(path, "things", "shape") as log:
        assert log.rows == {"k": ROW} and not log.failed


def test_a_log_that_is_being_written_can_be_read(tmp_path):
    path = tmp_path / "shape.tfrecord"
    write(path, 3)
    path.write_bytes(path.read_bytes()[:-3])
    assert [row.key for row in read_log(path, torn_tail=True)] == ["k0", "k1"]
    with pytest.raises(UserError, match="damaged file"):
        list(read_log(path))


def test_a_tail_torn_at_any_byte_is_cut(tmp_path):
    path = tmp_path / "shape.tfrecord"
    write(path, 2)
    whole = path.read_bytes()
    first = len(tfrecord.frame(dataclasses.replace(ROW, key="k0").to_bytes()))
    for end in range(first + 1, len(whole), 7):
        path.write_bytes(whole[:end])
        with Log(path, "things", "shape") as log:
            assert list(log.rows) == ["k0"] and log.cut == end - first
            log.append(dataclasses.replace(ROW, key="k1"))
        assert path.read_bytes() == whole


def test_damage_in_the_middle_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "shape.tfrecord"
    write(path, 3)
    broken = bytearray(path.read_bytes())
    broken[40] ^= 1
    path.write_bytes(broken)
    with pytest.raises(UserError, match="damaged file .*record 0"):
        Log(path, "things", "shape")
    assert path.read_bytes() == broken


def test_a_second_writer_is_refused(tmp_path):
    path = tmp_path / "shape.tfrecord"
    code = f"from tinyllm_jax.teachers.log import Log\nLog({str(path)!r}, 'things', 'shape')"
    with Log(path, "things", "shape"):
        refused = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert refused.returncode == 1 and "is being written by another process" in refused.stderr
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("task,teacher", [("things", "material"), ("arc", "shape")])
def test_another_job_s_log_is_refused(tmp_path, task, teacher):
    write(tmp_path / "shape.tfrecord", 1)
    with pytest.raises(UserError, match="holds teacher 'shape' on task 'things'"):
        Log(tmp_path / "shape.tfrecord", task, teacher)


def test_unwritable_places(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write log"):
        Log(tmp_path / "file" / "shape.tfrecord", "things", "shape")


def test_full_disk():
    """/dev/full takes no byte."""
    log = Log.__new__(Log)
    log.path, log._file, log._synced, log.rows = (
        "/dev/full",
        open("/dev/full", "ab"),  # noqa: SIM115  the log closes it
        0.0,
        {"k0": ROW},
    )
    with pytest.raises(UserError, match="No space left on device; its 1 rows are safe"), log:
        log.append(ROW)


def test_a_foreign_record_is_named(tmp_path):
    path = tmp_path / "shape.tfrecord"
    with open(path, "wb") as file:
        tfrecord.write_record(file, b'{"key": 1}')
    with pytest.raises(UserError, match="record 0: not a row of a rationale log"):
        Log(path, "things", "shape")


@pytest.mark.parametrize("change", [b'{"seed":"0"}', b'{"key":1,"x":2}', b"[]", b"\xff"])
def test_a_row_of_other_fields_or_types_is_refused(change):
    import json

    payload = change
    if change.startswith(b'{"seed"'):
        payload = json.dumps({**json.loads(ROW.to_bytes()), "seed": "0"}).encode()
    with pytest.raises(UserError, match="not a row of a rationale log"):
        LogRow.from_bytes(payload)
