"""Devices that are not here, by their names, as a vendor's compiler knows them.

A program compiles for them on any machine, and runs nowhere.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import topologies

from tinyllm_jax.errors import UserError
from tinyllm_jax.training.throughput import PEAKS

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """What one device has.

    Attributes:
      memory: the bytes that a program can have.
      peak: the most FLOP/s in bfloat16.
      clock: Hz, of the cycles that the compiler counts; None where it counts none.
    """

    memory: float
    peak: float
    clock: float | None = None


@dataclasses.dataclass(frozen=True)
class Topology:
    """Some devices that are connected.

    Attributes:
      devices: jax's, for a mesh; they can be compiled for.
      chip: what each has.
      options: what the compiler must be told where there is no device to try things on.
    """

    devices: list[jax.Device]
    chip: Chip
    options: dict[str, Any]


# The clocks are those with which the compiler's cycles of one large product give 70 to 93 % of the
# device's peak. The memory is what the compiler says is available.
V4 = Chip(30.75 * GIB, PEAKS["TPU v4"], 1.05e9)
V5E = Chip(15.75 * GIB, PEAKS["TPU v5e"], 1.5e9)
V5P = Chip(95.74 * GIB, PEAKS["TPU v5p"], 1.75e9)
V6E = Chip(31.25 * GIB, PEAKS["TPU v6e"], 1.75e9)

# Cloud TPU's names, and how the chips are connected. A v4 or v5p is named by its cores, two a chip.
FLAT = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
CUBE = {8: "2x2x1", 16: "2x2x2", 32: "2x2x4", 64: "2x4x4", 128: "4x4x4", 256: "4x4x8"}
TPUS = {"v4": (V4, CUBE), "v5e": (V5E, FLAT), "v5p": (V5P, CUBE), "v6e": (V6E, FLAT)}

# NVIDIA's figures of the card (H100 SXM), in the form in which XLA reads them.
H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  memory_bandwidth: 3352320000000
  device_memory_size: 84978434048
  l2_cache_size: 52428800
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
}
runtime_version { major: 12 minor: 8 }
dnn_version_info { major: 9 minor: 7 }
platform_name: "CUDA"
device_description_str: "NVIDIA H100 80GB HBM3"
"""
# jax takes three quarters of a GPU's memory, unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise.
H100_MEMORY = 0.75 * 84978434048

KNOWN = f"v5e-8, v6e-16, v5p-32, v4-32 (a TPU's name and size: {', '.join(TPUS)}) or h100x8"


def find(name: str) -> Topology:
    """The topology of a name, "v5e-8" or "h100x8".

    Raises:
      UserError: an unknown name, or the package with its compiler is absent.
    """
    tpu = re.fullmatch(r"(v\d+[a-z]?)-(\d+)", name)
    gpu = re.fullmatch(r"h100x([1-9]\d*)", name)
    if tpu and tpu[1] in TPUS:
        chip, sizes = TPUS[tpu[1]]
        if int(tpu[2]) not in sizes:
            known = ", ".join(f"{tpu[1]}-{size}" for size in sizes)
            raise UserError(f"unknown --topology '{name}' (known: {known})")
        return Topology(_tpus(tpu[1], sizes[int(tpu[2])]), chip, {})
    if gpu:
        return _h100s(int(gpu[1]))
    raise UserError(f"unknown --topology '{name}'; write it like {KNOWN}")


def _tpus(generation: str, shape: str) -> list[jax.Device]:
    """The chips of a slice, connected as `shape` says."""
    more: dict[str, Any] = {}
    if shape in ("1x1", "2x4"):  # one host has them all; the larger ones have four chips a host
        more["chips_per_host_bounds"] = (*map(int, shape.split("x")), 1)
    if generation in ("v4", "v5p"):  # the two cores of a chip are one device
        more["chip_config_name"] = "megacore"
    return _devices(
        "tpu", ("libtpu",), platform="tpu", topology_name=f"{generation}:{shape}", **more
    )


def _h100s(count: int) -> Topology:
    """GPUs of one host."""
    devices = _devices(
        "cuda12",
        ("jax_cuda12_plugin", "jax_cuda13_plugin"),
        platform="cuda",
        target_config=H100,
        topology=f"1x1x{count}",
    )
    # Kernels are chosen by trying them, for which there is no GPU here.
    options = {
        "xla_gpu_autotune_level": 0,
        "xla_gpu_shard_autotuning": False,
        "xla_gpu_enable_triton_gemm": False,
    }
    chip = Chip(H100_MEMORY, PEAKS["NVIDIA H100 80GB HBM3"])
    return Topology(devices, chip, options)


def _devices(extra: str, packages: Sequence[str], **asked: Any) -> list[jax.Device]:
    """The devices that jax's `get_topology_desc` describes.

    Args:
      extra: the extra of this package with which their compiler comes.
      packages: those that hold the compiler, of which one must be installed.
      **asked: the function's arguments.

    Raises:
      UserError: the compiler is absent, or does not start.
    """
    install = f"pip install 'tinyllm_jax[{extra}]'"
    if not any(importlib.util.find_spec(name) for name in packages):
        raise UserError(f"the compiler for these devices is not installed: {install}")
    try:
        return topologies.get_topology_desc(**asked).devices
    except (RuntimeError, NotImplementedError) as e:  # JaxRuntimeError is a RuntimeError
        raise UserError(f"the compiler for these devices does not start ({e}): {install}") from e
