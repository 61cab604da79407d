import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import maximum_filter, zoom

from jwpipe.stage3.starfinder import (
    FinderParams,
    background,
    enlarge,
    find,
    local_maxima,
    smoothed,
    unusable,
)


def stars(shape=(80, 90), seed=0, number=12, noise=0.5, level=20.0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = level + rng.normal(0, noise, shape)
    # Apart by more than the finder's kernel: one star in each cell of a grid.
    cells = rng.permutation(16)[:number]
    positions = np.stack([cells % 4 * 20 + 12, cells // 4 * 18 + 12], 1) + rng.uniform(
        -3, 3, (number, 2)
    )
    for (u, v), flux in zip(positions, rng.uniform(200, 900, number), strict=True):
        image += flux * np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * 1.1**2)) / (2 * np.pi * 1.1**2)
    return image.astype(np.float32), positions


def test_a_lone_peak_is_found_once_and_a_plateau_twice():
    image = np.zeros((7, 9))
    image[3, 4] = 5
    assert local_maxima(image, image < 0, 1.0, 2).tolist() == [[4, 3]]
    # Two equal pixels within the radius exceed each other nowhere: both stay, as in photutils.
    image[3, 5] = 5
    assert local_maxima(image, image < 0, 1.0, 2).tolist() == [[4, 3], [5, 3]]
    # The corner (2, 2) of the square lies outside the circle of radius 2.
    image[3, 5], image[5, 6] = 0, 9
    assert local_maxima(image, image < 0, 1.0, 2).tolist() == [[4, 3], [6, 5]]


def test_masked_and_nan_pixels_are_no_maxima_and_nan_neighbours_do_not_matter():
    image = np.zeros((7, 7))
    image[3, 3], image[3, 4], image[1, 1] = 5, np.nan, 4
    mask = np.zeros(image.shape, bool)
    mask[1, 1] = True
    assert local_maxima(image, mask, 1.0, 2).tolist() == [[3, 3]]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), radius=st.integers(1, 4), threshold=st.floats(-1, 1))
def test_local_maxima_are_those_of_a_circular_maximum_filter(seed, radius, threshold):
    rng = np.random.default_rng(seed)
    image = np.round(rng.normal(0, 2, (23, 31)), 1)
    mask = rng.random(image.shape) < 0.1
    before = image.copy()
    offsets = np.arange(-radius, radius + 1)
    circle = offsets[:, None] ** 2 + offsets**2 <= radius**2
    highest = maximum_filter(image, footprint=circle, mode="constant", cval=0.0)
    expected = np.argwhere((image == highest) & (image > threshold) & ~mask)[:, ::-1]
    np.testing.assert_array_equal(local_maxima(image, mask, threshold, radius), expected)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("boxes", "box", "shape"), [((3, 4), (7, 5), (20, 18)), ((1, 2), (9, 9), (9, 13))]
)
def test_enlarging_a_mesh_is_a_cubic_zoom(boxes, box, shape):
    mesh = np.random.default_rng(0).normal(5, 1, boxes).astype(np.float32)
    whole = zoom(mesh, box, order=3, mode="reflect", grid_mode=True)[: shape[0], : shape[1]]
    expected = np.clip(whole, mesh.min(), mesh.max())
    np.testing.assert_allclose(enlarge(mesh, box, shape), expected, rtol=2e-7)
    assert enlarge(mesh, box, shape).dtype == np.float32


def test_a_flat_mesh_is_a_flat_image():
    assert np.all(enlarge(np.full((2, 2), 3.0), (4, 4), (7, 7)) == 3.0)


def test_background_of_a_slope_and_its_noise():
    rng = np.random.default_rng(1)
    y, _ = np.mgrid[:120, :120]
    image = (10 + 0.05 * y + rng.normal(0, 0.3, y.shape)).astype(np.float32)
    level, noise = background(image, 20, np.zeros(image.shape, bool))
    inner = slice(30, 90)
    np.testing.assert_allclose(level[inner].mean(), 10 + 0.05 * 59.5, atol=0.05)
    # Within a box the slope adds (20 * 0.05)^2 / 12 to the variance.
    np.testing.assert_allclose(noise[inner].mean(), np.sqrt(0.09 + 1 / 12), rtol=0.05)


def test_background_is_zero_where_masked():
    image, _ = stars()
    mask = np.zeros(image.shape, bool)
    mask[:5] = True
    level, noise = background(image, 20, mask)
    assert not level[mask].any()
    assert not noise[mask].any()
    assert level[~mask].all()


