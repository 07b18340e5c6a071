"""Batches: every question once an epoch, few shapes, the same on any number of devices."""

import numpy as np
import pytest

from tinyllm_jax.training import data
from tinyllm_jax.training.tokens import Ragged, Tokens


def tokens_of(lengths: np.ndarray, weight=None) -> Tokens:
    """Two terms; question i's tokens are all i + 2, which says whose; weight 0: no target."""
    weight = np.ones((2, len(lengths)), np.float32) if weight is None else weight
    rows = lambda side, has: Ragged(
        [[i + 2] * int(n * h) for i, (n, h) in enumerate(zip(lengths[:, side], has, strict=True))]
    )
    return Tokens([rows(0, [1] * len(lengths))] * 2, [rows(1, w > 0) for w in weight], weight, {})


def lengths(n=103, seed=0):
    return np.random.default_rng(seed).integers(1, 70, (n, 2))


def seen(batch, side="input") -> list[int]:
    """Which question each segment of a batch is of, by its tokens; they must be all alike."""
    name = {"input": "inputs", "target": "targets"}[side]
    ids, segments = batch[name].reshape(-1), batch[f"{side}_segments"].reshape(-1)
    assert not ids[segments == 0].any()
    found = [set(ids[segments == s].tolist()) for s in np.unique(segments[segments > 0])]
    assert all(len(tokens) == 1 for tokens in found)
    return [tokens.pop() - 2 for tokens in found]


@pytest.mark.parametrize("packed", [True, False])
def test_every_epoch_visits_each_question_once_per_term(packed):
    batches = data.Batches(tokens_of(lengths()), [1.0, 0.5], batch_size=8, seed=3, packed=packed)
    assert batches.steps_per_epoch == 13
    for epoch in range(3):
        for side in ("input", "target"):
            found = [q for i in range(13) for q in seen(batches(epoch * 13 + i), side)]
            assert sorted(found) == sorted(list(range(103)) * 2)


def test_packed_segments_are_whole_and_contiguous_and_know_their_input():
    sizes = lengths()
    batches = data.Batches(tokens_of(sizes), [1.0, 0.5], batch_size=8, seed=3)
    several = 0
    for step in range(13):
        batch = batches(step)
        asked, *written = (
            batch[k][0] for k in ("input_segments", "target_segments", "target_inputs", "targets")
        )
        for row in (*asked, *written[0]):
            changes = np.flatnonzero(np.diff(row)) + 1
            assert len(set(row[[0, *changes]])) == len(changes) + 1  # none comes twice
        for inputs, targets, owners, ids in zip(asked, *written, strict=True):
            several += len(set(inputs[inputs > 0])) > 1
            for segment in set(targets[targets > 0]):
                at = targets == segment
                (owner,) = set(owners[at])
                question = ids[at][0] - 2
                assert (inputs == owner).sum() == sizes[question, 0] and at.sum() == sizes[
                    question, 1
                ]
    assert several > 20


def test_a_term_without_any_target_weighs_nothing():
    weight = np.ones((2, 103), np.float32)
    weight[1] = 0
    batch = data.Batches(tokens_of(lengths(), weight), [1.0, 0.5], batch_size=8, seed=3)(0)
    assert len(seen(batch)) == len(seen(batch, "target")) == 8 and batch["scale"][1] == 0


@pytest.mark.parametrize("packed", [True, False])
def test_no_new_shape_after_the_first_epoch(packed):
    batches = data.Batches(
        tokens_of(lengths()), [1.0, 0.5], batch_size=8, seed=3, buckets=4, packed=packed
    )
    shape = lambda b: (b["inputs"].shape, b["targets"].shape)
    first = {shape(batches(i)) for i in range(13)}
    later = {shape(batches(i)) for i in range(13, 13 * 20)}
    assert len(first) <= 4 and later == first
    assert set(batches.shapes()) == {(i[1:], t[1:]) for i, t in first}


def test_a_batch_is_a_function_of_seed_and_step_alone():
    make = lambda seed: data.Batches(tokens_of(lengths()), [1.0, 0.5], batch_size=8, seed=seed)
    a, b, other = make(3), make(3), make(4)
    a(5), a(40)
    for key, value in a(20).items():
        np.testing.assert_array_equal(value, b(20)[key])
    assert any(seen(a(i)) != seen(other(i)) for i in range(13))


