"""Epochs: classes of like length, batches that are much alike, and always the same shapes."""

import itertools

import numpy as np
import pytest

from tinyllm_jax.batching.epochs import Epochs, deal


def make(sizes, batch_size=8, packed=True, buckets=4, length_multiple=8):
    return Epochs(sizes, batch_size, 3, buckets, packed, 1, length_multiple)


def sizes_of(questions=103, units=2, seed=0):
    return np.random.default_rng(seed).integers(1, 70, (questions, units, 2))


def test_deal_balances_both_sides():
    sizes = np.random.default_rng(0).integers(1, 100, (320, 2))
    totals = sizes[deal(np.arange(320), sizes, 16, np.random.default_rng(1))].sum(1)
    plain = sizes.reshape(20, 16, 2).sum(1)
    assert (np.ptp(totals, axis=0) < np.ptp(plain, axis=0) / 3).all()


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("questions", [1, 5, 8, 21, 103])
def test_every_epoch_has_each_question_once_and_all_its_units(packed, questions):
    epochs = make(sizes_of(questions), packed=packed)
    assert epochs.steps == -(-questions // 8)
    for epoch in (0, 1, 7):
        batches = epochs(epoch)
        found = np.concatenate([batch.index for batch in batches])
        assert sorted(found[found >= 0]) == list(range(questions))
        for batch in batches:
            units = sorted(unit for row in batch.rows for unit in row)
            assert units == [
                u for i in np.flatnonzero(batch.index >= 0) for u in (2 * i, 2 * i + 1)
            ]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("buckets", [1, 2, 3, 4])
@pytest.mark.parametrize("batch_size", [3, 16])
def test_no_epoch_needs_a_shape_that_the_first_does_not(packed, buckets, batch_size):
    epochs = make(sizes_of(), batch_size, packed, buckets)
    first = {batch.shape for batch in epochs(0)}
    assert len(first) <= buckets
    for epoch in range(1, 20):
        for batch in epochs(epoch):
            assert batch.shape in first and len(batch.rows) <= batch.shape.inputs[0]


def test_batches_that_do_not_fit_are_those_of_the_first_epoch_in_another_order():
    sizes = sizes_of()
    epochs = make(sizes, 4, buckets=1)
    questions = lambda epoch: [tuple(sorted(batch.index)) for batch in epochs(epoch)]
    again = [epoch for epoch in range(1, 40) if set(questions(epoch)) == set(questions(0))]
    assert again
    assert all(questions(epoch) != questions(0) for epoch in again)


@pytest.mark.parametrize("seed", range(3))
def test_classes_of_one_unit_a_row_hold_their_units_and_form_a_chain(seed):
    sizes = sizes_of(200, seed=seed)
    epochs = make(sizes, packed=False, buckets=3)
    assert len(epochs.lengths) == 3
    for shorter, longer in itertools.pairwise(epochs.lengths):
        assert (np.array(shorter) <= longer).all()
    for members, lengths in zip(epochs.classes, epochs.lengths, strict=True):
        assert (sizes[members].max((0, 1)) <= lengths).all()
        assert lengths.inputs % 8 == lengths.targets % 8 == 0


def test_row_lengths_are_multiples():
    for packed in (True, False):
        for batch in make(sizes_of(), packed=packed, length_multiple=128)(0):
            assert batch.shape.inputs[1] % 128 == batch.shape.targets[1] % 128 == 0


def test_a_class_without_any_target_has_a_shape_all_the_same():
    sizes = np.zeros((10, 1, 2), int)
    (first, second) = make(sizes)(0)
    assert first.rows == second.rows == [] and first.shape.inputs[0] == 1
