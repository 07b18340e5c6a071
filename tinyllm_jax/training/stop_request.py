"""SIGTERM and Ctrl-C as a request to stop, which a run follows between two steps."""

import signal

import jax
from jax.experimental import multihost_utils


class StopRequest:
    """Whether the run was asked to stop.

    One process listens to SIGTERM and Ctrl-C; a second Ctrl-C ends it at once. With several
    processes, jax listens to SIGTERM, and a signal to any of them stops all at the same step.
    """

    def __init__(self):
        self.several = jax.process_count() > 1
        self.asked = False
        self.handlers_before = {}
        if not self.several:
            for number in (signal.SIGTERM, signal.SIGINT):
                self.handlers_before[number] = signal.signal(number, self._ask)

    def _ask(self, number, frame):
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True

    def reached(self, step: int) -> bool:
        """Whether the run should end after this step: all processes say the same."""
        if self.several:
            return multihost_utils.reached_preemption_sync_point(step)
        return self.asked

    def close(self) -> None:
        """Gives the signals back to who had them before."""
        for number, handler in self.handlers_before.items():
            signal.signal(number, handler)
