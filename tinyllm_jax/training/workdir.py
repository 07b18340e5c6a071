"""What a run keeps on disk beside its checkpoints, and who may write there.

config.json    the resolved run (Run)
run.json       what the run must not change under way: corpus, tokenizer, objective, student
tokenizer/     the tokenizer, so that evaluation needs the workdir alone
student.json   the student's shape (StudentConfig)
checkpoints/   Orbax, one folder a step
metrics.jsonl  one line per logged step and per validation
tensorboard/   the same numbers
compiled/      the compiled programs of runs of several processes (see `cli_devices.prepare`)
reports.json   the names under which wandb and trackio know the run, where it reports to them
.lock          who writes here; lease.json where there is no flock, as in an object store
"""

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Sequence

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
MEND = "restore it from a copy, or train again in another --workdir"


def lock(workdir: epath.Path) -> contextlib.AbstractContextManager:
    """Keeps other runs out of the workdir, which is made, for the time of a `with` block.

    Raises:
      UserError: another run holds it, or it cannot be written.
    """
    if not storage.is_local(workdir):
        return lease.hold(workdir / LEASE)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = open(workdir / ".lock", "a+", errors="replace")  # noqa: SIM115 (the lock lasts while it is open)
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


def check_same(workdir: epath.Path, run: Run, fixed: dict, allow_changed: bool) -> list[str]:
    """Compares a run with the one that the workdir was trained with.

    Args:
      workdir: the directory.
      run: the resolved run.
      fixed: what a run must not change under way, as run.json has it.
      allow_changed: whether that may differ all the same.

    Returns:
      One line per field that differs, with both values: of `fixed`, where that is allowed, and of
      the config, whose other fields may change.

    Raises:
      UserError: something of `fixed` differs and `allow_changed` is off.
    """
    changed, config = [], []
    if (workdir / RUN).exists():
        before = read_json(workdir / RUN, tuple(fixed))
        changed = _differences({name: before[name] for name in fixed}, fixed)
    if (workdir / CONFIG).exists():
        before, now = read_json(workdir / CONFIG), run.to_json()
        both = before.keys() & now.keys()  # another version may have other fields
        # What the objective is stands in `fixed` too, in the way in which it matters.
        config = _differences(
            {name: before[name] for name in both - {"objective"}},
            {name: now[name] for name in both - {"objective"}},
            "config.",
        )
    if changed and not allow_changed:
        raise UserError(
            f"{workdir} was trained otherwise: {'; '.join([*changed, *config])}; "
            "use another --workdir, or --allow_changed to go on regardless"
        )
    return [*changed, *config]


def _differences(before: dict, now: dict, path: str = "") -> list[str]:
    """One text for each field that differs between two JSON objects, nested ones included."""
    now = json.loads(json.dumps(now))  # as it is read back
    texts = []
    for name in sorted(before.keys() | now.keys()):
        was, is_now = before.get(name), now.get(name)
        if isinstance(was, dict) and isinstance(is_now, dict):
            texts += _differences(was, is_now, f"{path}{name}.")
        elif was != is_now:
            told = [
                json.dumps(fields[name]) if name in fields else "absent" for fields in (before, now)
            ]
            texts.append(f"{path}{name} was {told[0]}, is {told[1]}")
    return texts


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
    fields = read_json(workdir / CONFIG)
    try:
        return Run.from_fields(fields)
    except UserError as e:
        raise UserError(
            f"{workdir / CONFIG}: {e}; it is damaged, or of another version of tinyllm_jax: train "
            "it again"
        ) from None


def read_student(workdir: epath.Path) -> StudentConfig:
    """The shape of a workdir's student.

    Raises:
      UserError: its file is absent or damaged.
    """
    found = read_json(workdir / STUDENT)
    try:
        return StudentConfig(**found)
    except TypeError as e:
        raise UserError(f"damaged file {workdir / STUDENT}: {e}; {MEND}") from None


def read_json(path: epath.Path, fields: Sequence[str] = ()) -> dict:
    """A JSON file of a workdir, with `fields`; a `UserError` names it when it is damaged."""
    return storage.read_json(path, MEND, fields)


def write_json(path: epath.Path, value: dict) -> None:
    """Writes JSON whole or not at all."""
    storage.write(path, json.dumps(value, indent=1, sort_keys=True) + "\n")
