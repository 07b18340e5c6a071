"""Rows that hold several units: nothing lost, nothing overlapping, few shapes, little padding."""

import numpy as np

from tinyllm_jax.batching import arrays


def unpacked(batches):
    """Each unit's input, and each target with its unit, out of the batches."""
    inputs, targets = {}, {}
    for batch in batches:
        for row in range(len(batch["inputs"])):
            for segment in np.unique(batch["input_segments"][row]):
                if segment:
                    at = np.flatnonzero(batch["input_segments"][row] == segment)
                    assert segment not in inputs and (np.diff(at) == 1).all()
                    inputs[segment] = batch["inputs"][row][at].tolist()
            for segment in np.unique(batch["target_segments"][row]):
                if segment:
                    at = np.flatnonzero(batch["target_segments"][row] == segment)
                    (owner,) = set(batch["target_inputs"][row][at].tolist())
                    assert segment not in targets and (np.diff(at) == 1).all()
                    assert owner in batch["input_segments"][row]
                    targets[segment] = owner, batch["targets"][row][at].tolist()
    return inputs, targets


def make(count=700, seed=0):
    rng = np.random.default_rng(seed)
    text = lambda n: rng.integers(2, 99, n).tolist()
    inputs = [text(n) for n in rng.lognormal(4, 0.5, count).astype(int) + 1]
    return inputs, [[text(n) for n in rng.integers(1, 9, rng.integers(2, 5))] for _ in inputs]


def test_pack_holds_every_unit_once_in_few_shapes():
    inputs, targets = make()
    batches = arrays.pack(inputs, targets, 32, row_multiple=4)
    found, wrote = unpacked(batches)
    assert found == {i + 1: ids for i, ids in enumerate(inputs)}
    flat = [(i + 1, ids) for i, some in enumerate(targets) for ids in some]
    assert wrote == {n + 1: pair for n, pair in enumerate(flat)}
    shapes = {(b["inputs"].shape, b["targets"].shape) for b in batches}
    assert len(shapes) <= 2 and all(rows % 4 == 0 for (rows, _), _ in shapes)
    share = lambda side: np.mean(np.concatenate([b[side].reshape(-1) for b in batches]) > 0)
    assert share("inputs") > 0.8 and share("targets") > 0.7


def test_batches_of_long_sequences_have_fewer_rows(monkeypatch):
    monkeypatch.setattr(arrays, "MOST", 1024)
    inputs, targets = [[5] * 10] * 64 + [[5] * 400] * 9, [[[3] * 8]] * 73
    batches = arrays.pack(inputs, targets, 64)
    assert len(unpacked(batches)[0]) == 73
    assert all(max(b["inputs"].size, b["targets"].size) <= 1024 for b in batches)


def test_one_unit_is_one_row():
    (batch,) = arrays.pack([[4, 5, 1]], [[[6, 1], [7, 8, 1]]], 8)
    assert batch["inputs"].tolist() == [[4, 5, 1, 0, 0, 0, 0, 0]]
    assert batch["targets"].tolist() == [[6, 1, 7, 8, 1]] and batch["target_segments"].tolist() == [
        [1, 1, 2, 2, 2]
    ]


def test_nothing_is_no_batch():
    assert arrays.pack([], [], 8) == []


def test_row_lengths_are_multiples():
    inputs, targets = make(60)
    for batch in arrays.pack(inputs, targets, 8, length_multiple=128):
        assert batch["inputs"].shape[1] % 128 == 0
    # Targets that are all shorter than the multiple would be mostly padding.
    (batch,) = arrays.pack([[4, 5, 1]], [[[6, 1]]], 8, length_multiple=128)
    assert batch["inputs"].shape == (1, 128) and batch["targets"].shape == (1, 2)