@pytest.mark.parametrize("packed", [True, False])
def test_devices_and_microbatches_only_add_empty_rows(packed):
    plain = data.Batches(tokens_of(lengths()), [1.0, 0.5], batch_size=5, seed=3, packed=packed)
    split = data.Batches(
        tokens_of(lengths()),
        [1.0, 0.5],
        batch_size=5,
        seed=3,
        packed=packed,
        accumulate=2,
        row_multiple=4,
    )
    for step in range(25):
        a, b = plain(step), split(step)
        assert b["inputs"].shape[0] == 2 and b["inputs"].shape[1] % 4 == 0
        for key in set(a) - {"scale", "tokens"}:
            flat = b[key].reshape(-1, b[key].shape[2])
            np.testing.assert_array_equal(flat[: a[key].shape[1]], a[key][0])
            assert not flat[a[key].shape[1] :].any()
        np.testing.assert_array_equal(a["scale"], b["scale"])


def test_scale_counts_the_term_in_the_whole_batch_by_the_share_of_questions_that_have_it():
    weight = np.array([[1, 1, 1], [1, 0, 0.5]], np.float32)
    batches = data.Batches(
        tokens_of(np.array([[4, 3], [4, 5], [4, 7]]), weight), [1.0, 2.0], batch_size=3, seed=0
    )
    batch = batches(0)
    assert batch["tokens"].tolist() == [15, 10]
    np.testing.assert_allclose(batch["scale"], [1 / 15, 2 * (2 / 3) / 10], rtol=1e-6)
    assert len(seen(batch)) == len(seen(batch, "target")) == 5
    for term, wanted in ((0, {0: 3, 1: 5, 2: 7}), (1, {0: 3, 2: 7})):
        at = (batch["term"] == term) & (batch["target_segments"] > 0)
        assert {
            q: int(((batch["targets"] == q + 2) & at).sum()) for q in wanted
        } == wanted and at.sum() == sum(wanted.values())
        for q in wanted:
            assert set(batch["weight"][at & (batch["targets"] == q + 2)]) == {weight[term, q]}


@pytest.mark.parametrize("kept", [1, 2, 5, 6])
def test_a_target_counts_as_much_however_few_its_term_has(kept):
    weight = np.ones((2, 6), np.float32)
    weight[1, kept:] = 0
    tokens = tokens_of(np.full((6, 2), 4), weight)
    batch = data.Batches(tokens, [1.0, 2.0], batch_size=8, seed=0)(0)  # two questions are missing
    of_target = (batch["weight"] * batch["scale"][batch["term"]])[batch["term"] == 1]
    found = of_target[of_target > 0]
    np.testing.assert_allclose(found, np.full(4 * kept, 2 / (6 * 4)), rtol=1e-6)


def test_a_term_without_targets_in_the_batch_has_scale_zero():
    weight = np.array([[1, 1], [0, 0]], np.float32)
    batch = data.Batches(
        tokens_of(np.array([[4, 3], [4, 5]]), weight), [1.0, 2.0], batch_size=2, seed=0
    )(0)
    assert batch["scale"].tolist() == [np.float32(1 / 8), 0.0]


@pytest.mark.parametrize("seed", range(3))
def test_packed_shapes_pad_less_than_boxes(seed):
    # Short and long targets of the same question, as an answer and a rationale are.
    rng = np.random.default_rng(seed)
    inputs, answers, rationales = (
        rng.integers(20, 60, 512),
        rng.integers(2, 8, 512),
        rng.integers(10, 120, 512),
    )
    ragged = lambda sizes: Ragged([[3] * int(n) for n in sizes])
    tokens = Tokens(
        [ragged(inputs)] * 2,
        [ragged(answers), ragged(rationales)],
        np.ones((2, 512), np.float32),
        {},
    )
    packed, boxes = (
        data.Batches(tokens, [1.0, 1.0], 32, seed, packed=p).useful_tokens() for p in (True, False)
    )
    assert min(packed["input"], packed["target"]) > 0.83 > boxes["both"]
