"""Batches: every question once an epoch, few shapes, the same on any number of devices."""

import itertools

import numpy as np
import pytest

from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.errors import UserError
from tinyllm_jax.student.inputs import load_tokenizer
from tinyllm_jax.tasks import Question
from tinyllm_jax.training import config as run_config
from tinyllm_jax.training import data


def tokens_of(lengths: np.ndarray, weight=None) -> data.Tokens:
    """Two terms; question i's tokens are all i + 2, so that a row says whose it is."""
    rows = lambda side: data.Ragged([[i + 2] * int(n) for i, n in enumerate(lengths[:, side])])
    weight = np.ones((2, len(lengths)), np.float32) if weight is None else weight
    return data.Tokens([rows(0)] * 2, [rows(1)] * 2, weight, {})


def lengths(n=103, seed=0):
    return np.random.default_rng(seed).integers(1, 70, (n, 2))


def seen(batch) -> list[int]:
    rows = batch["inputs"].reshape(-1, batch["inputs"].shape[-1])
    return [int(first) - 2 for first in rows[:, 0] if first]


def test_every_epoch_visits_each_question_once_per_term():
    batches = data.Batches(tokens_of(lengths()), [1.0, 0.5], batch_size=8, seed=3)
    assert batches.steps_per_epoch == 13
    for epoch in range(3):
        found = sum((seen(batches(epoch * 13 + i)) for i in range(13)), [])
        assert sorted(found) == sorted(list(range(103)) * 2)


def test_a_term_without_any_target_weighs_nothing():
    tokens, weight = tokens_of(lengths()), np.ones((2, 103), np.float32)
    weight[1] = 0
    tokens = data.Tokens(tokens.inputs, [tokens.targets[0], data.Ragged([[]] * 103)], weight, {})
    batch = data.Batches(tokens, [1.0, 0.5], batch_size=8, seed=3)(0)
    assert seen(batch) and np.count_nonzero(batch["weight"]) == 8


def test_no_new_shape_after_the_first_epoch():
    batches = data.Batches(tokens_of(lengths()), [1.0, 0.5], batch_size=8, seed=3, buckets=4)
    shape = lambda b: (b["inputs"].shape, b["targets"].shape)
    first = {shape(batches(i)) for i in range(13)}
    later = {shape(batches(i)) for i in range(13, 13 * 20)}
    assert len(first) <= 4 and later == first


def test_a_batch_is_a_function_of_seed_and_step_alone():
    make = lambda seed: data.Batches(tokens_of(lengths()), [1.0, 0.5], batch_size=8, seed=seed)
    a, b, other = make(3), make(3), make(4)
    a(5), a(40)
    for key, value in a(20).items():
        np.testing.assert_array_equal(value, b(20)[key])
    assert any(seen(a(i)) != seen(other(i)) for i in range(13))


def test_devices_and_microbatches_only_add_empty_rows():
    plain = data.Batches(tokens_of(lengths()), [1.0, 0.5], batch_size=5, seed=3)
    split = data.Batches(tokens_of(lengths()), [1.0, 0.5], batch_size=5, seed=3, accumulate=2, multiple=4)
    for step in range(25):
        a, b = plain(step), split(step)
        assert b["inputs"].shape[:2] == (2, 8)
        for key in ("inputs", "targets", "term", "weight"):
            flat = b[key].reshape(16, *b[key].shape[2:])
            np.testing.assert_array_equal(flat[:10], a[key][0])
            assert not flat[10:].any()
        np.testing.assert_array_equal(a["scale"], b["scale"])


def test_scale_counts_the_term_in_the_whole_batch_and_a_missing_rationale_not_at_all():
    weight = np.array([[1, 1, 1], [1, 0, 0.5]], np.float32)
    batches = data.Batches(tokens_of(np.array([[4, 3], [4, 5], [4, 7]]), weight), [1.0, 2.0], batch_size=3, seed=0)
    batch = batches(0)
    assert batch["tokens"].tolist() == [15, 10]
    np.testing.assert_allclose(batch["scale"], [1 / 15, 2 / 10], rtol=1e-6)
    missing = (batch["weight"][0] == 0)
    assert missing.sum() == 1 and not batch["inputs"][0][missing].any()


def test_a_term_without_targets_in_the_batch_has_scale_zero():
    weight = np.array([[1, 1], [0, 0]], np.float32)
    batch = data.Batches(tokens_of(np.array([[4, 3], [4, 5]]), weight), [1.0, 2.0], batch_size=2, seed=0)(0)
    assert batch["scale"].tolist() == [np.float32(1 / 8), 0.0]


@pytest.mark.parametrize("seed", range(3))
def test_boxes_hold_their_rows_form_a_chain_and_pad_least(seed):
    sizes = lengths(9, seed)
    boxes, index = data.choose_boxes(sizes, 3)
    assert all(np.all(np.array(a) <= b) for a, b in itertools.pairwise(boxes))
    assert all((sizes[i] <= boxes[k]).all() and boxes[k][0] % 8 == boxes[k][1] % 8 == 0 for i, k in enumerate(index))
    # Against every way to cut the same order into at most three parts.
    order = sizes.argsort(0, kind="stable").argsort(0, kind="stable").max(1).argsort(kind="stable")
    upto = np.maximum.accumulate(-(-sizes[order] // 8) * 8).sum(1)
    cost = lambda cuts: sum((b - a) * upto[b - 1] for a, b in itertools.pairwise((0, *cuts, 9)))
    best = min(cost(cuts) for k in range(3) for cuts in itertools.combinations(range(1, 9), k))
    assert sum(sum(boxes[k]) for k in index) == best


def test_ragged_pads():
    ragged = data.Ragged([[5, 6], [], [7]])
    np.testing.assert_array_equal(ragged.padded(np.array([2, 0, -1, 1]), 3), [[7, 0, 0], [5, 6, 0], [0] * 3, [0] * 3])


def row(i: int, **rationales: Rationale) -> Row:
    question = Question(f"q{i}", "puzzles", "train", "", f"what is {i}?", ("one", "two"), "two")
    return Row(question, rationales)


def resolved(*teachers: str):
    config = run_config.default_config()
    config.task = "puzzles"
    return run_config.resolve(config, teachers)


def test_tokenize_counts_missing_and_cut_targets():
    rows = [row(0, a=Rationale("because", "a")), row(1, a=Rationale("x" * 300, "a")), row(2),
            row(3, a=Rationale("dropped", "a", weight=0.0)), row(4, a=Rationale("", "a"))]
    found = data.tokenize(rows, load_tokenizer("byte"), resolved("a"))
    assert found.report["terms"]["a"] | {"input_length": 0} == {
        "targets": 2, "missing_or_weightless": 3, "input_length": 0, "contexts_cut": 0, "targets_cut": 1}
    assert found.report["terms"]["answer"]["targets"] == 5
    assert found.targets[1].lengths.tolist() == [8, 256, 0, 0, 0]
    tokenizer = load_tokenizer("byte")
    assert tokenizer.decode(found.inputs[1].padded(np.array([0]), 100)[0], skip_special_tokens=True) == (
        "explain a: what is 0?\nAnswer Choices:\n(a) one\n(b) two")


def test_tokenize_refuses_a_corpus_without_targets():
    config = resolved("a")
    config.objective.answer = 0.0
    with pytest.raises(UserError, match="no target for any of the terms a"):
        data.tokenize([row(0)], load_tokenizer("byte"), config)
