"""The resumable job: every question through every teacher, each rationale into the log at once.

A job's state is its logs. It looks up which rows they hold, asks for the others, and may be stopped
and started again at any moment; a finished job started again does nothing. A teacher's log is named
after the teacher and the hash of its settings (`plan.Teacher.settings_hash`), so that a changed
model, prompt or sampling begins another log and never mixes with the old one.
"""

import collections
import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import ml_collections

from tinyllm_jax import shards, storage, tasks
from tinyllm_jax.errors import UserError
from tinyllm_jax.progress import Progress
from tinyllm_jax.tasks import Question
from tinyllm_jax.teachers import config, plan, remaining, reply, totals, weights
from tinyllm_jax.teachers.engine import Engine, Request
from tinyllm_jax.teachers.log import Log
from tinyllm_jax.teachers.plan import Teacher
from tinyllm_jax.teachers.signals import StopOnSignal

# By mode the passes over the questions that it takes: for each, whether it is forced.
PASSES = {"forced": (True,), "unforced": (False,), "unforced-first": (False, True)}
LISTED = 20  # failures printed; the log has them all
REASONS = 3  # reasons of failures that the last line names
HOPELESS = 100  # failures in a row after which a job gives up


@dataclasses.dataclass(frozen=True)
class JobResult:
    """What one teacher's part of a job did.

    Attributes:
      log: the log's path.
      done_before: rows of this job that there were at the start, in this log or another shard's.
      written: rows written now.
      failed: requests that failed now, each as its question and the reason; the next run tries
        them again.
      left: requests without a good row now, `failed` among them.
      stopped: whether SIGTERM or Ctrl-C ended it early.
      cut: bytes of an interrupted append that were cut off at the start.
    """

    log: Path
    done_before: int
    written: int
    failed: tuple[tuple[str, str], ...]
    left: int
    stopped: bool
    cut: int


def teach(
    task: str,
    source: str,
    teachers: Mapping[str, ml_collections.ConfigDict],
    out: Path | str,
    splits: Sequence[str] = ("train",),
    seed: int = 0,
    shard: tuple[int, int] = (0, 1),
    limit: int = 0,
) -> dict[str, JobResult]:
    """Has each teacher write rationales into a log of its own, `out/TEACHER-HASH.tfrecord`.

    The teachers work one after the other; each one's counts are printed. SIGTERM or Ctrl-C lets
    what is in flight finish.

    Args:
      task: the task's name, as for `tasks.load`.
      source: where its questions come from, as for `tasks.load`.
      teachers: the teachers' fields (`config.teacher`) by name.
      out: the directory of the logs, one task's only.
      splits: the splits whose questions are explained; the in-context examples always come from
        train.
      seed: draws the in-context examples and seeds the sampling.
      shard: (i, n): only every n-th question from the i-th on, into a log of its own.
      limit: only the first so many questions of each split; 0: all.

    Returns:
      What became of each teacher's part; a teacher that a signal kept from its turn is absent.

    Raises:
      UserError: bad input, before anything is written; a log or an engine that fails, with all
        finished rows safe.
    """
    if not storage.is_local(out):
        raise UserError(
            f"cannot write logs to {out}: nothing can be appended to a file in an object store; "
            "choose a local directory and copy it there"
        )
    for name, spec in teachers.items():
        config.check(name, spec)
    shards.check(shard)
    questions = tasks.load(task, source)
    wanted = _wanted(task, questions, splits, shard, limit)
    # All models are looked up before anything is loaded, so that a misspelt one ends the job now.
    revisions = {name: weights.resolve_revision(name, spec) for name, spec in teachers.items()}
    prepared = [
        plan.load_teacher(name, spec, revisions[name], task, questions["train"], seed)
        for name, spec in teachers.items()
    ]
    done: dict[str, JobResult] = {}
    with StopOnSignal() as stop:
        for teacher in prepared:
            done[teacher.name] = run(teacher, wanted, log_path(Path(out), teacher, shard), stop)
            if stop():
                break
    return done


def _wanted(
    task: str,
    questions: Mapping[str, Sequence[Question]],
    splits: Sequence[str],
    shard: tuple[int, int],
    limit: int,
) -> list[Question]:
    """The questions that a job is to explain; the arguments are those of `teach`."""
    for split in (*splits, "train"):
        if split not in questions:
            raise UserError(
                f"task '{task}': the source has no split '{split}' (it has {', '.join(questions)})"
            )
    index, count = shard
    wanted = [question for split in splits for question in questions[split][: limit or None]]
    if not wanted[index::count]:
        raise UserError(
            f"shard {index}/{count} gets none of the {len(wanted)} questions; use fewer shards"
        )
    return wanted[index::count]


def log_path(out: Path, teacher: Teacher, shard: tuple[int, int] = (0, 1)) -> Path:
    """The path of a teacher's log, or of its log of one shard."""
    part = f".{shard[0]}-of-{shard[1]}" if shard[1] > 1 else ""
    return out / f"{teacher.name}-{teacher.settings_hash}{part}.tfrecord"


