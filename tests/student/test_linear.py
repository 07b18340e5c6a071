"""The projection by heads, as TPUs and GPUs compute it."""

import dataclasses

import numpy as np
import pytest
from flax import nnx
from oracle import T5_11, values

from tinyllm_jax.student import partition
from tinyllm_jax.student.attention import Attention


@pytest.fixture
def elsewhere(monkeypatch):
    """What is traced is what TPUs and GPUs compute."""
    monkeypatch.setattr(partition, "on_cpu", lambda: False)


@pytest.mark.parametrize("rank", [0, 2])
def test_heads_are_those_of_the_whole_projection(rank, elsewhere):
    config = dataclasses.replace(T5_11, lora_rank=rank, lora_targets=("q", "o"))
    heads, rngs = config.num_heads, nnx.Rngs(0)
    attention = Attention(config, rngs)
    if rank:
        for linear in (attention.q, attention.o):
            linear.lora_b[...] = values(*linear.lora_b.shape, seed=1)
    x, y = values(2, 5, config.d_model), values(2, heads, 5, config.d_kv, seed=3)

    found = attention.q.to_heads(x, heads)
    wanted = attention.q(x).reshape(2, 5, heads, -1).swapaxes(1, 2)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)

    found = attention.o.from_heads(y)
    wanted = attention.o(y.swapaxes(1, 2).reshape(2, 5, -1))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
