"""Whole runs, as real processes: resume after kill -9 and SIGTERM, locks, refusals."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from command_lines import fails

from tinyllm_jax import cli

# What of it runs in this process.
pytestmark = pytest.mark.usefixtures("quick_compilation", "one_device")
REPO = pathlib.Path(__file__).resolve().parents[2]
TINY = [
    "--config.steps=24",
    "--config.batch_size=8",
    "--config.checkpoint.every=6",
    "--config.log_every=2",
    "--config.student.dropout_rate=0.1",
    "--config.validation.questions=8",
    "--config.objective.prefix=encoder",
    "--config.objective.rationale=1",
]
# What no two runs have alike.
TIMES = ("questions_per_second", "tokens_per_second", "model_flops_per_second", "seconds_lost")


def arguments(corpus, workdir, *more: str) -> list[str]:
    config = str(REPO / "configs/quickstart.py")
    where = ["--corpus", str(corpus), "--workdir", str(workdir)]
    return ["train", "--config", config, *where, *TINY, *more]


def command(corpus, workdir, *more: str) -> list[str]:
    return [sys.executable, "-m", "tinyllm_jax", *arguments(corpus, workdir, *more)]


def environment(devices: int = 1, **more: str) -> dict[str, str]:
    return (
        os.environ
        | {
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(REPO),
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        }
        | more
    )


def run(corpus, workdir, *more: str, devices: int = 1) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(corpus, workdir, *more), env=environment(devices), capture_output=True, text=True
    )


def rows(workdir) -> list[dict]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


def params(workdir, step: int = 24):
    from tinyllm_jax.training import restore

    return restore.restore(workdir, step).params


def assert_same_bits(a, b) -> None:
    import jax

    jax.tree.map(np.testing.assert_array_equal, params(a), params(b))


@pytest.fixture(scope="module")
def whole(things_corpus, tmp_path_factory) -> pathlib.Path:
    """An uninterrupted run."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    done = run(things_corpus, workdir)
    assert done.returncode == 0, done.stderr
    assert "step 24 of 24" in done.stdout
    return workdir


def test_the_workdir_tells_the_run(whole):
    found = rows(whole)
    logged = [row for row in found if "loss" in row]
    assert [row["step"] for row in logged] == list(range(2, 25, 2))
    assert set(logged[0]["terms"]) == {"answer", "shape", "material"}
    np.testing.assert_allclose(
        [sum(r["terms"].values()) for r in logged], [r["loss"] for r in logged], rtol=1e-5
    )
    assert logged[-1]["loss"] < logged[0]["loss"]
    validated = [row for row in found if "validation_accuracy" in row]
    assert [row["step"] for row in validated] == [6, 12, 18, 24]
    assert set(validated[0]["validation_terms"]) == {"answer", "shape", "material"}
    assert list((whole / "tensorboard").iterdir())
    run_file = json.loads((whole / "run.json").read_text())
    assert run_file["data"]["terms"]["shape"]["targets"] == 96


