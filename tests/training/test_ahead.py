"""The next epoch's plan from another process: the same plan, and an end that leaves nothing."""

import subprocess
import sys
import time

import numpy as np
import pytest

from tinyllm_jax.batching.epochs import Epochs
from tinyllm_jax.training import ahead


@pytest.fixture
def epochs() -> Epochs:
    sizes = np.random.default_rng(0).integers(1, 30, (70, 2, 2))
    return Epochs(sizes, 8, 0, 4, True, 1, 8)


def same(found, expected) -> bool:
    """Whether two plans of an epoch are equal."""
    assert len(found) == len(expected)
    return all(
        a.rows == b.rows and a.shape == b.shape and (a.index == b.index).all()
        for a, b in zip(found, expected, strict=True)
    )


def test_plans_are_those_of_this_process_and_survive_the_other(epochs, monkeypatch):
    monkeypatch.setattr(ahead, "FEW", 0)
    planned = ahead.Ahead(epochs, stop=9)
    assert planned.process is not None
    for epoch in (0, 0, 1, 2, 1, 5):  # again, back, and with some left out
        assert same(planned(epoch), epochs(epoch))
    planned.process.kill()
    for epoch in (6, 7):
        assert same(planned(epoch), epochs(epoch))
    planned.close()
    assert planned.process is None and same(planned(8), epochs(8))


def test_what_is_planned_quickly_needs_no_process(epochs):
    assert ahead.Ahead(epochs, stop=9).process is None


def test_the_other_process_ends_with_this_one_however_it_ends():
    code = (
        "import os, numpy as np; from tinyllm_jax.batching.epochs import Epochs; "
        "from tinyllm_jax.training import ahead; ahead.FEW = 0; "
        "planned = ahead.Ahead(Epochs(np.ones((9, 1, 2), int), 2, 0, 4, True, 1, 8), 9); "
        "planned(0); print(planned.process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    process = f"/proc/{int(done.stdout)}"
    for _ in range(6000):
        try:
            with open(f"{process}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":  # nobody here waits for it
                    return
        except FileNotFoundError:
            return
        time.sleep(0.01)
    raise AssertionError("it goes on")
