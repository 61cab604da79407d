import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwpipe.stage3.photometry import (
    ab_magnitude,
    annulus_levels,
    aperture_sums,
    daofind_kernel,
    daofind_shape,
    local_background,
    nearest_neighbours,
)


def test_the_sum_in_a_circle_on_a_flat_image_is_its_area():
    data = np.full((30, 30), 2.0)
    error = np.full((30, 30), 0.5)
    sums, errors, area = aperture_sums(data, error, np.array([[14.3, 15.1]]), 3.0)
    assert area == pytest.approx(np.pi * 9)
    assert sums[0] == pytest.approx(2 * np.pi * 9)
    # Variances add by the overlap of each pixel: 0.25 pi 9.
    assert errors[0] == pytest.approx(np.sqrt(0.25 * np.pi * 9))


def test_positions_that_are_not_finite_have_no_flux():
    data = np.ones((30, 30))
    sums, _, _ = aperture_sums(data, data, np.array([[np.nan, 3.0]]), 3.0)
    assert np.isnan(sums[0]) or sums[0] == 0
    level, error = local_background(data, np.array([[np.nan, 3.0]]), 2, 4)
    assert np.isnan(level[0])
    assert np.isnan(error[0])


def test_an_annulus_by_hand():
    # Radii 1 and 1.5 around a pixel's centre: the four edge neighbours (distance 1) and the corners (1.41).
    data = np.arange(25.0).reshape(5, 5)
    values = np.array([6, 7, 8, 11, 13, 16, 17, 18.0])
    median, deviation, count = annulus_levels(
        data, np.array([2.0]), np.array([2.0]), 1.0, 1.5, 3.0, 5
    )
    assert (median[0], count[0]) == (np.median(values), 8)
    assert deviation[0] == pytest.approx(values.std())


def test_a_star_in_the_annulus_is_clipped_away():
    data = np.random.default_rng(0).normal(5, 0.1, (41, 41))
    data[20, 32] = 1e4
    level, error = local_background(data, np.array([[20.0, 20.0]]), 10, 15)
    assert level[0] == pytest.approx(5, abs=0.02)
    # Standard error of a median of N pixels: sqrt(pi / 2 N) sigma.
    pixels = np.pi * (15**2 - 10**2)
    assert error[0] == pytest.approx(np.sqrt(np.pi / 2 / pixels) * 0.1, rel=0.1)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), x=st.floats(-3, 43), y=st.floats(-3, 43))
def test_the_annulus_is_that_of_photutils(seed, x, y):
    from astropy.stats import SigmaClip
    from photutils.aperture import CircularAnnulus

    rng = np.random.default_rng(seed)
    data = rng.normal(1, 1, (40, 40)).astype(np.float32)
    data[rng.random(data.shape) < 0.02] = np.nan
    data[rng.random(data.shape) < 0.02] += 50
    before = data.copy()
    median, deviation, count = annulus_levels(data, np.array([x]), np.array([y]), 3.0, 6.0, 3.0, 5)
    mask = CircularAnnulus([(x, y)], 3.0, 6.0).to_mask(method="center")[0]
    inside = mask.get_values(data)
    values = SigmaClip(sigma=3.0)(inside[np.isfinite(inside)], masked=False)
    assert count[0] == len(values)
    if len(values):
        assert median[0] == pytest.approx(np.median(values), rel=1e-12)
        assert deviation[0] == pytest.approx(np.std(values), rel=1e-10, abs=1e-12)
    np.testing.assert_array_equal(data, before)


def test_magnitudes_by_hand():
    # 1 Jy is 8.9 mag; a hundredth is 5 mag fainter; an error of 10 % is 2.5 log 1.1.
    magnitude, error = ab_magnitude(
        np.array([1.0, 0.01, -1.0, 0.0]), np.array([0.1, 0.001, 1.0, 1.0])
    )
    np.testing.assert_allclose(magnitude, [8.9, 13.9, np.nan, np.inf])
    np.testing.assert_allclose(error[:2], 2.5 * np.log10(1.1))
    assert np.isnan(error[2])


def test_neighbours():
    index, distance = nearest_neighbours(np.array([[0.0, 0.0], [3.0, 4.0], [10.0, 4.0]]))
    assert index.tolist() == [1, 0, 1]
    assert distance.tolist() == [5.0, 5.0, 7.0]
    lonely, nowhere = nearest_neighbours(np.array([[1.0, 1.0]]))
    assert lonely.tolist() == [-1]
    assert np.isnan(nowhere[0])
    index, distance = nearest_neighbours(np.array([[0.0, 0.0], [np.nan, 4.0], [0.0, 2.0]]))
    assert index.tolist() == [2, -1, 0]
    assert np.isnan(distance[1])


@pytest.mark.parametrize("fwhm", [1.0, 2.0, 5.0])
def test_the_daofind_kernel_ignores_a_flat_sky_and_measures_a_gaussian(fwhm):
    kernel, circle = daofind_kernel(fwhm)
    assert kernel.sum() == pytest.approx(0, abs=1e-12)
    offsets = np.arange(len(kernel)) - len(kernel) // 2
    gauss = np.exp(-(offsets[:, None] ** 2 + offsets**2) * 4 * np.log(2) / fwhm**2)
    # The response to a Gaussian of height 7 on any sky is 7: least squares.
    assert np.sum(kernel * (7 * gauss + 3) * circle) == pytest.approx(7)


def test_shape_of_a_symmetric_and_of_a_long_source():
    y, x = np.mgrid[:40, :40]
    image = np.exp(-((x - 10) ** 2 + (y - 10) ** 2) / 2.0) + np.exp(
        -((x - 28) ** 2 / 18 + (y - 28) ** 2) / 2
    )
    sharpness, roundness = daofind_shape(image, np.array([[10.0, 10.0], [28.0, 28.0]]), 2.355)
    assert roundness[0] == pytest.approx(0, abs=1e-12)
    assert abs(roundness[1]) > 0.3
    assert 0.2 < sharpness[0] < 1


def test_shapes_are_those_of_the_whole_filtered_image():
    from scipy.ndimage import convolve

    image = np.random.default_rng(0).normal(0, 1, (30, 31)).astype(np.float32)
    image[12, 5] = np.nan
    places = np.array(
        [[0.2, 0.4], [30.0, 29.0], [15.5, 14.5], [7.0, 12.0], [np.nan, 3.0], [200.0, 3.0]]
    )
    kernel, circle = daofind_kernel(2.0)
    filtered = convolve(image, kernel, mode="constant", cval=0.0)
    sharpness, roundness = daofind_shape(image, places, 2.0)
    # A half is rounded down, as by astropy's extract_array: pixel 15, 14.
    peak = image[14, 15]
    around = image[12:17, 13:18].astype(float) * circle
    expected = (peak - (around.sum() - peak) / (circle.sum() - 1)) / filtered[14, 15]
    assert sharpness[2] == pytest.approx(expected, rel=1e-6)
    assert np.isnan(roundness[3])
    assert np.isnan(roundness[4:]).all()
    assert np.isfinite(roundness[:3]).all()
