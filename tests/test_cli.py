"""The command line: help, one line for every kind of bad input, from teach to predict."""

import pathlib
import subprocess
import sys

import pytest
from command_lines import fails

from tinyllm_jax import cli

REPO = pathlib.Path(__file__).resolve().parents[1]


def test_help_of_every_command_is_short(capsys):
    cli.main(["--help"])
    overview = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"  {name} " in overview
        cli.main([*name.split(), "--help"])
        text = capsys.readouterr().out
        assert text.startswith(f"usage: tinyllm {name} --flags") and len(text.splitlines()) < 20


@pytest.mark.parametrize("module", ["tinyllm_jax", "tinyllm_jax.cli"])
def test_import_needs_no_torch_tensorflow_or_jax(module):
    code = (
        f"import sys, {module}; heavy = ('torch', 'tensorflow', 'vllm', 'jax', 'transformers'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO
        ).stdout.strip()
        == "[]"
    )


def test_python_m_and_exit_status():
    run = lambda *a: subprocess.run(
        [sys.executable, "-m", "tinyllm_jax", *a], capture_output=True, text=True, cwd=REPO
    )
    assert run("--version").returncode == 0
    bad = run("trian")
    assert bad.returncode == 2 and bad.stdout == ""
    assert bad.stderr.strip().startswith("tinyllm: unknown command 'trian'; did you mean 'train'?")


@pytest.mark.parametrize(
    "argv, words",
    [
        (["corpus", "imprt"], "did you mean 'corpus import'"),
        (["corpus", "verify"], "--corpus is needed"),
        (["corpus", "verify", "--corpus", "/nowhere"], "/nowhere"),
        (["corpus", "inspect", "--corpsu", "x"], "corpsu"),
        (
            [
                "corpus",
                "import",
                "--released",
                "/nowhere",
                "--task",
                "obqa",
                "--out",
                "/nowhere/out",
            ],
            "/nowhere",
        ),
        (
            ["corpus", "import", "--released", ".", "--task", "obaq", "--out", "/nowhere/out"],
            "did you mean 'obqa'",
        ),
        (
            ["corpus", "build", "--task", "things", "--log", "/nowhere", "--out", "/nowhere/out"],
            "/nowhere",
        ),
        (
            [
                "teach",
                "--task",
                "things",
                "--source",
                "trian=4",
                "--teachers",
                "shape",
                "--out",
                "/nowhere",
            ],
            "did you mean 'train'",
        ),
        (
            ["teach", "--task", "things", "--teachers", "shapez", "--out", "/nowhere/x"],
            "did you mean 'shape'",
        ),
        (
            ["teach", "--task", "things", "--shard", "1", "--out", "/nowhere/x"],
            "--shard is '1'; write i/n",
        ),
        (
            ["teach", "--task", "things", "--shard", "2/2", "--out", "/nowhere/x"],
            "2 shards are 0/2 to 1/2",
        ),
        (
            ["teach", "--config", "configs/nothing.py", "--task", "things", "--out", "/nowhere/x"],
            "nothing.py",
        ),
        (
            [
                "teach",
                "--config",
                f"{REPO}/configs/tinyllm.py",
                "--task",
                "things",
                "--out",
                "/nowhere/x",
            ],
            "--config names no teachers",
        ),
        (
            [
                "teach",
                "--config",
                f"{REPO}/configs/teachers.py",
                "--config.teachers.qwen.max_tokns=3",
                "--task",
                "obqa",
                "--out",
                "/nowhere/x",
            ],
            "did you mean 'max_tokens'",
        ),
        (
            [
                "teach",
                "--config",
                f"{REPO}/configs/teachers_cpu.py:models=/nowhere",
                "--teachers",
                "smollm2",
                "--task",
                "things",
                "--out",
                "/nowhere/x",
            ],
            "there is no directory /nowhere/smollm2-135m",
        ),
        (["train", "--corpus", "x", "--workdir", "y"], "--config is needed"),
        (
            ["train", "--config", "configs/nothing.py", "--corpus", "x", "--workdir", "y"],
            "nothing.py",
        ),
        (
            [
                "train",
                "--config",
                f"{REPO}/configs/tinyllm.py:recipe=papre",
                "--corpus",
                "x",
                "--workdir",
                "y",
            ],
            "did you mean 'paper'",
        ),
        (
            [
                "train",
                "--config",
                f"{REPO}/configs/tinyllm.py:taks=arc",
                "--corpus",
                "x",
                "--workdir",
                "y",
            ],
            "did you mean 'task'",
        ),
        (
            [
                "train",
                "--config",
                f"{REPO}/configs/tinyllm.py:task=obaq",
                "--corpus",
                "x",
                "--workdir",
                "y",
            ],
            "did you mean 'obqa'",
        ),
        (
            [
                "train",
                "--config",
                f"{REPO}/configs/tinyllm.py",
                "--config.optimizer.learning_rat=1",
                "--corpus",
                "x",
                "--workdir",
                "y",
            ],
            "learning_rate",
        ),
        (
            [
                "train",
                "--config",
                f"{REPO}/configs/tinyllm.py",
                "--config.batch_size=many",
                "--corpus",
                "x",
                "--workdir",
                "y",
            ],
            "batch_size",
        ),
        (
            [
                "train",
                "--config",
                f"{REPO}/configs/quickstart.py",
                "--corpus",
                "/nowhere",
                "--workdir",
                "/nowhere/y",
            ],
            "/nowhere",
        ),
        (["evaluate"], "give either --workdir"),
        (["evaluate", "--workdir", "/nowhere"], "is not the workdir of a run"),
        (["evaluate", "--student", "x"], "--student needs --task and --corpus"),
        (["evaluate", "--workdir", "x", "--split", "tset"], "split"),
        (["train", "spare"], "unexpected argument 'spare'"),
    ],
)
def test_bad_input_is_one_line(capsys, argv, words):
    assert words in fails(capsys, *argv)


@pytest.mark.parametrize(
    "error, words",
    [
        (OSError(28, "No space left on device"), "cannot open or write a file: No space left"),
        (PermissionError(13, "Permission denied", "/x/y"), "cannot open or write /x/y: Permission"),
    ],
)
def test_an_error_of_the_system_is_one_line(capsys, monkeypatch, error, words):
    def refuse(values):
        raise error

    _, define = cli.COMMANDS["corpus verify"]
    monkeypatch.setitem(cli.COMMANDS, "corpus verify", (refuse, define))
    assert words in fails(capsys, "corpus", "verify", "--corpus", "x")
