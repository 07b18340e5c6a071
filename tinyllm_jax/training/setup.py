"""What a run is made of before its first step: for training it, and for planning it elsewhere."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from tinyllm_jax.corpus.schema import Row
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.student import model
from tinyllm_jax.student.student import Student
from tinyllm_jax.training import data, initial, memory, optimizer, questions, sharding
from tinyllm_jax.training.run import Run
from tinyllm_jax.training.step import init_state, make_step
from tinyllm_jax.training.tokens import Tokens, tokenize


@dataclasses.dataclass(frozen=True)
class Setup:
    """A run, ready but for its arrays.

    Attributes:
      run: with its number of steps, and of microbatches.
      student: its parameters are shapes.
      rows: the questions to learn from.
      left_out: see `questions.leave_out`.
      validation_rows: the questions to validate on.
      tokens: the rows as tokens.
      batches: of every step.
      init: makes a state from parameters.
      fill: see `initial.make_student`.
      state: the state's shapes, with their shardings.
      shardings: a tree like the state.
      step: the jitted train step.
    """

    run: Run
    student: Student
    rows: list[Row]
    left_out: dict[str, int]
    validation_rows: list[Row]
    tokens: Tokens
    batches: data.Batches
    init: Callable
    fill: Callable
    state: dict
    shardings: dict
    step: jax.stages.Wrapped


def set_up(
    run: Run,
    corpus: Corpus,
    mesh: Mesh,
    room: float | None,
    options: dict[str, Any] | None = None,
) -> Setup:
    """Everything of a run that needs no device.

    Args:
      run: resolved for the corpus.
      corpus: the corpus.
      mesh: over the devices, which may be absent.
      room: the bytes of each of them, as `memory.split` takes them, for a run that leaves its
        microbatches to be chosen.
      options: the compiler's, for the step.

    Raises:
      UserError: the corpus lacks what the run needs, or the student or its tokenizer cannot be
        made.
    """
    # The tokenizer, and the student: its shape, and how to fill it.
    rows, validation_rows = questions.split(corpus, run.validation)
    tokenizer = initial.make_tokenizer(run.student, corpus.teachers, rows)
    shape, fill = initial.make_student(run.student, run.seed, len(tokenizer))
    student = initial.student_of(run, shape, model.param_shapes(shape), tokenizer)

    # The batches, which say how many steps an epoch has.
    rows, left_out = questions.leave_out(rows, student, run.lengths.most_input)
    terms, teachers = list(run.objective.terms), list(run.objective.teachers or ())
    tokens = tokenize(rows, student, terms, run.lengths.target, teachers)
    batches = data.batches_of(run, tokens, sharding.row_shards(mesh))
    run = run.of_steps(run.steps or math.ceil(run.epochs * batches.steps_per_epoch))
    batches.ramp(run.objective.final_weights, run.steps)

    # The step, and the shapes of the state that it takes.
    tx = optimizer.make_optimizer(run.optimizer, run.steps)
    init = functools.partial(init_state, optimizer=tx, lora_only=shape.lora_rank > 0)
    abstract = jax.eval_shape(init, student.params)
    shardings = sharding.state_shardings(abstract, mesh)
    state = sharding.placed(abstract, shardings)
    step = sharding.jit_step(make_step(shape, tx, run.seed), shardings, mesh, options)

    # As few microbatches as the devices bear.
    if not run.accumulate:
        memory.split(batches, step, state, mesh, room)
        run = dataclasses.replace(run, accumulate=batches.accumulate)
    return Setup(
        run=run,
        student=student,
        rows=rows,
        left_out=left_out,
        validation_rows=validation_rows,
        tokens=tokens,
        batches=batches,
        init=init,
        fill=fill,
        state=state,
        shardings=shardings,
        step=step,
    )
