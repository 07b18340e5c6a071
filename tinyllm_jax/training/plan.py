"""What a run would need on devices that are not here: its real step, compiled for them.

The vendor's compiler runs without the devices. It says how much memory each of the run's static
shapes needs, and what it would send; nothing is trained.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Iterator

import jax
from jax.extend.core import jaxprs_in_params

from tinyllm_jax.batching.arrays import Shape
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.training import (
    hlo,
    memory,
    sharding,
    throughput,
    topologies,
)
from tinyllm_jax.training.run import Run
from tinyllm_jax.training.setup import set_up


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What the compiler said of the step of one shape.

    Attributes:
      shape: the rows of inputs and targets.
      batches: how many batches of an epoch have it.
      memory: the bytes that it needs of a device; None where it does not fit and the compiler does
        not say how much it needs.
      fits: whether a device has them.
      flops: model FLOPs of a step, see `throughput.model_flops`.
      seconds: the least time that a step takes; None where the step does not fit.
      mfu: the share of the devices' peak, 0 to 1, that its model FLOPs use at most; None where the
        step does not fit.
      moved: what each kind of collective moves.
    """

    shape: Shape
    batches: int
    memory: float | None
    fits: bool
    flops: float
    seconds: float | None = None
    mfu: float | None = None
    moved: dict[str, hlo.Moved] = dataclasses.field(default_factory=dict)


class Plan:
    """The step of a run on a topology; iterating compiles it for one static shape after the other.

    Args:
      run: its fields, as for `loop.train`.
      corpus_dir: the corpus.
      topology: the devices' name, see `topologies.find`.

    Attributes:
      run: the resolved run.
      topology: the devices.
      mesh: over them.

    Raises:
      UserError: bad input, or the devices' compiler is absent.
    """

    def __init__(self, run: Run, corpus_dir: str | os.PathLike, topology: str):
        self.topology = topologies.find(topology)
        self.mesh = sharding.make_mesh(run.mesh, self.topology.devices)

        corpus = Corpus(corpus_dir, task=run.task)
        room, options = self.topology.chip.memory, self.topology.options
        made = set_up(run.resolve(corpus.teachers), corpus, self.mesh, room, options)
        self.run, self.student, self.batches = made.run, made.student.config, made.batches
        self._state, self._step = made.state, made.step

    def __iter__(self) -> Iterator[Compiled]:
        for shape, count in self.batches.shapes().items():
            yield self._compile(shape, count)

    def _compile(self, shape: Shape, count: int) -> Compiled:
        """Compiles the step for the first batch of a shape, of which an epoch has `count`."""
        batch = self.batches.first_of(shape)
        flops = throughput.model_flops(self.student, batch)
        with jax.set_mesh(self.mesh):
            traced = self._step.trace(self._state, sharding.batch_shapes(batch, self.mesh))
            program = memory.compiled(traced.lower())
        if isinstance(program, Exception):
            return Compiled(shape, count, needed_bytes(str(program)), False, flops)

        # The least time: what the compiler expects, or that of all products at the devices' peak.
        chip, text = self.topology.chip, program.as_text()
        assert text is not None
        peak = chip.peak * self.mesh.size
        if chip.clock:
            seconds = hlo.cycles(text) / chip.clock
        else:
            seconds = product_flops(traced.jaxpr.jaxpr) / peak
        needed = memory.peak(program)
        fits, mfu = needed <= chip.memory, flops / seconds / peak
        return Compiled(shape, count, needed, fits, flops, seconds, mfu, hlo.collectives(text))


def needed_bytes(error: str) -> float | None:
    """How much memory the compiler would need, in bytes; None where its error does not say it."""
    found = re.search(r"([\d.]+)([KMG])\)? (?:exceeds|of [\d.]+[KMG] hbm)", error)
    return float(found[1]) * 1024 ** (1 + "KMG".index(found[2])) if found else None


def product_flops(jaxpr) -> float:
    """The FLOPs of all matrix products of a traced program; what is computed twice counts twice."""
    flops = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            depth = math.prod(left[axis] for axis in contracted)
            flops += 2 * depth * math.prod(equation.outvars[0].aval.shape)
        rounds = _rounds(equation)
        for inner in jaxprs_in_params(equation.params):
            flops += rounds * product_flops(inner)
    return flops


def _rounds(equation) -> int:
    """How often an equation computes what stands inside of it, on all devices together."""
    if equation.primitive.name == "scan":
        return equation.params["length"]
    if equation.primitive.name == "shard_map":  # as often as its inputs are split
        inside = equation.params["jaxpr"].invars
        pairs = zip(equation.invars, inside, strict=True)
        return max(
            math.prod(whole.aval.shape) // math.prod(part.aval.shape) for whole, part in pairs
        )
    return 1
