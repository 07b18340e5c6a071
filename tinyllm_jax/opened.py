"""A student to look at, for the commands `evaluate` and `predict`: from a run's workdir, or from Hugging Face."""

import dataclasses
from pathlib import Path

import jax

from tinyllm_jax import errors, tasks
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError
from tinyllm_jax.evaluation import predict
from tinyllm_jax.student import hf, inputs
from tinyllm_jax.student.config import StudentConfig
from tinyllm_jax.tasks import Question
from tinyllm_jax.training import metrics, restore
from tinyllm_jax.training.config import ANSWER, PREFIXES, asked_as


@dataclasses.dataclass(frozen=True)
class Student:
    """A student with everything that asking it needs.

    Attributes:
      name: in tables.
      config, params, tokenizer: the student itself.
      corpus: whose questions it is asked.
      prefixes: target → prefix; the answer, and the teachers that it learned from.
      input_length: tokens; a longer context is cut.
      told: which side is told the target: "encoder" or "decoder".
      step: the checkpoint's step; None for a student that was not trained here.
      workdir: where it was trained.
      metrics: the rows of its metrics.jsonl.
      about: one line.
    """

    name: str
    config: StudentConfig
    params: dict
    tokenizer: object
    corpus: Corpus
    prefixes: dict[str, str]
    input_length: int
    told: str = "encoder"
    step: int | None = None
    workdir: Path | None = None
    metrics: tuple[dict, ...] = ()
    about: str = ""

    @property
    def teachers(self) -> list[str]:
        """The teachers whose rationales it can write."""
        return [target for target in self.prefixes if target != ANSWER]

    def questions(self, split: str, count: int = 0) -> list[Question]:
        """The first `count` questions of a split; 0: all."""
        return [row.question for row in self.corpus.nonempty_rows(split)][: count or None]

    def length(self, questions: list[Question], target: str) -> int:
        """The input length for these questions: `input_length`, or more where one needs it without any context."""
        prefix = self.prefixes[asked_as(self.told, target)]
        return inputs.fit_length(self.tokenizer, questions, prefix, self.input_length)

    def write(
        self, questions: list[Question], target: str, max_tokens: int, batch_size: int
    ) -> list[tuple[str, str]]:
        """What it writes for a target, as (question id, text); a `UserError` for a target that it did not learn."""
        if target not in self.prefixes:
            raise errors.unknown("target", target, self.prefixes)
        asked = asked_as(self.told, target)
        told = inputs.told(self.tokenizer, self.prefixes[target]) if asked != target else ()
        return predict.predict(
            self.config,
            self.params,
            self.tokenizer,
            questions,
            self.prefixes[asked],
            self.length(questions, target),
            max_tokens,
            batch_size,
            told,
        )


def open_students(values) -> list[Student]:
    """The students that the flags name: each --workdir, or the one --student.

    Raises:
      UserError: neither or both are given, or one cannot be opened.
    """
    if bool(values.workdir) == bool(values.student):
        raise UserError("give either --workdir (a run), or --student with --task and --corpus")
    if values.student:
        return [_from_hub(values.student, values.task, values.corpus)]
    return [
        _from_workdir(named, values.step, values.corpus, len(values.workdir) == 1)
        for named in values.workdir
    ]


def _from_workdir(named: str, step: str, corpus: str, alone: bool) -> Student:
    name, _, directory = named.rpartition("=")
    workdir = Path(directory)
    trained = restore.restore(workdir, step)
    config = trained.config
    teachers = list(config.objective.teachers)
    about = (
        f"{config.student.name}, {' + '.join(['answers', *teachers])}, "
        f"{config.steps:,} steps of {config.batch_size}, seed {config.seed}"
    )
    kind = "multi-teacher student" if teachers else "answers-only student"
    return Student(
        name or (kind if alone else workdir.name),
        trained.student,
        trained.params,
        trained.tokenizer,
        Corpus(corpus or trained.corpus, task=config.task),
        config.objective.prefixes.to_dict(),
        config.lengths.input or tasks.MAX_INPUT[config.task],
        config.objective.get("prefix", "encoder"),
        trained.step,
        workdir,
        tuple(metrics.read(workdir / "metrics.jsonl")),
        about,
    )


def _from_hub(name: str, task: str, corpus: str) -> Student:
    if not task or not corpus:
        raise UserError("--student needs --task and --corpus")
    questions = Corpus(corpus, task=task)
    config, params = hf.load_hf(name)
    return Student(
        name,
        config,
        jax.device_put(params),
        inputs.load_tokenizer(name),
        questions,
        {ANSWER: PREFIXES[ANSWER]},
        tasks.MAX_INPUT[task],
        about="not trained here",
    )
