"""Progress of long work on standard error: how much is done, how fast, and the time left."""

import sys
import time


class Progress:
    """Prints `label  done/total  rate  time left  note` on standard error.

    On a terminal the line is rewritten in place; elsewhere a line is printed at most every
    `every` seconds, so that a log file stays readable.

    Args:
      label: what is being done, e.g. "train".
      total: the number of units of work.
      unit: the unit's name, e.g. "steps".
      start: units already done before this process began; they do not count in the rate.
      every: seconds between two lines when standard error is not a terminal.
      quiet: print nothing, as all processes of one run but the first.
    """

    def __init__(
        self,
        label: str,
        total: int,
        unit: str = "rows",
        start: int = 0,
        every: float = 10.0,
        quiet: bool = False,
    ):
        self.quiet = quiet
        self.label, self.total, self.unit, self.start, self.every = label, total, unit, start, every
        self.done = start
        self.began = self.printed = time.monotonic()
        self.live = sys.stderr.isatty()

    def update(self, done: int, note: str = "") -> None:
        """Says that `done` units are finished; prints when it is time to."""
        self.done = done
        now = time.monotonic()
        if now - self.printed >= (0.2 if self.live else self.every):
            self.printed = now
            self._print(note, end="" if self.live else "\n")

    def close(self, note: str = "") -> None:
        """Prints the last line."""
        self._print(note, end="\n")

    def _print(self, note: str, end: str) -> None:
        if self.quiet:
            return
        seconds = max(time.monotonic() - self.began, 1e-9)
        rate = (self.done - self.start) / seconds
        if rate > 0 and self.done < self.total:
            clock = f"{_clock((self.total - self.done) / rate)} left"
        else:
            clock = f"{_clock(seconds)} taken"
        parts = [
            self.label,
            f"{self.done:,}/{self.total:,} {self.unit}",
            f"{rate:,.1f} {self.unit}/s",
            clock,
        ]
        if note:
            parts.append(note)
        wipe = "\r\x1b[2K" if self.live else ""
        print(wipe + "  ".join(parts), end=end, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    """A duration as "0:07" or "1:02:03"."""
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
