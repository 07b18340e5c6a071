"""The students that commands are given: from a run's workdir, or from Hugging Face."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from absl import flags
from etils import epath

from tinyllm_jax import storage, tasks
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks import Question

if TYPE_CHECKING:  # `tinyllm --help` waits for neither
    from tinyllm_jax.corpus.store import Corpus
    from tinyllm_jax.student.student import Student


@dataclasses.dataclass(frozen=True)
class Given:
    """A student that the command line names, with what a report says of it.

    Attributes:
      name: its name in tables.
      student: the student.
      corpus: the corpus whose questions it is asked.
      step: the step of its checkpoint; None for a student that was not trained here.
      workdir: where it was trained; None for a student that was not trained here.
      metrics: the rows of its metrics.jsonl.
      about: its size, teachers, steps and seed in one line.
    """

    name: str
    student: Student
    corpus: Corpus
    step: int | None = None
    workdir: epath.Path | None = None
    metrics: tuple[dict, ...] = ()
    about: str = ""

    def questions(self, split: str, count: int = 0) -> list[Question]:
        """The first `count` questions of a split of its corpus; 0: all."""
        return [row.question for row in self.corpus.nonempty_rows(split)][: count or None]


def define(values: flags.FlagValues) -> None:
    """Defines the flags that name students and the questions that they are asked."""
    flags.DEFINE_multi_string(
        "workdir", [], "the workdir of a run, or NAME=DIR; may be given again", values
    )
    flags.DEFINE_string(
        "step", "best", "the checkpoint: best (on validation), last, or a step", values
    )
    flags.DEFINE_string(
        "student", "", "instead of a workdir: a Hugging Face T5, by hub name or directory", values
    )
    flags.DEFINE_string("task", "", "with --student: the task", values)
    flags.DEFINE_string(
        "corpus", "", "the corpus; with a workdir, instead of the one it was trained on", values
    )
    flags.DEFINE_enum("split", "validation", tasks.SPLITS, "the split", flag_values=values)
    flags.DEFINE_integer(
        "questions", 0, "the first n questions; 0: all", flag_values=values, lower_bound=0
    )
    flags.DEFINE_integer(
        "batch_size", 64, "questions computed together, about", flag_values=values, lower_bound=1
    )


def given(values: flags.FlagValues) -> list[Given]:
    """The students that the flags name: each --workdir, or the one --student.

    Raises:
      UserError: neither or both are given, or one cannot be opened.
    """
    if bool(values.workdir) == bool(values.student):
        raise UserError("give either --workdir (a run), or --student with --task and --corpus")
    if values.student:
        return [_from_hugging_face(values.student, values.task, values.corpus)]
    alone = len(values.workdir) == 1
    return [_from_workdir(named, values.step, values.corpus, alone) for named in values.workdir]


def _from_workdir(named: str, step: str, corpus: str, alone: bool) -> Given:
    from tinyllm_jax.corpus.store import Corpus
    from tinyllm_jax.training import metrics, restore, workdir

    name, _, path = named.rpartition("=")
    directory = storage.path(path)
    at = restore.find_step(directory, step)
    student = restore.restore(directory, at)
    run = workdir.read_run(directory)
    trained_on = workdir.read_json(directory / workdir.RUN)["corpus_directory"]

    kind = "multi-teacher student" if student.teachers else "answers-only student"
    about = (
        f"{run.student.name}, {' + '.join(['answers', *student.teachers])}, "
        f"{run.steps:,} steps of {run.batch_size}, seed {run.seed}"
    )
    return Given(
        name=name or (kind if alone else directory.name),
        student=student,
        corpus=Corpus(corpus or trained_on, task=run.task),
        step=at,
        workdir=directory,
        metrics=tuple(metrics.read(directory / "metrics.jsonl")),
        about=about,
    )


def _from_hugging_face(name: str, task: str, corpus: str) -> Given:
    from tinyllm_jax.corpus.store import Corpus
    from tinyllm_jax.training import initial
    from tinyllm_jax.training.run import Run, StudentSpec

    if not task or not corpus:
        raise UserError("--student needs --task and --corpus")
    opened = Corpus(corpus, task=task)
    student = initial.student_as_it_is(Run(task=task, student=StudentSpec(weights=name)))
    return Given(name, student, opened, about="not trained here")
