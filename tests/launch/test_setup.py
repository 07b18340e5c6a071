"""`launch/setup.sh` and `teachers.sh`: their Python, and what is installed where.

A failed installation is not taken for a good one.
"""

import pytest

# With and without the caller's `set -e`, sourced and run.
WAYS = [
    "source launch/setup.sh tpu",
    "set -e; source launch/setup.sh tpu",
    "bash launch/setup.sh tpu",
]


@pytest.mark.parametrize("way", WAYS)
def test_a_failed_installation_fails_and_is_tried_again(fake, way):
    (fake.root / "pip-fails").touch()
    done = fake.run("bash", "-c", way)
    assert done.returncode != 0 and "the installation failed" in done.stderr
    assert not (fake.checkout / ".venv" / ".installed-tpu").exists()

    (fake.root / "pip-fails").unlink()
    assert fake.run("bash", "-c", way).returncode == 0
    assert len(fake.calls("pip:", ".[tpu]", "constraints-3.12")) == 2

    # What is installed is not installed again.
    assert fake.run("bash", "-c", way).returncode == 0
    assert len(fake.calls("pip:")) == 2


def test_sourced_it_leaves_the_environment_on_the_path(fake):
    done = fake.run("bash", "-c", "cd /; source $OLDPWD/launch/setup.sh; command -v tinyllm; pwd")
    assert done.stdout.split() == [f"{fake.checkout}/.venv/bin/tinyllm", str(fake.checkout)]


def test_a_machine_with_another_python_gets_one(fake):
    tools = ("bash", "cat", "chmod", "cksum", "cp", "dirname", "grep", "mkdir", "sh")
    path = fake.path_of(*tools)
    done = fake.run("bash", "launch/setup.sh", FAKE_PYTHON="3.10", PATH=path)
    assert done.returncode == 0, done.stderr
    assert "fetching 3.12 into .python" in done.stderr
    assert fake.calls("uv: python install", "--install-dir .python 3.12")
    assert fake.calls("pip:", "constraints-3.12.txt")


def test_an_unsupported_python_is_one_line(fake):
    done = fake.run("bash", "launch/test.sh", PYTHON=str(fake.bin / "python3"), FAKE_PYTHON="3.9")
    assert done.returncode == 2 and done.stderr.strip() == (
        "setup: Python 3.9 is not supported; set PYTHON to a Python 3.11 or 3.12"
    )


def test_an_absent_python_is_one_line(fake):
    done = fake.run("bash", "launch/test.sh", PYTHON="/no/python")
    assert done.returncode == 2 and done.stderr.strip() == (
        "setup: no /no/python; set PYTHON=/path/to/python3.12"
    )


def test_teachers_keep_vllm_out_of_the_main_environment(fake):
    done = fake.run("launch/teachers.sh", "obqa", "hf", "out", "configs/teachers.py", "--seed=1")
    assert done.returncode == 0, done.stderr
    assert fake.calls("pip: .venv-teachers/", "install vllm")
    assert fake.calls("pip: .venv/") and not fake.calls("pip: .venv/", "vllm")
    given = fake.lines("tinyllm")
    assert given[0] == "teach" and "--seed=1" in given
    assert given[given.index("corpus") + 1] == "build"
