"""The numbers of a run between two log lines, fetched so late that no step waits for them."""

import collections
import math
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np

from tinyllm_jax.errors import UserError
from tinyllm_jax.training import throughput
from tinyllm_jax.training.metrics import Metrics

IN_FLIGHT = 3  # steps at most: the device never waits, and what is shown as done is done


class Window:
    """The steps since the last log line.

    A window is written when the next one ends: by then the device has long computed its numbers.

    Args:
      terms: the objective's terms, in the order of a step's sums.
      batch_size: questions a step.
      log: where a window is written.
      schedule: the learning rate as a function of the step.
      peak: the FLOP/s of all devices at most; None where that is not known.

    Attributes:
      rates: what was done in a second, of every window so far.
      seconds: the time in steps so far.
      note: the losses of the last window that was written, in a few words.
    """

    def __init__(
        self,
        terms: Sequence[str],
        batch_size: int,
        log: Metrics,
        schedule: Callable[[int], float],
        peak: float | None = None,
    ):
        self.terms, self.batch_size, self.log, self.schedule = terms, batch_size, log, schedule
        self.peak = peak
        self.rates: list[throughput.Rates] = []
        self.seconds, self.note = 0.0, ""
        # The last step of this window, and the last step of the one before, not written yet.
        self.last: tuple[int, dict, np.ndarray] | None = None
        self.pending: tuple[int, dict, np.ndarray] | None = None
        self.in_flight: collections.deque[jax.Array] = collections.deque()
        self.work: list[throughput.Work] = []  # of each step of this window
        self.began = time.monotonic()

    def add(self, step: int, out: dict, counts: np.ndarray, work: throughput.Work) -> None:
        """Notes one step, and waits while too many are in flight.

        Args:
          step: steps done, this one included.
          out: what the step returned beside the state, still on the devices.
          counts: (terms,), the target tokens of each term in its batch.
          work: its useful work.
        """
        self.last = (step, out, counts)
        self.work.append(work)
        self.in_flight.append(out["loss"])
        if len(self.in_flight) == IN_FLIGHT:
            jax.block_until_ready(self.in_flight.popleft())

    def roll(self) -> None:
        """Ends the window, and writes the one before."""
        self._write()
        self.pending, self.last = self.last, None
        seconds = time.monotonic() - self.began
        questions = len(self.work) * self.batch_size
        self.rates.append(throughput.rates(questions, self.work, seconds, self.peak))
        self.seconds += seconds
        self.work, self.began = [], time.monotonic()

    def flush(self) -> None:
        """Writes everything, waiting for the device.

        Raises:
          UserError: a loss is not finite.
        """
        if self.last is not None:
            jax.block_until_ready(self.last[1])
            self.roll()
        self._write()

    def restart(self) -> None:
        """Leaves what happened since the last step out of the rate."""
        self.began = time.monotonic()

    def _write(self) -> None:
        if self.pending is None:
            return
        step, out, counts = self.pending
        self.pending = None
        loss = float(out["loss"])
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} at step {step}; nothing of it was saved: lower "
                "config.optimizer.learning_rate, or set config.optimizer.clip_norm=1, and run again"
            )
        terms = {
            term: float(total / count)
            for term, total, count in zip(self.terms, np.asarray(out["sums"]), counts, strict=True)
            if count
        }
        self.log.write(
            step,
            loss=loss,
            terms=terms,
            learning_rate=float(self.schedule(step - 1)),
            grad_norm=float(out["grad_norm"]),
            **self.rates[-1].known(),
        )
        parts = [f"loss {loss:.4f}", *(f"{term} {value:.3f}" for term, value in terms.items())]
        self.note = "  ".join(parts)
