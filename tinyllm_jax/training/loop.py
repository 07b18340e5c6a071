"""The training loop, told in the order in which things happen."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from etils import epath
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from tinyllm_jax import storage
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError
from tinyllm_jax.progress import Progress
from tinyllm_jax.student import inputs, model
from tinyllm_jax.student.student import Student
from tinyllm_jax.training import (
    checkpoints,
    data,
    initial,
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
from tinyllm_jax.training.step import init_state, make_step
from tinyllm_jax.training.stop_request import StopRequest
from tinyllm_jax.training.validation import Validation
from tinyllm_jax.training.window import Window


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
      UserError: bad input, an absent package, a workdir in use or of another run, a loss that is
        not finite, or a student and a batch that do not fit into the devices' memory.
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
    # The corpus, the objective, the tokenizer.
    say = functools.partial(print, file=sys.stderr) if jax.process_index() == 0 else lambda *a: None
    mesh = sharding.make_mesh(run.mesh)
    corpus = Corpus(corpus_dir, task=run.task)
    run = run.resolve(corpus.teachers)
    terms = run.objective.terms
    if jax.process_index() == 0:
        until_the_end.enter_context(workdir.lock(directory))
    train_rows = corpus.nonempty_rows("train")
    tokenizer = initial.make_tokenizer(run.student, corpus.teachers, train_rows)

    ###############################################################################################
    # The student: its shape, and how to fill it (done only when there is no checkpoint).
    shape, fill = initial.make_student(run.student, run.seed, len(tokenizer))
    if len(tokenizer) > shape.vocab_size:
        raise UserError(
            f"the tokenizer has {len(tokenizer)} tokens, the student's vocabulary "
            f"{shape.vocab_size}: config.student.tokenizer belongs to another model"
        )
    # Its parameters are shapes here; arrays come with the state below.
    student = initial.student_of(run, shape, model.param_shapes(shape), tokenizer)

    ###############################################################################################
    # Batches.
    tokens = data.tokenize(
        train_rows, student, list(terms), run.lengths.target, list(run.objective.teachers or ())
    )
    batches = data.batches_of(run, tokens, sharding.row_shards(mesh))
    steps = run.steps or math.ceil(run.epochs * batches.steps_per_epoch)
    run = dataclasses.replace(run, steps=steps)
    batches.ramp(run.objective.final_weights, steps)
    validation_rows = corpus.nonempty_rows("validation")[: run.validation.questions or None]
    validation = Validation(validation_rows, student, run, mesh)
    useful = batches.useful_tokens()
    _describe(say, run, corpus, student, tokens, batches, validation, useful, mesh)

    ###############################################################################################
    # What the workdir was trained with, then the state: shapes, shardings, and only then arrays.
    fixed = _fixed(run, corpus, student)
    for line in workdir.check_same(directory, fixed, allow_changed):
        say(f"changed: {line}")
    tx = optimizer.make_optimizer(run.optimizer, run.steps)
    init = functools.partial(init_state, optimizer=tx, lora_only=shape.lora_rank > 0)
    abstract = jax.eval_shape(init, student.params)
    shardings = sharding.state_shardings(abstract, mesh)

    # How a run gets its state: 1. the workdir's last checkpoint; 2. the weights that the run
    # names; 3. random.
    saved = checkpoints.Checkpoints(directory / workdir.CHECKPOINTS, keep=run.checkpoint.keep)
    start = saved.latest() or 0
    if start:
        target = sharding.placed(abstract, shardings)
        state = saved.restore(start, {"params": target["params"], "opt_state": target["opt_state"]})
        step_array = jax.device_put(np.int32(start), NamedSharding(mesh, P()))
        state = {**state, "step": step_array}
        say(f"going on from step {start:,} of {run.steps:,}")
    else:
        state = fill(init, shardings)
        if jax.process_index() == 0:
            inputs.save_tokenizer(tokenizer, directory / workdir.TOKENIZER)
    workdir.write_run(
        directory,
        run,
        shape,
        fixed | {"corpus_directory": str(storage.absolute(corpus_dir)), "data": tokens.report},
    )

    ###############################################################################################
    # The loop.
    compiled = sharding.jit_step(make_step(shape, tx, run.seed), shardings, mesh)
    log = metrics.Metrics(directory, start, jax.process_index() == 0, report_to, run.to_json())
    schedule = optimizer.schedule(run.optimizer, run.steps)
    peak = throughput.peak_flops(jax.devices()[0].device_kind, jax.device_count())
    window = Window(list(terms), run.batch_size, log, schedule, peak)
    lost, traced = LostTime(), Profile(profile, start, run.steps)
    stop = StopRequest()
    progress = Progress("train", run.steps, "steps", start=start)
    step = start

    def prepare(index: int) -> tuple[dict, np.ndarray, throughput.Work]:
        batch = batches(index)
        return *sharding.step_batch(batch, mesh), throughput.work_of(shape, batch)

    with (
        jax.set_mesh(mesh),
        contextlib.closing(log),
        contextlib.closing(saved),
        contextlib.closing(stop),
        contextlib.closing(traced),
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
            asked = stop.reached(step)
            if step % run.checkpoint.every == 0 or step == run.steps or asked:
                window.flush()  # a loss that is not finite raises here, before it is saved
                best = None
                if not asked or step == run.steps:
                    with lost.to("validation"):
                        accuracy = validation.accuracy(state["params"])
                        losses = validation.losses(state["params"])
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
                window.restart()
            if asked:
                break
        with lost.to("checkpoints"):
            saved.wait()
        if step > start:
            log.write(step, seconds_lost=lost.seconds)

    ###############################################################################################
    # The end.
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
        useful,
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


def _describe(say, run, corpus, student, tokens, batches, validation, useful, mesh) -> None:
    """Says what the run trains, on what, and how much of its rows is padding."""
    size = sum(math.prod(x.shape) for x in jax.tree.leaves(student.params))
    weights = run.student.weights or "random weights"
    say(f"student   {run.student.name}  {size:,} parameters  {weights}  {student.config.dtype}")
    say(
        f"corpus    {corpus.task}  {len(tokens):,} training questions  "
        f"teachers {', '.join(corpus.teachers) or 'none'}"
    )
    weight_of = run.objective.terms
    for name, count in tokens.report["terms"].items():
        say(
            f"term      {name}  weight {weight_of[name]:g}  {count['targets']:,} targets  "
            f"{count['missing_or_weightless']:,} missing  "
            f"{count['contexts_cut']:,} contexts cut to {count['input_length']}  "
            f"{count['targets_cut']:,} targets cut to {tokens.report['target_length']}"
        )
    shapes = ", ".join(
        " + ".join(f"{rows} × {length}" for rows, length in shape) for shape in batches.shapes()
    )
    say(
        f"batches   {run.batch_size} questions  "
        f"{'packed' if run.lengths.packing else 'one target'} a row  shapes {shapes}  "
        f"useful tokens {100 * useful['input']:.0f} % of inputs, "
        f"{100 * useful['target']:.0f} % of targets  mesh {dict(mesh.shape)}"
    )
    without = ""
    if validation.without:
        without = f"  no rationale of {', '.join(validation.without)}: no held-out loss of it"
    say(
        f"validate  {validation.count:,} questions  "
        f"{validation.unknown:,} with words that the tokenizer does not know{without}"
    )
