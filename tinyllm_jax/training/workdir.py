"""What a run keeps on disk beside its checkpoints, and who may write there.

config.json    the resolved run (Run)
run.json       what the run must not change under way: corpus, tokenizer, objective, student
tokenizer/     the tokenizer, so that evaluation needs the workdir alone
student.json   the student's shape (StudentConfig)
checkpoints/   Orbax, one folder a step
metrics.jsonl  one line per logged step and per validation
tensorboard/   the same numbers
reports.json   the names under which wandb and trackio know the run, where it reports to them
.lock          who writes here; lease.json where there is no flock, as in an object store
"""

import contextlib
import dataclasses
import fcntl
import json
import os

import jax
from etils import epath

from tinyllm_jax import storage
from tinyllm_jax.errors import UserError
from tinyllm_jax.student.config import StudentConfig
from tinyllm_jax.training import lease
from tinyllm_jax.training.run import Run

CONFIG, RUN, TOKENIZER, STUDENT, CHECKPOINTS, LEASE, REPORTS = (
    "config.json",
    "run.json",
    "tokenizer",
    "student.json",
    "checkpoints",
    "lease.json",
    "reports.json",
)


def lock(workdir: epath.Path) -> contextlib.AbstractContextManager:
    """Keeps other runs out of the workdir, which is made, for the time of a `with` block.

    Raises:
      UserError: another run holds it, or it cannot be written.
    """
    if not storage.is_local(workdir):
        return lease.hold(workdir / LEASE)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = open(workdir / ".lock", "a+")  # noqa: SIM115 (the lock lasts while it is open)
    except OSError as e:
        raise UserError(
            f"cannot write the workdir {workdir}: {e.strerror}; choose another --workdir"
        ) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise UserError(
            f"the workdir {workdir} is in use by another run "
            f"(process {file.read().strip() or '?'}); "
            "wait for it to end, or choose another --workdir"
        ) from None
    except OSError:  # a file system without flock
        file.close()
        return lease.hold(workdir / LEASE)
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def check_same(workdir: epath.Path, fixed: dict, allow_changed: bool) -> list[str]:
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


def write_run(workdir: epath.Path, run: Run, student: StudentConfig, fixed: dict) -> None:
    """Writes the resolved run, the student's shape, and what the run must not change."""
    if jax.process_index() == 0:
        write_json(workdir / CONFIG, run.to_json())
        write_json(workdir / STUDENT, dataclasses.asdict(student))
        write_json(workdir / RUN, fixed)


def read_run(workdir: epath.Path) -> Run:
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


def read_json(path: epath.Path) -> dict:
    """A JSON file of a workdir; a `UserError` names it when it is damaged."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as e:
        raise UserError(f"cannot read {path}: {e}; the workdir is damaged") from None


def write_json(path: epath.Path, value: dict) -> None:
    """Writes JSON whole or not at all."""
    storage.write(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def _short(value) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 120 else text[:117] + "..."
