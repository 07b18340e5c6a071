"""What a job survives, as real processes.

That is kill -9 at any moment, signals, a full disk, and a directory that takes no file.
"""

import dataclasses
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

from tinyllm_jax import tasks
from tinyllm_jax.corpus.joining import build
from tinyllm_jax.corpus.logrow import read_log

TINY = Path(tiny.__file__)
THINGS = "train=300,validation=10,test=10"


@pytest.fixture(scope="module")
def small_models(tmp_path_factory):
    return {
        kind: str(tiny.make(tmp_path_factory.mktemp(kind), kind)) for kind in ("causal", "t5")
    } | {"shape": "shape"}


def start(out, model, source, delay=0.0, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(TINY), str(out), model, source, str(delay)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def the_log(out) -> Path:
    (path,) = Path(out).glob("tiny-*.tfrecord")
    return path


def size(out) -> int:
    return sum(path.stat().st_size for path in Path(out).glob("tiny-*.tfrecord"))


def rows(path) -> list[bytes]:
    return sorted(dataclasses.replace(row, seconds=0.0).to_bytes() for row in read_log(path))


def corpus_bytes(task, source, path, out) -> dict[str, bytes]:
    build.build(task, tasks.load(task, source), [path], out)
    return {file.name: file.read_bytes() for file in sorted(Path(out).iterdir())}


@pytest.mark.parametrize("kind, kills", [("shape", 12), ("causal", 3), ("t5", 3)])
def test_kill_9_at_random_moments(small_models, kind, kills, tmp_path):
    """The corpus is that of an uninterrupted run, byte for byte."""
    task, source = (
        ("things", THINGS)
        if kind == "shape"
        else ("custom", tiny.questions(tmp_path / "questions", 40))
    )
    assert finish(start(tmp_path / "whole", small_models[kind], source))[0] == 0
    draw, survived = random.Random(kind), 0
    for _ in range(kills):
        process = start(
            tmp_path / "killed", small_models[kind], source, 0.002 if kind == "shape" else 0.02
        )
        before = size(tmp_path / "killed")
        while process.poll() is None and size(tmp_path / "killed") == before:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.1))
        process.kill()
        survived += finish(process)[0] == -signal.SIGKILL
    assert survived >= kills // 2, "the job ended before it could be killed"
    with open(the_log(tmp_path / "killed"), "ab") as file:
        file.write(b"\x07torn")
    status, _, err = finish(start(tmp_path / "killed", small_models[kind], source))
    assert status == 0 and "cut 5 bytes of an interrupted append" in err
    whole, killed = the_log(tmp_path / "whole"), the_log(tmp_path / "killed")
    assert rows(killed) == rows(whole)
    assert corpus_bytes(task, source, killed, tmp_path / "a") == corpus_bytes(
        task, source, whole, tmp_path / "b"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind", ["shape", "t5"])
def test_signals_finish_what_is_in_flight(small_models, kind, number, tmp_path):
    source = THINGS if kind == "shape" else tiny.questions(tmp_path / "questions", 40)
    process = start(tmp_path / "out", small_models[kind], source, 0.05 if kind == "shape" else 0.2)
    while process.poll() is None and not size(tmp_path / "out"):
        time.sleep(0.005)
    process.send_signal(number)
    status, out, err = finish(process)
    assert (
        status == 3 and "stopping: what is in flight is finished first" in err and " left (" in out
    )
    kept = rows(the_log(tmp_path / "out"))
    assert 0 < len(kept) < (300 if kind == "shape" else 40)
    status, out, _ = finish(start(tmp_path / "out", small_models[kind], source))
    assert status == 0 and f"{len(kept)} rows done before" in out
    assert set(kept) < set(rows(the_log(tmp_path / "out")))


def test_a_second_ctrl_c_ends_at_once(small_models, tmp_path):
    process = start(tmp_path, small_models["shape"], THINGS, 0.5)
    while process.poll() is None and not size(tmp_path):
        time.sleep(0.01)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert finish(process)[0] not in (0, 3) and rows(the_log(tmp_path))


APART = """
import os, signal, subprocess, sys, time
from tinyllm_jax.teachers.process_group import EngineProcessGroup
# A shell's background jobs, and so the tests when they are one, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
before, group = os.getpgrp(), EngineProcessGroup()
with group:
    child = subprocess.Popen(["sleep", "60"])
    forked = os.fork() or time.sleep(60)
assert os.getpgrp() == before != os.getpgid(child.pid) == os.getpgid(forked)
try:
    print(child.pid, forked, flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    group.end()
    print(child.poll(), flush=True)
    child.kill()
    os.kill(forked, 9)
"""


def start_apart():
    """A process with two children of its own in another group; returns it and their ids."""
    process = subprocess.Popen(
        [sys.executable, "-c", APART], process_group=0, stdout=subprocess.PIPE, text=True
    )
    return process, [int(word) for word in process.stdout.readline().split()]


def test_processes_apart_do_not_get_the_terminal_s_ctrl_c():
    process, children = start_apart()
    os.killpg(process.pid, signal.SIGINT)
    assert len(children) == 2 and process.communicate(timeout=120)[0] == "None\n"


def test_processes_apart_end_with_the_process_itself():
    process, children = start_apart()
    process.kill()
    process.communicate(timeout=120)  # its output ends when nobody holds it any more
    gone = time.monotonic() + 120
    while any(
        Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes()
        for child in children
    ):
        assert time.monotonic() < gone, "a child has survived"
        time.sleep(0.05)


def test_a_full_disk_loses_nothing(small_models, tmp_path):
    """A quota: no file may grow beyond 20 kB."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    status, _, err = finish(start(tmp_path, small_models["shape"], THINGS, preexec_fn=limit))
    assert (
        status == 1
        and "cannot write log" in err
        and "File too large" in err
        and "Traceback" not in err
    )
    assert "the same command goes on from there" in err
    assert 0 < the_log(tmp_path).stat().st_size <= 20_000
    status, out, _ = finish(start(tmp_path, small_models["shape"], THINGS))
    assert status == 0 and " 0 left" in out and len(rows(the_log(tmp_path))) == 300


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_small_disk_loses_nothing(small_models, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        status, _, err = finish(start(disk, small_models["shape"], THINGS))
        assert status == 1 and "No space left on device" in err and "Traceback" not in err
        subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
        status, _, _ = finish(start(disk, small_models["shape"], THINGS))
        assert status == 0 and len(rows(the_log(disk))) == 300
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_directory_that_takes_no_file(small_models, tmp_path):
    """Root may write everywhere, but nobody can make a file in /proc."""
    for out in ("/proc/self/logs", tmp_path / "file" / "logs"):
        (tmp_path / "file").write_text("")
        status, _, err = finish(start(out, small_models["shape"], THINGS))
        assert status == 1 and "cannot write log" in err and "Traceback" not in err


def test_a_second_job_on_the_same_log_is_refused(small_models, tmp_path):
    first = start(tmp_path, small_models["shape"], THINGS, 0.2)
    while first.poll() is None and not size(tmp_path):
        time.sleep(0.01)
    status, _, err = finish(start(tmp_path, small_models["shape"], THINGS))
    assert status == 1 and "is being written by another process" in err
    first.send_signal(signal.SIGTERM)
    assert finish(first)[0] == 3
