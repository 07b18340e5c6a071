"""A single-GPU run of minutes, to see that an accelerator and its installation work.

    tinyllm train --config configs/debug_gpu.py:task=arc --corpus DIR --workdir DIR
    tinyllm evaluate --workdir DIR

FLAN-T5-small in bfloat16, 200 steps of 16 questions. Arguments: `task`, `student`, `teachers`. Not
yet run on a GPU: expect a loss that falls, not an accuracy. Random weights of the small shape,
without a download: `student=/path/to/t5`, or `--config.student.weights=
--config.student.name=flan-t5-small --config.student.tokenizer=DIR`.
"""

from tinyllm_jax.config_args import parse_arg
from tinyllm_jax.training.recipes import default_config, set_student


def get_config(arg=None):
    """The run's config for an argument string like "task=arc"."""
    arg = parse_arg(arg, task="obqa", student="small", teachers="all")
    config = default_config()
    config.task = arg.task
    set_student(config, arg.student)
    config.objective.teachers = arg.teachers
    config.batch_size, config.steps = 16, 200
    config.student.dtype = "bfloat16"
    config.optimizer.learning_rate, config.optimizer.warmup_steps = 3e-4, 0.1
    config.optimizer.clip_norm = 1.0
    config.checkpoint.every, config.log_every = 100, 10
    config.validation.questions = 200
    return config
