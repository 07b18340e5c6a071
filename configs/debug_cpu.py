"""A CPU run of a minute or two: a byte-level student on puzzles. The quickstart's config.

    tinyllm train --config configs/debug_cpu.py --corpus runs/quickstart/corpus --workdir runs/quickstart/multi
    tinyllm train --config configs/debug_cpu.py:teachers=none --corpus runs/quickstart/corpus --workdir runs/quickstart/answers

Arguments: `task`, `student` and `teachers` ("all", "none", or "a+b:0.5").

Expected on two CPU cores: about 46 s and 12 s in steps; on the puzzles' test split about 48 % and 36 % by likelihood, where
chance is 25 % (`launch/quickstart.sh`, seed 0).
"""

from tinyllm_jax.training import config as run_config


def get_config(arg=None):
    """The run's config for an argument string like "teachers=none"."""
    arg = run_config.parse_arg(arg, task="puzzles", student="byte-tiny", teachers="all")
    config = run_config.default_config()
    config.task = arg.task
    run_config.set_student(config, arg.student)
    if arg.teachers == "none":
        config.objective.rationale = 0.0
    else:
        config.objective.teachers = run_config.teacher_weights(arg.teachers)
    config.batch_size, config.steps = 32, 240
    config.student.dropout_rate = 0.0
    config.optimizer.learning_rate, config.optimizer.schedule = 3e-3, "cosine"
    config.optimizer.warmup_steps, config.optimizer.clip_norm = 30, 1.0
    config.lengths.buckets = 2
    config.checkpoint.every = 80
    config.log_every = 20
    config.validation.questions = 200
    return config
