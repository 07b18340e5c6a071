"""What the benchmarks share: real rows and weights, paired timings, tables.

The released corpora are looked for in `$TINYLLM_SHARED` (else a folder `shared` beside the
checkout), a FLAN-T5-small-shaped student in `$TINYLLM_MODELS` (else `~/.cache/tinyllm-models`).
"""

import functools
import os
import pathlib
import statistics
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

from tinyllm_jax.corpus.importing.released import import_released
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.student import hf, inputs, model
from tinyllm_jax.student.config import PRESETS, StudentConfig, student_config
from tinyllm_jax.training import data, initial, optimizer
from tinyllm_jax.training.run import Lengths, Objective, Optimizer, Run
from tinyllm_jax.training.step import init_state, make_step
from tinyllm_jax.training.tokens import tokenize

REPO = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("TINYLLM_SHARED", REPO.parent / "shared"))
WEIGHTS = (
    pathlib.Path(
        os.environ.get("TINYLLM_MODELS", pathlib.Path.home() / ".cache" / "tinyllm-models")
    )
    / "flan-t5-small"
)
TEACHERS = ("flan-t5-xl", "llama-2-7b-chat")


def need() -> None:
    """Ends with one line where the real corpora or weights are missing."""
    for path, name in (
        (SHARED / "data" / "tinyllm-release", "TINYLLM_SHARED"),
        (WEIGHTS, "TINYLLM_MODELS"),
    ):
        if not path.exists():
            sys.exit(f"{path} is missing; set {name} (see {__file__})")


def on_gpu() -> bool:
    """Whether jax computes on a GPU."""
    return jax.default_backend() == "gpu"


@functools.cache
def tokenizer():
    """The student's own."""
    return inputs.load_tokenizer(WEIGHTS)


@functools.cache
def corpus_rows(task: str, split: str = "train") -> tuple:
    """The rows of a released corpus."""
    with tempfile.TemporaryDirectory() as directory:
        import_released(SHARED / "data" / "tinyllm-release", task, f"{directory}/corpus")
        return tuple(Corpus(f"{directory}/corpus").rows(split))


def whole_rows(task: str) -> list:
    """The training rows with both teachers' rationales: there the reference's loss means ours."""
    return [
        r
        for r in corpus_rows(task)
        if sum(bool(x.text) for x in r.rationales.values()) == len(TEACHERS)
    ]


def run_for(task: str, prefix: str = "encoder", teachers=TEACHERS, input_length: int = 0):
    """The resolved run of a task with the given teachers."""
    run = Run(task=task, objective=Objective(prefix=prefix), lengths=Lengths(input=input_length))
    return run.resolve(tuple(teachers))


class Trainer:
    """Our step, compiled, with a state that it goes on with."""

    def __init__(self, student: StudentConfig, params: dict, seed: int = 0):
        tx = optimizer.make_optimizer(Optimizer(), 1000)
        init = functools.partial(init_state, optimizer=tx, lora_only=False)
        self.state = jax.block_until_ready(jax.jit(init)(jax.tree.map(jnp.array, params)))
        self.step = jax.jit(make_step(student, tx, seed), donate_argnums=0)

    def __call__(self, batch: dict) -> dict:
        """One step; its metrics, ready."""
        self.state, out = self.step(self.state, {k: v for k, v in batch.items() if k != "tokens"})
        return jax.block_until_ready(out)


def step_shapes(student: StudentConfig, rows: int, length: int) -> tuple:
    """The step, uncompiled, and what to lower it with: shapes of a state and of one microbatch."""
    tx = optimizer.make_optimizer(Optimizer(), 10)
    state = jax.eval_shape(
        functools.partial(init_state, optimizer=tx, lora_only=False), model.param_shapes(student)
    )
    batch = {
        name: jax.ShapeDtypeStruct((1, rows, length), np.float32 if name == "weight" else np.int32)
        for name in (
            "inputs",
            "input_segments",
            "targets",
            "target_segments",
            "target_inputs",
            "term",
            "weight",
        )
    }
    return (
        make_step(student, tx, 0),
        state,
        batch | {"scale": jax.ShapeDtypeStruct((3,), np.float32)},
    )


def students(dropout: float = 0.0) -> dict:
    """The students to time.

    On a CPU it is the real small one in float32; on a GPU there are base and large too, with random
    weights, and all are in bfloat16.
    """
    if not on_gpu():
        return {"small": hf.load_hf(WEIGHTS, dropout_rate=dropout)}
    found = {"small": hf.load_hf(WEIGHTS, dropout_rate=dropout, dtype="bfloat16")}
    for size in ("base", "large"):
        config = student_config(f"flan-t5-{size}", dropout_rate=dropout, dtype="bfloat16")
        found[size] = config, model.init_params(config, jax.random.key(0))
    return found


def paired(ways: dict, rounds: int) -> dict[str, list[float]]:
    """Seconds of each way, in turn and in either order.

    Each turn's first call is not timed: it compiles, or pays for the threads and the memory of the
    way before.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for index in range(rounds):
        for name in list(ways)[:: 1 if index % 2 == 0 else -1]:
            ways[name]()
            began = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def median(values) -> float:
    """The median."""
    return statistics.median(values)


def ratio(slow: list[float], fast: list[float]) -> str:
    """The median of the rounds' ratios, and their range."""
    each = [a / b for a, b in zip(slow, fast, strict=True)]
    return f"{median(each):.2f} ({min(each):.2f}–{max(each):.2f})"


def table(title: str, header: tuple, rows: list[tuple]) -> None:
    """Prints a table in Markdown."""
    print(f"\n{title}\n\n| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |")
    sys.stdout.flush()


def peak(dtype: str = "float32", size: int = 4096) -> float:
    """FLOP/s of one large matrix product in jax: the median of five."""
    a = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(lambda a, b: a @ b)
    product(a, a).block_until_ready()
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        product(a, a).block_until_ready()
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / median(seconds)


def batches_of(rows, task: str, batch_size: int, **how) -> tuple:
    """Our batches over these rows, and the resolved run.

    `how` goes to `run_for` and `data.Batches`.
    """
    run = run_for(
        task, **{k: how.pop(k) for k in ("prefix", "teachers", "input_length") if k in how}
    )
    student = initial.student_of(run, PRESETS["flan-t5-small"], {}, tokenizer())
    terms = run.objective.terms
    tokens = tokenize(rows, student, list(terms), run.lengths.target)
    return data.Batches(tokens, list(terms.values()), batch_size, 0, **how), run


def steps_by_shape(batches) -> dict[int, float]:
    """The first step of each shape, the commonest first, and the shape's share of all steps."""
    shapes = batches.shapes()
    first = lambda shape: next(
        step for step in range(batches.steps_per_epoch) if batches.planned(step).shape == shape
    )
    return {first(shape): count / batches.steps_per_epoch for shape, count in shapes.items()}
