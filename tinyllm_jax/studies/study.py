"""What a study's config says, checked where it is made, and the cells that follow from it."""

import dataclasses
import itertools
import re
from collections.abc import Mapping
from typing import Any

import ml_collections

from tinyllm_jax import tasks
from tinyllm_jax.errors import UserError, unknown
from tinyllm_jax.selection.select import POLICIES
from tinyllm_jax.selection.weights import THRESHOLD
from tinyllm_jax.training.recipes import run_of, set_student
from tinyllm_jax.training.run import Run

PERMUTED = "permuted"  # the control: each rationale is put to another question
STANDARD_KD = "standard-kd"  # the teachers' answers are the targets, and no rationale is one
ZERO_SHOT = "zero-shot"  # the student's weights as they are, without any training
OWN_POLICIES = (PERMUTED, STANDARD_KD, ZERO_SHOT)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .+_-]*")  # a method's name: in file names too


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to train a student: a line of the study's table.

    Attributes:
      teachers: as `config.objective.teachers`: "none", "all", or names with weights.
      policy: "" for the corpus as it is, one of `select.POLICIES`, or one of `OWN_POLICIES`.
      threshold: of the policy `helpful`, in nats.
      overrides: fields of the run that differ from the study's base, by dotted name.
      weights: the weights of the rationales to choose from on validation; empty: the base's.
    """

    teachers: str = "none"
    policy: str = ""
    threshold: float = THRESHOLD
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    weights: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Study:
    """A table to fill.

    Attributes:
      base: the run's config that every method starts from.
      corpora: each task's corpus, a directory in which "{seed}" stands for the cell's seed.
      methods: by name, in the order of the table.
      baseline: the method that the others are compared with.
      students: as the argument of `recipes.set_student`; "" for the base's own.
      fractions: shares of the training questions, each a subset of the larger ones.
      seeds: of training, and of corpora that name "{seed}".
      readers: fields of the run that differ where readers are trained for a policy.
    """

    base: ml_collections.ConfigDict
    corpora: Mapping[str, str]
    methods: Mapping[str, Method]
    baseline: str
    students: tuple[str, ...] = ("",)
    fractions: tuple[float, ...] = (1.0,)
    seeds: tuple[int, ...] = (0,)
    readers: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        for name in self.corpora:
            tasks.check_task(name)
        for name, method in self.methods.items():
            if not NAME.fullmatch(name):
                raise UserError(f"method '{name}': use letters, digits, blanks and . + _ - alone")
            known = (*OWN_POLICIES, *POLICIES)
            if method.policy not in ("", *known):
                raise unknown(f"policy of '{name}'", method.policy, known)
            if method.threshold >= 0:
                raise UserError(f"the threshold of '{name}' is not below 0 nats")
        if self.baseline not in self.methods:
            raise unknown("baseline", self.baseline, self.methods)
        for fraction in self.fractions:
            if not 0 < fraction <= 1:
                raise UserError(f"a fraction is {fraction}; it must be above 0 and at most 1")
        if not (self.corpora and self.students and self.fractions and self.seeds):
            raise UserError("a study needs a corpus, a student, a fraction and a seed")
        for cell in self.cells():
            run = self.run(cell)  # raises for a field that no run can have
            if self.methods[cell.method].policy == ZERO_SHOT and not run.student.weights:
                raise UserError(
                    f"'{cell.method}' asks weights as they are, and this student has none: "
                    "leave it out, or give a student of the hub or of a directory"
                )

    def cells(self) -> list["Cell"]:
        """Every cell, those of one seed together; each weight to choose from is a cell."""
        found = []
        for seed, task, student, fraction in itertools.product(
            self.seeds, self.corpora, self.students, self.fractions
        ):
            for name, method in self.methods.items():
                weights = method.weights or (None,)
                found += [Cell(name, task, student, fraction, seed, weight) for weight in weights]
        return found

    def corpus(self, cell: "Cell") -> str:
        """The directory of the corpus that a cell's own is made from."""
        return self.corpora[cell.task].replace("{seed}", str(cell.seed))

    def run(self, cell: "Cell") -> Run:
        """The run of a cell.

        Raises:
          UserError: a field that is unknown, or has a value that it cannot have.
        """
        method = self.methods[cell.method]
        config = self._config(cell, method.overrides)
        config.objective.teachers = "none" if method.policy == STANDARD_KD else method.teachers
        if cell.weight is not None:
            config.objective.rationale = cell.weight
        return run_of(config)

    def reader(self, cell: "Cell") -> Run:
        """How readers are trained that judge the rationales of a cell's corpus."""
        return run_of(self._config(cell, self.readers))

    def _config(self, cell: "Cell", overrides: Mapping[str, Any]) -> ml_collections.ConfigDict:
        config = self.base.copy_and_resolve_references()
        config.task, config.seed = cell.task, cell.seed
        if cell.student:
            set_student(config, cell.student)
        try:
            config.update_from_flattened_dict(dict(overrides))
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            reason = str(error).strip("\"'").splitlines()[0]
            raise UserError(f"the overrides of '{cell.method}': {reason}") from None
        return config


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training of a study.

    Attributes:
      method, task, student, fraction, seed: see `Study`.
      weight: the weight of its rationales, one of its method's `weights`; None: the base's.
    """

    method: str
    task: str
    student: str
    fraction: float
    seed: int
    weight: float | None = None

    @property
    def name(self) -> str:
        """A name for its directory, of which no two cells have the same."""
        parts = [self.task, self.student.replace("/", "_"), self.method.replace(" ", "_")]
        parts += [f"{self.fraction:g}" if self.fraction < 1 else ""]
        parts += ["" if self.weight is None else f"w{self.weight:g}", f"s{self.seed}"]
        return "-".join(part for part in parts if part)


def study_of(config: ml_collections.ConfigDict) -> Study:
    """The study that a config file describes.

    Raises:
      UserError: a field is absent or unknown, or has a value that it cannot have.
    """
    known = [field.name for field in dataclasses.fields(Study)]
    fields = {name: config[name] for name in config}
    for name in fields:
        if name not in known:
            raise unknown("field of the study", name, known)
    for name in ("base", "corpora", "methods", "baseline"):
        if name not in fields:
            raise UserError(f"the study lacks '{name}'; configs/studies/ holds examples")
    # A tuple of dicts, and not a dict: a config would sort its keys, and the table has an order.
    methods: dict[str, Method] = {}
    known = [field.name for field in dataclasses.fields(Method)]
    for given in map(dict, fields["methods"]):
        name = given.pop("name", "")
        for field in given:
            if field not in known:
                raise unknown(f"field of method '{name}'", field, ("name", *known))
        if not name or name in methods:
            raise UserError(f"the study needs a name of its own for each method, not '{name}'")
        methods[name] = Method(**given)
    return Study(**(fields | {"methods": methods}))
