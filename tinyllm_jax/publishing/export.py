"""A workdir's checkpoint as a directory that other programs load: `tinyllm export`."""

import os
import pathlib

from etils import epath

from tinyllm_jax import directories, storage
from tinyllm_jax.errors import UserError
from tinyllm_jax.evaluation import results
from tinyllm_jax.publishing import card
from tinyllm_jax.student.export import write_adapter, write_model
from tinyllm_jax.training import restore, workdir
from tinyllm_jax.training.run import Run


def export(
    directory: epath.Path, out: str, step: str = "best", adapter: bool = False, name: str = ""
) -> int:
    """Writes the student of one checkpoint as a Hugging Face directory with a model card.

    Args:
      directory: the workdir.
      out: the local directory to make; it may exist when it is empty. It appears whole.
      step: "best", "last" or a number, as in `restore.find_step`.
      adapter: whether to write the LoRA updates alone, as PEFT loads them on their base; otherwise
        they are merged.
      name: the name that it is to have on the hub, for the card; "" for none.

    Returns:
      The checkpoint's step.

    Raises:
      UserError: not a workdir, no such checkpoint, `out` is not free, or an adapter of a run that
        has none.
    """
    if not storage.is_local(out):
        raise UserError(f"--out is {out}; a student is exported to a local directory")
    directories.require_free(out)
    run = workdir.read_run(directory)
    at = restore.find_step(directory, step)
    if adapter:
        _check_adapter(directory, run)
    found = evaluations(directory, at)
    student = restore.restore(directory, at, merged=not adapter)
    with directories.whole(out) as partial:
        files = pathlib.Path(os.fspath(partial))
        if adapter:
            write_adapter(files, student, run.student.weights)
        else:
            write_model(files, student, run.lengths.target)
        card.write(files, directory, student, at, found, adapter, name)
    return at


def evaluations(directory: epath.Path, step: int) -> list[results.Result]:
    """What `tinyllm evaluate` found for one checkpoint of a workdir, a result for each split."""
    folders = sorted((directory / "evaluation").glob(f"*-{step}"))
    return [results.read(folder) for folder in folders if (folder / "results.json").exists()]


def _check_adapter(directory: epath.Path, run: Run) -> None:
    """Raises a `UserError` unless a run has LoRA updates and a base to put them on."""
    if not run.student.lora_rank:
        raise UserError(
            f"{directory} has no adapter: it was trained without LoRA (config.student.lora_rank is "
            "0); leave --adapter out"
        )
    if not run.student.weights:
        raise UserError(
            f"{directory} started from random weights, so its adapter has no base that others "
            "have; leave --adapter out"
        )
