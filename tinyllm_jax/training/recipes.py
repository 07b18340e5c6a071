"""The door of a training run: what config files are made of, and how one becomes a `Run`.

A config file's `get_config` starts from `default_config` and changes what it must. Overrides on the
command line change fields of the result, and `run_of` makes a checked `Run` of it.
"""

import importlib.util
import pathlib
from typing import Any

import ml_collections

from tinyllm_jax.errors import UserError
from tinyllm_jax.student import words
from tinyllm_jax.training.run import Run


def default_config() -> ml_collections.ConfigDict:
    """All fields of a run with their defaults; `run.py` says what each means."""
    fields = Run().to_json()
    fields["objective"]["teachers"] = "all"
    fields["student"]["lora_targets"] = Run().student.lora_targets
    return ml_collections.ConfigDict(fields)


def neighbour(file: str, name: str, arg: str | None = None) -> ml_collections.ConfigDict:
    """The config of another config file, for one that starts from it.

    Args:
      file: the file that asks, its `__file__`: config files are loaded by path and not imported.
      name: the other file, relative to the directory of `file`.
      arg: the argument of its `get_config`.
    """
    spec = importlib.util.spec_from_file_location("config", pathlib.Path(file).parent / name)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(arg)


def set_student(config: ml_collections.ConfigDict, name: str) -> None:
    """Fills `config.student` from a config argument.

    Args:
      config: changed in place.
      name: "small", "base", "large", "xl" or "xxl" (FLAN-T5 from the hub); "word-tiny" or
        "byte-tiny" (ours: random weights, words of the corpus or bytes); or a hub name or directory
        of a T5.
    """
    if name in ("small", "base", "large", "xl", "xxl"):
        name = f"google/flan-t5-{name}"
    made_here = {"word-tiny": words.NAME, "byte-tiny": "byte"}
    config.student.name = name
    config.student.weights = "" if name in made_here else name
    config.student.tokenizer = made_here.get(name, name)


def run_of(config: ml_collections.ConfigDict) -> Run:
    """The run that a config describes.

    Raises:
      UserError: a field is absent, unknown, or has a value that it cannot have.
    """
    fields = config.to_dict()
    absent = _names(default_config().to_dict()) - _names(fields)
    if absent:
        raise UserError(
            f"the config lacks {', '.join(sorted(absent)[:3])}{' …' * (len(absent) > 3)}; "
            "let get_config start from tinyllm_jax.training.recipes.default_config()"
        )
    if isinstance(fields["objective"], dict):
        weight = fields["objective"]["rationale"]
        fields["objective"]["teachers"] = teacher_weights(fields["objective"]["teachers"], weight)
    return Run.from_fields(fields)


def teacher_weights(text: str, default: float = 1.0) -> dict[str, float] | None:
    """The teachers that a config names, with their weights.

    Args:
      text: "a:0.5+b" for {"a": 0.5, "b": default}; "none" for {}; "all" or "" for None: every
        teacher of the corpus.
      default: the weight of a teacher that is named without one.

    Raises:
      UserError: it is no text, a teacher is named twice, or a weight is not a number.
    """
    if not isinstance(text, str):
        raise UserError(
            f"config.objective.teachers is {text!r}; write all, none, or names with weights, "
            "like a:0.5+b"
        )
    if text in ("", "all"):
        return None
    weights: dict[str, float] = {}
    for part in [] if text == "none" else text.split("+"):
        name, _, weight = part.partition(":")
        if name in weights:
            raise UserError(f"teachers={text} names '{name}' twice")
        try:
            weights[name] = float(weight or default)
        except ValueError:
            raise UserError(
                f"teachers={text}: the weight '{weight}' of '{name}' is not a number"
            ) from None
    return weights


def _names(fields: dict[str, Any], path: str = "") -> set[str]:
    """The dotted names of all fields, nested ones included."""
    names = set()
    for name, value in fields.items():
        names |= _names(value, f"{path}{name}.") if isinstance(value, dict) else {path + name}
    return names
