"""Medians over exposures and the clipped mean of weights."""

import warnings
from itertools import permutations

import numpy as np
import pytest

from jwpipe.numerics.stack import clipped_mean, nanmedian, sorting_network

RNG = np.random.default_rng(9)


@pytest.mark.parametrize("n", range(1, 8))
def test_network_sorts_every_order(n):
    network = sorting_network(n)
    for order in permutations(range(n)):
        values = list(order)
        for i, j in network:
            values[i], values[j] = sorted((values[i], values[j]))
        assert values == list(range(n))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 13, 40])
def test_nanmedian_is_numpy_s(n):
    stack = RNG.normal(size=(n, 7, 600)).astype(np.float32)
    stack[RNG.random(stack.shape) < 0.3] = np.nan
    stack[:, 2, :9] = np.nan
    before = stack.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.nanmedian(stack, axis=0)
    np.testing.assert_array_equal(nanmedian(stack), expected)
    np.testing.assert_array_equal(stack, before)


def test_infinities_are_numbers():
    stack = np.array([[[np.inf]], [[1.0]], [[np.nan]], [[-np.inf]]], np.float32)
    assert nanmedian(stack)[0, 0] == 1


def test_no_exposure():
    assert np.isnan(nanmedian(np.empty((0, 2, 3), np.float32))).all()


def test_clipping_by_hand():
    """Twenty ones and a ten: standard deviation 1.9, so that the ten is out by 4.7 of them."""
    values = np.array([1.0] * 20 + [10.0, 0.0, np.nan, np.inf], np.float32)
    assert clipped_mean([values]) == pytest.approx(1.0)


def test_nothing_or_one_value():
    assert np.isnan(clipped_mean([np.zeros(5, np.float32)]))
    assert np.isnan(clipped_mean([]))
    assert clipped_mean([np.full(4, 0.7, np.float32)]) == pytest.approx(np.float32(0.7))


@pytest.mark.parametrize("seed", range(6))
def test_clipping_is_astropy_s(seed):
    from astropy.stats import sigma_clip

    rng = np.random.default_rng(seed)
    weight = np.abs(rng.normal(1, 0.1, (200, 300))).astype(np.float32)
    weight[rng.random(weight.shape) < 0.2] *= np.float32(rng.random())
    weight[:20], weight[30:35] = 0, weight[30:35] * rng.random((5, 300))
    good = weight[np.isfinite(weight) & (weight != 0)]
    kept = sigma_clip(good, sigma=3, maxiters=5, masked=False)
    assert clipped_mean([weight[:90], weight[90:]]) == pytest.approx(
        kept.mean(dtype=float), rel=1e-6
    )
