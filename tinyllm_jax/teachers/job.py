"""The resumable job: every question through every teacher, and each rationale into the log as it is finished.

A job's state is its logs. It looks up which rows they hold, asks for the others, and may be stopped and started again
at any moment; a finished job started again does nothing.
"""

import dataclasses
import sys
from pathlib import Path

from tinyllm_jax import tasks
from tinyllm_jax.corpus.logrow import LogRow, row_key
from tinyllm_jax.errors import UserError
from tinyllm_jax.progress import Progress
from tinyllm_jax.tasks import Question
from tinyllm_jax.teachers import prompts, scripted
from tinyllm_jax.teachers.engine import Request, Result, Teacher
from tinyllm_jax.teachers.log import Log


@dataclasses.dataclass(frozen=True)
class JobResult:
    """What one teacher's part of a job did.

    Attributes:
      log: the log's path.
      done_before: rows of this job that the log held at the start.
      written: rows written now.
      failures: requests without a rationale, as "question id: reason"; the next run tries them again.
      cut: bytes of an interrupted append that were cut off at the start.
    """

    log: Path
    done_before: int
    written: int
    failures: tuple[str, ...]
    cut: int


def teach(task: str, source: str, teachers: list[str], out: Path | str, splits: tuple[str, ...] = ("train",),
          seed: int = 0) -> dict[str, JobResult]:
    """Has each teacher write a rationale of each question of `splits` into `out/TEACHER.tfrecord`.

    Args:
      task, source: as for `tasks.load`.
      teachers: names of scripted teachers; their counts are printed one by one.
      out: the directory of the logs, one task's only.
      splits: whose questions are explained; the in-context examples always come from train.
      seed: draws the in-context examples.

    Raises:
      UserError: an unknown name, a split that the source lacks, or a log that cannot be opened or written.
    """
    plans = [scripted.teacher(name) for name in dict.fromkeys(teachers)]
    questions = tasks.load(task, source)
    missing = [split for split in (*splits, "train") if split not in questions]
    if missing:
        raise UserError(f"task '{task}': the source has no split '{missing[0]}' (it has {', '.join(questions)})")
    wanted = [question for split in splits for question in questions[split]]
    return {plan.name: run(plan, wanted, questions["train"], Path(out) / f"{plan.name}.tfrecord", seed)
            for plan in plans}


def run(teacher: Teacher, questions: list[Question], train: list[Question], path: Path, seed: int) -> JobResult:
    """One teacher's part of `teach`: the questions' rationales into the log at `path`."""
    requests = [_request(teacher, question, train, seed) for question in questions]
    with Log(path, questions[0].task, teacher.name) as log:
        todo = [request for request in requests if request.key not in log.keys]
        done_before = len(requests) - len(todo)
        if log.cut:
            print(f"{teacher.name}: cut {log.cut} bytes of an interrupted append off {path}", file=sys.stderr)
        if not todo:
            print(f"{teacher.name}: all {len(requests):,} rows were done before; nothing to do ({path})")
            return JobResult(path, done_before, 0, (), log.cut)
        failures = _write(teacher, todo, log, Progress(f"teach {teacher.name}", len(requests), start=done_before), seed)
        written = len(todo) - len(failures)
    print(f"{teacher.name}: {done_before:,} rows done before, {written:,} written now, "
          f"{len(failures):,} failed ({path})")
    for failure in failures[:5]:
        print(f"{teacher.name}: failed: {failure}", file=sys.stderr)
    return JobResult(path, done_before, written, tuple(failures), log.cut)


def _write(teacher: Teacher, todo: list[Request], log: Log, progress: Progress, seed: int) -> list[str]:
    """Appends what the engine finishes; returns the failures."""
    failures, template = [], prompts.template_hash(teacher.examples)
    for done, result in enumerate(teacher.generate(todo), start=progress.start + 1):
        if result.error:
            failures.append(f"{result.request.question.id}: {result.error}")
        else:
            log.append(_row(teacher, result, seed, template))
        progress.update(done, f"{len(failures)} failed" if failures else "")
    progress.close()
    return failures


def _request(teacher: Teacher, question: Question, train: list[Question], seed: int) -> Request:
    prompt = prompts.render(question, prompts.draw_examples(question, train, teacher.examples, seed))
    key = row_key(question.key, question.id, question.split, teacher.name, prompt, teacher.sampling, seed)
    return Request(key, question, prompt)


def _row(teacher: Teacher, result: Result, seed: int, template: str) -> LogRow:
    question = result.request.question
    return LogRow(result.request.key, question.id, question.key, question.task, question.split, teacher.name,
                  teacher.model, teacher.revision, template, teacher.sampling, seed, teacher.forced,
                  result.text, result.finish_reason, result.prompt_tokens, result.tokens, result.seconds)
