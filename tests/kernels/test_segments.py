"""Splitting of touching sources: the same segments as photutils, and hand-worked levels."""

import warnings

import numpy as np
import pytest
from photutils.segmentation import SourceFinder

from jwpipe.stage3.segments import levels, segmented


def field(dtype, seed=3):
    """Two hundred blended Gaussians and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:220, :200]
    image = rng.normal(0, 0.3, y.shape)
    for v, u, flux in zip(
        rng.uniform(0, 220, 200), rng.uniform(0, 200, 200), rng.uniform(2, 60, 200), strict=True
    ):
        image += flux * np.exp(-((y - v) ** 2 + (x - u) ** 2) / 12.5)
    return image.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", ["exponential", "linear", "sinh"])
@pytest.mark.parametrize("connectivity", [4, 8])
def test_segments_are_those_of_photutils(dtype, mode, connectivity):
    image = field(dtype)
    image[40, 50] = np.nan
    mask = np.zeros(image.shape, bool)
    mask[100:110, 20:60] = True
    threshold = np.full(image.shape, 1.5)
    options = {"n_levels": 16, "contrast": 0.01, "mode": mode, "progress_bar": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = SourceFinder(8, connectivity=connectivity, **options)(image, threshold, mask)
        found = segmented(
            image,
            threshold,
            mask,
            npixels=8,
            connectivity=connectivity,
            deblend=True,
            nlevels=16,
            contrast=0.01,
            mode=mode,
        )
    assert expected.n_labels > 60
    np.testing.assert_array_equal(found.data, expected.data)


def options(**more):
    return {
        "npixels": 4, "connectivity": 8, "deblend": True, "nlevels": 8, "contrast": 0.001,
        "mode": "linear",
    } | more  # fmt: skip


def test_two_peaks_on_a_bridge_are_two_sources():
    # Peaks of 2 x 2 pixels of 10 with a bridge of 5: above the level 6 they are two pieces of four pixels.
    image = np.zeros((6, 9))
    image[2:4, 1:8] = 5
    image[2:4, 1:3] = image[2:4, 6:8] = 10
    nothing = np.zeros(image.shape, bool)
    found = segmented(image, np.ones(image.shape), nothing, **options())
    assert found.n_labels == 2
    # Where a piece needs five pixels, neither peak is one; without splitting there is one anyway.
    for other in (options(npixels=5), options(deblend=False)):
        assert segmented(image, np.ones(image.shape), nothing, **other).n_labels == 1


def test_nothing_above_the_threshold():
    image = np.zeros((6, 9))
    assert segmented(image, image + 1, np.zeros(image.shape, bool), **options()) is None


def test_levels():
    low, high = np.array([1.0, -1.0]), np.array([16.0, 3.0])
    np.testing.assert_allclose(levels(low, high, 3, "linear")[0], [4.75, 8.5, 12.25])
    # Powers of two from 1 to 16; with a negative pixel linear levels: 0, 1, 2.
    np.testing.assert_allclose(levels(low, high, 3, "exponential"), [[2, 4, 8], [0, 1, 2]])
    middle = 1 + 15 * np.sinh(2) / np.sinh(4)
    np.testing.assert_allclose(levels(low, high, 1, "sinh")[0], [middle])
