"""A run's numbers as JSON lines and TensorBoard event files."""

import concurrent.futures
import json
import os
import sys

from etils import epath

from tinyllm_jax import storage


class Metrics:
    """Appends rows to a run's `metrics.jsonl` and `tensorboard/`.

    A row is {"step", "loss", "terms": {term: loss}, "learning_rate", "grad_norm"} with the rates of
    `throughput.Rates` that are known; or {"step", "validation_accuracy", "validation_questions",
    "validation_terms": {term: loss}}; or, once at the end, {"step", "seconds_lost": {what:
    seconds}}, see `LostTime`.

    Where files cannot be appended to, as in an object store, a thread rewrites the whole file as
    rows come: at once, or when it is done with the rewriting before.

    Args:
      workdir: where the files lie.
      step: the step that the run goes on from; rows beyond it, of a run that was killed, are cut
        off.
      active: whether this process writes; where it does not, nothing here does anything.
    """

    def __init__(self, workdir: str | os.PathLike, step: int, active: bool):
        self.active = active
        if not active:
            return
        self._path = epath.Path(workdir) / "metrics.jsonl"
        self._lines = [_line(row) for row in read(self._path) if row["step"] <= step]
        self._rewrite()
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._rewriting: concurrent.futures.Future | None = None
        self._board = _open_board(epath.Path(workdir) / "tensorboard", step)

    def write(self, step: int, **values) -> None:
        """Writes one row; a dict value becomes one TensorBoard curve for each of its keys."""
        if not self.active:
            return
        self._add(_line({"step": step} | values))
        for name, value in values.items():
            curves = {name: value}
            if isinstance(value, dict):
                curves = {f"{name}/{key}": number for key, number in value.items()}
            for curve, number in curves.items():
                if self._board is not None:
                    self._board.add_scalar(curve, number, step)

    def close(self) -> None:
        """Closes both files; every row is in them."""
        if not self.active:
            return
        self._thread.shutdown()
        if not storage.is_local(self._path):
            self._rewrite()
        if self._board is not None:
            self._board.close()

    def _add(self, line: str) -> None:
        if storage.is_local(self._path):
            with self._path.open("a") as file:
                file.write(line)
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


def _open_board(directory: epath.Path, step: int):
    """TensorBoard's writer; None, which is said on stderr, where it cannot write there."""
    from tensorboardX import SummaryWriter, record_writer

    scheme, _, _ = str(directory).partition("://")
    packages = {"gs": record_writer.GCS_ENABLED, "s3": record_writer.S3_ENABLED}
    if storage.is_local(directory) or packages.get(scheme):
        return SummaryWriter(str(directory), purge_step=step + 1 if step else None)
    print(
        f"no TensorBoard: it writes to gs:// with google-cloud-storage and to s3:// with boto3, "
        f"and cannot write {directory} here",
        file=sys.stderr,
    )
    return None


def read(path: epath.Path) -> list[dict]:
    """The rows of a `metrics.jsonl`; none where there is no file. A torn last line is left out."""
    rows = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
