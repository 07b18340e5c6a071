"""When a run's state deserves a checkpoint, and the validation that finds the best one.

All processes call these functions at the same steps, because some of them exchange something.
"""

import dataclasses
import time
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from tinyllm_jax.errors import UserError
from tinyllm_jax.training import checkpoints
from tinyllm_jax.training.lost_time import LostTime
from tinyllm_jax.training.validation import Validation
from tinyllm_jax.training.window import Window


@dataclasses.dataclass
class Past:
    """The last checkpoint and the last validation of a run that is under way.

    Attributes:
      step: the step of the last checkpoint; before the first, the step that the run began at.
      time: when that was, by `time.monotonic`.
      validation_seconds: how long the last validation took, by the first process's clock, so that
        all processes decide alike; 0 before the first.
    """

    step: int
    time: float = dataclasses.field(default_factory=time.monotonic)
    validation_seconds: float = 0.0

    def note_checkpoint(self, step: int) -> None:
        """Notes that a checkpoint of this step is being written now."""
        self.step, self.time = step, time.monotonic()


def is_late(past: Past, most: float) -> bool:
    """Whether the last checkpoint is older than it may be; the first process's clock decides.

    Args:
      past: of the run.
      most: the most minutes between two checkpoints; 0 for any number.
    """
    if not most:
        return False
    return _of_first_process((time.monotonic() - past.time) / 60) >= most


def is_of_use(
    step: int,
    state: dict,
    past: Past,
    window: Window,
    is_finite: Callable[[dict], jax.Array],
    last: bool,
    asked: bool,
) -> bool:
    """Whether a state is one that a run can go on from, or end with.

    Steps that were skipped have changed nothing: a state that nothing follows from but skipped
    steps takes no good checkpoint's place.

    Args:
      step: steps done.
      state: what they have made of the parameters and the optimizer's state.
      past: of the run.
      window: it has seen all steps, and was rolled after the last.
      is_finite: `step.all_finite`, jitted for the run's mesh.
      last: whether this is the run's last step.
      asked: whether the run is asked to end after this step.

    Raises:
      UserError: the run has diverged: nothing was learned since the last checkpoint and no step is
        left, or the state is not finite.
    """
    since = step - past.step
    learned = since > window.skipped_in_row
    if last and not learned:
        why = "steps since the last checkpoint were skipped: they are not finite"
        raise window.diverged(step, f"all {since:,} {why}")
    if learned and not bool(is_finite(state)):
        raise window.diverged(step, f"the parameters are not finite ({window.note})")
    return learned and (last or asked or not window.skipped_in_row)


def validate(
    step: int,
    state: dict,
    validation: Validation,
    window: Window,
    past: Past,
    lost: LostTime,
    say: Callable[[str], None],
) -> dict[str, float]:
    """Asks the student the validation questions; writes and says what was found.

    Args:
      step: steps done.
      state: what they have made of the parameters.
      validation: the questions.
      window: its log is written to.
      past: of the run; the time that this takes is noted there.
      lost: where that time is added.
      say: prints a line, on the first process.

    Returns:
      The metrics of this step's checkpoint, by which the best one is found.

    Raises:
      UserError: the run has diverged: a score is not finite.
    """
    began = time.monotonic()
    with lost.to("validation"):
        try:
            accuracy = validation.accuracy(state["params"])
            losses = validation.losses(state["params"])
        except UserError:
            what = f"the validation's scores are not finite ({window.note})"
            raise window.diverged(step, what) from None
    past.validation_seconds = _of_first_process(time.monotonic() - began)

    window.log.write(
        step,
        validation_accuracy=accuracy,
        validation_questions=validation.count,
        validation_terms=losses,
    )
    say(f"\nstep {step:,}  validation accuracy {100 * accuracy:.1f} % of {validation.count}")
    return {checkpoints.METRIC: accuracy}


def _of_first_process(number: float) -> float:
    """What the first process has measured, for all of them."""
    if jax.process_count() == 1:
        return number
    return float(multihost_utils.broadcast_one_to_all(np.float32(number)))
