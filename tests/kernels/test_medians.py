"""Sorting networks over columns, and medians."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jwpipe.numerics.medians import block_width, median, middle, select, sort_columns

FLOATS = st.floats(-1e6, 1e6, width=32) | st.just(np.inf)


@given(values=st.integers(1, 23).flatmap(lambda n: arrays(np.float32, (n, 9), elements=FLOATS)))
@settings(max_examples=60, deadline=None)
def test_columns_come_out_sorted(values):
    expected = np.sort(values, axis=0)
    sort_columns(values, values.shape[0], values.shape[1])
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("samples", [39, 64, 90, 257])
def test_long_columns_with_ties(samples):
    values = np.random.default_rng(samples).integers(0, 30, (samples, 40)).astype(np.float32)
    expected = np.sort(values, axis=0)
    sort_columns(values, samples, 40)
    np.testing.assert_array_equal(values, expected)


def test_only_the_part_asked_for_is_touched():
    values = np.arange(20, 0, -1, dtype=np.float32).reshape(5, 4)
    before = values.copy()
    sort_columns(values, 3, 2)
    np.testing.assert_array_equal(values[:3, :2], before[:3, :2][::-1])
    np.testing.assert_array_equal(values[3:], before[3:])
    np.testing.assert_array_equal(values[:, 2:], before[:, 2:])


@given(values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_median_and_rank_of_one_list(values):
    array = np.array(values, np.float32)
    assert median(array.copy(), array.size) == np.median(array.astype(np.float64))
    rank = len(values) // 3
    assert select(array.copy(), array.size, rank) == np.sort(array)[rank]


def test_middle_counts_only_the_samples_there_are():
    column = np.array([[1.0], [2.0], [5.0], [np.inf], [np.inf]], np.float32)
    assert middle(column, 3, 0) == 2.0
    assert middle(column, 2, 0) == 1.5
    assert np.isnan(middle(column, 0, 0))
    assert np.isnan(median(column[:, 0].copy(), 0))


@pytest.mark.parametrize("samples", [0, 1, 9, 90, 5000, 10**6])
def test_blocks_are_never_empty_nor_wider_than_the_frame(samples):
    assert 1 <= block_width(samples, 2048) <= 2048
    assert block_width(samples, 48) <= 48
