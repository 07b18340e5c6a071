"""The students that the tests here share."""

import jax
import oracle
import pytest


@pytest.fixture(scope="package", autouse=True)
def quick_compilation():
    """These tests compile much and compute little, so XLA leaves most optimisations out."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="session", params=list(oracle.BOTH))
def twins(request, tmp_path_factory):
    """(config, params, torch model) with equal weights, for T5 1.0 and 1.1."""
    pytest.importorskip("torch")
    return oracle.pair(request.param, tmp_path_factory.mktemp("twins") / request.param)
