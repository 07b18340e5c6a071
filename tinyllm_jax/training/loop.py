"""The training loop, told in the order in which things happen."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tinyllm_jax import storage
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError
from tinyllm_jax.progress import Progress
from tinyllm_jax.student import inputs
from tinyllm_jax.student.student import Student
from tinyllm_jax.training import (
    checkpoints,
    description,
    memory,
    metrics,
    optimizer,
    saving,
    sharding,
    sinks,
    throughput,
    workdir,
)
from tinyllm_jax.training.lost_time import LostTime, Profile
from tinyllm_jax.training.run import Run
from tinyllm_jax.training.setup import Setup, set_up
from tinyllm_jax.training.step import all_finite
from tinyllm_jax.training.stop_request import StopRequest
from tinyllm_jax.training.validation import Validation
from tinyllm_jax.training.window import Window

# Seconds that a validation may take where the run is asked to stop: a machine that is preempted has
# half a minute or more.
GRACE = 10.0


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
      step: the step it ended at.
      steps: the steps it was to do.
      best_step, best_accuracy: the best checkpoint on validation; None before the first validation.
      seconds: wall time in steps, compilation included, without set-up, validation and checkpoints.
      rates: the median over the logged windows of what was done in a second; None when there was
        none.
      compiled: the shapes that were compiled.
      useful: the share of positions that hold a token, see `data.Batches.useful_tokens`.
    """

    step: int
    steps: int
    best_step: int | None
    best_accuracy: float | None
    seconds: float
    rates: throughput.Rates | None
    compiled: int
    useful: dict[str, float]


def train(
    run: Run,
    corpus_dir: str | os.PathLike,
    directory: str | os.PathLike,
    allow_changed: bool = False,
    profile: str = "",
    report_to: Sequence[str] = (sinks.TENSORBOARD,),
) -> Summary:
    """Trains a student on a corpus, or goes on with a run that was stopped.

    Args:
      run: its fields.
      corpus_dir: the corpus.
      directory: the workdir: new, or that of the run to go on with.
      allow_changed: go on although the corpus, the tokenizer, the objective or the student is
        another.
      profile: a directory for a profile of a few steps, see `lost_time.Profile`; "" for none.
      report_to: where its curves are shown, see `sinks.check`.

    Returns:
      What it did. SIGTERM and Ctrl-C end the run after the step in flight, with a checkpoint.

    Raises:
      UserError: bad input, an absent package, a workdir in use or of another run, a full disk,
        numbers that are not finite, or a student and a batch that do not fit into memory.
    """
    sinks.check(report_to)
    with memory.exhaustion_told(run), contextlib.ExitStack() as until_the_end:
        return _train(
            run,
            corpus_dir,
            storage.path(directory),
            allow_changed,
            profile,
            report_to,
            until_the_end,
        )


def _train(
    run: Run,
    corpus_dir: str | os.PathLike,
    directory: epath.Path,
    allow_changed: bool,
    profile: str,
    report_to: Sequence[str],
    until_the_end: contextlib.ExitStack,
) -> Summary:
    """`train`; the lock on the workdir is put on `until_the_end`."""
    ###############################################################################################
    # The corpus, the student, the batches, the step; no arrays yet.
    say = functools.partial(print, file=sys.stderr) if jax.process_index() == 0 else lambda *a: None
    say(f"devices   {description.devices()}")
    mesh = sharding.make_mesh(run.mesh)
    corpus = Corpus(corpus_dir, task=run.task)
    run = run.resolve(corpus.teachers)
    if jax.process_index() == 0:
        until_the_end.enter_context(workdir.lock(directory))
    made = set_up(run, corpus, mesh, sharding.device_memory())
    run, student, batches = made.run, made.student, made.batches
    validation = Validation(made.validation_rows, student, run, mesh)
    description.describe(say, run, corpus, student, made.tokens, batches, validation, mesh)
    description.lengths(say, run, student, made.rows, made.left_out, batches, mesh)

    ###############################################################################################
    # What the workdir was trained with, then the state.
    fixed = _fixed(run, corpus, student)
    changed = workdir.check_same(directory, run, fixed, allow_changed)
    for line in changed:
        say(f"changed: {line}")

    saved = _open_checkpoints(directory / workdir.CHECKPOINTS, run.checkpoint.keep, say)
    start = saved.latest() or 0
    state = _first_state(made, saved, start, mesh)
    if start:
        say(f"going on from step {start:,} of {run.steps:,}")

    # What the run is stands in its workdir, unless there is nothing left to train.
    writes = jax.process_index() == 0 and start < run.steps
    if writes:
        if not start or any(line.startswith("tokenizer was") for line in changed):
            inputs.save_tokenizer(student.tokenizer, directory / workdir.TOKENIZER)
        about = {
            "corpus_directory": str(storage.absolute(corpus_dir)),
            "data": made.tokens.report | {"left_out": made.left_out},
        }
        workdir.write_run(directory, run, student.config, fixed | about)

    ###############################################################################################
    # The loop.
    compiled = made.step
    is_finite = jax.jit(all_finite, out_shardings=NamedSharding(mesh, P()))
    log = metrics.Metrics(directory, start, writes, report_to, run.to_json())
    schedule = optimizer.schedule(run.optimizer, run.steps)
    peak = throughput.peak_flops(jax.devices()[0].device_kind, jax.device_count())
    lost, traced = LostTime(), Profile(profile, start, run.steps)
    stop = StopRequest()
    progress = Progress("train", run.steps, "steps", start=start)
    window = Window(
        list(run.objective.terms),
        run.batch_size,
        log,
        schedule,
        run.stop_after_skipped,
        functools.partial(_diverged, made, saved),
        peak,
    )
    past = saving.Past(start)
    step = start

    def prepare(index: int) -> tuple[dict, np.ndarray, throughput.Work]:
        batch = batches(index)
        return *sharding.step_batch(batch, mesh), throughput.work_of(student.config, batch)

    with (
        jax.set_mesh(mesh),
        contextlib.closing(log),
        contextlib.closing(saved),
        contextlib.closing(stop),
        contextlib.closing(traced),
        contextlib.closing(batches.ahead(run.steps)),
    ):
        for index, (batch, counts, work) in _ahead(prepare, start, run.steps, lost):
            with traced.step(index), lost.to_compiling(compiled):
                state, out = compiled(state, batch)
            step = index + 1  # steps done
            window.add(step, out, counts, work)
            if step % run.log_every == 0 or step == run.steps:
                window.roll()
            if jax.process_index() == 0:
                progress.update(step, window.note)

            # Whether a checkpoint is to be made here: it is due, late, or the run is to stop.
            asked, last = stop.reached(), step == run.steps
            due = step % run.checkpoint.every == 0 or last
            late = step % run.log_every == 0 and saving.is_late(past, run.checkpoint.minutes)
            if not (due or late or asked):
                continue

            # Validate and save.
            window.roll()
            if saving.is_of_use(step, state, past, window, is_finite, last, asked):
                best = None
                if due and (last or not asked or past.validation_seconds <= GRACE):
                    best = saving.validate(step, state, validation, window, past, lost, say)
                with lost.to("checkpoints"):
                    saved.save(step, state, best)
                past.note_checkpoint(step)
            else:
                say(f"\nstep {step:,}  not saved: the last steps are not finite and were skipped")
            window.restart()
            if asked:
                break
        with lost.to("checkpoints"):
            saved.wait()
        if step > start:
            log.write(step, seconds_lost=lost.seconds)

    ###############################################################################################
    # The end.
    if window.skipped:
        say(f"\nskipped   {window.skipped:,} steps whose loss or gradient was not finite")
    if start >= run.steps:
        say(f"nothing to do: {directory} is at step {start:,} of {run.steps:,}")
    elif step < run.steps:
        say(f"\nstopped at step {step:,} of {run.steps:,}, saved; run the same command to go on")
    elif jax.process_index() == 0:
        progress.close(window.note)
    if step > start:
        say(f"lost      {lost}")
    return Summary(
        step,
        run.steps,
        *saved.best,
        window.seconds,
        throughput.median(window.rates),
        compiled._cache_size(),  # type: ignore[attr-defined]
        batches.useful_tokens(),
    )


