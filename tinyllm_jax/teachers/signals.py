"""SIGTERM and Ctrl-C, turned into a question that the work asks when it can stop."""

import signal
import sys
import threading
from typing import Any


class StopOnSignal:
    """Called, it says whether the process was asked to stop. Use it in a `with` statement.

    The first signal lets what is in flight finish; a second Ctrl-C or SIGTERM ends the process at
    once by `KeyboardInterrupt`. Outside the main thread, where Python handles no signals, the
    answer is always no.
    """

    def __init__(self) -> None:
        self._asked = False
        self._previous_handlers: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Whether a signal came."""
        return self._asked

    def __enter__(self) -> "StopOnSignal":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous_handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number, frame) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        print(
            "\nstopping: what is in flight is finished first; once more to stop at once",
            file=sys.stderr,
            flush=True,
        )
