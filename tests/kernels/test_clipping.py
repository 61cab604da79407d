"""Sigma clipping without sorting: by hand, and beside astropy."""

import numpy as np
import pytest
from astropy.stats import sigma_clipped_stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jwpipe.numerics.clipping import (
    clipped,
    extremes,
    grouped,
    limits,
    lower_sigma,
    median_within,
    shifted,
)

VALUES = arrays(np.float32, st.integers(1, 300), elements=st.floats(-1000, 1000, width=32))


def test_an_outlier_is_clipped():
    """Ten zeros and ten ones have sigma 0.5; with 100 among them it is beyond 3 sigma of the median at once."""
    values = np.array([0, 1] * 10 + [100], np.float32)
    stats = clipped(grouped(values))
    assert stats == pytest.approx((0.5, 0.5, 0.5))


def test_lower_half_is_mirrored():
    """Below the center 4 lie 1 and 3, and 4 itself: the mean square distance is (9 + 1 + 0) / 3."""
    values = np.array([1, 3, 4, 50, 60], np.float32)
    assert lower_sigma(grouped(values), 4.0) == pytest.approx(np.sqrt(10 / 3))


def test_limits_are_about_the_median():
    """Of -2 -1 0 1 2 the median is 0, and the lower half's mean square (4 + 1 + 0) / 3."""
    values = grouped(np.arange(-2, 3, dtype=np.float32))
    sigma = np.sqrt(5 / 3)
    assert limits(values, -np.inf, np.inf, 1.0, 0.5) == pytest.approx((-sigma, sigma / 2))


@given(VALUES)
@settings(max_examples=60, deadline=None)
def test_as_astropy_clips(values):
    before = values.copy()
    stats = clipped(grouped(values))
    expected = sigma_clipped_stats(values.astype(np.float64))
    np.testing.assert_allclose(stats, expected, rtol=1e-9, atol=1e-4)
    np.testing.assert_array_equal(values, before)


@given(VALUES, st.floats(-500, 500), st.floats(0, 500))
@settings(max_examples=60, deadline=None)
def test_medians_within_limits(values, low, width):
    exact = values.astype(np.float64)
    inside = exact[(exact >= low) & (exact <= low + width)]
    found = grouped(values)
    if inside.size == 0:
        assert np.isnan(median_within(found, low, low + width))
        assert np.isnan(extremes(found, low, low + width)).all()
    else:
        assert median_within(found, low, low + width) == np.median(inside)
        assert extremes(found, low, low + width) == (inside.min(), inside.max())


@given(VALUES, st.floats(-100, 100, width=32))
@settings(max_examples=40, deadline=None)
def test_shifted_values_are_those_of_the_image_less_a_level(values, level):
    level = np.float32(level)
    direct, moved = clipped(grouped(values - level)), clipped(shifted(grouped(values), level))
    np.testing.assert_allclose(moved, direct, rtol=1e-9, atol=1e-4)


def test_nothing_is_nothing():
    assert np.isnan(clipped(grouped(np.empty(0, np.float32)))).all()
