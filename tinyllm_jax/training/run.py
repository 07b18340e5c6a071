"""The fields of a training run, their defaults, and what each may be.

Users write ml_collections configs (`recipes.py`). Behind that door a run is a `Run`: frozen
dataclasses, checked wherever one is made, of which each module takes its own part.
"""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from tinyllm_jax import tasks
from tinyllm_jax.errors import UserError, unknown
from tinyllm_jax.student.student import ANSWER

# The prefixes of the paper's released code; any other teacher T gets "explain T".
PREFIXES = {ANSWER: "predict", "flan-t5-xl": "explain", "llama-2-7b-chat": "rationale"}

AFTER = "rationale after"  # the term of a rationale that follows the answer in its target

MOST_SEED = 2**32 - 1  # JAX makes keys of 32 bits: a larger seed would repeat a smaller one

# How often a run is saved whose config does not say it.
CHECKPOINTS, MOST_APART = 10, 500  # at least so many, at most so many steps apart


def prefix(target: str) -> str:
    """The words by which a student is asked for a target."""
    return PREFIXES.get(target, f"explain {target}")


# What fields may be. Each function gives a field with its default and its limits.


def _range(default, least: float = -math.inf, most: float = math.inf, above: float = -math.inf):
    """A number that is finite, at least `least`, at most `most`, and more than `above`."""
    limits = [
        f"{words} {limit:g}" if limit < MOST_SEED else f"{words} {limit}"
        for words, limit in (("at least", least), ("at most", most), ("above", above))
        if math.isfinite(limit)
    ]
    limit = {"least": least, "most": most, "above": above, "words": " and ".join(limits)}
    return dataclasses.field(default=default, metadata={"range": limit})


def _one_of(*allowed: str):
    """One of some words; the first is the default."""
    return dataclasses.field(default=allowed[0], metadata={"allowed": allowed})


@dataclasses.dataclass(frozen=True)
class _Part:
    """A group of fields, checked when it is made.

    Attributes:
      PATH: what stands in front of its fields' names, for error messages.
    """

    PATH = ""

    def __post_init__(self):
        kinds = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            name, value = f"config.{self.PATH}{field.name}", getattr(self, field.name)
            _check_kind(name, value, kinds[field.name])
            if "allowed" in field.metadata and value not in field.metadata["allowed"]:
                raise unknown(name, value, field.metadata["allowed"])
            if "range" in field.metadata:
                limit = field.metadata["range"]
                if not (
                    math.isfinite(value)
                    and limit["least"] <= value <= limit["most"]
                    and value > limit["above"]
                ):
                    raise UserError(f"{name} is {value}; it must be {limit['words']}")


def _check_kind(name: str, value: Any, kind: Any) -> None:
    """Raises a `UserError` where a value is of another type than its field."""
    words = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}
    if kind == tuple[str, ...]:
        if not isinstance(value, tuple) or not all(isinstance(each, str) for each in value):
            raise UserError(f"{name} is {value!r}; it must be texts, like ('q', 'v')")
        return
    if kind not in words:
        return
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"{name} is {value!r}; it must be {words[kind]}")


@dataclasses.dataclass(frozen=True)
class StudentSpec(_Part):
    """Which student is trained, and how it is computed."""

    PATH = "student."

    name: str = "flan-t5-small"  # a preset, a Hugging Face directory, or a config.json
    weights: str = ""  # a hub name or directory to start from; "": random weights
    # A hub name, a directory, "byte", or "words" (made from the corpus); "": the one of `weights`.
    tokenizer: str = ""
    # Compute: float32 | bfloat16; parameters are always float32. On TPU and GPU, float32 products
    # are as exact as JAX_DEFAULT_MATMUL_PRECISION says: for full float32 set it to "highest".
    dtype: str = _one_of("float32", "bfloat16")
    dropout_rate: float = _range(0.1, least=0, most=0.99)
    remat: bool = False  # compute every layer again in the backward pass: less memory, more time
    lora_rank: int = _range(0, least=0)  # 0: train everything
    lora_alpha: float = _range(16.0, above=0)
    lora_targets: tuple[str, ...] = ("q", "v")

    def __post_init__(self):
        super().__post_init__()
        if self.lora_rank and not self.lora_targets:
            raise UserError(
                "config.student.lora_targets names nothing, so nothing would be trained; give "
                "some, like ('q', 'v'), or set config.student.lora_rank=0 to train everything"
            )


@dataclasses.dataclass(frozen=True)
class Lengths(_Part):
    """How long inputs and targets are, and how they lie in rows."""

    PATH = "lengths."

    # Tokens; 0: the task's own. Only contexts are cut to it; a longer question raises it.
    input: int = _range(0, least=0)
    # Tokens, or `input` where that is more: a question that takes more without its context is left
    # out of training, because the memory of attention grows with their square. 0: none is.
    most_input: int = _range(2048, least=0)
    target: int = _range(256, least=2)  # tokens, with the end of sequence
    packing: bool = True  # several questions a row; False: one (question, target) a row
    buckets: int = _range(4, least=1)  # the most static shapes a run compiles
    multiple: int = _range(8, least=1)  # row lengths are multiples of this; 128 suits TPUs


