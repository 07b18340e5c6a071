"""The students that the tests here share."""

import oracle
import pytest


@pytest.fixture(scope="module", autouse=True)
def quick(quick_compilation):
    """All tests here compile much and compute little."""


@pytest.fixture(scope="session", params=list(oracle.BOTH))
def twins(request, tmp_path_factory):
    """(config, params, torch model) with equal weights, for T5 1.0 and 1.1."""
    pytest.importorskip("torch")
    return oracle.pair(request.param, tmp_path_factory.mktemp("twins") / request.param)


@pytest.fixture
def full_compilation(quick_compilation):
    """For a test of exactness: XLA's quick products are twice as far from float64 as a user's."""
    import jax

    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
