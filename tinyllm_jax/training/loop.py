"""The training loop, told in the order in which things happen."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import math
import pathlib
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import ml_collections
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from tinyllm_jax.corpus.schema import Row
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError
from tinyllm_jax.progress import Progress
from tinyllm_jax.student import config as students
from tinyllm_jax.student import hf, lora, model, words
from tinyllm_jax.student import inputs as text
from tinyllm_jax.training import checkpoints, data, metrics, optimizer, sharding, workdir
from tinyllm_jax.training import config as run_config
from tinyllm_jax.training.step import init_state, make_step
from tinyllm_jax.training.validation import Validation


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
      step: the step it ended at.
      steps: the steps it was to do.
      best_step, best_accuracy: the best checkpoint on validation; None before the first validation.
      seconds: wall time in steps, compilation included, without set-up, validation and checkpoints.
      questions_per_second: the median over the logged windows; None when there was none.
      compiled: the shapes that were compiled.
      useful: the share of positions that hold a token, see `data.Batches.useful_tokens`.
    """

    step: int
    steps: int
    best_step: int | None
    best_accuracy: float | None
    seconds: float
    questions_per_second: float | None
    compiled: int
    useful: dict[str, float]


def train(
    config: ml_collections.ConfigDict,
    corpus_dir: pathlib.Path,
    directory: pathlib.Path,
    allow_changed: bool = False,
) -> Summary:
    """Trains a student on a corpus, or goes on with a run that was stopped.

    Args:
      config: see `config.default_config`.
      corpus_dir: the corpus.
      directory: the workdir: new, or that of the run to go on with.
      allow_changed: go on although the corpus, the tokenizer, the objective or the student is
        another.

    Returns:
      What it did. SIGTERM and Ctrl-C end the run after the step in flight, with a checkpoint.

    Raises:
      UserError: bad input, a workdir in use or of another run, or a loss that is not finite.
    """
    #############################################################################################################
    # The corpus, the config, the tokenizer.
    say = functools.partial(print, file=sys.stderr) if jax.process_index() == 0 else lambda *a: None
    run_config.check(config)
    mesh = sharding.make_mesh(config.mesh)
    corpus = Corpus(corpus_dir, task=config.task)
    config = run_config.resolve(config, tuple(corpus.teachers))
    terms = run_config.terms(config)
    if jax.process_index() == 0:
        held = workdir.lock(directory)  # noqa: F841 (held until this process ends)
    train_rows = corpus.some_rows("train")
    tokenizer = make_tokenizer(config, corpus.teachers, train_rows)

    #############################################################################################################
    # The student: its shape, and how to fill it (done only when there is no checkpoint).
    student, fill = make_student(config, len(tokenizer))
    if len(tokenizer) > student.vocab_size:
        raise UserError(
            f"the tokenizer has {len(tokenizer)} tokens, the student's vocabulary {student.vocab_size}: "
            "config.student.tokenizer belongs to another model"
        )

    #############################################################################################################
    # Batches.
    tokens = data.tokenize(train_rows, tokenizer, config)
    batches = data.Batches(
        tokens,
        list(terms.values()),
        config.batch_size,
        config.seed,
        config.lengths.buckets,
        config.lengths.packing,
        config.accumulate,
        mesh.shape["data"] * mesh.shape["fsdp"],
        config.lengths.multiple,
    )
    config.steps = config.steps or math.ceil(config.epochs * batches.steps_per_epoch)
    validation_rows = corpus.some_rows("validation")[: config.validation.questions or None]
    validation = Validation(validation_rows, tokenizer, config, student, mesh)
    useful = batches.useful_tokens()
    _describe(say, config, corpus, student, tokens, batches, validation, useful, mesh)

    #############################################################################################################
    # What the workdir was trained with, then the state: shapes, shardings, and only then arrays.
    run = {
        "corpus": corpus.fingerprint,
        "tokenizer": text.fingerprint(tokenizer),
        "objective": {
            "terms": terms,
            "prefixes": config.objective.prefixes.to_dict(),
            **({"prefix": "decoder"} if config.objective.prefix == "decoder" else {}),
        },
        "student": {
            k: v
            for k, v in dataclasses.asdict(student).items()
            if k not in ("dtype", "remat", "dropout_rate")
        },
    }
    run = json.loads(json.dumps(run))  # as it is read back
    for line in workdir.check_same(directory, run, allow_changed):
        say(f"changed: {line}")
    tx = optimizer.make_optimizer(config.optimizer, config.steps)
    init = functools.partial(init_state, optimizer=tx, lora_only=student.lora_rank > 0)
    abstract = jax.eval_shape(init, model.param_shapes(student))
    shardings = sharding.state_shardings(abstract, mesh)

    # How a run gets its state: 1. the workdir's last checkpoint; 2. the weights that the config
    # names; 3. random.
    saved = checkpoints.Checkpoints(directory / workdir.CHECKPOINTS, keep=config.checkpoint.keep)
    start = saved.latest() or 0
    if start:
        target = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), abstract, shardings
        )
        state = saved.restore(start, {"params": target["params"], "opt_state": target["opt_state"]})
        step_array = jax.device_put(np.int32(start), NamedSharding(mesh, P()))
        state = {**state, "step": step_array}
        say(f"going on from step {start:,} of {config.steps:,}")
    else:
        state = fill(init, shardings)
        if jax.process_index() == 0:
            text.save_tokenizer(tokenizer, directory / workdir.TOKENIZER)
    workdir.write_run(
        directory,
        config,
        student,
        run | {"corpus_directory": str(corpus_dir.absolute()), "data": tokens.report},
    )

    #############################################################################################################
    # The loop.
    compiled = jax.jit(
        make_step(student, tx, config.seed),
        donate_argnums=0,
        out_shardings=(shardings, NamedSharding(mesh, P())),
    )
    log = metrics.Metrics(directory, start, jax.process_index() == 0)
    schedule = optimizer.schedule(config.optimizer, config.steps)
    window = _Window(config, terms, log, schedule)
    stop = _Stop()
    progress = Progress("train", config.steps, "steps", start=start)
    step = start
    with (
        jax.set_mesh(mesh),
        contextlib.closing(log),
        contextlib.closing(saved),
        contextlib.closing(stop),
    ):
        for step, (batch, counts) in _ahead(
            lambda s: _to_device(batches(s), mesh), start, config.steps
        ):
            state, out = compiled(state, batch)
            step += 1
            window.add(step, out, counts)
            if step % config.log_every == 0 or step == config.steps:
                window.roll()
            if jax.process_index() == 0:
                progress.update(step, window.note)
            asked = stop.asked(step)
            if step % config.checkpoint.every == 0 or step == config.steps or asked:
                window.flush()  # a loss that is not finite raises here, before it is saved
                best = None
                if not asked or step == config.steps:
                    accuracy = validation.accuracy(state["params"])
                    log.write(
                        step,
                        validation_accuracy=accuracy,
                        validation_questions=validation.count,
                        validation_terms=validation.losses(state["params"]),
                    )
                    say(
                        f"\nstep {step:,}  validation accuracy {100 * accuracy:.1f} % of {validation.count}"
                    )
                    best = {checkpoints.METRIC: accuracy}
                saved.save(step, state, best)
                window.restart()
            if asked:
                break

    #############################################################################################################
    # The end.
    if start >= config.steps:
        say(f"nothing to do: {directory} is at step {start:,} of {config.steps:,}")
    elif step < config.steps:
        say(f"\nstopped at step {step:,} of {config.steps:,}, saved; run the same command to go on")
    elif jax.process_index() == 0:
        progress.close(window.note)
    return Summary(
        step,
        config.steps,
        *saved.best,
        window.seconds,
        statistics.median(window.rates) if window.rates else None,
        compiled._cache_size(),
        useful,
    )


