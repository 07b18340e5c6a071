"""How fast a run learns: useful tokens a second, and its share of what the devices could compute.

Only useful work counts. Padding, what a packed row's attention computes between questions, and what
is computed twice to save memory are waste: they take time and add nothing here.
"""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from tinyllm_jax.student.config import StudentConfig

# The most FLOP/s that a device reaches in bfloat16 (dense), by `jax.Device.device_kind`. A run in
# float32 is measured by them too.
PEAKS = {
    # https://cloud.google.com/tpu/docs/v4, …/v5e, …/v5p, …/v6e: "Peak compute per chip (bf16)". The
    # names are those that jax's own table of TPUs knows.
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    # NVIDIA's data sheets of these cards, "BFLOAT16 Tensor Core": half of it where it is said to be
    # "with sparsity".
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H200": 989e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA L4": 121e12,
}


@dataclasses.dataclass(frozen=True)
class Work:
    """The useful work of a step.

    Attributes:
      tokens: of its inputs and targets together.
      flops: see `model_flops`.
    """

    tokens: int
    flops: float


@dataclasses.dataclass(frozen=True)
class Rates:
    """What a run does in a second.

    Attributes:
      questions_per_second: questions, each with all of its targets.
      tokens_per_second: tokens of inputs and targets.
      model_flops_per_second: see `model_flops`.
      mfu: "model FLOP/s utilisation", the share, 0 to 1, of the devices' peak; None where that is
        not known.
    """

    questions_per_second: float
    tokens_per_second: float
    model_flops_per_second: float
    mfu: float | None

    def known(self) -> dict[str, float]:
        """The rates by their names, without one that is not known."""
        return {name: rate for name, rate in dataclasses.asdict(self).items() if rate is not None}


def peak_flops(kind: str, devices: int) -> float | None:
    """The FLOP/s that some devices of one kind reach at most; None for a kind not in `PEAKS`."""
    return PEAKS[kind] * devices if kind in PEAKS else None


def rates(questions: int, work: Sequence[Work], seconds: float, peak: float | None) -> Rates:
    """What was done in a second.

    Args:
      questions: how many there were.
      work: of each step.
      seconds: the time that it all took.
      peak: from `peak_flops`.
    """
    flops = sum(step.flops for step in work) / seconds
    return Rates(
        questions / seconds,
        sum(step.tokens for step in work) / seconds,
        flops,
        flops / peak if peak else None,
    )


def median(found: Sequence[Rates]) -> Rates | None:
    """The median of every rate; None where there is none."""
    if not found:
        return None
    names = found[0].known()
    middle = {name: statistics.median(getattr(each, name) for each in found) for name in names}
    return Rates(**({"mfu": None} | middle))


def work_of(student: StudentConfig, batch: Mapping[str, np.ndarray]) -> Work:
    """The useful work of a training step.

    Args:
      student: the student's shape.
      batch: as `data.Batches` makes it.
    """
    tokens = sum(int(np.count_nonzero(batch[f"{side}_segments"])) for side in ("input", "target"))
    return Work(tokens, model_flops(student, batch))


def model_flops(student: StudentConfig, batch: Mapping[str, np.ndarray]) -> float:
    """The useful FLOPs of a training step, as "PaLM" counts them, for an encoder-decoder.

    Two for each token and each element of a matrix that it passes, and for attention's scores and
    weighted values; and three times that, because the backward pass computes gradients of states
    and of matrices (arXiv 2204.02311, appendix B). With LoRA the matrices have no gradients, and
    the low-rank updates are not counted. Nor are embedding lookups, norms, softmax and the
    optimizer. A question's keys and values for cross-attention count once a token of its input.

    Args:
      student: the student's shape.
      batch: its "input_segments", "target_segments" and "target_inputs", as `data.Batches` makes
        them.
    """
    # The tokens of each input and of each target, and the target tokens that read each input.
    inputs = np.bincount(batch["input_segments"].ravel())[1:]
    targets = np.bincount(batch["target_segments"].ravel())[1:]
    readers = np.bincount(batch["target_inputs"].ravel(), minlength=len(inputs) + 1)[1:]

    # Every token of a side passes its layers' matrices; those of cross-attention's keys and values
    # are passed by the input's tokens.
    inner, width = student.num_heads * student.d_kv, student.d_model
    forward = (3 if student.feed_forward_proj == "gated-gelu" else 2) * width * student.d_ff
    encoder_layers, layers = student.num_layers, student.num_decoder_layers
    encoder = encoder_layers * (4 * width * inner + forward) + layers * 2 * width * inner
    decoder = layers * (6 * width * inner + forward) + width * student.vocab_size
    matrices = inputs.sum() * encoder + targets.sum() * decoder

    # Pairs of tokens; one of a target attends to half of it on average.
    own, causal, cross = (inputs**2).sum(), (targets**2).sum() / 2, inputs @ readers
    attention = 2 * inner * (encoder_layers * own + layers * (causal + cross))

    passes = 2 if student.lora_rank else 3
    return float(2 * (passes * matrices + 3 * attention))
