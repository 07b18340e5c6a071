"""How parameters lie on the devices that share questions."""

import math

import pytest

from tinyllm_jax.training import sharding

GIB = 2**30


@pytest.mark.parametrize(
    "student, parameters, limit, devices, ways",
    [
        ("base on v5e-8", 0.25e9, 16 * GIB, 8, 1),
        ("xl on v5e-8", 2.85e9, 16 * GIB, 8, 2),
        ("xl on an H100", 2.85e9, 80 * GIB, 8, 1),
        ("xxl on v5e-8, which it does not fit", 11.1e9, 16 * GIB, 8, 8),
        ("xl where only two is a power of two", 2.85e9, 8 * GIB, 6, 2),
        ("any where no limit is told", 11.1e9, math.inf, 8, 1),
    ],
)
def test_parameters_are_split_over_as_few_devices_as_they_fit_on(
    student, parameters, limit, devices, ways
):
    assert sharding._ways(int(4 * parameters), limit, devices) == ways
