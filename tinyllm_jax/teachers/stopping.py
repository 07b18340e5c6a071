"""SIGTERM and Ctrl-C, turned into a question that the work asks when it can stop."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator


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


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Processes that are started inside do not get the terminal's Ctrl-C, only this one does.

    A terminal sends it to a whole process group, and an engine's processes would end with their work in flight. A new
    process belongs to its parent's group, so that the parent is in another one while it starts them; where a parent may not
    leave its group (it leads a session, as in a container), nothing changes.
    """
    group = os.getpgrp()
    holder = subprocess.Popen(["sleep", "infinity"], process_group=0)  # a group needs a process to exist
    try:
        with contextlib.suppress(PermissionError):
            os.setpgid(0, holder.pid)
        yield
    finally:
        if os.getpgrp() != group:
            try:
                os.setpgid(0, group)
            except PermissionError:  # whoever led it has ended meanwhile, as a shell that started this in the background
                os.setpgid(0, 0)
        holder.kill()
        holder.wait()
