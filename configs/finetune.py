"""The baseline: `configs/tinyllm.py` with answers only, without any rationale.

    tinyllm train --config configs/finetune.py:task=obqa,student=small,recipe=released --corpus DIR
    --workdir DIR

Arguments: `recipe`, `task` and `student`, as in `configs/tinyllm.py`. A step sees as many questions
as there, and costs about 1 / (1 + teachers) of its time. Expected result: the paper reports 41.60
(OBQA) and 27.47 (ARC) exact match on test for the small student.
"""

import importlib.util
import pathlib

from tinyllm_jax.training import config as run_config


def get_config(arg=None):
    """The run's config for an argument string like "task=arc,student=base"."""
    arg = run_config.parse_arg(arg, recipe="recommended", task="obqa", student="small")
    # Config files are loaded by path, so the one beside this file is too.
    spec = importlib.util.spec_from_file_location(
        "tinyllm_recipe", pathlib.Path(__file__).with_name("tinyllm.py")
    )
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    config = recipe.get_config(",".join(f"{k}={v}" for k, v in arg.items()))
    config.objective.rationale = 0.0
    return config
