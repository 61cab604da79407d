"""Flicker noise of one frame: stripes of known amplitude, what must be kept, what must not count."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwpipe.numerics.medians import middle_of
from jwpipe.stage1.flicker.background import EVERYTHING
from jwpipe.stage1.flicker.frame import Cleaning, background_of, fitted, line_medians, restored

ROWS = Cleaning()
COLUMNS = Cleaning(axis=0)
NAN = np.float32(np.nan)


def clean(image: np.ndarray, how: Cleaning, mask: np.ndarray | None = None) -> np.ndarray:
    """The frame without the noise that its unmasked pixels tell."""
    told = image if mask is None else np.where(mask, image, NAN)
    found = fitted(told, how)
    noise = how.noise(found[1:], np.arange(len(image)), np.arange(image.shape[1]), image.shape)
    return restored(image, found[0, 0], noise, None)


def stripes(shape: tuple[int, int], axis: int) -> np.ndarray:
    """-1, 0 or 1 on the lines in turn: the median is 0, and 3 sigma beyond all of them."""
    values = (np.arange(shape[1 - axis]) % 3 - 1).astype(np.float32)
    return np.broadcast_to(values[:, None] if axis == 1 else values[None, :], shape).copy()


@pytest.mark.parametrize("how", [ROWS, COLUMNS])
def test_stripes_are_removed_exactly_and_the_background_is_kept(how):
    """On a level of 100 stripes of whole numbers leave nothing but the level: all sums are exact."""
    how = replace(how, clip=None)
    image = stripes((40, 60), how.axis) + np.float32(100)
    np.testing.assert_array_equal(clean(image, how), np.full((40, 60), 100, np.float32))


def test_stripes_across_the_lines_stay():
    """Each row has the same median: nothing is taken away."""
    image = np.broadcast_to(np.arange(61, dtype=np.float32), (20, 61)).copy()
    np.testing.assert_array_equal(clean(image, replace(ROWS, clip=None)), image)


def test_masked_sources_bear_on_nothing():
    rng = np.random.default_rng(2)
    image = rng.normal(10, 1, (50, 50)).astype(np.float32)
    mask = np.ones(image.shape, bool)
    mask[10:30, 5:35] = False
    bright = np.where(mask, image, image + 5000).astype(np.float32)
    difference = clean(bright, ROWS, mask) - clean(image, ROWS, mask)
    np.testing.assert_array_equal(difference[mask], 0)
    np.testing.assert_allclose(difference[~mask], 5000, atol=1e-2)


def test_lines_without_background_stay_as_they_are():
    image = stripes((30, 30), 1) + np.float32(7)
    mask = np.ones(image.shape, bool)
    mask[4] = False
    np.testing.assert_array_equal(clean(image, replace(ROWS, clip=None), mask)[4], image[4])


def test_nan_stay_nan_and_count_for_nothing():
    image = stripes((20, 24), 1) + np.float32(3)
    holed = image.copy()
    holed[5, ::3] = np.nan
    cleaned = clean(holed, replace(ROWS, clip=None))
    np.testing.assert_array_equal(np.isnan(cleaned), np.isnan(holed))
    np.testing.assert_array_equal(cleaned[np.isfinite(cleaned)], 3)


def test_a_frame_without_pixels_tells_nothing():
    found = fitted(np.full((8, 9), NAN), ROWS)
    assert found.shape == (2, 8)
    assert np.isnan(found).all()
    assert background_of(np.full((8, 9), NAN), ROWS) is None


def test_outputs_are_fitted_one_by_one():
    """Of a line of 2048 pixels each quarter has a stripe of its own."""
    image = np.concatenate([np.roll(stripes((6, 512), 1), k, axis=0) for k in (0, 1, 0, 1)], axis=1)
    image += np.float32(50)
    apart = replace(ROWS, parts=4, by_output=True, clip=None)
    np.testing.assert_array_equal(clean(image, apart), 50)
    assert np.ptp(clean(image, replace(apart, by_output=False))) > 0


def test_smooth_backgrounds_are_left_out_and_put_back():
    """On a steep slope medians of rows would take the slope away; left out first it stays."""
    y = np.mgrid[:512, :64][0].astype(np.float32)
    image = (0.5 * y + np.random.default_rng(5).normal(0, 2, y.shape)).astype(np.float32)
    smooth, level = (clean(image, replace(ROWS, background=each)) for each in ("model", "median"))
    slopes = [np.polyfit(y[:, 0], each.mean(axis=1), 1)[0] for each in (smooth, level)]
    assert slopes[0] == pytest.approx(0.5, abs=0.05)
    assert slopes[1] < 0.1


def test_background_is_the_median_of_the_background():
    image = np.full((10, 10), 5, np.float32)
    image[0, :5] = 900
    found = background_of(image, ROWS)
    assert found is not None
    assert found.level == 5


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_line_medians_are_medians(seed, parts):
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 3, (5, 64 * parts)).astype(np.float32)
    image[rng.random(image.shape) < 0.3] = np.nan
    image[2] = np.nan
    before = image.copy()
    found = line_medians(image, np.float32(0.5), EVERYTHING, parts)
    np.testing.assert_array_equal(image, before)
    for part, columns in enumerate(np.split(image, parts, axis=1)):
        expected = [np.nanmedian(row) - 0.5 if np.isfinite(row).any() else 0 for row in columns]
        np.testing.assert_allclose(found[part], expected, atol=1e-6)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 255, 256, 257, 999, 2048]))
@settings(max_examples=40, deadline=None)
def test_medians_by_counting(seed, count):
    rng = np.random.default_rng(seed)
    values = np.round(rng.normal(0, 10, count), int(rng.integers(0, 6))).astype(np.float32)
    values[: count // 10] *= 1e4
    expected = np.median(values.astype(np.float64))
    assert middle_of(values.copy(), count, np.empty_like(values)) == expected


@pytest.mark.parametrize("detector", ["NRS1", "NRS2"])
def test_frequencies_run_along_the_columns_of_nirspec(detector):
    """Noise that varies from column to column is slow in time, whichever way the detector lies."""
    ny, nx = 64, 96
    columns = 3 * np.sin(2 * np.pi * np.arange(nx) / 24)
    image = (columns + np.random.default_rng(3).normal(0, 0.1, (ny, nx)) + 20).astype(np.float32)
    inner = clean(image, Cleaning("fft", axis=0, detector=detector))[:, 8:-8]
    assert np.std(inner) < 0.2
    assert abs(np.median(inner) - 20) < 0.2
