"""The launch scripts: they parse, they say how they are used, and they call commands that exist."""

import pathlib
import re
import subprocess

import pytest

from tinyllm_jax import cli

LAUNCH = pathlib.Path(__file__).resolve().parents[1] / "launch"
SCRIPTS = sorted(LAUNCH.glob("*.sh"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_parses_and_calls_what_exists(script):
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text()
    for command in re.findall(r"(?:^|/)tinyllm ((?:corpus )?[a-z]+)", text, re.MULTILINE):
        assert command in cli.COMMANDS, command
    for config in re.findall(r"configs/\w+\.py", text):
        assert (LAUNCH.parent / config).exists(), config


@pytest.mark.parametrize("script", ["gpu.sh", "tpu_vm.sh"])
def test_says_how_it_is_used(script):
    done = subprocess.run([LAUNCH / script], capture_output=True, text=True)
    assert done.returncode != 0 and f"usage: launch/{script}" in done.stderr


def test_an_unsupported_python_is_one_line(tmp_path):
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho 3.9\n")
    fake.chmod(0o755)
    done = subprocess.run(
        ["bash", LAUNCH / "test.sh"],
        capture_output=True,
        text=True,
        env={"PYTHON": str(fake), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 2 and done.stderr.strip() == (
        "setup: Python 3.9 is not supported; set PYTHON to a Python 3.11 or 3.12"
    )


def test_constraints_pin_the_supported_pairs_and_hold_no_url():
    pairs = {"3.11": ("jax==0.10.2", "flax==0.12.8"), "3.12": ("jax==0.11.2", "flax==0.12.10")}
    for version, pins in pairs.items():
        text = (LAUNCH / f"constraints-{version}.txt").read_text()
        assert "://" not in text and all(pin in text.splitlines() for pin in pins)
