"""Where a run's curves are shown beside metrics.jsonl: TensorBoard, Weights & Biases, Trackio.

Whoever is logged in with wandb, or runs it offline (WANDB_MODE=offline), stays so: no key passes
through here. Trackio keeps its numbers on this machine, where the user did not tell it otherwise.
"""

import importlib
import os
import re
import sys
import uuid
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Protocol

from etils import epath

from tinyllm_jax import storage
from tinyllm_jax.errors import UserError, unknown
from tinyllm_jax.training import workdir

TENSORBOARD, WANDB, TRACKIO, NONE = "tensorboard", "wandb", "trackio", "none"
NAMES = (TENSORBOARD, WANDB, TRACKIO, NONE)
PROJECT = "tinyllm_jax"


class Sink(Protocol):
    """What shows curves."""

    def write(self, step: int, curves: Mapping[str, float]) -> None:
        """Adds a point to each curve."""

    def close(self) -> None:
        """Every point is where it belongs."""


def check(names: Sequence[str]) -> None:
    """Checks what can be known before any work is done.

    Args:
      names: of sinks, as --report_to has them.

    Raises:
      UserError: an unknown name, "none" beside others, or a package that is absent.
    """
    for name in names:
        if name not in NAMES:
            raise unknown("value of --report_to", name, NAMES)
        if name in (WANDB, TRACKIO):
            _package(name)
    if NONE in names and len(names) > 1:
        raise UserError(f"--report_to is {','.join(names)}; give none alone, or leave it out")


def open_sinks(names: Sequence[str], directory: epath.Path, step: int, config: dict) -> list[Sink]:
    """The sinks of a run.

    Args:
      names: those that `check` let pass.
      directory: the run's workdir. The names under which wandb and trackio know the run stand in
        it, so that a run that is resumed goes on there.
      step: the step that the run goes on from.
      config: the run's fields, which wandb and trackio show beside the curves.

    Raises:
      UserError: wandb or trackio does not take the run.
    """
    sinks: list[Sink] = []
    for name in names:
        if name == TENSORBOARD:
            board = _open_board(directory / "tensorboard", step)
            sinks += [board] if board else []
        elif name != NONE:
            sinks.append(Tracker(name, directory, config))
    return sinks


class Board:
    """TensorBoard's event files.

    Args:
      writer: a `tensorboardX.SummaryWriter`.
    """

    def __init__(self, writer):
        self.writer = writer

    def write(self, step: int, curves: Mapping[str, float]) -> None:
        """Adds a point to each curve."""
        for curve, number in curves.items():
            self.writer.add_scalar(curve, number, step)

    def close(self) -> None:
        """Closes the file."""
        self.writer.close()


def _open_board(directory: epath.Path, step: int) -> Board | None:
    """TensorBoard's files; None, which is said on stderr, where it cannot write there."""
    from tensorboardX import SummaryWriter, record_writer

    scheme, _, _ = str(directory).partition("://")
    packages = {"gs": record_writer.GCS_ENABLED, "s3": record_writer.S3_ENABLED}
    if storage.is_local(directory) or packages.get(scheme):
        return Board(SummaryWriter(str(directory), purge_step=step + 1 if step else None))
    print(
        f"no TensorBoard: it writes to gs:// with google-cloud-storage and to s3:// with boto3, "
        f"and cannot write {directory} here",
        file=sys.stderr,
    )
    return None


class Tracker:
    """A run of wandb or of trackio, whose functions are alike.

    Args:
      name: which of the two.
      directory: the run's workdir.
      config: the run's fields.

    Raises:
      UserError: it does not take the run.
    """

    def __init__(self, name: str, directory: epath.Path, config: dict):
        self.name, self.package = name, _package(name)
        known = _known_as(name, directory)
        about: dict[str, Any] = {"project": PROJECT, "name": known, "config": config}
        if name == WANDB:
            here = str(directory) if storage.is_local(directory) else None
            about |= {"id": known, "dir": here}
        else:
            about |= {"embed": False}
        try:
            self.package.init(**about, resume="allow")
            # The rows that a killed run wrote beyond its checkpoint come again, and wandb's own
            # count of steps would refuse them.
            if name == WANDB:
                self.package.define_metric("*", step_metric="step")
        except Exception as e:  # their errors share no base class
            raise UserError(
                f"--report_to={name}: {_without_keys(str(e))}; leave {name} out, or mend that and "
                "run the same command again"
            ) from None

    def write(self, step: int, curves: Mapping[str, float]) -> None:
        """Adds a point to each curve."""
        if self.name == WANDB:
            self.package.log({"step": step, **curves})
        else:
            self.package.log(dict(curves), step=step)

    def close(self) -> None:
        """Waits until everything is sent, or on disk."""
        self.package.finish()


def _package(name: str) -> ModuleType:
    """The package of a sink; a `UserError` says how it is installed where it is absent."""
    try:
        return importlib.import_module(name)
    except ImportError as e:
        raise UserError(
            f"--report_to={name} needs the package {name} ({e}): pip install {name}"
        ) from None


def _known_as(name: str, directory: epath.Path) -> str:
    """The name under which wandb or trackio knows the run of a workdir; made at the first time."""
    path = directory / workdir.REPORTS
    names = workdir.read_json(path) if path.exists() else {}
    if name not in names:
        title = re.sub(r"[^\w.-]", "-", directory.name)[:40]
        names[name] = f"{title}-{uuid.uuid4().hex[:8]}"
        workdir.write_json(path, names)
    return names[name]


def _without_keys(text: str) -> str:
    """A text in one line, short, without the keys that the environment holds."""
    for variable in ("WANDB_API_KEY", "HF_TOKEN", "TRACKIO_WRITE_TOKEN"):
        if os.environ.get(variable):
            text = text.replace(os.environ[variable], "…")
    return " ".join(text.split())[:200]