def run(
    teacher: Teacher,
    questions: Sequence[Question],
    path: Path,
    stop: Callable[[], bool],
    open_engine: Callable[[Teacher], Engine] | None = None,
) -> JobResult:
    """One teacher's part of `teach`: the questions' rationales into the log at `path`.

    Args:
      teacher: the teacher.
      questions: questions of one task, at least one.
      path: the log.
      stop: says whether to end early.
      open_engine: opens the engine, when there is something to do; None: the one that the teacher's
        fields name.

    Raises:
      UserError: the log cannot be opened or written, or the engine fails.
    """
    engine: Engine | None = None
    failed: list[tuple[str, str]] = []
    done_before = written = left = 0
    with Log(path, questions[0].task, teacher.name) as log:
        if log.cut:
            teacher.warn(f"cut {log.cut} bytes of an interrupted append off {path}")
        elsewhere = remaining.rows_of_other_shards(teacher, path)
        try:
            for forced in PASSES[teacher.spec.mode]:
                planned = remaining.requests(teacher, questions, forced, log.rows | elsewhere)
                missing = [request for request in planned if not request.logged]
                if missing and not stop():
                    if engine is None:
                        engine = (open_engine or _open_engine)(teacher)
                    failed += _write(teacher, engine, planned, log, stop)
                written_now = sum(request.key in log.rows for request in missing)
                done_before += len(planned) - len(missing)
                written += written_now
                left += len(missing) - written_now
        finally:
            if engine is not None:
                engine.close()
        stopped = bool(stop() and left)
        result = JobResult(path, done_before, written, tuple(failed), left, stopped, log.cut)
        _print_summary(teacher, result, log)
    return result


def _open_engine(teacher: Teacher) -> Engine:
    """The engine of a teacher; each engine's packages are imported only here."""
    spec, name = teacher.spec, teacher.name
    if spec.engine == "vllm":
        from tinyllm_jax.teachers.vllm_engine import VllmEngine

        return VllmEngine(spec, name, teacher.revision)
    if spec.engine == "transformers":
        from tinyllm_jax.teachers.transformers_engine import TransformersEngine

        return TransformersEngine(spec, name, teacher.revision)
    if spec.engine == "ray":
        from tinyllm_jax.teachers.ray_engine import RayEngine

        return RayEngine(spec, name, teacher.revision)
    if spec.engine == "openai":
        from tinyllm_jax.teachers.openai_engine import OpenaiEngine

        return OpenaiEngine(spec, name)
    from tinyllm_jax.teachers.scripted import ScriptedEngine

    return ScriptedEngine(spec)


def _write(
    teacher: Teacher, engine: Engine, planned: Sequence[Request], log: Log, stop: Callable[[], bool]
) -> list[tuple[str, str]]:
    """Appends to the log what the engine finishes; returns the failures.

    Raises:
      UserError: the log cannot be written, the engine fails, or so many requests in a row do.
    """
    label = f"teach {teacher.name}"
    if teacher.spec.mode == "unforced-first":
        label += " forced" if planned[0].forced else " unforced"
    done = sum(request.logged for request in planned)
    progress = Progress(label, len(planned), start=done)
    failed: list[tuple[str, str]] = []
    tokens = in_a_row = 0
    began = last = time.monotonic()
    for result in engine.generate(planned, stop):
        result = reply.read(result, config.stop_strings(teacher.spec))
        now = time.monotonic()
        log.append(plan.log_row(teacher, result, now - last))
        last = now
        if result.error:
            question = result.request.question
            failed.append((f"{question.split} {question.id}", result.error))
            in_a_row += not result.too_long
            if in_a_row == HOPELESS:
                raise UserError(
                    f"teacher '{teacher.name}': {HOPELESS} requests in a row failed, the last "
                    f"with: {result.error}; mend that and run the same command again"
                )
        else:
            in_a_row = 0
            done += 1
            tokens += max(result.tokens, 0)
        rate = f"{tokens / max(now - began, 1e-9):,.0f} tokens/s"
        progress.update(done, f"{rate}  {len(failed):,} failed")
    progress.close(f"{len(failed):,} failed")
    return failed


def _print_summary(teacher: Teacher, result: JobResult, log: Log) -> None:
    total = result.done_before + result.written + result.left
    if not result.written and not result.left:
        print(f"{teacher.name}: all {total:,} rows were done before; nothing to do ({result.log})")
    else:
        print(
            f"{teacher.name}: {result.done_before:,} rows done before, {result.written:,} written "
            f"now, {result.left:,} left ({result.log})"
        )
    print(f"{teacher.name}: ledger: {totals.add_up(log.rows.values(), log.failed.values())}")
    for question, reason in result.failed[:LISTED]:
        teacher.warn(f"failed: {question}: {reason}")
    if len(result.failed) > LISTED:
        more = len(result.failed) - LISTED
        teacher.warn(f"… and {more:,} more; the same command tries them again")


def reasons(results: Iterable[JobResult]) -> str:
    """Why requests failed: the most frequent reasons, each with its count."""
    counts = collections.Counter(reason for result in results for _, reason in result.failed)
    told = [f"{count:,} × {reason}" for reason, count in counts.most_common(REASONS)]
    if len(counts) > REASONS:
        told.append(f"{len(counts) - REASONS:,} other reasons")
    return "; ".join(told) or "some samples are not there yet"
