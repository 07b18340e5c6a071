"""A trained student from its workdir and nothing else."""

import jax
from etils import epath
from jax.sharding import SingleDeviceSharding

from tinyllm_jax.errors import UserError
from tinyllm_jax.student import inputs, lora, model
from tinyllm_jax.student.student import Student
from tinyllm_jax.training import checkpoints, initial, sharding, workdir


def find_step(directory: epath.Path, wanted: str = "best") -> int:
    """The step of a checkpoint of a workdir.

    Args:
      directory: the workdir.
      wanted: "best" (on validation; the last where none was validated), "last", or a number.

    Raises:
      UserError: not a workdir, no checkpoint yet, or not such a word.
    """
    workdir.read_run(directory)
    saved = checkpoints.Checkpoints(directory / workdir.CHECKPOINTS)
    last = saved.latest()
    if last is None:
        raise UserError(f"{directory} has no checkpoint yet; train first")
    if wanted == "last":
        return last
    if wanted == "best":
        best, _ = saved.best
        return best or last
    if not wanted.isdigit():
        raise UserError(
            f"--step is '{wanted}'; give best, last or a step's number ({saved.steps()})"
        )
    return int(wanted)


def restore(
    directory: epath.Path, step: int, merged: bool = True, everywhere: bool = False
) -> Student:
    """The student of one checkpoint of a workdir.

    Args:
      directory: the workdir.
      step: the checkpoint's.
      merged: whether LoRA updates, where it has any, are merged into its kernels.
      everywhere: whether it lies on all devices (see `sharding.for_questions`), and not on one.

    Raises:
      UserError: not a workdir, no such checkpoint, a damaged one, or a tokenizer that is damaged
        or gone.
    """
    run = workdir.read_run(directory)
    shape = workdir.read_student(directory)
    trained_with = workdir.read_json(directory / workdir.RUN, ("tokenizer",))["tokenizer"]
    tokenizer = inputs.load_tokenizer(directory / workdir.TOKENIZER)
    if inputs.fingerprint(tokenizer) != trained_with:
        raise UserError(
            f"{directory / workdir.TOKENIZER} is not the tokenizer that the student was trained "
            f"with; {workdir.MEND}"
        )
    shapes = model.param_shapes(shape)
    if everywhere:
        shardings = sharding.for_questions(shapes)
    else:
        one = SingleDeviceSharding(jax.devices()[0])
        shardings = jax.tree.map(lambda _: one, shapes)
    saved = checkpoints.Checkpoints(directory / workdir.CHECKPOINTS)
    params = saved.restore(step, {"params": sharding.placed(shapes, shardings)})["params"]
    if shape.lora_rank and merged:
        shape, params = lora.merge_lora(shape, params)
    return initial.student_of(run, shape, params, tokenizer)
