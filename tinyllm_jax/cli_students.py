"""The students that commands are given: from a run's workdir, or from Hugging Face."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags
from etils import epath

from tinyllm_jax import cli_flags, storage, tasks
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
      held_out: the share of the training questions that its run held out to validate on; 0: none.
    """

    name: str
    student: Student
    corpus: Corpus
    step: int | None = None
    workdir: epath.Path | None = None
    metrics: tuple[dict, ...] = ()
    about: str = ""
    held_out: float = 0.0

    def questions(self, split: str, count: int = 0) -> list[Question]:
        """The first `count` questions of a split; 0: all. What was held out is its validation."""
        if self.held_out and split != "test":
            from tinyllm_jax.training.questions import hold_out

            learned, held_out = hold_out(self.corpus.nonempty_rows("train"), self.held_out)
            rows = learned if split == "train" else held_out
        else:
            rows = self.corpus.nonempty_rows(split)
        return [row.question for row in rows][: count or None]


def define_students(values: flags.FlagValues) -> None:
    """Defines the flags that name students."""
    flags.DEFINE_multi_string(
        "workdir", [], "the workdir of a run, or NAME=DIR; may be given again", values
    )
    flags.DEFINE_string(
        "step", "best", "the checkpoint: best (on validation), last, or a step", values
    )
    flags.DEFINE_string(
        "student", "", "instead of a workdir: a Hugging Face T5, by hub name or directory", values
    )


def define(values: flags.FlagValues) -> None:
    """Defines the flags that name students and the questions that they are asked."""
    define_students(values)
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
    cli_flags.define_distributed(values)


def shared_directory(values: flags.FlagValues) -> epath.Path | None:
    """The directory that the processes of one command share: the first --workdir, if any."""
    return _named(values.workdir[0])[1] if values.workdir else None


def students(values: flags.FlagValues) -> dict[str, Student]:
    """The students that the flags of `define_students` name, by name; no corpus is opened.

    They lie on one device, as those do of whom one question at a time is asked.

    Raises:
      UserError: neither or both kinds are given, two have one name, or one cannot be opened.
    """
    if bool(values.workdir) == bool(values.student):
        raise UserError("give either --workdir (a run) or --student (a Hugging Face T5)")
    if values.student:
        length = max(tasks.MAX_INPUT.values())
        return {values.student: _hugging_face_student(values.student, length, everywhere=False)}
    named = [(name or directory.name, directory) for name, directory in map(_named, values.workdir)]
    check_names([name for name, _ in named])
    return {
        name: _restored(directory, values.step, everywhere=False)[1] for name, directory in named
    }


def check_names(names: Sequence[str]) -> None:
    """Checks that every student has a name of its own.

    Raises:
      UserError: two have one name.
    """
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two students are called '{name}'; name them: --workdir NAME=DIR")


def given(values: flags.FlagValues) -> list[Given]:
    """The students that the flags name: each --workdir, or the one --student.

    They lie on all devices, which share the questions.

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
    from tinyllm_jax.training import metrics, workdir

    name, directory = _named(named)
    at, student = _restored(directory, step, everywhere=True)
    run = workdir.read_run(directory)
    fixed = workdir.read_json(directory / workdir.RUN)
    opened = Corpus(corpus or fixed["corpus_directory"], task=run.task)
    if not corpus and opened.fingerprint != fixed["corpus"]:
        print(
            f"{opened.directory} is no longer the corpus that {directory} was trained on (its "
            f"fingerprint was {fixed['corpus'][:8]}, is {opened.fingerprint[:8]}): its questions "
            "as they are now are asked",
            file=sys.stderr,
        )

    kind = "multi-teacher student" if student.teachers else "answers-only student"
    about = (
        f"{run.student.name}, {' + '.join(['answers', *student.teachers])}, "
        f"{run.steps:,} steps of {run.batch_size}, seed {run.seed}"
    )
    return Given(
        name=name or (kind if alone else directory.name),
        student=student,
        corpus=opened,
        step=at,
        workdir=directory,
        metrics=tuple(metrics.read(directory / "metrics.jsonl")),
        about=about,
        held_out=run.validation.share,
    )


def _named(text: str) -> tuple[str, epath.Path]:
    """The name, or "", and the workdir of "NAME=DIR" or "DIR"; both may have a "=" in DIR."""
    name, equals, path = text.partition("=")
    if not equals or "/" in name or storage.path(text).exists():
        return "", storage.path(text)
    return name, storage.path(path)


def _restored(directory: epath.Path, step: str, everywhere: bool) -> tuple[int, Student]:
    """The step of the checkpoint that `step` names, and its student; see `restore.restore`."""
    from tinyllm_jax.training import restore

    at = restore.find_step(directory, step)
    return at, restore.restore(directory, at, everywhere=everywhere)


def _from_hugging_face(name: str, task: str, corpus: str) -> Given:
    from tinyllm_jax.corpus.store import Corpus

    if not task or not corpus:
        raise UserError("--student needs --task and --corpus")
    opened = Corpus(corpus, task=task)
    student = _hugging_face_student(name, tasks.MAX_INPUT[task], everywhere=True)
    return Given(name, student, opened, about="not trained here")


def _hugging_face_student(name: str, input_length: int, everywhere: bool) -> Student:
    """A student that was not trained here: it writes answers alone; see `restore.restore`."""
    from tinyllm_jax.training import initial
    from tinyllm_jax.training.run import Lengths, Run, StudentSpec

    run = Run(student=StudentSpec(weights=name), lengths=Lengths(input=input_length))
    return initial.student_as_it_is(run, everywhere)
