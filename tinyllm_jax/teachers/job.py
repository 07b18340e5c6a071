"""The resumable job: every question through every teacher, and each rationale into the log as it is finished.

A job's state is its logs. It looks up which rows they hold, asks for the others, and may be stopped
and started again at any moment; a finished job started again does nothing. A teacher's log is named
after it and the hash of its setting (`plan.Teacher.setting`), so that a changed model, prompt or
sampling begins another log and never mixes with the old one.
"""

import dataclasses
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import ml_collections

from tinyllm_jax import tasks
from tinyllm_jax.corpus.judging import quality
from tinyllm_jax.corpus.logrow import LogRow
from tinyllm_jax.errors import UserError
from tinyllm_jax.progress import Progress
from tinyllm_jax.tasks import Question
from tinyllm_jax.teachers import config as configs
from tinyllm_jax.teachers import ledger, models, plan
from tinyllm_jax.teachers.engine import Engine, Request
from tinyllm_jax.teachers.log import Log, read
from tinyllm_jax.teachers.plan import Teacher
from tinyllm_jax.teachers.stopping import Stopping

STAGES = {
    "forced": (True,),
    "unforced": (False,),
    "unforced-first": (False, True),
}  # by mode: whether each is forced
LISTED = 20  # failures printed; the log has them all
HOPELESS = 100  # failures in a row, with nothing written, after which a job gives up


@dataclasses.dataclass(frozen=True)
class JobResult:
    """What one teacher's part of a job did.

    Attributes:
      log: the log's path.
      done_before: rows of this job that there were at the start, in this log or another shard's.
      written: rows written now.
      failed: requests that failed now, as "question id: reason"; the next run tries them again.
      left: requests without a good row now, `failed` among them.
      stopped: whether SIGTERM or Ctrl-C ended it early.
      cut: bytes of an interrupted append that were cut off at the start.
    """

    log: Path
    done_before: int
    written: int
    failed: tuple[str, ...]
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
    """Has each teacher write rationales of the questions of `splits` into `out/TEACHER-SETTING.tfrecord`.

    The teachers work one after the other; each one's counts are printed. SIGTERM or Ctrl-C lets
    what is in flight finish.

    Args:
      task, source: as for `tasks.load`.
      teachers: by name, their fields (`config.teacher`).
      out: the directory of the logs, one task's only.
      splits: whose questions are explained; the in-context examples always come from train.
      seed: draws the in-context examples and seeds the sampling.
      shard: (i, n): only every n-th question from the i-th on, into a log of its own.
      limit: only the first so many questions of each split; 0: all.

    Raises:
      UserError: bad input, before anything is written; a log or an engine that fails, with all
        finished rows safe.
    """
    for name, spec in teachers.items():
        configs.check(name, spec)
    if not 0 <= shard[0] < shard[1]:
        raise UserError(
            f"there is no shard {shard[0]}/{shard[1]}; {shard[1]} shards are 0/{shard[1]} to "
            f"{shard[1] - 1}/{shard[1]}"
        )
    questions = tasks.load(task, source)
    missing = [split for split in (*splits, "train") if split not in questions]
    if missing:
        raise UserError(
            f"task '{task}': the source has no split '{missing[0]}' (it has {', '.join(questions)})"
        )
    wanted = [question for split in splits for question in questions[split][: limit or None]][
        shard[0] :: shard[1]
    ]
    revisions = {name: models.resolve(name, spec) for name, spec in teachers.items()}
    plans = [
        plan.load(name, spec, revisions[name], task, questions["train"], seed)
        for name, spec in teachers.items()
    ]
    done: dict[str, JobResult] = {}
    with Stopping() as stop:
        for teacher in plans:
            done[teacher.name] = run(teacher, wanted, log_path(Path(out), teacher, shard), stop)
            if stop():
                break
    return done