def _open_checkpoints(
    root: epath.Path, keep: int, say: Callable[[str], None]
) -> checkpoints.Checkpoints:
    """The checkpoints in a directory, of which the damaged ones are set aside first.

    Args:
      root: the directory.
      keep: how many of the last to keep.
      say: prints a line, on the first process.
    """
    if jax.process_index() == 0:
        for line in checkpoints.set_damaged_aside(root):
            say(line)
    multihost_utils.sync_global_devices("damaged checkpoints are set aside")
    return checkpoints.Checkpoints(root, keep=keep)


def _first_state(made: Setup, saved: checkpoints.Checkpoints, start: int, mesh: Mesh) -> dict:
    """The state that a run begins with.

    Args:
      made: the run.
      saved: its checkpoints.
      start: the step of the last one, whose state it is; 0 for none: then it is made from the
        weights that the run names, or else from random ones.
      mesh: the run's.
    """
    if not start:
        return made.fill(made.init, made.shardings)
    state = saved.restore(start, {name: made.state[name] for name in ("params", "opt_state")})
    step = jax.device_put(np.int32(start), NamedSharding(mesh, P()))
    return {**state, "step": step}


def _diverged(made: Setup, saved: checkpoints.Checkpoints, step: int, what: str) -> UserError:
    """The error that ends a run whose numbers are not finite: what is left of it, and the mend.

    Args:
      made: the run.
      saved: its checkpoints.
      step: where it ends, in steps done.
      what: what is not finite.
    """
    index = made.batches.planned(step - 1).index
    asked = [made.rows[question].question.id for question in index if question >= 0]
    named = ", ".join(asked[:16]) + (f" and {len(asked) - 16:,} more" if len(asked) > 16 else "")
    saved.wait()
    good = saved.latest()
    kept = f"the checkpoint of step {good:,} is kept" if good else "nothing of it was saved"
    again = ", from there, or anew in another --workdir" if good else ""
    clip = "" if made.run.optimizer.clip_norm else " or set config.optimizer.clip_norm=1"
    return UserError(
        f"step {step:,}: {what}; its questions are {named}; {kept}: lower "
        f"config.optimizer.learning_rate{clip} and run again{again}"
    )


def _fixed(run: Run, corpus: Corpus, student: Student) -> dict:
    """What a run must not change under way, as JSON has it."""
    shape = dataclasses.asdict(student.config)
    for free in ("dtype", "remat", "dropout_rate"):
        del shape[free]
    objective = {
        "terms": run.objective.terms,
        "prefixes": run.objective.prefixes,
        "prefix": run.objective.prefix,
        "final": run.objective.final,
    }
    return {
        "corpus": corpus.fingerprint,
        "tokenizer": inputs.fingerprint(student.tokenizer),
        "objective": objective,
        "student": shape,
    }


def _ahead(make: Callable, start: int, stop: int, lost: LostTime, depth: int = 2) -> Iterator:
    """Yields `(i, make(i))`; a thread makes the next `depth` ones meanwhile."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        queue = collections.deque(
            pool.submit(make, i) for i in range(start, min(start + depth, stop))
        )
        for i in range(start, stop):
            with lost.to("input"):
                made = queue.popleft().result()
            if i + depth < stop:
                queue.append(pool.submit(make, i + depth))
            yield i, made
