"""The commands of `tinyllm checkpoint`."""

from absl import flags

from tinyllm_jax import storage
from tinyllm_jax.errors import UserError


def define(values, argv):
    """The flags of `checkpoint list` and `checkpoint verify`."""
    flags.DEFINE_string("workdir", "", "the workdir of the run", values)
    return ("workdir",)


def checkpoint_list(values) -> None:
    """Lists the checkpoints of a run: step, size, validation accuracy."""
    found = _listing(values)
    best = max((accuracy for _, accuracy, _ in found if accuracy is not None), default=None)
    for folder, accuracy, size in found:
        said = "not validated"
        if accuracy is not None:
            said = f"validation accuracy {100 * accuracy:.1f} %"
            said += "  best" if accuracy == best else ""
        print(f"step {int(folder.name):>8,}  {size / 2**20:>9,.1f} MiB  {said}")


def checkpoint_verify(values) -> None:
    """Checks every byte of a run's checkpoints against their manifests."""
    from tinyllm_jax.training import checkpoints

    found = _listing(values)
    damaged = 0
    for folder, _, _ in found:
        wrong = checkpoints.damaged_files(folder)
        damaged += bool(wrong)
        said = f"damaged: {', '.join(wrong)}" if wrong else "whole"
        print(f"step {int(folder.name):>8,}  {said}")
    if damaged:
        raise UserError(
            f"{damaged} of {len(found)} checkpoints are damaged; training sets a damaged one "
            "aside and goes on from the one before"
        )


def _listing(values) -> list:
    from tinyllm_jax.training import checkpoints, workdir

    directory = storage.path(values.workdir)
    workdir.read_run(directory)
    found = checkpoints.listing(directory / workdir.CHECKPOINTS)
    if not found:
        raise UserError(f"{directory} has no checkpoint yet; train first")
    return found
