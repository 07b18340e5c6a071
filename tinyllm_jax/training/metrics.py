"""A run's numbers as JSON lines and TensorBoard event files."""

import json
import pathlib


class Metrics:
    """Appends to `metrics.jsonl` and `tensorboard/`; on a process that is not the first, does nothing.

    Rows: {"step", "loss", "terms": {term: loss}, "learning_rate", "grad_norm",
      "questions_per_second"} and
    {"step", "validation_accuracy", "validation_questions", "validation_terms": {term: loss}}.

    Args:
      workdir: where the files lie.
      step: the step that the run goes on from; rows beyond it, of a run that was killed, are cut
        off.
      active: whether this process writes.
    """

    def __init__(self, workdir: pathlib.Path, step: int, active: bool):
        self.file = self.board = None
        if not active:
            return
        from tensorboardX import SummaryWriter

        path = workdir / "metrics.jsonl"
        kept = [line for line in read(path) if line["step"] <= step]
        part = path.with_name("metrics.jsonl.part")
        part.write_text("".join(json.dumps(line) + "\n" for line in kept))
        part.rename(path)
        self.file = open(path, "a")
        self.board = SummaryWriter(
            str(workdir / "tensorboard"), purge_step=step + 1 if step else None
        )

    def write(self, step: int, **values) -> None:
        """Writes one row; a dict value becomes one TensorBoard curve per key."""
        if self.file is None:
            return
        self.file.write(json.dumps({"step": step} | values) + "\n")
        self.file.flush()
        for name, value in values.items():
            for key, number in value.items() if isinstance(value, dict) else (("", value),):
                self.board.add_scalar(f"{name}/{key}" if key else name, number, step)

    def close(self) -> None:
        """Closes the files."""
        if self.file is not None:
            self.file.close()
            self.board.close()


def read(path: pathlib.Path) -> list[dict]:
    """The rows of a `metrics.jsonl`; none where there is no file. A torn last line is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
