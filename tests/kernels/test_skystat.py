import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwpipe.stage3.skystat import clipped_moments, histogram, sky_level

OPTIONS = {
    "skystat": "mode",
    "lower": None,
    "upper": None,
    "nclip": 5,
    "lsigma": 4.0,
    "usigma": 4.0,
    "binwidth": 0.1,
}


def wave(number=5000, level=100.0):
    """Values without a random generator, so that the numbers below hold for ever: three incommensurate waves."""
    i = np.arange(number, dtype=np.float64)
    values = level + np.sin(0.7 * i) + 0.5 * np.sin(1.9 * i + 0.3) + 0.25 * np.cos(5.3 * i)
    values[::97] += 30
    return values.astype(np.float32)


def test_moments_by_hand():
    # 2, 4, 6 lie in 1 .. 7: mean 4, squares of deviations 4 + 0 + 4 over n - 1 = 2.
    values = np.array([4, 2, 6, 9, 0], np.float32)
    count, mean, sigma, least, most = clipped_moments(values, np.float32(1), np.float32(7))
    assert (count, mean, sigma, least, most) == (3, 4, 2, 2, 6)


def test_the_range_starts_from_the_first_value_clipped():
    values = np.array([9, 2, 6], np.float32)
    assert clipped_moments(values, np.float32(1), np.float32(7))[4] == 7


def test_histogram_by_hand():
    # Bins 0-1, 1-2, 2-3; 3.0 is beyond, -0.1 below.
    values = np.array([0, 0.5, 1.0, 2.9, 3.0, -0.1], np.float32)
    assert histogram(values, 3, np.float32(1), np.float32(0)).tolist() == [2, 1, 1]


def test_mode_of_two_bins_and_of_alike_values():
    # All alike: no spread, the level is the value.
    assert sky_level(np.full(50, 3.5, np.float32), **OPTIONS) == (3.5, 50)


def test_the_middle_of_alike_values_is_their_value():
    # stsci.imagestats gives the count of the only bin, 0, instead.
    assert sky_level(np.full(50, 3.5, np.float32), **OPTIONS | {"skystat": "midpt"}) == (3.5, 50)


@pytest.mark.parametrize(
    ("change", "expected", "count"),
    # As computed by stsci.imagestats 1.8.4, which jwst 3.0.0 uses.
    [
        ({}, 100.40224337071444, 4948),
        ({"skystat": "mean"}, 99.99996185302734, 4948),
        ({"skystat": "median"}, 99.9959716796875, 4948),
        ({"skystat": "midpt"}, 99.98232977092266, 4948),
        ({"nclip": 0}, 100.38773457197385, 5000),
        ({"nclip": 2, "lsigma": 1.5, "usigma": 2.0, "binwidth": 0.3}, 99.54014849467524, 4588),
        ({"lower": 99.5, "upper": 101.0}, 100.42527163729949, 2803),
        ({"skystat": "median", "nclip": 1, "lower": 99.5}, 100.40907287597656, 3469),
    ],
)
def test_levels_are_those_of_imagestats(change, expected, count):
    level, number = sky_level(wave(), **OPTIONS | change)
    assert level == pytest.approx(expected, rel=1e-13)
    assert number == count


def test_nothing_to_measure():
    assert sky_level(np.empty(0, np.float32), **OPTIONS)[1] == 0
    assert sky_level(wave(), **OPTIONS | {"lower": 1e6})[1] == 0
    # One value has a mean, but no deviation and so no mode.
    one = np.array([2.0], np.float32)
    assert np.isnan(sky_level(one, **OPTIONS)[0])
    assert sky_level(one, **OPTIONS | {"skystat": "mean"}) == (2.0, 1)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    number=st.integers(2, 400),
    skystat=st.sampled_from(["mean", "median", "mode", "midpt"]),
)
def test_levels_lie_within_the_values_and_do_not_change_them(seed, number, skystat):
    values = np.random.default_rng(seed).exponential(1, number).astype(np.float32)
    before = values.copy()
    level, count = sky_level(values, **OPTIONS | {"skystat": skystat})
    np.testing.assert_array_equal(values, before)
    assert 0 < count <= number
    width = 0.1 * values.std(ddof=1)
    assert values.min() - width <= level <= values.max() + width
