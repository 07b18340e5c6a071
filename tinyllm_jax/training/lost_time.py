"""The seconds in which a run does not train, and a profile of some steps in which it does."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator

import jax

from tinyllm_jax.errors import UserError

SKIPPED, TRACED = 10, 6  # steps: the first ones compile and warm up; a few say enough


class LostTime:
    """Adds up what the loop waits for beside its steps.

    Attributes:
      seconds: of the compilation of steps, of waiting for the next batch (the device may have been
        busy meanwhile), of validation, and of checkpoints (what the loop waits, not what is written
        while it goes on).
    """

    def __init__(self):
        self.seconds = {"compilation": 0.0, "input": 0.0, "validation": 0.0, "checkpoints": 0.0}

    def __str__(self) -> str:
        return "  ".join(f"{seconds:,.1f} s {what}" for what, seconds in self.seconds.items())

    @contextlib.contextmanager
    def to(self, what: str) -> Iterator[None]:
        """Adds the time of a `with` block to one of `seconds`."""
        began = time.monotonic()
        yield
        self.seconds[what] += time.monotonic() - began

    @contextlib.contextmanager
    def to_compiling(self, function: Callable) -> Iterator[None]:
        """Adds the time of a `with` block to "compilation" if a jitted function was compiled."""
        began, known = time.monotonic(), function._cache_size()  # type: ignore[attr-defined]
        yield
        if function._cache_size() > known:  # type: ignore[attr-defined]
            self.seconds["compilation"] += time.monotonic() - began


class Profile:
    """A trace of a few steps, as TensorBoard's profile plugin and xprof open it.

    Args:
      directory: where it is written; "" for none.
      start: the step that the run begins at.
      stop: the step that it is to end at. A run that is too short to skip any is traced from its
        first step on.

    Raises:
      UserError: the directory cannot be made.
    """

    def __init__(self, directory: str, start: int, stop: int):
        self.directory, self.running = directory, False
        self.first = min(start + SKIPPED, max(start, stop - TRACED))
        if directory:
            try:
                os.makedirs(directory, exist_ok=True)
            except OSError as e:
                raise UserError(
                    f"cannot write a profile to {directory}: {e.strerror}; "
                    "choose another local directory for --profile"
                ) from None

    @contextlib.contextmanager
    def step(self, index: int) -> Iterator[None]:
        """Marks a step, the `with` block, in the trace; begins and ends the trace in time."""
        if not self.directory:
            yield
            return
        if index == self.first:
            jax.profiler.start_trace(self.directory)
            self.running = True
        elif index == self.first + TRACED:
            self.close()
        with jax.profiler.StepTraceAnnotation("train", step_num=index):
            yield

    def close(self) -> None:
        """Ends the trace, if it runs, and writes it."""
        if self.running:
            self.running = False
            jax.profiler.stop_trace()
