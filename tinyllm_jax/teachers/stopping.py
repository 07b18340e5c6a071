"""SIGTERM and Ctrl-C, turned into a question that the work asks when it can stop."""

import contextlib
import os
import signal
import subprocess
import sys
import threading


class Stopping:
    """Called, it says whether the process was asked to stop. Use it in a `with` statement.

    The first signal lets what is in flight finish; a second Ctrl-C or SIGTERM ends at once by
    `KeyboardInterrupt`. Outside the main thread, where Python handles no signals, it is never
    asked.
    """

    def __init__(self):
        self.asked, self.before = False, {}

    def __call__(self) -> bool:
        return self.asked

    def __enter__(self) -> "Stopping":
        if threading.current_thread() is threading.main_thread():
            self.before = {
                number: signal.signal(number, self._ask)
                for number in (signal.SIGTERM, signal.SIGINT)
            }
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, number, frame) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print(
            "\nstopping: what is in flight is finished first; once more to stop at once",
            file=sys.stderr,
            flush=True,
        )


class Apart:
    """A process group for an engine's processes, which are started in its `with` statement.

    A terminal sends Ctrl-C to a whole group: in one of their own they do not get it, and can finish
    what is in flight. And they are killed when this process ends in whatever way, kill -9 included:
    left alone, they would keep the GPU's memory from the next run. A new process belongs to its
    parent's group, so that the parent is in the other one while it starts them; where it may not
    leave its own (it leads a session, as in a container), nothing changes.
    """

    def __init__(self):
        # Its input ends when the last process that could write there does, which is this one.
        self.watch = subprocess.Popen(
            ["sh", "-c", "read line; kill -9 0"], stdin=subprocess.PIPE, process_group=0
        )
        held = self.watch.stdin.fileno()
        os.register_at_fork(after_in_child=lambda: _close(held))
        self.before = 0

    def __enter__(self) -> None:
        self.before = os.getpgrp()
        with contextlib.suppress(PermissionError):
            os.setpgid(0, self.watch.pid)

    def __exit__(self, *_) -> None:
        if os.getpgrp() != self.before:
            try:
                os.setpgid(0, self.before)
            except (
                PermissionError
            ):  # whoever led it has ended meanwhile, as a shell that started this in the background
                os.setpgid(0, 0)

    def end(self) -> None:
        """Ends the watch, after the engine's processes have ended."""
        self.watch.kill()
        self.watch.wait()
        self.watch.stdin.close()


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)
