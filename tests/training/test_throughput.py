"""The useful work of a step: right counts, whatever the padding; rates, and the known devices."""

import dataclasses

import jax
import pytest

from tinyllm_jax.batching.arrays import Shape, fill
from tinyllm_jax.student import model
from tinyllm_jax.student.config import PRESETS
from tinyllm_jax.training import throughput

CONFIG = PRESETS["byte-tiny"]
# Two questions: 5 and 3 tokens, with targets of 4 and 2, and of 6.
INPUTS = [[9] * 5, [9] * 3]
TARGETS = [[[8] * 4, [8] * 2], [[8] * 6]]


def batch(rows: list[list[int]], lengths: tuple[int, int]) -> dict:
    count = len(rows) + 1  # and an empty one
    filled = fill(INPUTS, TARGETS, rows, Shape((count, lengths[0]), (count, lengths[1])))
    return {name: array[None] for name, array in filled.items()}


@pytest.mark.parametrize("name", ["byte-tiny", "t5-small"])
def test_matrices_count_once_for_every_token_that_passes_them(name):
    config = PRESETS[name]
    elements = 0
    for path, x in jax.tree_util.tree_leaves_with_path(model.param_shapes(config)):
        path = jax.tree_util.keystr(path, simple=True, separator="/")
        head = "embedding" if config.tie_word_embeddings else "lm_head/kernel"
        if path == head:
            tokens = 12
        elif path.endswith("kernel"):
            reads_inputs = path.startswith("encoder") or "cross_attention/k" in path
            tokens = 8 if reads_inputs or "cross_attention/v" in path else 12
        else:
            continue
        elements += tokens * x.size
    # Pairs of tokens: the inputs' own, the targets' causal ones, targets' with inputs'.
    encoder, causal, cross = 25 + 9, (16 + 4 + 36) / 2, 6 * 5 + 6 * 3
    pairs = config.num_layers * encoder + config.num_decoder_layers * (causal + cross)
    inner = config.num_heads * config.d_kv
    found = throughput.model_flops(config, batch([[0, 1]], (8, 12)))
    assert found == 3 * 2 * (elements + 2 * inner * pairs)


def test_a_frozen_matrix_has_no_gradient():
    one = batch([[0, 1]], (8, 12))
    whole = throughput.model_flops(CONFIG, one)
    narrow = dataclasses.replace(CONFIG, lora_rank=4)
    pairs = 2 * (25 + 9) + 2 * ((16 + 4 + 36) / 2 + 48)
    attention = 3 * 2 * 2 * CONFIG.num_heads * CONFIG.d_kv * pairs
    expected = (whole - attention) * 2 / 3 + attention
    assert throughput.model_flops(narrow, one) == pytest.approx(expected)


def test_padding_and_packing_change_nothing():
    packed = throughput.work_of(CONFIG, batch([[0, 1]], (8, 12)))
    assert packed.tokens == 8 + 12
    assert throughput.work_of(CONFIG, batch([[1], [0]], (50, 70))) == packed
    two = {name: array.reshape(2, 2, -1) for name, array in batch([[0], [1], []], (50, 70)).items()}
    assert throughput.work_of(CONFIG, two) == packed


def test_rates_and_their_median():
    work = [throughput.Work(100, 3e12), throughput.Work(300, 5e12)]
    peak = throughput.peak_flops("NVIDIA L4", 2)
    found = throughput.rates(16, work, 2.0, peak)
    assert found == throughput.Rates(8.0, 200.0, 4e12, 4e12 / 242e12)
    faster = throughput.rates(16, work, 1.0, peak)
    assert throughput.median([found, faster, faster]) == faster
    assert throughput.median([]) is None


def test_an_unknown_device_has_no_utilisation():
    kind = jax.devices()[0].device_kind
    assert throughput.peak_flops(kind, 1) is None
    found = throughput.rates(1, [throughput.Work(1, 1.0)], 1.0, None)
    assert "mfu" not in found.known() and throughput.median([found]) == found
