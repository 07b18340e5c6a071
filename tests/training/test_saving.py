"""What deserves a checkpoint, and the validation before one."""

import types
from typing import Any

import jax.numpy as jnp
import pytest

from tinyllm_jax.errors import UserError
from tinyllm_jax.training import saving
from tinyllm_jax.training.lost_time import LostTime


class Log:
    """A log that keeps its rows."""

    def __init__(self):
        self.rows = []

    def write(self, step, **values):
        self.rows.append({"step": step} | values)


def window(skipped_in_row: int = 0) -> Any:
    """What is looked at of a window."""
    diverged = lambda step, what: UserError(f"step {step}: {what}")
    return types.SimpleNamespace(
        skipped_in_row=skipped_in_row, note="loss 2", diverged=diverged, log=Log()
    )


def is_of_use(skipped_in_row: int, last=False, asked=False, finite=True) -> bool:
    """Whether step 10 is, where the last checkpoint is of step 6."""
    state = {"finite": finite}
    past, seen = saving.Past(6), window(skipped_in_row)
    is_finite = lambda state: jnp.bool_(state["finite"])
    return saving.is_of_use(10, state, past, seen, is_finite, last, asked)


def test_a_state_that_followed_from_a_good_step_is_of_use():
    assert is_of_use(0) and is_of_use(0, last=True) and is_of_use(0, asked=True)


def test_after_skipped_steps_only_a_run_that_ends_is_saved():
    assert not is_of_use(3)
    assert is_of_use(3, last=True) and is_of_use(3, asked=True)


def test_a_state_that_only_skipped_steps_made_takes_no_checkpoints_place():
    assert not is_of_use(4) and not is_of_use(4, asked=True, finite=False)
    with pytest.raises(UserError, match="step 10: all 4 steps since the last checkpoint were skip"):
        is_of_use(4, last=True)


def test_a_state_that_is_not_finite_ends_the_run():
    for ends in ({}, {"last": True}, {"asked": True}):
        with pytest.raises(UserError, match=r"the parameters are not finite \(loss 2\)"):
            is_of_use(1, finite=False, **ends)


def test_the_age_of_the_last_checkpoint(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(saving.time, "monotonic", lambda: now[0])
    past = saving.Past(0, now[0])
    now[0] += 120
    assert saving.is_late(past, 2) and not saving.is_late(past, 2.1) and not saving.is_late(past, 0)
    past.note_checkpoint(7)
    assert past.step == 7 and not saving.is_late(past, 2)


def test_a_validation_is_written_said_and_timed():
    validation = types.SimpleNamespace(
        count=8, accuracy=lambda params: params["share"], losses=lambda params: {"answer": 0.5}
    )
    seen, past, lost, said = window(), saving.Past(0), LostTime(), []
    state = {"params": {"share": 0.25}}
    best = saving.validate(6, state, validation, seen, past, lost, said.append)
    assert best == {"accuracy": 0.25}
    (row,) = seen.log.rows
    assert row["step"] == 6 and row["validation_accuracy"] == 0.25
    assert row["validation_questions"] == 8 and row["validation_terms"] == {"answer": 0.5}
    assert said == ["\nstep 6  validation accuracy 25.0 % of 8"]
    assert past.validation_seconds >= lost.seconds["validation"] > 0


def test_a_score_that_is_not_finite_ends_the_run():
    def accuracy(params):
        raise UserError("a score is not finite")

    validation = types.SimpleNamespace(accuracy=accuracy)
    with pytest.raises(UserError, match=r"step 6: the validation's scores are not finite \(loss"):
        saving.validate(6, {"params": {}}, validation, window(), saving.Past(0), LostTime(), print)
