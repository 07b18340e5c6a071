"""The job: resumes after kill -9 to the very same rows, does nothing when finished, and never imports jax."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import pytest

from tinyllm_jax import tasks
from tinyllm_jax.errors import UserError
from tinyllm_jax.teachers import engine, job, log, scripted

SOURCE = "train=400,validation=20,test=20"
SLOW = """
import sys, time
from tinyllm_jax.teachers import job, scripted
explain = scripted.EXPLANATIONS["steps"]
scripted.EXPLANATIONS["steps"] = lambda text: time.sleep(0.005) or explain(text)
job.teach("puzzles", sys.argv[1], ["steps"], sys.argv[2])
"""


def rows(path):
    """The log's rows as bytes, without the time that each took."""
    return [dataclasses.replace(row, seconds=0.0).to_bytes() for row in log.read(path)]


def kill_when_longer(arguments: list[str], path, size: int) -> None:
    """Starts a process and kills it, with no chance to clean up, when its file is longer than `size` bytes."""
    process = subprocess.Popen([sys.executable, "-c", SLOW, *arguments], stderr=subprocess.DEVNULL)
    while process.poll() is None and (not path.exists() or path.stat().st_size <= size):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the job ended before it could be killed"


def test_killed_and_resumed_equals_uninterrupted(tmp_path, capsys):
    whole = job.teach("puzzles", SOURCE, ["steps"], tmp_path / "whole")["steps"]
    path = tmp_path / "killed" / "steps.tfrecord"
    sizes = [1]
    for _ in range(3):
        kill_when_longer([SOURCE, str(path.parent)], path, sizes[-1] + 20_000)
        sizes.append(path.stat().st_size)
    os.truncate(path, sizes[-1] - 5)  # and a torn tail
    resumed = job.teach("puzzles", SOURCE, ["steps"], path.parent)["steps"]
    assert whole.written == 400 and 0 < resumed.done_before < 400
    assert resumed.written == 400 - resumed.done_before and resumed.cut > 0
    assert rows(path) == rows(whole.log)
    assert "bytes of an interrupted append" in capsys.readouterr().err


def test_finished_job_does_nothing_and_says_so(tmp_path, capsys):
    job.teach("puzzles", SOURCE, ["steps", "back"], tmp_path)
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(tmp_path.iterdir())]
    capsys.readouterr()
    results = job.teach("puzzles", SOURCE, ["steps", "back"], tmp_path)
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(tmp_path.iterdir())] == before
    assert all((r.done_before, r.written) == (400, 0) for r in results.values())
    assert "all 400 rows were done before; nothing to do" in capsys.readouterr().out


def test_more_splits_and_another_seed_add_rows(tmp_path):
    job.teach("puzzles", SOURCE, ["steps"], tmp_path)
    more = job.teach("puzzles", SOURCE, ["steps"], tmp_path, splits=("train", "validation"))["steps"]
    assert (more.done_before, more.written) == (400, 20)
    assert job.teach("puzzles", SOURCE, ["steps"], tmp_path, seed=1)["steps"].done_before == 0
    assert len({row.key for row in log.read(more.log)}) == 820


def test_rows_hold_the_question_and_where_the_text_came_from(tmp_path):
    result = job.teach("puzzles", SOURCE, ["back"], tmp_path)["back"]
    questions = {question.id: question for question in tasks.load("puzzles", SOURCE)["train"]}
    for row in log.read(result.log):
        question = questions.pop(row.question_id)
        assert row.question_key == question.key and row.text == scripted.explain_back(question.question)
        assert (row.task, row.split, row.teacher) == ("puzzles", "train", "back")
        assert (row.model, row.forced) == ("scripted:back", True)
        assert row.finish_reason == "stop" and row.tokens == len(row.text) and row.prompt_tokens > 100
    assert not questions


def test_explanations_are_pinned():
    assert scripted.explain_steps("From 8 go +3 -2 +1") == "8 +3 to 9, 9 -2 to 7, 7 +1 to 8."
    assert scripted.explain_back("From 8 go +3 -2 +1") == "8 from 7 +1, 7 from 9 -2, 9 from 8 +3."


def test_failures_are_counted_and_tried_again(tmp_path):
    questions = tasks.load("puzzles", SOURCE)["train"][:20]

    def flaky(requests):
        for index, result in enumerate(scripted.teacher("steps").generate(requests)):
            yield engine.Result(result.request, error="timed out") if index % 4 == 0 else result

    teacher = dataclasses.replace(scripted.teacher("steps"), generate=flaky)
    first = job.run(teacher, questions, questions, tmp_path / "steps.tfrecord", seed=0)
    assert (first.written, len(first.failures)) == (15, 5) and first.failures[0].endswith(": timed out")
    second = job.run(scripted.teacher("steps"), questions, questions, tmp_path / "steps.tfrecord", seed=0)
    assert (second.done_before, second.written, second.failures) == (15, 5, ())


@pytest.mark.parametrize("arguments,message", [
    (("puzzles", SOURCE, ["stesp"]), "did you mean 'steps'"),
    (("puzzles", "train=10,test=0,validation=0", ["steps"], ("test",)), "no split 'test'"),
])
def test_bad_input(tmp_path, arguments, message):
    task, source, teachers, *splits = arguments
    with pytest.raises(UserError, match=message):
        job.teach(task, source, teachers, tmp_path / "out", *splits)
    assert not (tmp_path / "out").exists()


def test_scripted_teachers_know_puzzles_only(tmp_path):
    question = tasks.Question("1", "obqa", "train", "", "The sun is responsible for", ("a", "b"), "a")
    with pytest.raises(UserError, match="not a puzzle"):
        job.run(dataclasses.replace(scripted.teacher("steps"), examples=0), [question], [], tmp_path / "l.tfrecord", 0)


def test_neither_jax_nor_torch_is_imported():
    code = "import sys; import tinyllm_jax.teachers.job; " \
           "heavy = {'jax', 'flax', 'torch', 'tensorflow', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    subprocess.run([sys.executable, "-c", code], check=True)