def test_where_most_of_every_box_is_masked_the_frame_is_one_box():
    image = np.random.default_rng(2).normal(4, 1, (60, 60)).astype(np.float32)
    mask = np.ones(image.shape, bool)
    mask[::3, ::3] = False
    level, _ = background(image, 20, mask)
    assert np.unique(level[~mask]).size == 1
    np.testing.assert_allclose(level[0, 0], 4, atol=0.2)


@pytest.mark.parametrize("finder", ["iraf", "dao", "segmentation"])
def test_stars_are_found_where_they_are(finder):
    image, positions = stars()
    params = FinderParams(starfinder=finder, bkg_boxsize=40, roundlo=-1, roundhi=1, sharplo=0)
    mask = np.zeros(image.shape, bool)
    before = image.copy()
    table = find(image, np.full_like(image, 0.5), mask, params).table
    assert len(table) == len(positions)
    found = np.transpose([np.asarray(table["xcentroid"]), np.asarray(table["ycentroid"])])
    distances = np.linalg.norm(found[:, None] - positions, axis=2).min(axis=1)
    assert distances.max() < 0.25
    np.testing.assert_array_equal(image, before)


@pytest.mark.filterwarnings("ignore:.*non-finite")
@pytest.mark.parametrize("finder", ["iraf", "dao"])
def test_the_finders_measure_as_photutils_does_alone(finder):
    from astropy.stats import SigmaClip
    from photutils.background import Background2D, MedianBackground
    from photutils.detection import DAOStarFinder, IRAFStarFinder

    image, _ = stars(seed=4)
    image[40, 30] = np.nan
    mask = np.zeros(image.shape, bool)
    mask[10:14, 10:14] = True
    boxes = Background2D(
        image,
        40,
        filter_size=(3, 3),
        coverage_mask=mask,
        sigma_clip=SigmaClip(sigma=3.0),
        bkg_estimator=MedianBackground(),
    )
    kind = DAOStarFinder if finder == "dao" else IRAFStarFinder
    alone = kind(
        np.median(10.0 * boxes.background_rms),
        2.5,
        sigma_radius=1.5,
        min_separation=2,
        sharpness_range=(0.2, 2.0),
        roundness_range=(-1.0, 1.0),
        n_brightest=5,
    )
    expected = alone(image - boxes.background, mask=mask)
    params = FinderParams(
        starfinder=finder, bkg_boxsize=40, brightest=5, roundlo=-1, roundhi=1, sharplo=0.2
    )
    table = find(image, None, mask, params).table
    for ours, theirs in {
        "xcentroid": "x_centroid",
        "ycentroid": "y_centroid",
        "flux": "flux",
    }.items():
        np.testing.assert_allclose(table[ours], expected[theirs], rtol=1e-6)


@pytest.mark.parametrize("finder", ["iraf", "dao", "segmentation"])
@pytest.mark.parametrize("value", [np.nan, 0.0, 7.0])
def test_an_image_of_nothing_gives_an_empty_table_and_a_reason(finder, value):
    image = np.full((40, 40), value, np.float32)
    sources = find(image, image, np.zeros(image.shape, bool), FinderParams(starfinder=finder))
    assert len(sources.table) == 0
    assert sources.table.colnames == ["id", "xcentroid", "ycentroid", "flux"]
    assert sources.reason


def test_an_image_masked_everywhere_gives_a_reason():
    image, _ = stars()
    sources = find(image, None, np.ones(image.shape, bool), FinderParams())
    assert (len(sources.table), sources.reason) == (0, "no usable pixel is finite")


def test_smoothing_fills_a_hole_and_keeps_the_flux():
    image = np.zeros((21, 21))
    image[10, 10] = 1.0
    mask = np.zeros(image.shape, bool)
    assert smoothed(image, 2.0, mask).sum() == pytest.approx(1.0)
    flat = np.ones((21, 21))
    flat[5, 5] = np.nan
    # Beyond the edge there is nothing: only the inner part stays flat.
    np.testing.assert_allclose(smoothed(flat, 2.0, mask)[4:-4, 4:-4], 1.0)
    assert smoothed(image, 0.0, mask) is image


def test_dq_bits_that_make_pixels_unusable():
    assert unusable(np.array([0, 1, 512, 4], np.uint32)).tolist() == [False, True, True, False]


def test_star_finders_need_a_kernel():
    with pytest.raises(ValueError, match="needs a kernel"):
        FinderParams(kernel_fwhm=0)
    assert FinderParams(kernel_fwhm=0, starfinder="segmentation").kernel_fwhm == 0
