"""A terminal or pipe that is closed does not end a long command: what it says goes nowhere then.

Everything that matters is in files. Without this, the end of an ssh connection, or of the `tee`
behind a pipe, would end a training run at its next line.
"""

import os
import signal
import sys
from typing import Any, TextIO


def survive_its_end() -> None:
    """Goes on when the terminal hangs up, or nobody reads standard output or error any more."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.stdout, sys.stderr = _Surviving(sys.stdout), _Surviving(sys.stderr)  # type: ignore


class _Surviving:
    """A text stream that writes to nowhere once its reader is gone."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._to_nowhere()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._to_nowhere()

    def _to_nowhere(self) -> None:
        """What is still in the stream's buffer is written there too, when the process ends."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