def make_tokenizer(config: ml_collections.ConfigDict, teachers: Sequence[str], rows: Sequence[Row]):
    """The tokenizer that the config names, or, for "words", the one of the words in `rows`.

    All of the corpus's `teachers` are in it, so that students of some of them read and write the
    same words.
    """
    named = config.student.tokenizer or config.student.weights or config.student.name
    if named != words.NAME:
        return text.load_tokenizer(named)
    prefixes = [
        f"{run_config.prefix(config, target)}: " for target in (run_config.ANSWER, *teachers)
    ]
    questions = ["\n".join(text.question_text(row.question)) for row in rows]
    rationales = [rationale.text for row in rows for rationale in row.rationales.values()]
    return words.make_tokenizer([*prefixes, *questions, *rationales])


def make_student(
    config: ml_collections.ConfigDict, tokens: int
) -> tuple[students.StudentConfig, Callable]:
    """The student of a config, and `fill(init, shardings)`, which makes the state before step 0 on the devices.

    Args:
      config: the run's.
      tokens: the size of its tokenizer. Where that is made from the corpus, the vocabulary is at
        least as large.

    Raises:
      UserError: an unknown student, or weights of another architecture.
    """
    c = config.student
    fields = dict(
        dtype=c.dtype,
        dropout_rate=c.dropout_rate,
        remat=c.remat,
        lora_rank=c.lora_rank,
        lora_alpha=c.lora_alpha,
        lora_targets=tuple(c.lora_targets),
    )
    student = (
        hf.load_config(c.weights, **fields)
        if c.weights
        else students.student_config(c.name, **fields)
    )
    if c.tokenizer == words.NAME:
        room = -(-tokens // words.ROUND) * words.ROUND
        student = dataclasses.replace(student, vocab_size=max(student.vocab_size, room))
    key = jax.random.key(config.seed)

    def random(init, shardings):
        return jax.jit(lambda key: init(model.init_params(student, key)), out_shardings=shardings)(
            key
        )

    def from_weights(init, shardings):
        # Host arrays go straight to their shards; only the optimizer's state is computed.
        _, params = hf.load_hf(c.weights, **fields)
        params = lora.add_lora(student, params, key) if student.lora_rank else params
        put = jax.tree.map(
            lambda a, s: jax.make_array_from_callback(a.shape, s, lambda i: np.asarray(a[i])),
            params,
            shardings["params"],
        )
        return jax.jit(init, out_shardings=shardings)(put)

    return student, from_weights if c.weights else random


def _to_device(batch: dict, mesh) -> tuple[dict, np.ndarray]:
    counts = batch.pop("tokens")
    return sharding.to_global(batch, mesh, sharding.BATCH), counts


def _ahead(make: Callable, start: int, stop: int, depth: int = 2) -> Iterator:
    """Yields `(i, make(i))`; a thread makes the next `depth` ones meanwhile."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        queue = collections.deque(
            pool.submit(make, i) for i in range(start, min(start + depth, stop))
        )
        for i in range(start, stop):
            made = queue.popleft().result()
            if i + depth < stop:
                queue.append(pool.submit(make, i + depth))
            yield i, made


class _Window:
    """The steps since the last log line. Their numbers are fetched a window late, so that no step waits for them."""

    def __init__(self, config, terms, log, schedule):
        self.config, self.terms, self.log, self.schedule = config, terms, log, schedule
        self.rates, self.seconds, self.note = [], 0.0, ""
        self.pending, self.last, self.steps = None, None, 0
        self.flight = collections.deque()
        self.began = time.monotonic()

    def add(self, step: int, out: dict, counts: np.ndarray) -> None:
        """Notes one step. At most three are in flight: then the device never waits, and progress is what was done."""
        self.last, self.steps = (step, out, counts), self.steps + 1
        self.flight.append(out["loss"])
        if len(self.flight) > 2:
            jax.block_until_ready(self.flight.popleft())

    def roll(self) -> None:
        """Ends the window, and writes the one before."""
        self._write()
        self.pending, self.last = self.last, None
        seconds = time.monotonic() - self.began
        self.rate = self.steps * self.config.batch_size / seconds
        self.rates.append(self.rate)
        self.seconds += seconds
        self.steps, self.began = 0, time.monotonic()

    def flush(self) -> None:
        """Writes what is pending, waiting for the device."""
        if self.last is not None:
            jax.block_until_ready(self.last[1])
            self.roll()
        self._write()

    def restart(self) -> None:
        """Leaves what happened since the last step out of the rate."""
        self.began = time.monotonic()

    def _write(self) -> None:
        if self.pending is None:
            return
        (step, out, counts), self.pending = self.pending, None
        loss, norm, sums = float(out["loss"]), float(out["grad_norm"]), np.asarray(out["sums"])
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} at step {step}; nothing of it was saved: lower "
                "config.optimizer.learning_rate, or set config.optimizer.clip_norm=1, and run again"
            )
        terms = {t: float(s / c) for t, s, c in zip(self.terms, sums, counts) if c}
        self.log.write(
            step,
            loss=loss,
            terms=terms,
            learning_rate=float(self.schedule(step - 1)),
            grad_norm=norm,
            questions_per_second=self.rate,
        )
        self.note = "  ".join([f"loss {loss:.4f}", *(f"{t} {v:.3f}" for t, v in terms.items())])


class _Stop:
    """Whether the run is asked to stop: SIGTERM or Ctrl-C; with several processes, SIGTERM to any of them."""

    def __init__(self):
        self.several, self.flag, self.before = jax.process_count() > 1, False, {}
        if not self.several:
            for number in (signal.SIGTERM, signal.SIGINT):
                self.before[number] = signal.signal(number, self._ask)

    def _ask(self, number, frame):
        if self.flag and number == signal.SIGINT:
            raise KeyboardInterrupt  # the second Ctrl-C
        self.flag = True

    def asked(self, step: int) -> bool:
        """True from the step at which all processes have heard of it."""
        return multihost_utils.reached_preemption_sync_point(step) if self.several else self.flag

    def close(self) -> None:
        """Gives the signals back."""
        for number, handler in self.before.items():
            signal.signal(number, handler)


def _describe(say, config, corpus, student, tokens, batches, validation, useful, mesh) -> None:
    size = sum(math.prod(x.shape) for x in jax.tree.leaves(model.param_shapes(student)))
    say(
        f"student   {config.student.name}  {size:,} parameters  {config.student.weights or 'random weights'}  {student.dtype}"
    )
    say(
        f"corpus    {corpus.task}  {len(tokens):,} training questions  teachers {', '.join(corpus.teachers) or 'none'}"
    )
    for name, count in tokens.report["terms"].items():
        say(
            f"term      {name}  weight {run_config.terms(config)[name]:g}  {count['targets']:,} targets  "
            f"{count['missing_or_weightless']:,} missing  {count['contexts_cut']:,} contexts cut to "
            f"{count['input_length']}  {count['targets_cut']:,} targets cut to {tokens.report['target_length']}"
        )
    shapes = ", ".join(
        " + ".join(f"{rows} × {length}" for rows, length in shape) for shape in batches.shapes()
    )
    say(
        f"batches   {config.batch_size} questions  {'packed' if config.lengths.packing else 'one target'} a row  shapes {shapes}  "
        f"useful tokens {100 * useful['input']:.0f} % of inputs, {100 * useful['target']:.0f} % of targets  "
        f"mesh {dict(mesh.shape)}"
    )
    without = (
        f"  no rationale of {', '.join(validation.without)}: no held-out loss of it"
        if validation.without
        else ""
    )
    say(
        f"validate  {validation.count:,} questions  {validation.unknown:,} with words that the tokenizer does not know{without}"
    )
