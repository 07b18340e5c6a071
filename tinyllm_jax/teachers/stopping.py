"""SIGTERM and Ctrl-C, turned into a question that the work asks when it can stop."""

import signal
import sys
import threading


class Stopping:
    """Called, it says whether the process was asked to stop. Use it in a `with` statement.

    The first signal lets what is in flight finish; a second Ctrl-C or SIGTERM ends at once by `KeyboardInterrupt`. Outside
    the main thread, where Python handles no signals, it is never asked.
    """

    def __init__(self):
        self.asked, self.before = False, {}

    def __call__(self) -> bool:
        return self.asked

    def __enter__(self) -> "Stopping":
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, number, frame) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("\nstopping: what is in flight is finished first; once more to stop at once", file=sys.stderr, flush=True)
