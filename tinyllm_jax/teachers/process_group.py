"""A process group (see setpgid(2)) for the processes that an engine starts."""

import contextlib
import os
import subprocess


class EngineProcessGroup:
    """Keeps an engine's processes away from Ctrl-C, and ends them when this process ends.

    Processes that are started inside its `with` statement belong to a process group of their own. A
    terminal sends Ctrl-C to the group of this process alone, so the engine can finish what is in
    flight. When this process ends, however it ends (kill -9 included), the whole group is killed,
    so that no process is left behind that holds the GPU's memory.
    """

    def __init__(self) -> None:
        # The watchdog leads the group. It waits on a pipe whose only writer is this process; when
        # this process ends, the pipe is closed, and the watchdog kills its group.
        self._watchdog = subprocess.Popen(
            ["sh", "-c", "read line; kill -9 0"], stdin=subprocess.PIPE, process_group=0
        )
        assert self._watchdog.stdin is not None
        self._pipe = self._watchdog.stdin
        # A forked child would be a second writer.
        descriptor = self._pipe.fileno()
        os.register_at_fork(after_in_child=lambda: _close(descriptor))
        self._own_group = 0

    def __enter__(self) -> None:
        # A new process belongs to its parent's group, so this process joins the other group while
        # it starts them. A process that leads a session, as in a container, may not change its
        # group; its children then stay in the same group.
        self._own_group = os.getpgrp()
        with contextlib.suppress(PermissionError):
            os.setpgid(0, self._watchdog.pid)

    def __exit__(self, *_) -> None:
        if os.getpgrp() == self._own_group:
            return
        try:
            os.setpgid(0, self._own_group)
        except PermissionError:
            # The group has gone with its leader, as when the shell that started this process in
            # the background has ended: this process founds another.
            os.setpgid(0, 0)

    def end(self) -> None:
        """Ends the watchdog; call it after the engine's processes have ended."""
        self._watchdog.kill()
        self._watchdog.wait()
        self._pipe.close()


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)