@dataclasses.dataclass(frozen=True)
class Objective(_Part):
    """L = answer · L_answer + the sum over teachers of weight · L_teacher."""

    PATH = "objective."

    answer: float = _range(1.0, least=0)
    # The weight of every teacher that `teachers` names none for.
    rationale: float = _range(1.0, least=0)
    # Teacher → weight; None: all of the corpus. In a config it is a text: "all", "none", or
    # "a+b:0.5".
    teachers: Mapping[str, float] | None = None
    # Which side reads the target's prefix: "encoder" as in the paper, or "decoder", which encodes a
    # question once for all targets.
    prefix: str = _one_of("encoder", "decoder")
    # Above 0: a rationale has no target of its own, but follows the answer in its target, with this
    # weight on its tokens (arXiv 2406.14511, 2602.01064). It is the one with the largest weight.
    after: float = _range(0.0, least=0)
    # What the rationales' weights have become by the last step, as a factor; linear in between.
    final: float = _range(1.0, least=0)

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.teachers, Mapping | None):
            raise UserError(f"config.objective.teachers is {self.teachers!r}; it must be weights")
        for teacher, weight in (self.teachers or {}).items():
            _check_kind(f"config.objective.teachers['{teacher}']", weight, float)
            if not 0 <= weight < math.inf:
                raise UserError(
                    f"config.objective.teachers gives '{teacher}' the weight {weight}; "
                    "it must be at least 0"
                )
        if self.after and not self.answer:
            raise UserError(
                "config.objective.after puts a rationale behind the answer, whose weight is 0; "
                "give config.objective.answer a weight"
            )

    @property
    def terms(self) -> dict[str, float]:
        """The terms: target → weight, the answer first; those of weight 0 are left out.

        Raises:
          UserError: nothing has a weight.
        """
        weights = {ANSWER: self.answer}
        if self.after:
            weights[AFTER] = self.after
        else:
            weights |= dict(sorted((self.teachers or {}).items()))
        terms = {target: float(weight) for target, weight in weights.items() if weight}
        if not terms:
            raise UserError(
                "config.objective gives every term the weight 0; "
                "give the answer or a teacher a weight"
            )
        return terms

    @property
    def prefixes(self) -> dict[str, str]:
        """The prefix of each target; the answer's also where it is not trained, to evaluate."""
        targets = (ANSWER, *(term for term in self.terms if term != AFTER))
        return {target: prefix(target) for target in dict.fromkeys(targets)}

    def answers_alone(self) -> Objective:
        """The objective without any rationale."""
        return dataclasses.replace(self, answer=1.0, teachers={}, after=0.0)

    @property
    def final_weights(self) -> list[float]:
        """The terms' weights at the last step, in the order of `terms`."""
        return [
            weight if term == ANSWER else weight * self.final for term, weight in self.terms.items()
        ]


@dataclasses.dataclass(frozen=True)
class Optimizer(_Part):
    """The optimizer and its schedule."""

    PATH = "optimizer."

    name: str = _one_of("adamw", "adafactor")
    learning_rate: float = _range(5e-5, above=0)
    schedule: str = _one_of("linear", "constant", "cosine")  # after the warm-up
    warmup_steps: float = _range(0.0, least=0)  # below 1: a share of the run's steps
    weight_decay: float = _range(0.0, least=0)
    clip_norm: float = _range(0.0, least=0)  # 0: none
    b1: float = _range(0.9, least=0, most=0.99999999)
    b2: float = _range(0.999, least=0, most=0.99999999)
    eps: float = _range(1e-8, above=0)

    def __post_init__(self):
        super().__post_init__()
        if self.warmup_steps >= 1 and self.warmup_steps != int(self.warmup_steps):
            raise UserError(
                f"config.optimizer.warmup_steps is {self.warmup_steps}; it must be a whole number "
                "of steps, or, below 1, a share of the run's"
            )

    def warmup(self, steps: int) -> int:
        """The steps in which the learning rate rises, in a run of so many steps.

        Raises:
          UserError: they are more than the run has.
        """
        warmup = self.warmup_steps
        found = round(warmup * steps) if warmup < 1 else int(warmup)
        if found > steps:
            raise UserError(
                f"config.optimizer.warmup_steps is {found:,}, and the run has {steps:,} steps: the "
                "learning rate would never reach its peak; give fewer, or a share of the run's "
                "steps, e.g. 0.05"
            )
        return found