def log_path(out: Path, teacher: Teacher, shard: tuple[int, int] = (0, 1)) -> Path:
    """The log of a teacher's setting, or of a shard of it."""
    part = f".{shard[0]}-of-{shard[1]}" if shard[1] > 1 else ""
    return out / f"{teacher.name}-{teacher.setting}{part}.tfrecord"


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
      questions: of one task, at least one.
      path: the log.
      stop: whether to end early.
      open_engine: opens the engine, when there is something to do; None: the one that the teacher's
        fields name.
    """
    task = questions[0].task
    with Log(path, task, teacher.name) as log:
        if log.cut:
            _say(teacher, f"cut {log.cut} bytes of an interrupted append off {path}")
        elsewhere = _other_logs(teacher, path)
        engine, before, written, failed, left = None, 0, 0, [], 0
        try:
            for forced in STAGES[teacher.spec.mode]:
                chosen = questions
                if forced and teacher.spec.mode == "unforced-first":
                    chosen = _not_reached(
                        teacher, questions, [*log.rows.values(), *elsewhere.values()]
                    )
                planned = plan.requests(teacher, chosen, forced, log.rows.keys() | elsewhere.keys())
                todo = sum(not request.logged for request in planned)
                before += len(planned) - todo
                if todo and not stop():
                    engine = engine or (open_engine or _open)(teacher)
                    failed += _write(teacher, engine, planned, log, stop)
                good = sum(
                    request.key in log.rows or request.key in elsewhere for request in planned
                )
                written, left = written + todo - (len(planned) - good), left + len(planned) - good
        finally:
            if engine:
                engine.close()
        result = JobResult(
            path, before, written, tuple(failed), left, bool(stop() and left), log.cut
        )
        _tell(teacher, result, log)
    return result


def _open(teacher: Teacher) -> Engine:
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
) -> list[str]:
    """Appends what the engine finishes; returns the failures."""
    done = sum(request.logged for request in planned)
    stage = {"unforced-first": " forced" if planned[0].forced else " unforced"}.get(
        teacher.spec.mode, ""
    )
    progress = Progress(f"teach {teacher.name}{stage}", len(planned), start=done)
    failed, tokens, began, last = [], 0, time.monotonic(), time.monotonic()
    for result in engine.generate(planned, stop):
        now = time.monotonic()
        log.append(plan.row(teacher, result, now - last))
        last = now
        if result.error:
            failed.append(
                f"{result.request.question.split} {result.request.question.id}: {result.error}"
            )
            if len(failed) == HOPELESS and done == progress.start:
                raise UserError(
                    f"teacher '{teacher.name}': the first {HOPELESS} requests all failed, the last with: "
                    f"{result.error}; mend that and run the same command again"
                )
        else:
            done, tokens = done + 1, tokens + max(result.tokens, 0)
        rate = f"{tokens / max(now - began, 1e-9):,.0f} tokens/s"
        progress.update(done, f"{rate}  {len(failed):,} failed")
    progress.close(f"{len(failed):,} failed")
    return failed


def _not_reached(
    teacher: Teacher, questions: Sequence[Question], rows: Sequence[LogRow]
) -> list[Question]:
    """The questions all of whose samples there are, and none of which states the gold answer."""
    samples: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        if not row.forced:
            samples.setdefault((row.split, row.question_id, row.question_key), []).append(row.text)
    chosen, waiting = [], 0
    for question in questions:
        texts = samples.get((question.split, question.id, question.key), [])
        stated = [quality.stated_answer(text, question) for text in texts]
        if any(
            index is not None and question.choices[index] == question.answer for index in stated
        ):
            continue
        if len(texts) < teacher.spec.samples:
            waiting += 1
        else:
            chosen.append(question)
    if waiting:
        _say(teacher, f"{waiting:,} questions wait for samples that are not there yet")
    return chosen


def _other_logs(teacher: Teacher, path: Path) -> dict[str, LogRow]:
    """The good rows of the same setting in other shards' logs; says which logs are of another setting."""
    found: dict[str, LogRow] = {}
    name = re.compile(re.escape(teacher.name) + r"-([0-9a-f]{8})(\.\d+-of-\d+)?\.tfrecord")
    for other in sorted(path.parent.glob(f"{teacher.name}-*.tfrecord")):
        match = name.fullmatch(other.name)
        if match and other != path and match[1] == teacher.setting:
            found |= {row.key: row for row in read(other, whole=False) if not row.error}
        elif match and match[1] != teacher.setting:
            _say(
                teacher,
                f"{other} is of another model, prompt, sampling or seed: it is left as it is, and a corpus takes one",
            )
    return found


def _tell(teacher: Teacher, result: JobResult, log: Log) -> None:
    total = result.done_before + result.written + result.left
    if not result.written and not result.left:
        print(f"{teacher.name}: all {total:,} rows were done before; nothing to do ({result.log})")
    else:
        print(
            f"{teacher.name}: {result.done_before:,} rows done before, {result.written:,} written now, "
            f"{result.left:,} left ({result.log})"
        )
    print(f"{teacher.name}: ledger: {ledger.total(log.rows.values(), log.failed.values())}")
    for failure in result.failed[:LISTED]:
        _say(teacher, f"failed: {failure}")
    if len(result.failed) > LISTED:
        _say(
            teacher,
            f"… and {len(result.failed) - LISTED:,} more; the same command tries them again",
        )


def _say(teacher: Teacher, line: str) -> None:
    print(f"{teacher.name}: {line}", file=sys.stderr, flush=True)
