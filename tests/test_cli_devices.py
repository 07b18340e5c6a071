"""What a command says of its devices before it begins."""

import os
import pathlib
import socket
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


# A process that computes with another, and says how many programs it found and how many it compiled
# and kept. A program is found by its devices' topology too, which TPUs and GPUs have one of for all
# processes; that of CPUs, of which each process has its own, is left out here.
TOGETHER = """
import pathlib, sys
from tinyllm_jax import cli_devices
cli_devices.prepare(True, pathlib.Path(sys.argv[1]))
import jax
from jax._src import cache_key
cache_key._hash_accelerator_config = lambda *_: None
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event.split("/")[-1]))
mesh = jax.make_mesh((2,), ("data",))
both = jax.NamedSharding(mesh, jax.P("data"))
x = jax.make_array_from_callback((2, 64), both, lambda index: jax.numpy.ones((1, 64)))
events.clear()
everywhere = jax.NamedSharding(mesh, jax.P())
print(float(jax.jit(lambda x: (x * x).sum(), out_shardings=everywhere)(x)))
print(events.count("cache_hits"), events.count("cache_misses"))
"""


def test_processes_that_start_again_find_everything_compiled(tmp_path):
    said = []
    for _ in range(2):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        env = os.environ | {
            "PYTHONPATH": str(REPO),
            "XLA_FLAGS": "",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
            "JAX_NUM_PROCESSES": "2",
        }
        del env["JAX_COMPILATION_CACHE_DIR"]
        two = [
            subprocess.Popen(
                [sys.executable, "-c", TOGETHER, str(tmp_path)],
                env=env | {"JAX_PROCESS_ID": str(index)},
                stdout=subprocess.PIPE,
                text=True,
            )
            for index in range(2)
        ]
        said.append([process.communicate(timeout=100)[0].split()[-3:] for process in two])
    # The first process alone keeps what it compiles, and then both find it.
    assert said == [[["128.0", "0", "1"], ["128.0", "0", "0"]], [["128.0", "1", "0"]] * 2]
    assert list((tmp_path / "compiled").iterdir())
