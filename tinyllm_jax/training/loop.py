"""The training loop, told in the order in which things happen."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding
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
    sharding,
    sinks,
    throughput,
    workdir,
)
from tinyllm_jax.training.lost_time import LostTime, Profile
from tinyllm_jax.training.run import Run
from tinyllm_jax.training.setup import set_up
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
    made = set_up(run, corpus, mesh, memory.Room(sharding.device_memory()))
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

    # How a run gets its state: 1. the workdir's last checkpoint; 2. the weights that the run
    # names; 3. random.
    if jax.process_index() == 0:
        for line in checkpoints.set_damaged_aside(directory / workdir.CHECKPOINTS):
            say(line)
    multihost_utils.sync_global_devices("damaged checkpoints are set aside")
    saved = checkpoints.Checkpoints(directory / workdir.CHECKPOINTS, keep=run.checkpoint.keep)
    start = saved.latest() or 0
    if start:
        saved_parts = {name: made.state[name] for name in ("params", "opt_state")}
        state = saved.restore(start, saved_parts)
        step_array = jax.device_put(np.int32(start), NamedSharding(mesh, P()))
        state = {**state, "step": step_array}
        say(f"going on from step {start:,} of {run.steps:,}")
    else:
        state = made.fill(made.init, made.shardings)

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
    healthy = jax.jit(all_finite, out_shardings=NamedSharding(mesh, P()))
    log = metrics.Metrics(directory, start, writes, report_to, run.to_json())
    schedule = optimizer.schedule(run.optimizer, run.steps)
    peak = throughput.peak_flops(jax.devices()[0].device_kind, jax.device_count())
    lost, traced = LostTime(), Profile(profile, start, run.steps)
    stop = StopRequest()
    progress = Progress("train", run.steps, "steps", start=start)
    step = saved_at = start
    saved_time, validation_seconds = time.monotonic(), 0.0

    def diverged(step: int, what: str) -> UserError:
        """The end of a run that cannot go on, with what is left of it and the mend."""
        asked = [made.rows[q].question.id for q in batches.planned(step - 1).index if q >= 0]
        saved.wait()
        return _diverged(step, what, asked, saved.latest(), bool(run.optimizer.clip_norm))

    window = Window(
        list(run.objective.terms),
        run.batch_size,
        log,
        schedule,
        run.stop_after_skipped,
        diverged,
        peak,
    )

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
            asked, last = stop.reached(), step == run.steps
            due = step % run.checkpoint.every == 0 or last
            minutes = (time.monotonic() - saved_time) / 60
            late = step % run.log_every == 0 and _late(run.checkpoint.minutes, minutes)
            if not (due or late or asked):
                continue

            # What is saved must be of use. Steps that were skipped have changed nothing: a state
            # that nothing follows from but skipped steps takes no good checkpoint's place.
            window.roll()
            learned = step - saved_at > window.skipped_in_row
            if last and not learned:
                why = "steps since the last checkpoint were skipped: they are not finite"
                raise diverged(step, f"all {step - saved_at:,} {why}")
            if learned and not bool(healthy(state)):
                raise diverged(step, f"the parameters are not finite ({window.note})")
            if learned and (last or asked or not window.skipped_in_row):
                best = None
                if due and (last or not asked or validation_seconds <= GRACE):
                    began = time.monotonic()
                    with lost.to("validation"):
                        try:
                            accuracy = validation.accuracy(state["params"])
                            losses = validation.losses(state["params"])
                        except UserError:
                            what = f"the validation's scores are not finite ({window.note})"
                            raise diverged(step, what) from None
                    validation_seconds = time.monotonic() - began
                    log.write(
                        step,
                        validation_accuracy=accuracy,
                        validation_questions=validation.count,
                        validation_terms=losses,
                    )
                    say(
                        f"\nstep {step:,}  validation accuracy {100 * accuracy:.1f} % "
                        f"of {validation.count}"
                    )
                    best = {checkpoints.METRIC: accuracy}
                with lost.to("checkpoints"):
                    saved.save(step, state, best)
                saved_at, saved_time = step, time.monotonic()
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


def _late(most: float, minutes: float) -> bool:
    """Whether the last checkpoint is so many minutes ago; the first process's clock decides."""
    if not most:
        return False
    if jax.process_count() == 1:
        return minutes >= most
    return bool(multihost_utils.broadcast_one_to_all(np.bool_(minutes >= most)))


def _diverged(step: int, what: str, asked: list[str], good: int | None, clipped: bool) -> UserError:
    """The error that ends a run whose numbers are not finite.

    Args:
      step: where.
      what: what is not finite.
      asked: the ids of the questions of that step.
      good: the last checkpoint's step.
      clipped: whether the run clips gradients.
    """
    named = ", ".join(asked[:16]) + (f" and {len(asked) - 16:,} more" if len(asked) > 16 else "")
    clip = "" if clipped else " or set config.optimizer.clip_norm=1"
    kept = f"the checkpoint of step {good:,} is kept" if good else "nothing of it was saved"
    again = ", from there, or anew in another --workdir" if good else ""
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
