"""A run's numbers as JSON lines and TensorBoard event files."""

import json
import pathlib


class Metrics:
    """Appends rows to a run's `metrics.jsonl` and `tensorboard/`.

    A row is {"step", "loss", "terms": {term: loss}, "learning_rate", "grad_norm",
    "questions_per_second"} or {"step", "validation_accuracy", "validation_questions",
    "validation_terms": {term: loss}}.

    Args:
      workdir: where the files lie.
      step: the step that the run goes on from; rows beyond it, of a run that was killed, are cut
        off.
      active: whether this process writes; where it does not, nothing here does anything.
    """

    def __init__(self, workdir: pathlib.Path, step: int, active: bool):
        self.path = workdir / "metrics.jsonl"
        self.board = None
        if not active:
            return
        from tensorboardX import SummaryWriter

        kept = [line for line in read(self.path) if line["step"] <= step]
        part = self.path.with_name("metrics.jsonl.part")
        part.write_text("".join(json.dumps(line) + "\n" for line in kept))
        part.rename(self.path)
        self.board = SummaryWriter(
            str(workdir / "tensorboard"), purge_step=step + 1 if step else None
        )

    def write(self, step: int, **values) -> None:
        """Writes one row; a dict value becomes one TensorBoard curve for each of its keys."""
        if self.board is None:
            return
        with open(self.path, "a") as file:
            file.write(json.dumps({"step": step} | values) + "\n")
        for name, value in values.items():
            curves = {name: value}
            if isinstance(value, dict):
                curves = {f"{name}/{key}": number for key, number in value.items()}
            for curve, number in curves.items():
                self.board.add_scalar(curve, number, step)

    def close(self) -> None:
        """Closes TensorBoard's file."""
        if self.board is not None:
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
