"""Small students with O(1) values, and the same weights in Hugging Face's T5: the tests' oracle."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, traverse_util

from tinyllm_jax.student import hf, model
from tinyllm_jax.student.config import StudentConfig

# heads * d_kv (21) differs from d_model (24), and the stacks differ in depth; 20 tokens reach the
# last bucket.
T5_10 = StudentConfig(
    40,
    24,
    7,
    44,
    3,
    2,
    3,
    "relu",
    tie_word_embeddings=True,
    relative_attention_num_buckets=8,
    relative_attention_max_distance=16,
)
T5_11 = StudentConfig(
    40, 24, 7, 44, 3, 2, 3, relative_attention_num_buckets=8, relative_attention_max_distance=16
)
BOTH = {"1.0": T5_10, "1.1": T5_11}


def random_params(config: StudentConfig, seed: int = 0) -> dict:
    """Values of the size that T5's initialisation gives; norms and position tables differ more.

    Drawn with NumPy: compiling `init_params` would take longer than most tests here.
    """
    rng, flat = np.random.default_rng(seed), {}
    for path, leaf in traverse_util.flatten_dict(model.param_shapes(config), sep="/").items():
        if path.endswith("/scale"):
            draw = rng.uniform(0.5, 1.5, leaf.shape)
        elif path.endswith(("/kernel", "lora_a")):
            draw = rng.normal(size=leaf.shape) * leaf.shape[-2] ** -0.5
        elif path.endswith("lora_b"):
            draw = np.zeros(leaf.shape)
        else:
            draw = rng.normal(size=leaf.shape)
        flat[path] = draw * config.d_kv**-0.5 if path.endswith("/q/kernel") else draw
    return traverse_util.unflatten_dict(
        {k: jnp.asarray(v, jnp.float32) for k, v in flat.items()}, sep="/"
    )


apply = jax.jit(model.apply, static_argnums=0)
encode = jax.jit(model.encode, static_argnums=0)


def torch_t5(directory):
    """A directory's Hugging Face model, in float32, with eager attention and without dropout."""
    import torch
    import transformers

    torch.set_num_threads(1)
    loaded = transformers.T5ForConditionalGeneration.from_pretrained(
        directory, attn_implementation="eager", dtype=torch.float32
    )
    return loaded.eval()


@functools.cache
def pair(version: str, directory):
    """A student and its oracle: (config, params, torch model)."""
    config = BOTH[version]
    params = random_params(config)
    hf.save_hf(directory, config, params)
    return config, params, torch_t5(directory)


def batch(seed: int = 0, rows: int = 4, length: int = 24, vocab: int = 40) -> np.ndarray:
    """Ids of different lengths, padded with 0; the first row is full."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(2, vocab, (rows, length), dtype=np.int32)
    for row, size in zip(ids[1:], rng.integers(2, length, rows - 1), strict=True):
        row[size:] = 0
    return ids


def layer(config: StudentConfig, params: dict, stack: str, n: int):
    """Layer `n` of a stack as a module of its own."""
    stacked = getattr(model.bind(config, params), stack).layers
    graph, state = nnx.split(stacked)
    return nnx.merge(graph, jax.tree.map(lambda leaf: leaf[n], state))


def states(config: StudentConfig, seed: int, length: int = 24) -> np.ndarray:
    """What a layer may be given, float32 (2, length, d_model)."""
    return np.random.default_rng(seed).normal(size=(2, length, config.d_model)).astype(np.float32)


def values(*shape: int, dtype: str = "float32", seed: int = 0) -> jax.Array:
    """Random values of size 1."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def close(ours, theirs, tolerance: float) -> None:
    """Asserts that no element differs by more than `tolerance`, and that not all are near zero."""
    theirs = theirs.detach().numpy() if hasattr(theirs, "detach") else np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.abs(theirs).max() > 100 * tolerance
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=tolerance)
