"""Units in rows: each where it fits, none twice, and row lengths that suit them."""

import numpy as np

from tinyllm_jax.batching import rows


def test_every_unit_is_placed_once_where_it_fits():
    sizes = np.random.default_rng(0).integers(1, 41, (5, 30, 2))
    for units in sizes:
        placed = rows.place(units, rows.Lengths(64, 80))
        assert sorted(unit for row in placed for unit in row) == list(range(30))
        assert all((units[row].sum(0) <= (64, 80)).all() for row in placed)
        assert len(placed) < 20


def test_units_that_fill_a_row_exactly_share_it():
    assert rows.place(np.array([[3, 5], [0, 0], [5, 3]]), rows.Lengths(8, 8)) == [[0, 2]]


def test_a_pair_that_fills_the_row_is_better_than_the_largest_unit():
    units = np.array([[50, 50], [40, 40], [25, 25], [25, 25], [35, 35]])
    assert rows.place(units, rows.Lengths(100, 100)) == [[0, 2, 3], [1, 4]]


def test_row_lengths_are_multiples_that_hold_the_longest_unit():
    units = np.random.default_rng(0).integers(1, 41, (200, 2))
    for multiple in ((8, 8), (128, 128), (8, 1)):
        lengths = rows.choose_lengths([units], units.max(0), multiple, 2)
        assert (np.array(lengths) % multiple == 0).all() and (lengths >= units.max(0)).all()


def test_two_shapes_where_few_batches_need_more_rows():
    needed = np.array([7] * 9 + [10])
    assert rows.choose_rows(needed, 1) == (10, 10)
    assert rows.choose_rows(needed, 2) == (7, 10)
    assert rows.choose_rows(np.array([7, 7]), 2) == (7, 7)
    assert rows.choose_rows(np.array([0]), 2) == (1, 1)
    # Where eight devices share the rows, both are multiples of eight.
    assert rows.choose_rows(needed, 2, 8) == (8, 16)
    assert rows.choose_rows(np.array([7]), 1, 8) == (8, 8)
