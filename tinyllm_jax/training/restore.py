"""A trained student from its workdir and nothing else."""

import dataclasses
import pathlib

import jax
import ml_collections
from jax.sharding import SingleDeviceSharding

from tinyllm_jax.errors import UserError
from tinyllm_jax.student import inputs as text
from tinyllm_jax.student import lora, model
from tinyllm_jax.student.config import StudentConfig
from tinyllm_jax.training import checkpoints, workdir


@dataclasses.dataclass(frozen=True)
class Trained:
    """A student as a run left it.

    Attributes:
      config: the resolved config of the run.
      student: the student's shape, without LoRA (it is merged).
      params: its parameters, on one device.
      tokenizer: its tokenizer.
      step: the checkpoint's step.
      corpus: the directory of the corpus that it was trained on.
    """

    config: ml_collections.ConfigDict
    student: StudentConfig
    params: dict
    tokenizer: object
    step: int
    corpus: pathlib.Path


def restore(directory: pathlib.Path, step: str = "best") -> Trained:
    """Opens a workdir.

    Args:
      directory: the workdir.
      step: "best" (on validation; the last where none was validated), "last", or a step's number.

    Raises:
      UserError: not a workdir, no such checkpoint, or a damaged one.
    """
    config = workdir.read_config(directory)
    run = workdir.read_json(directory / workdir.RUN)
    student = StudentConfig(**workdir.read_json(directory / workdir.STUDENT))
    saved = checkpoints.Checkpoints(directory / workdir.CHECKPOINTS)
    if not saved.steps():
        raise UserError(f"{directory} has no checkpoint yet; train first")
    if step in ("best", "last"):
        at = (saved.best[0] if step == "best" else None) or saved.latest()
    elif step.isdigit():
        at = int(step)
    else:
        raise UserError(f"--step is '{step}'; give best, last or a step's number ({saved.steps()})")
    sharding = SingleDeviceSharding(jax.devices()[0])
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        model.param_shapes(student),
    )
    params = saved.restore(at, {"params": target})["params"]
    if student.lora_rank:
        student, params = lora.merge_lora(student, params)
    tokenizer = text.load_tokenizer(directory / workdir.TOKENIZER)
    return Trained(config, student, params, tokenizer, at, pathlib.Path(run["corpus_directory"]))