def test_killed_runs_go_on_to_the_same_bits(whole, things_corpus, tmp_path):
    workdir = tmp_path / "run"
    for wait_for in (6, 12):
        process = subprocess.Popen(
            command(things_corpus, workdir),
            env=environment(),
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        while (
            not any((workdir / "checkpoints").glob(f"{wait_for}/sha256.json"))
            and process.poll() is None
        ):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = run(things_corpus, workdir)
    assert done.returncode == 0, done.stderr
    assert "going on from step" in done.stderr
    assert rows(workdir) == rows(whole)
    assert_same_bits(workdir, whole)


def test_sigterm_saves_and_the_same_command_goes_on(whole, things_corpus, tmp_path):
    workdir = tmp_path / "run"
    process = subprocess.Popen(
        command(things_corpus, workdir), env=environment(), stderr=subprocess.PIPE, text=True
    )
    while not (workdir / "metrics.jsonl").exists() or not (workdir / "metrics.jsonl").read_text():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode in (0, 3), said
    if process.returncode == 3:
        assert "run the same command to go on" in said and "Traceback" not in said
    done = run(things_corpus, workdir)
    assert done.returncode == 0, done.stderr
    assert_same_bits(workdir, whole)
    files = {path: path.read_bytes() for path in workdir.glob("*.json*")}
    again = run(things_corpus, workdir, "--config.seed=3", "--config.log_every=4")
    assert again.returncode == 0 and "nothing to do" in again.stderr
    assert "changed: config.seed was 0, is 3" in again.stderr
    assert "changed: config.log_every was 2, is 4" in again.stderr
    assert {path: path.read_bytes() for path in workdir.glob("*.json*")} == files


def test_goes_on_with_another_number_of_devices(whole, things_corpus, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    for step in (18, 24):
        shutil.rmtree(workdir / "checkpoints" / str(step), ignore_errors=True)
    mesh = ["--config.mesh.fsdp=2", "--config.mesh.tensor=2"]
    done = run(things_corpus, workdir, *mesh, devices=8)
    assert done.returncode == 0, done.stderr
    assert "mesh {'data': 2, 'fsdp': 2, 'tensor': 2}" in done.stderr
    last = lambda d: [row["loss"] for row in rows(d) if "loss" in row]
    np.testing.assert_allclose(last(workdir), last(whole), rtol=1e-4)


def one_line(done: subprocess.CompletedProcess, *words: str) -> None:
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("tinyllm: ") and "Traceback" not in done.stderr, done.stderr
    for word in words:
        assert word in last, last


def test_a_decoder_that_is_told_the_target_learns_and_writes_as_a_teacher(
    whole, things_corpus, tmp_path
):
    from tinyllm_jax.corpus.store import Corpus
    from tinyllm_jax.student.writing import write
    from tinyllm_jax.training import restore

    done = run(things_corpus, tmp_path / "run", "--config.objective.prefix=decoder")
    assert done.returncode == 0, done.stderr
    logged = [row for row in rows(tmp_path / "run") if "loss" in row]
    assert (
        set(logged[0]["terms"]) == {"answer", "shape", "material"}
        and logged[-1]["loss"] < logged[0]["loss"]
    )
    student = restore.restore(tmp_path / "run", 24)
    questions = [row.question for row in Corpus(things_corpus).rows("validation")[:4]]
    as_teacher = write(student, questions, "shape", 24, 4)
    as_answer = write(student, questions, "answer", 24, 4)
    assert as_teacher != as_answer
    assert not any(text.startswith("explain") for text in as_teacher + as_answer)
    refused = run(things_corpus, whole, "--config.objective.prefix=decoder")
    assert refused.returncode == 2 and "objective" in refused.stderr


def test_a_workdir_in_use_is_refused(things_corpus, tmp_path):
    from tinyllm_jax.training import workdir

    held = workdir.lock(tmp_path / "run")
    one_line(run(things_corpus, tmp_path / "run"), "in use by another run", str(os.getpid()))
    held.close()


def test_another_corpus_or_objective_is_refused_unless_allowed(whole, things_corpus, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    before = (workdir / "run.json").read_text()
    one_line(
        run(things_corpus, workdir, "--config.objective.rationale=0.5"),
        "was trained otherwise",
        "objective.terms.material was 1.0, is 0.5",
        "objective.terms.shape was 1.0, is 0.5",
    )
    assert (workdir / "run.json").read_text() == before
    more = ["--config.objective.rationale=0.5", "--allow_changed", "--config.steps=26"]
    done = run(things_corpus, workdir, *more)
    assert done.returncode == 0, done.stderr
    assert "changed: objective.terms.shape was 1.0, is 0.5" in done.stderr


def test_a_damaged_checkpoint_is_set_aside(whole, things_corpus, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    path = max(
        (p for p in (workdir / "checkpoints/24").rglob("*") if p.is_file()),
        key=lambda p: p.stat().st_size,
    )
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = run(things_corpus, workdir)
    assert done.returncode == 0, done.stderr
    assert path.name in done.stderr and "set aside as damaged-24" in done.stderr
    assert "going on from step 18 of 24" in done.stderr
    assert (workdir / "checkpoints/damaged-24").exists()
    assert_same_bits(workdir, whole)


def test_a_closed_pipe_and_terminal_do_not_end_a_run(whole, things_corpus, tmp_path):
    workdir = tmp_path / "run"
    process = subprocess.Popen(
        command(things_corpus, workdir),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout and process.stdout.readline().startswith(b"devices")
    process.stdout.close()
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=300) == 0
    assert_same_bits(workdir, whole)


def test_checkpoints_are_listed_and_verified(whole, tmp_path, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    cli.main(["checkpoint", "list", "--workdir", str(workdir)])
    listed = capsys.readouterr().out
    assert listed.count("validation accuracy") == len(listed.splitlines()) and "best" in listed
    cli.main(["checkpoint", "verify", "--workdir", str(workdir)])
    assert capsys.readouterr().out.count("whole") == len(listed.splitlines())

    # Damage that Orbax would not survive is listed as well as any other.
    metrics = workdir / "checkpoints/24/metrics/metrics"
    metrics.write_text("{")
    cli.main(["checkpoint", "list", "--workdir", str(workdir)])
    assert "not validated" in capsys.readouterr().out
    with pytest.raises(SystemExit) as error:
        cli.main(["checkpoint", "verify", "--workdir", str(workdir)])
    said = capsys.readouterr()
    assert error.value.code == 2 and "damaged: metrics/metrics" in said.out
    assert "1 of " in said.err


@pytest.mark.parametrize(
    "more, said",
    [
        (["--config.mesh.tensor=3"], ["does not fit 1 device"]),
        (
            ["--config.optimizer.learning_rate=1e30", "--config.checkpoint.every=1"],
            ["step 1: the parameters are not finite", "nothing of it was saved", "learning_rate"],
        ),
        (
            [
                "--config.optimizer.learning_rate=1e18",
                "--config.checkpoint.every=24",
                "--config.stop_after_skipped=3",
            ],
            ["the loss is", "3 steps in a row", "its questions are", "learning_rate"],
        ),
        (["--config.optimizer.name=adam"], ["did you mean 'adamw'"]),
        (["--config.optimizer.learning_rat=1"], ["learning_rat"]),
        (["--config.student.name=byte-tiney"], ["did you mean 'byte-tiny'"]),
        (["--config.task=arc"], ["'things'"]),
        (["--config.task=thigns"], ["did you mean 'things'"]),
        (["--config.optimizer.warmup_steps=300"], ["warmup_steps is 300, and the run has 24"]),
    ],
)
def test_bad_input_is_one_line(things_corpus, tmp_path, capsys, more, said):
    line = fails(capsys, *arguments(things_corpus, tmp_path / "run", *more))
    for part in said:
        assert part in line, line


def by_two_processes(argv: list[str]) -> list[str]:
    """Runs a command as two processes of two devices each; what each printed."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    processes = []
    for i in range(2):
        env = environment(
            2,
            JAX_COORDINATOR_ADDRESS=f"127.0.0.1:{port}",
            JAX_NUM_PROCESSES="2",
            JAX_PROCESS_ID=str(i),
        )
        processes.append(
            subprocess.Popen(
                [*argv, "--distributed"],
                env=env,
                stderr=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    outputs = [p.communicate(timeout=300) for p in processes]
    assert [p.returncode for p in processes] == [0, 0], outputs
    return [out for out, _ in outputs]


def test_two_processes_equal_one(whole, things_corpus, tmp_path):
    workdir = tmp_path / "run"
    by_two_processes(command(things_corpus, workdir, "--config.mesh.fsdp=2"))
    last = lambda d: [row["loss"] for row in rows(d) if "loss" in row]
    np.testing.assert_allclose(last(workdir), last(whole), rtol=1e-4)
    import jax

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        params(workdir),
        params(whole),
    )


def test_two_processes_evaluate_as_one_does(whole, tmp_path, capfd):
    flags = ["evaluate", "--workdir", str(whole), "--max_answer=8", "--out"]
    cli.main([*flags, str(tmp_path / "one")])
    argv = [sys.executable, "-m", "tinyllm_jax", *flags, str(tmp_path / "two")]
    first, second = by_two_processes(argv)
    assert "wrote" in first and "likelihood" in first and "wrote" not in second

    # Of each question the same was found.
    predictions = []
    for folder in ("one", "two"):
        text = (tmp_path / folder / "predictions.jsonl").read_text()
        predictions.append([json.loads(line) for line in text.splitlines()])
    for ours, theirs in zip(*predictions, strict=True):
        np.testing.assert_allclose(ours.pop("scores"), theirs.pop("scores"), rtol=1e-5)
        assert ours == theirs
