"""The model card of an exported student: how to ask it, how right it is, where it comes from."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import jax
from etils import epath

import tinyllm_jax
from tinyllm_jax import cards
from tinyllm_jax.evaluation.report import interval
from tinyllm_jax.evaluation.results import METRICS, Result
from tinyllm_jax.student.inputs import prompt
from tinyllm_jax.student.student import ANSWER, Student
from tinyllm_jax.tasks.question import Question
from tinyllm_jax.training import workdir

EXAMPLE = Question(
    id="example",
    task="example",
    split="validation",
    context="",
    question="What floats on water?",
    choices=("a stone", "a cork", "a nail", "a brick"),
    answer="a cork",
)
PASSAGE = "Cork is full of air and lighter than water."


def write(
    directory: pathlib.Path,
    run: epath.Path,
    student: Student,
    step: int,
    evaluations: Sequence[Result],
    adapter: bool,
    name: str,
) -> None:
    """Writes the card of an exported student.

    Args:
      directory: where it is written.
      run: the workdir.
      student: the student.
      step: the checkpoint's.
      evaluations: what was found for that checkpoint.
      adapter: whether the directory holds LoRA updates alone.
      name: the model's name on the hub; "" where it has none.
    """
    config = _without_local_paths(workdir.read_json(run / workdir.CONFIG))
    with_passage = dataclasses.replace(EXAMPLE, context=PASSAGE)
    cards.write(
        directory,
        "model_card.md",
        _metadata(config, student.teachers, adapter),
        name=name,
        adapter=adapter,
        task=config["task"],
        base=config["student"]["weights"],
        teachers=student.teachers,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(student.params)),
        asked=_asked(student),
        with_passage=prompt(with_passage, student.prefixes[ANSWER]),
        prefixes=student.prefixes,
        prefix_side=student.prefix_side,
        input_length=student.input_length,
        max_new_tokens=config["lengths"]["target"],
        metrics=list(METRICS.values()),
        accuracies=[_accuracies(result) for result in evaluations],
        step=step,
        config=config,
        config_json=json.dumps(config, indent=1),
        corpus=workdir.read_json(run / workdir.RUN)["corpus"],
        version=tinyllm_jax.__version__,
    )


def _metadata(config: dict[str, Any], teachers: Sequence[str], adapter: bool) -> dict[str, Any]:
    """What the hub reads of the card."""
    metadata = {
        "library_name": "peft" if adapter else "transformers",
        "tags": ["tinyllm", "t5", "multiple-choice", config["task"]],
        "task": config["task"],
        "teachers": teachers,
    }
    base = config["student"]["weights"]
    return {"base_model": base, **metadata} if _is_hub_name(base) else metadata


def _asked(student: Student) -> dict[str, str]:
    """By target what the student's encoder reads of the example.

    Where the decoder is told the target, the encoder reads the same for all: only the answer's is
    given.
    """
    return {
        target: prompt(EXAMPLE, prefix)
        for target, prefix in student.prefixes.items()
        if target == ANSWER or student.prefix_side == "encoder"
    }


def _accuracies(result: Result) -> list[str]:
    """A row of the table: split, number of questions, each accuracy with its interval, chance."""
    found = [interval(result.accuracy(metric)) for metric in METRICS]
    return [result.split, f"{result.n:,}", *found, f"{100 * result.chance:.1f}"]


def _is_hub_name(name: str) -> bool:
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+", name))


def _without_local_paths(config: dict[str, Any]) -> dict[str, Any]:
    """The config with a model of this machine under the name of its directory alone."""
    student = dict(config["student"])
    for field in ("name", "weights", "tokenizer"):
        path = pathlib.Path(student[field])
        if path.is_absolute() or path.exists():
            student[field] = path.name
    return config | {"student": student}
