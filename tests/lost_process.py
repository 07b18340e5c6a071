"""A run of four processes of which one is killed, by hand; it takes some minutes.

    python tests/lost_process.py --corpus DIR

The others are to end by themselves, soon and with a status other than 0. Then the run goes on with
two processes, of which one is asked to stop, and ends with one. Its parameters are to be those of a
run of one process that nothing disturbed, up to float32, and one process and two are to find the
same answers. The corpus is one of things, as `launch/quickstart.sh` makes it. The learning rate is
low: with the quickstart's, 800 steps make something else of what the order of a sum rounds away.
"""

import argparse
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np

REPO = pathlib.Path(__file__).resolve().parents[1]
TRAIN = [
    *("train", f"--config={REPO}/configs/quickstart.py", "--report_to=none"),
    *("--config.batch_size=8", "--config.checkpoint.every=40", "--config.steps=800"),
    *("--config.log_every=5", "--config.validation.questions=8"),
    "--config.optimizer.learning_rate=1e-5",
]
GIVEN_UP = 80  # seconds: `cli_devices.LOST_AFTER`, and some to end in


def start(count: int, *flags) -> list[subprocess.Popen]:
    """A command as `count` processes that work as one, or as one alone."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    processes = []
    for index in range(count):
        env = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "",
            "PYTHONPATH": str(REPO),
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
            "JAX_NUM_PROCESSES": str(count),
            "JAX_PROCESS_ID": str(index),
        }
        command = [sys.executable, "-m", "tinyllm_jax", *map(str, flags)]
        if count > 1:
            command.append("--distributed")
        processes.append(
            subprocess.Popen(
                command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
    return processes


def end(processes: list[subprocess.Popen]) -> list[tuple[int, str]]:
    """The exit status of each process, and what it said."""
    said = [process.communicate(timeout=600)[0] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def last(workdir: pathlib.Path) -> int:
    """The step of the last checkpoint; 0 for none."""
    found = workdir.glob("checkpoints/*/sha256.json")
    return max((int(path.parent.name) for path in found), default=0)


def wait_for(workdir: pathlib.Path, more: int, processes: list[subprocess.Popen]) -> int:
    """Waits for a checkpoint `more` steps or more after the last one, and returns its step."""
    before = last(workdir)
    while True:
        if last(workdir) >= before + more:
            return last(workdir)
        assert all(process.poll() is None for process in processes), end(processes)
        time.sleep(0.05)


def succeed(count: int, *flags) -> str:
    """Runs a command to its good end; what its first process said."""
    done = end(start(count, *flags))
    assert all(status == 0 for status, _ in done), done
    return done[0][1]


def compare(corpus: str, root: pathlib.Path, victim: int) -> None:
    """Does what the head of this file says, and tells how it went."""
    whole, workdir = root / "whole", root / "run"
    succeed(1, *TRAIN, "--corpus", corpus, "--workdir", whole)
    train = [*TRAIN, "--corpus", corpus, "--workdir", workdir]

    # One of four is killed.
    four = start(4, *train)
    step = wait_for(workdir, 1, four)
    four[victim].kill()
    began = time.monotonic()
    for index, process in enumerate(four):
        said = process.communicate(timeout=GIVEN_UP)[0].splitlines()
        took = time.monotonic() - began
        reasons = [line[:300] for line in said if "Error" in line or "fatal" in line.lower()]
        print(f"process {index}: {process.returncode} after {took:.0f} s", *reasons, sep="\n  ")
        assert process.returncode not in (0, 2, 3)
    print(f"killed process {victim} at step {step} or later", flush=True)

    # Two go on, and are asked to stop.
    two = start(2, *train)
    step = wait_for(workdir, 1, two)
    two[1].send_signal(signal.SIGTERM)
    statuses = [status for status, _ in end(two)]
    print(f"two processes, stopped after step {step}: {statuses}", flush=True)
    assert statuses == [3, 3]

    # One goes on to the end.
    succeed(1, *train)

    # The same parameters, and the same answers of one process and of two.
    from tinyllm_jax.training import restore

    ours = restore.restore(workdir, 800).params
    theirs = restore.restore(whole, 800).params
    import jax

    off = max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), ours, theirs)))
    print(f"largest difference of a parameter: {off:.2e}", flush=True)
    assert off < 1e-4
    said = []
    for count in (1, 2):
        out = root / f"asked-{count}"
        succeed(count, "evaluate", "--workdir", workdir, "--step=last", "--out", out)
        lines = (out / "predictions.jsonl").read_text().splitlines()
        said.append([json.loads(line) | {"scores": None} for line in lines])
    print(f"one process and two predict the same: {said[0] == said[1]}")
    assert said[0] == said[1]


def main() -> None:
    """Reads the flags."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--victim", type=int, default=2, help="0 has the coordinator")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        compare(arguments.corpus, pathlib.Path(directory), arguments.victim)


if __name__ == "__main__":
    main()
