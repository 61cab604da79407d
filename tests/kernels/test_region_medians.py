import warnings

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jwpipe.numerics.region_medians import lower_tally, medians, merged, ranks, upper_tally


def of_parts(frames, regions, number, cut):
    """Medians (n, region) of frames that are looked at in two parts."""
    halves = slice(cut), slice(cut, None)
    parts = [(np.ascontiguousarray(frames[:, rows]), regions[rows]) for rows in halves]
    found = ranks(merged(*(upper_tally(*part, number) for part in parts)))
    tally = merged(*(lower_tally(*part, number, found) for part in parts))
    return medians(found, tally).reshape(len(frames), number)


def test_middle_values_of_either_sign():
    """-3 -1 2 7: between -1 and 2; -3 -1 2: -1; nothing but NaN: NaN."""
    frames = np.array(
        [[[-3, 7], [2, -1], [np.nan, 9]], [[-3, np.nan], [2, -1], [5, 5]]], np.float32
    )
    regions = np.array([[1, 1], [1, 1], [2, 0]], np.uint8)
    found = of_parts(frames, regions, 2, 1)
    np.testing.assert_array_equal(found, [[0.5, np.nan], [-1, 5]])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 9), st.sampled_from([1e-30, 1.0, 1e30]))
def test_the_medians_of_numpy(seed, cut, scale):
    draw = np.random.default_rng(seed)
    frames = (draw.normal(0.5, 1, (3, 9, 11)) * scale).astype(np.float32)
    frames[0] = np.round(frames[0])
    frames[draw.random(frames.shape) < 0.1] = np.nan
    regions = draw.integers(0, 3, (9, 11)).astype(np.uint8)
    found = of_parts(frames, regions, 2, cut)
    for region in (1, 2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            expected = [np.nanmedian(frame[regions == region]) for frame in frames]
        np.testing.assert_array_equal(found[:, region - 1], expected)


def test_no_pixels_no_median():
    found = of_parts(np.ones((1, 2, 2), np.float32), np.zeros((2, 2), np.uint8), 1, 1)
    assert np.isnan(found).all()
    assert found.shape == (1, 1)
