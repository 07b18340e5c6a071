"""The numbers of a run between two log lines, read when the devices have computed them."""

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

    Args:
      terms: the objective's terms, in the order of a step's sums.
      batch_size: questions a step.
      log: where a window is written.
      schedule: the learning rate as a function of the step.
      stop_after_skipped: so many steps in a row that are not finite end the run.
      diverged: the error that ends it, of the step and of what was not finite.
      peak: the FLOP/s of all devices at most; None where that is not known.

    Attributes:
      rates: what was done in a second, of every window so far.
      seconds: the time in steps so far.
      note: the losses of the last window that was written, in a few words.
      skipped: the steps that were skipped so far.
      skipped_in_row: how many of them are the last steps.
    """

    def __init__(
        self,
        terms: Sequence[str],
        batch_size: int,
        log: Metrics,
        schedule: Callable[[int], float],
        stop_after_skipped: int,
        diverged: Callable[[int, str], UserError],
        peak: float | None = None,
    ):
        self.terms, self.batch_size, self.log, self.schedule = terms, batch_size, log, schedule
        self.stop_after_skipped, self.diverged, self.peak = stop_after_skipped, diverged, peak
        self.rates: list[throughput.Rates] = []
        self.seconds, self.note = 0.0, ""
        self.skipped = self.skipped_in_row = 0
        self.skipped_before = 0  # of the windows that are written
        self.last: tuple[int, dict, np.ndarray] | None = None  # the last step of this window
        self.in_flight: collections.deque[tuple[int, dict]] = collections.deque()
        self.work: list[throughput.Work] = []  # of each step of this window
        self.began = time.monotonic()

    def add(self, step: int, out: dict, counts: np.ndarray, work: throughput.Work) -> None:
        """Notes one step, and waits while too many are in flight.

        Args:
          step: steps done, this one included.
          out: what the step returned beside the state, still on the devices.
          counts: (terms,), the target tokens of each term in its batch.
          work: its useful work.

        Raises:
          UserError: too many steps in a row were skipped.
        """
        self.last = (step, out, counts)
        self.work.append(work)
        self.in_flight.append((step, out))
        out["skipped"].copy_to_host_async()  # it is here when the device is done with the step
        if len(self.in_flight) == IN_FLIGHT:
            self._await_first()

    def roll(self) -> None:
        """Waits until the devices are done with the window's steps, and writes it.

        Raises:
          UserError: too many steps in a row were skipped.
        """
        if self.last is None:
            return
        while self.in_flight:
            self._await_first()
        jax.block_until_ready(self.last[1])

        # What was done in the time that it took.
        seconds = time.monotonic() - self.began
        questions = len(self.work) * self.batch_size
        self.rates.append(throughput.rates(questions, self.work, seconds, self.peak))
        self.seconds += seconds
        self._write(*self.last)
        self.last, self.work, self.began = None, [], time.monotonic()

    def restart(self) -> None:
        """Leaves what happened since the last step out of the rate."""
        self.began = time.monotonic()

    def _await_first(self) -> None:
        """Waits for the first step in flight, and counts it if it was skipped."""
        step, out = self.in_flight.popleft()
        if not np.asarray(out["skipped"]):
            self.skipped_in_row = 0
            return
        self.skipped += 1
        self.skipped_in_row += 1
        if self.skipped_in_row == self.stop_after_skipped:
            raise self.diverged(step, self._not_finite(out))

    def _not_finite(self, out: dict) -> str:
        """What of a skipped step is not finite."""
        terms = [
            term
            for term, total in zip(self.terms, np.asarray(out["sums"]), strict=True)
            if not math.isfinite(total)
        ]
        loss, norm = float(out["loss"]), float(out["grad_norm"])
        return (
            f"the loss is {loss:g} ({', '.join(terms) or 'all terms finite'}) and the gradient's "
            f"norm {norm:g}, {self.skipped_in_row} steps in a row"
        )

    def _write(self, step: int, out: dict, counts: np.ndarray) -> None:
        """Writes the window, of which this is the last step; a number that is not finite is not."""
        numbers = {"loss": float(out["loss"]), "grad_norm": float(out["grad_norm"])}
        finite = {name: number for name, number in numbers.items() if math.isfinite(number)}
        terms = {
            term: float(total / count)
            for term, total, count in zip(self.terms, np.asarray(out["sums"]), counts, strict=True)
            if count and math.isfinite(total)
        }
        skipped = self.skipped - self.skipped_before
        self.skipped_before = self.skipped
        self.log.write(
            step,
            **finite,
            terms=terms,
            learning_rate=float(self.schedule(step - 1)),
            **self.rates[-1].known(),
            **({"skipped": skipped} if skipped else {}),
        )
        parts = [f"loss {numbers['loss']:.4f}"]
        parts += [f"{term} {value:.3f}" for term, value in terms.items()]
        parts += [f"{self.skipped:,} steps skipped (not finite)"] if self.skipped else []
        self.note = "  ".join(parts)
