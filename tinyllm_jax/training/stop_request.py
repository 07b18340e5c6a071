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
        self.calls = 0
        self.handlers_before = {}
        if not self.several:
            for number in (signal.SIGTERM, signal.SIGINT):
                self.handlers_before[number] = signal.signal(number, self._ask)

    def _ask(self, number, frame):
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True

    def reached(self) -> bool:
        """Whether the run should end after this step: all processes say the same.

        It is to be called once a step.
        """
        # jax agrees on the number of a call to come, and compares for equality. With the number of
        # the step, a run that goes on from step 100 would pass by the 1 that is agreed on where the
        # signal comes before the first call.
        self.calls += 1
        if self.several:
            return multihost_utils.reached_preemption_sync_point(self.calls)
        return self.asked

    def close(self) -> None:
        """Gives the signals back to who had them before."""
        for number, handler in self.handlers_before.items():
            signal.signal(number, handler)