@dataclasses.dataclass(frozen=True)
class MeshShape(_Part):
    """How the devices are shared out; -1: those that the other axes leave."""

    PATH = "mesh."

    data: int = -1
    fsdp: int = 1
    tensor: int = 1


@dataclasses.dataclass(frozen=True)
class Checkpointing(_Part):
    """When the state is saved, and for how long."""

    PATH = "checkpoint."

    # Steps; each checkpoint is validated. 0: at least ten times in a run, and every 500 steps.
    every: int = _range(0, least=0)
    # Besides, when the last one is so long ago, at the next log line, without validation; 0: never.
    minutes: float = _range(0.0, least=0)
    keep: int = _range(2, least=1)  # the last k, and the best on validation


@dataclasses.dataclass(frozen=True)
class ValidationSet(_Part):
    """The questions that choose the best checkpoint."""

    PATH = "validation."

    # Above 0: so large a share of the training questions, chosen by their content, is held out and
    # takes the place of the validation split.
    share: float = _range(0.0, least=0, most=0.9)
    questions: int = _range(0, least=0)  # the first n of them; 0: all
    batch_size: int = _range(32, least=1)


@dataclasses.dataclass(frozen=True)
class Run(_Part):
    """All fields of a run."""

    task: str = dataclasses.field(default="obqa", metadata={"allowed": tuple(tasks.TASKS)})
    seed: int = _range(0, least=0, most=MOST_SEED)
    batch_size: int = _range(16, least=1)  # questions a step, each with all of its targets
    # Microbatches; the gradient is the whole batch's. 0: as few as the devices' memory takes.
    accumulate: int = _range(0, least=0)
    steps: int = _range(0, least=0)  # 0: as many as `epochs` needs
    epochs: float = _range(1.0, least=0)
    log_every: int = _range(20, least=1)  # steps
    # A step whose loss or gradient is not finite is skipped; so many in a row end the run.
    stop_after_skipped: int = _range(10, least=1)
    student: StudentSpec = StudentSpec()
    lengths: Lengths = Lengths()
    objective: Objective = Objective()
    optimizer: Optimizer = Optimizer()
    mesh: MeshShape = MeshShape()
    checkpoint: Checkpointing = Checkpointing()
    validation: ValidationSet = ValidationSet()

    def __post_init__(self):
        super().__post_init__()
        if not self.steps and not self.epochs:
            raise UserError("config.steps and config.epochs are 0: give one of them above 0")

    @property
    def input_length(self) -> int:
        """The tokens of an input: the config's, or the task's own."""
        return self.lengths.input or tasks.MAX_INPUT[self.task]

    def resolve(self, teachers: Sequence[str]) -> Run:
        """The run on a corpus with these teachers: its objective names each with its weight.

        A teacher of weight 0 is left out: its term would cost time and change nothing.

        Raises:
          UserError: the config names a teacher that the corpus does not have, or nothing has a
            weight.
        """
        weights = self.objective.teachers
        if weights is None:
            weights = dict.fromkeys(teachers, self.objective.rationale)
        for name in weights:
            if name not in teachers:
                raise unknown("teacher", name, teachers or ("none in this corpus",))
        used = {name: float(weight) for name, weight in sorted(weights.items()) if weight}
        objective = dataclasses.replace(self.objective, teachers=used)
        _ = objective.terms  # raises where nothing has a weight
        return dataclasses.replace(self, objective=objective)

    def of_steps(self, steps: int) -> Run:
        """The run when it is known how many steps it has: what depends on that is settled."""
        often = self.checkpoint.every or max(1, min(MOST_APART, steps // CHECKPOINTS))
        return dataclasses.replace(
            self,
            steps=steps,
            optimizer=dataclasses.replace(
                self.optimizer, warmup_steps=self.optimizer.warmup(steps)
            ),
            checkpoint=dataclasses.replace(self.checkpoint, every=often),
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON has them; `from_fields` reads it."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Run:
        """A run of these fields, nested as `Run` is; a field that is absent has its default.

        Raises:
          UserError: an unknown field, or a value that it cannot have.
        """
        return _make(cls, fields)


Part = typing.TypeVar("Part", bound=_Part)


def _make(part: type[Part], fields: Mapping[str, Any]) -> Part:
    """A part of these fields, and its own parts of theirs."""
    kinds = typing.get_type_hints(part)
    known = [field.name for field in dataclasses.fields(part)]
    values = {}
    for name, value in fields.items():
        if name not in known:
            raise unknown("config field", part.PATH + name, [part.PATH + each for each in known])
        kind = kinds[name]
        if isinstance(kind, type) and issubclass(kind, _Part):
            if not isinstance(value, Mapping):
                raise UserError(f"config.{name} is {value!r}; it must be a group of fields")
            value = _make(kind, value)
        elif isinstance(value, list):
            value = tuple(value)
        values[name] = value
    return part(**values)
