"""What a command says of its devices before it begins."""

import os
import pathlib
import subprocess
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parents[1]


def prepared(platform: str, more: str = "") -> subprocess.CompletedProcess:
    """A process that begins as a command does, and then runs `more`."""
    code = f"import logging; from tinyllm_jax import cli_devices; cli_devices.prepare(); {more}"
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"JAX_PLATFORMS": platform, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("platform", ["cuda", "nonsense"])
def test_a_platform_without_a_device_is_told_with_the_mend(platform):
    done = prepared(platform)
    last = done.stderr.strip().splitlines()[-1]
    assert f"UserError: JAX_PLATFORMS is '{platform}' and jax finds no such device" in last
    assert "or unset JAX_PLATFORMS" in last


def test_only_the_warning_of_an_accelerator_that_cannot_be_used_is_shown():
    warn = "logging.getLogger('jax._src.{}').warning('{}'); "
    done = prepared(
        "cpu", warn.format("xla_bridge", "a GPU may be present") + warn.format("x", "?")
    )
    assert done.stderr.strip() == "a GPU may be present"
