"""A run's numbers as JSON lines, and as curves in the sinks that it reports to."""

import concurrent.futures
import json
import os
from collections.abc import Sequence

from etils import epath

from tinyllm_jax import storage
from tinyllm_jax.errors import UserError
from tinyllm_jax.training import sinks


class Metrics:
    """Appends rows to a run's `metrics.jsonl`, and draws their curves elsewhere.

    A row is {"step", "loss", "terms": {term: loss}, "learning_rate", "grad_norm"} with the rates of
    `throughput.Rates` that are known, with "skipped" where steps since the row before were skipped,
    and without what is not finite; or {"step", "validation_accuracy", "validation_questions",
    "validation_terms": {term: loss}}; or, once at the end, {"step", "seconds_lost": {what:
    seconds}}, see `LostTime`.

    Where files cannot be appended to, as in an object store, a thread rewrites the whole file as
    rows come: at once, or when it is done with the rewriting before.

    Args:
      workdir: where the files lie.
      step: the step that the run goes on from; rows beyond it, of a run that was killed, are cut
        off.
      active: whether this process writes; where it does not, nothing here does anything.
      report_to: the names of the sinks, see `sinks.check`.
      config: the run's fields, for the sinks.

    Raises:
      UserError: a sink does not take the run.
    """

    def __init__(
        self,
        workdir: str | os.PathLike,
        step: int,
        active: bool,
        report_to: Sequence[str] = (sinks.TENSORBOARD,),
        config: dict | None = None,
    ):
        self.active = active
        if not active:
            return
        self._path = epath.Path(workdir) / "metrics.jsonl"
        self._lines = [_line(row) for row in read(self._path) if row["step"] <= step]
        self._rewrite()
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._rewriting: concurrent.futures.Future | None = None
        self._sinks = sinks.open_sinks(report_to, epath.Path(workdir), step, config or {})

    def write(self, step: int, **values) -> None:
        """Writes one row; a dict value becomes one curve for each of its keys."""
        if not self.active:
            return
        self._add(_line({"step": step} | values))
        curves: dict[str, float] = {}
        for name, value in values.items():
            if isinstance(value, dict):
                curves |= {f"{name}/{key}": number for key, number in value.items()}
            else:
                curves[name] = value
        for sink in self._sinks:
            sink.write(step, curves)

    def close(self) -> None:
        """Closes the file and the sinks; every row is in them."""
        if not self.active:
            return
        self._thread.shutdown()
        if not storage.is_local(self._path):
            self._rewrite()
        for sink in self._sinks:
            sink.close()

    def _add(self, line: str) -> None:
        if storage.is_local(self._path):
            try:
                with self._path.open("a") as file:
                    file.write(line)
            except OSError as error:
                raise UserError(
                    f"cannot write {self._path}: {error.strerror or error}; make room there, and "
                    "run the same command again: it goes on from the last checkpoint"
                ) from None
            return
        self._lines.append(line)
        waiting = self._rewriting
        if waiting is None or waiting.running() or waiting.done():
            self._rewriting = self._thread.submit(self._rewrite)
        # Otherwise one is about to begin, and writes this line too.

    def _rewrite(self) -> None:
        storage.write(self._path, "".join(self._lines))


def _line(row: dict) -> str:
    return json.dumps(row) + "\n"


def read(path: epath.Path) -> list[dict]:
    """The rows of a `metrics.jsonl`; none where there is no file.

    A last line without an end is left out: the run was killed as it wrote it.

    Raises:
      UserError: another line is damaged.
    """
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    rows = []
    for number, line in enumerate(whole.split(b"\n") if whole else [], 1):
        try:
            row = json.loads(line)
            _ = row["step"] + 0
        except (ValueError, TypeError, KeyError):
            raise UserError(
                f"damaged file {path}: line {number} is not a row of metrics; delete that line"
            ) from None
        rows.append(row)
    return rows
