"""The numbers between two log lines, and the steps that were skipped: they were not finite."""

import jax.numpy as jnp
import numpy as np
import pytest

from tinyllm_jax.errors import UserError
from tinyllm_jax.training import metrics
from tinyllm_jax.training.throughput import Work
from tinyllm_jax.training.window import Window


def window(log: metrics.Metrics, stop_after: int = 3) -> Window:
    said = lambda step, what: UserError(f"step {step}: {what}")
    return Window(["answer", "a"], 8, log, lambda step: 0.1, stop_after, said)


def add(window: Window, step: int, finite: bool) -> None:
    loss = 1.0 if finite else np.nan
    out = {
        "loss": jnp.float32(loss),
        "grad_norm": jnp.float32(2 * loss),
        "sums": jnp.array([4.0, 4 * loss]),
        "skipped": jnp.bool_(not finite),
    }
    window.add(step, out, np.array([8, 2]), Work(1, 1.0))


def test_skipped_steps_are_counted_and_only_finite_numbers_are_written(tmp_path):
    log = metrics.Metrics(tmp_path, 0, True, ["none"])
    found = window(log)
    for step, finite in enumerate([True, False, True, False, False], 1):
        add(found, step, finite)
        if step in (3, 5):
            found.roll()
    log.close()
    first, second = metrics.read(tmp_path / "metrics.jsonl")
    assert (first["step"], first["loss"], first["grad_norm"]) == (3, 1.0, 2.0)
    assert first["terms"] == {"answer": 0.5, "a": 2.0} and first["skipped"] == 1
    assert "loss" not in second and second["terms"] == {"answer": 0.5} and second["skipped"] == 2
    assert (found.skipped, found.skipped_in_row) == (3, 2)
    assert "3 steps skipped" in found.note


def test_so_many_skipped_steps_in_a_row_end_the_run(tmp_path):
    found = window(metrics.Metrics(tmp_path, 0, False))
    for step, finite in enumerate([False, False, True, False, False], 1):
        add(found, step, finite)
    add(found, 6, False)
    with pytest.raises(UserError) as error:
        found.roll()
    assert "step 6: the loss is nan (a) and the gradient's norm nan, 3 steps in a row" in str(error)


def test_a_window_without_steps_writes_nothing(tmp_path):
    found = window(metrics.Metrics(tmp_path, 0, False))
    found.roll()
    assert found.rates == []
