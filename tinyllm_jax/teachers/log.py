"""The append-only log of what one teacher wrote about one task.

A log is a TFRecord file of `corpus.logrow.LogRow`s. A request that failed is a row too, with its
error; a later run asks again, and a good row of the same key follows.

A row is appended as soon as it is finished and reaches the operating system at once, so a killed
process loses nothing that it had written; once a second, and at the end, the file is synced to the
disk, for the case of a power cut. What an interrupted append leaves is cut off when the log is next
opened. One process at a time may have a log open.
"""

import fcntl
import os
import time
from pathlib import Path

from tinyllm_jax.corpus import tfrecord
from tinyllm_jax.corpus.logrow import LogRow, read_log
from tinyllm_jax.errors import UserError


class Log:
    """A log open for appending; use it in a `with` statement.

    Attributes:
      rows: the good rows that it holds, by key.
      failed: the rows that failed and have not been made good, by key.
      cut: bytes of an interrupted append that were cut off when it was opened.

    Raises:
      UserError: at opening: another process has it open, it is damaged in its middle, it holds
        another task's or teacher's rows, or it cannot be written; at appending: it cannot be
        written.
    """

    def __init__(self, path: Path | str, task: str, teacher: str):
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "ab")  # noqa: SIM115  `__exit__` closes it
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise UserError(
                f"log {self.path} is being written by another process; wait until it ends"
            ) from None
        except OSError as error:
            raise UserError(f"cannot write log {self.path}: {error.strerror}") from None
        try:
            self.cut = self._cut_torn_tail()
            self.rows: dict[str, LogRow] = {}
            self.failed: dict[str, LogRow] = {}
            for row in read_log(self.path):
                self._check(row, task, teacher)
                self._keep(row)
        except BaseException:
            self._file.close()
            raise
        self._synced = time.monotonic()

    def append(self, row: LogRow) -> None:
        """Appends one row and hands it to the operating system.

        Raises:
          UserError: the log cannot be written.
        """
        try:
            tfrecord.write_record(self._file, row.to_bytes())
            self._file.flush()
            if time.monotonic() - self._synced > 1:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise UserError(
                f"cannot write log {self.path}: {error.strerror}; its {len(self.rows):,} rows are "
                f"safe, the same command goes on from there"
            ) from None
        self._keep(row)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_) -> None:
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError:
            # A row that did not fit on the disk is still in the buffer; `append` raised its error.
            pass

    def _cut_torn_tail(self) -> int:
        """Cuts off what an interrupted append left behind; returns how many bytes that was."""
        end, _ = tfrecord.scan(self.path)
        torn = self.path.stat().st_size - end
        if torn:
            os.truncate(self.path, end)
        return torn

    def _keep(self, row: LogRow) -> None:
        if row.failure:
            self.failed[row.key] = row
        else:
            self.rows[row.key] = row
            self.failed.pop(row.key, None)

    def _check(self, row: LogRow, task: str, teacher: str) -> None:
        if (row.task, row.teacher) != (task, teacher):
            raise UserError(
                f"log {self.path} holds teacher '{row.teacher}' on task '{row.task}', "
                f"not '{teacher}' on '{task}'; choose another directory"
            )
