"""What a run keeps on disk beside its checkpoints, and who may write there.

config.json    the resolved run (Run)
run.json       what the run must not change under way: corpus, tokenizer, objective, student
tokenizer/     the tokenizer, so that evaluation needs the workdir alone
student.json   the student's shape (StudentConfig)
checkpoints/   Orbax, one folder a step
metrics.jsonl  one line per logged step and per validation
tensorboard/   the same numbers
"""

import dataclasses
import fcntl
import json
import os
import pathlib

import jax

from tinyllm_jax.errors import UserError
from tinyllm_jax.student.config import StudentConfig
from tinyllm_jax.training.run import Run

CONFIG, RUN, TOKENIZER, STUDENT, CHECKPOINTS = (
    "config.json",
    "run.json",
    "tokenizer",
    "student.json",
    "checkpoints",
)


def lock(workdir: pathlib.Path):
    """Takes the workdir for this process until it ends. Keep the returned file open.

    Raises:
      UserError: another run holds it, or it cannot be written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = open(workdir / ".lock", "a+")  # noqa: SIM115 (the lock lasts while it is open)
    except OSError as e:
        raise UserError(
            f"cannot write the workdir {workdir}: {e.strerror}; choose another --workdir"
        ) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        raise UserError(
            f"the workdir {workdir} is in use by another run "
            f"(process {file.read().strip() or '?'}); "
            "wait for it to end, or choose another --workdir"
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def check_same(workdir: pathlib.Path, fixed: dict, allow_changed: bool) -> list[str]:
    """Compares what a run must not change with what the workdir was trained with.

    Returns:
      One line per difference, when they are allowed.

    Raises:
      UserError: something differs and `allow_changed` is off.
    """
    fixed = json.loads(json.dumps(fixed))  # as it is read back
    path = workdir / RUN
    if not path.exists():
        return []
    before = read_json(path)
    changed = [
        f"{name} was {_short(before.get(name))}, is {_short(value)}"
        for name, value in fixed.items()
        if before.get(name) != value
    ]
    if changed and not allow_changed:
        raise UserError(
            f"{workdir} was trained otherwise: {'; '.join(changed)}; "
            "use another --workdir, or --allow_changed to go on regardless"
        )
    return changed


def write_run(workdir: pathlib.Path, run: Run, student: StudentConfig, fixed: dict) -> None:
    """Writes the resolved run, the student's shape, and what the run must not change."""
    if jax.process_index() == 0:
        write_json(workdir / CONFIG, run.to_json())
        write_json(workdir / STUDENT, dataclasses.asdict(student))
        write_json(workdir / RUN, fixed)


def read_run(workdir: pathlib.Path) -> Run:
    """The resolved run of a workdir.

    Raises:
      UserError: the directory is not a workdir, or its config is damaged or of another version.
    """
    if not (workdir / CONFIG).exists():
        raise UserError(f"{workdir} is not the workdir of a run: it has no {CONFIG}")
    try:
        return Run.from_fields(read_json(workdir / CONFIG))
    except UserError as e:
        raise UserError(
            f"{workdir / CONFIG}: {e}; the run is of another version of tinyllm_jax: train it again"
        ) from None


def read_json(path: pathlib.Path) -> dict:
    """A JSON file of a workdir; a `UserError` names it when it is damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as e:
        raise UserError(f"cannot read {path}: {e}; the workdir is damaged") from None


def write_json(path: pathlib.Path, value: dict) -> None:
    """Writes JSON whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    part.rename(path)


def _short(value) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 120 else text[:117] + "..."
