"""Workdirs of runs that were never run: their checkpoint holds random values."""

import pathlib

import jax
import numpy as np

from tinyllm_jax.student import model, words
from tinyllm_jax.student.config import StudentConfig
from tinyllm_jax.student.inputs import fingerprint, load_tokenizer, question_text, save_tokenizer
from tinyllm_jax.tasks.question import Question
from tinyllm_jax.training import checkpoints, workdir
from tinyllm_jax.training.run import Objective, Run, StudentSpec

TEACHERS = ("material", "teacher-b_2.5")
STEP = 7
QUESTIONS = [
    Question("0", "things", "test", "", "What can a gopi do?", ("float", "burn", "melt"), "melt"),
    Question("1", "things", "test", "A tugu is of wax. It is a ring.", "What?", ("a", "b"), "b"),
    Question("2", "things", "test", "", 'don\'t say "hi" (3.5 %)', ("spin", "not at all"), "spin"),
]
SHAPES = {
    "1.0": StudentConfig(
        384, 32, 8, 48, 2, 2, 3, feed_forward_proj="relu", tie_word_embeddings=True
    ),
    "1.1": StudentConfig(384, 32, 8, 48, 2, 2, 3),
}


def random_params(shape: StudentConfig) -> dict:
    """Values of the size that T5's initialisation gives; LoRA's updates are not 0."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        values = rng.normal(size=leaf.shape)
        if path[-1].key == "scale":
            values = rng.uniform(0.5, 1.5, leaf.shape)
        elif path[-1].key in ("kernel", "lora_a", "lora_b"):
            values *= leaf.shape[-2] ** -0.5
        return jax.numpy.asarray(values, jax.numpy.float32)

    return jax.tree_util.tree_map_with_path(draw, model.param_shapes(shape))


def word_tokenizer():
    """A tokenizer of the words of `QUESTIONS`."""
    texts = ["predict: explain: float burn melt"]
    return words.make_tokenizer(texts + ["\n".join(question_text(q)) for q in QUESTIONS])


def make(
    directory: pathlib.Path,
    shape: StudentConfig,
    tokenizer="byte",
    params: dict | None = None,
    prefix: str = "encoder",
    weights: str = "",
) -> pathlib.Path:
    """Writes a workdir with one checkpoint, whose student has two teachers."""
    spec = StudentSpec(weights=weights, lora_rank=shape.lora_rank)
    run = Run("things", steps=9, seed=3, student=spec, objective=Objective(prefix=prefix))
    run = run.resolve(TEACHERS)
    directory.mkdir()
    loaded = load_tokenizer("byte") if tokenizer == "byte" else tokenizer
    save_tokenizer(loaded, directory / workdir.TOKENIZER)
    facts = {"corpus": "c0ffee", "corpus_directory": "/nowhere"}
    workdir.write_run(directory, run, shape, facts | {"tokenizer": fingerprint(loaded)})
    params = random_params(shape) if params is None else params
    saved = checkpoints.Checkpoints(directory / workdir.CHECKPOINTS, keep=1)
    saved.save(STEP, {"params": params, "opt_state": {"count": np.zeros((), np.int32)}})
    saved.close()
    return directory
