"""Drizzle: shares worked by hand, conservation, tiles against the whole, and the drizzle library."""

import warnings
from math import sqrt

import numpy as np
import pytest

from jwpipe.numerics.coadd import (
    Contents,
    Drizzled,
    coadd,
    coadd_first,
    image,
    pixel_weights,
    total_error,
    values_with_errors,
    variances,
)
from jwpipe.numerics.drizzle import reach, spread

KERNELS = ("square", "gaussian", "point", "turbo", "lanczos2", "lanczos3")


def padded(pixmap):
    """A map with one more pixel all round, extrapolated."""
    out = np.full((pixmap.shape[0] + 2, pixmap.shape[1] + 2, 2), np.nan)
    out[1:-1, 1:-1] = pixmap
    out[0], out[-1] = 2 * out[1] - out[2], 2 * out[-2] - out[-3]
    out[:, 0], out[:, -1] = 2 * out[:, 1] - out[:, 2], 2 * out[:, -2] - out[:, -3]
    return out


def rotated_map(shape, angle=0.3, scale=1.0, at=(20.0, 5.0)):
    """A rotation with some distortion, x and y of each pixel."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    c, s = np.cos(angle) * scale, np.sin(angle) * scale
    return np.stack(
        [c * x - s * y + 1e-4 * x * y + at[0], s * x + c * y + 2e-4 * x * x + at[1]], axis=-1
    )


def one_pixel(matrix, at, **options):
    """Drop one pixel of weight 2 and value 3, placed at ``at`` (x, y) by a linear map, onto 9 x 9."""
    y, x = np.mgrid[-1:2, -1:2].astype(float)
    pixmap = np.stack([x, y], axis=-1) @ np.array(matrix, float).T + at
    weights, values = np.full((1, 1), 2.0, np.float32), np.full((1, 1, 1), 3.0, np.float32)
    sums, touched, _ = spread(pixmap, weights, values, shape=(9, 9), **options)
    np.testing.assert_allclose(sums[..., 1], 3 * sums[..., 0], rtol=1e-6)
    np.testing.assert_array_equal(touched, sums[..., 0] > 0)
    return sums[..., 0] / 2


IDENTITY = ((1, 0), (0, 1))


@pytest.mark.parametrize("name", ["square", "turbo"])
def test_shifted_pixel(name):
    """A pixel a quarter right and half up of (4, 4) leaves 3/4 x 1/2 there, 1/4 x 1/2 to the right."""
    share = one_pixel(IDENTITY, (4.25, 4.5), name=name)
    expected = np.zeros((9, 9))
    expected[4:6, 4:6] = [[3 / 8, 1 / 8], [3 / 8, 1 / 8]]
    np.testing.assert_allclose(share, expected, atol=1e-7)


@pytest.mark.parametrize("name", ["square", "turbo"])
def test_shrunken_pixel(name):
    """Shrunk to half, the same pixel reaches from 4.0 to 4.5 and from 4.25 to 4.75: two output pixels."""
    share = one_pixel(IDENTITY, (4.25, 4.5), name=name, pixfrac=0.5)
    assert share[4, 4] == pytest.approx(0.5)
    assert share[5, 4] == pytest.approx(0.5)
    assert share.sum() == pytest.approx(1)


def test_diamond():
    """A pixel turned by 45 degrees: the octagon common with the unit square is 2 sqrt(2) - 2."""
    h = sqrt(0.5)
    share = one_pixel(((h, -h), (h, h)), (4, 4))
    octagon = 2 * sqrt(2) - 2
    assert share[4, 4] == pytest.approx(octagon, abs=1e-7)
    np.testing.assert_allclose(share[[3, 5, 4, 4], [4, 4, 3, 5]], (1 - octagon) / 4, atol=1e-7)
    assert np.count_nonzero(share) == 5


@pytest.mark.parametrize(
    "matrix", [IDENTITY, ((-1, 0), (0, 1)), ((0, 1), (1, 0)), ((0, -1), (1, 0))]
)
def test_orientation_does_not_matter(matrix):
    share = one_pixel(matrix, (4, 4))
    assert share[4, 4] == pytest.approx(1)
    assert np.count_nonzero(share) == 1


def test_large_pixel_covers_many():
    """Output pixels a fifth of the input's: 25 of them, 1/25 each."""
    share = one_pixel(((5, 0), (0, 5)), (4, 4))
    np.testing.assert_allclose(share[2:7, 2:7], 1 / 25, rtol=1e-6)
    assert np.count_nonzero(share) == 25


def test_point():
    share = one_pixel(IDENTITY, (4.4, 3.6), name="point")
    assert share[4, 4] == 1
    assert np.count_nonzero(share) == 1


def test_gaussian():
    """At distance r the share is f / pi exp(-f r^2), f = 2.3548^2 / 2."""
    share = one_pixel(IDENTITY, (4, 4), name="gaussian")
    f = 2.3548**2 / 2
    np.testing.assert_allclose(share[4, 4], f / np.pi, rtol=1e-6)
    np.testing.assert_allclose(share[5, 5], f / np.pi * np.exp(-2 * f), rtol=1e-6)


def test_lanczos():
    """Half a pixel off: sinc(1/2) sinc(1/6) at the two nearest; the table's steps of 0.003 allow 2e-3.

    In the other direction all neighbours are zeros of the sine.
    """
    share = one_pixel(IDENTITY, (4.5, 4), name="lanczos3")
    np.testing.assert_allclose(share[4, 4:6], np.sinc(0.5) * np.sinc(0.5 / 3), atol=2e-3)
    np.testing.assert_allclose(np.delete(share, 4, axis=0), 0, atol=2e-3)


def test_unknown_kernel():
    with pytest.raises(ValueError, match="tophat"):
        one_pixel(IDENTITY, (4, 4), name="tophat")


def random_exposure(shape=(30, 35), planes=1, seed=0):
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.5, 1, shape).astype(np.float32)
    weights[rng.random(shape) < 0.1] = 0
    values = rng.normal(10, 2, (*shape, planes)).astype(np.float32)
    values[weights == 0] = np.nan
    return weights, values, rng.integers(0, 1 << 16, shape).astype(np.uint32)


@pytest.mark.parametrize("planes", [1, 2, 4])
@pytest.mark.parametrize("pixfrac", [1.0, 0.6])
def test_weight_and_flux_are_conserved(planes, pixfrac):
    weights, values, _ = random_exposure(planes=planes)
    before = weights.copy(), values.copy()
    sums, _, _ = spread(
        padded(rotated_map(weights.shape)), weights, values, pixfrac=pixfrac, shape=(70, 80)
    )
    good = weights > 0
    assert sums[..., 0].sum(dtype=float) == pytest.approx(weights.sum(dtype=float), rel=1e-6)
    for p in range(planes):
        put = (weights[good] * values[good, p]).sum(dtype=float)
        assert sums[..., 1 + p].sum(dtype=float) == pytest.approx(put, rel=1e-6)
    np.testing.assert_array_equal(weights, before[0])
    np.testing.assert_array_equal(values, before[1])


def test_undefined_positions_are_left_out():
    weights, values, _ = random_exposure()
    pixmap = rotated_map(weights.shape)
    pixmap[10:12] = np.nan
    sums, _, _ = spread(padded(pixmap), weights, values, shape=(70, 80))
    assert np.isfinite(sums).all()
    # Corners are interpolated from neighbours, so that the rows next to undefined ones go as well.
    kept = np.r_[0:9, 13:30]
    assert sums[..., 0].sum(dtype=float) == pytest.approx(weights[kept].sum(dtype=float), rel=1e-6)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("ratio", [0.7, 1.5])
def test_tiles_are_the_whole_bit_for_bit(name, ratio):
    weights, values, bits = random_exposure(planes=4)
    pixmap = padded(rotated_map(weights.shape, scale=1 / ratio))
    options = {"name": name, "pixfrac": 0.8, "ratio": ratio}
    whole = spread(pixmap, weights, values, shape=(90, 100), bits=bits, **options)
    for top, left, shape in ((0, 0, (33, 41)), (17, 29, (26, 22)), (50, 60, (40, 40))):
        tile = spread(
            pixmap, weights, values, shape=shape, origin=(top, left), bits=bits, **options
        )
        for part, all_ in zip(tile, whole, strict=True):
            np.testing.assert_array_equal(part, all_[top : top + shape[0], left : left + shape[1]])


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(("pixfrac", "ratio"), [(1.0, 1.0), (0.6, 1.0), (1.0, 0.7), (0.6, 1.5)])
def test_against_the_drizzle_library(name, pixfrac, ratio):
    drizzle = pytest.importorskip("drizzle.resample")
    weights, values, bits = random_exposure(seed=3)
    pixmap = rotated_map(weights.shape, at=(20, 12)) / ratio
    shape = (int(90 / ratio), int(90 / ratio))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = drizzle.Drizzle(out_shape=shape, kernel=name, fillval="NAN")
        theirs.add_image(
            values[..., 0], 1.0, pixmap, dq=bits, weight_map=weights, pixfrac=pixfrac,
            pixel_scale_ratio=ratio, in_units="cps",
        )  # fmt: skip
    sums, touched, flags = spread(
        padded(pixmap),
        weights,
        values,
        name=name,
        pixfrac=pixfrac,
        ratio=ratio,
        shape=shape,
        bits=bits,
    )
    np.testing.assert_allclose(sums[..., 0], theirs.out_wht, atol=1e-6)
    # Where Lanczos weights cancel, the mean is rounding noise in either.
    well = np.abs(sums[..., 0]) > 1e-3
    mean = sums[well, 1] / sums[well, 0]
    np.testing.assert_allclose(mean, theirs.out_img[well], rtol=1e-4 if "lanczos" in name else 1e-6)
    if "lanczos" not in name:  # which ends where its table does, on 1e-17
        np.testing.assert_array_equal(touched, theirs.out_ctx[0] > 0)
        np.testing.assert_array_equal(flags, theirs.out_dq)


def test_reach():
    assert reach("square", 1, 1) == reach("point", 1, 1) == 0
    assert reach("turbo", 0.5, 2) == pytest.approx(0.125)
    assert reach("lanczos3", 1, 0.5) == 6


def test_weights():
    """Inverse variance where defined, 0 for bad pixels and undefined variances."""
    sci, dq = np.ones((1, 5), np.float32), np.array([[0, 1, 4, 0, 0]], np.uint32)
    rnoise = np.array([[4, 4, 2, 0, np.nan]], np.float32)

    def weights(kind, noise=rnoise):
        return pixel_weights(sci, dq, noise, bad=1, weight_type=kind, exposure_time=7.0)[0].tolist()

    assert weights("ivm") == [0.25, 0, 0.5, 0, 0]
    assert weights("exptime") == [7, 0, 7, 7, 7]
    assert weights(None) == [1, 0, 1, 1, 1]
    assert weights("ivm", None) == [1, 0, 1, 1, 1]


def test_values_with_errors():
    """The sky level goes off, errors are square roots; a NaN anywhere drops the pixel."""
    sci = np.array([[3, 5, np.nan]], np.float32)
    noise = np.array([[4, 9, 1]], np.float32)
    flat = np.array([[1, np.nan, 1]], np.float32)
    weights = np.ones((1, 3), np.float32)
    values, kept = values_with_errors(sci, 0.5, {"var_rnoise": noise, "var_flat": flat}, weights)
    assert values[0, 0].tolist() == [2.5, 2, 0, 1]
    assert kept[0].tolist() == [1, 0, 0]
    assert weights.tolist() == [[1, 1, 1]]


def drizzled(weight, value, errors, number=0, fixed=None, present=(True, True, True)):
    """One output pixel with a weight, a mean and mean errors."""
    sums = np.array([weight, *(weight * v for v in (value, *errors))], np.float32).reshape(1, 1, -1)
    touched = np.array([[weight > 0]])
    return Drizzled(sums, touched, np.zeros((0, 0), np.uint32), (0, 0), number, fixed, present)


def test_coadded_variance():
    """Errors E of read noise 1 and 2 give v = 1 and 1/4: VAR = (1 + 4/16) / (5/4)^2 = 0.8.

    The Poisson errors 3 and 1 with the same v: (9 + 1/16) / (5/4)^2 = 5.8.
    """
    parts = [drizzled(2, 10, (1, 3, 0)), drizzled(6, 20, (2, 1, 0), 1)]
    sums = coadd_first((1, 1), Contents(variances=True, context=1), parts)
    assert image(sums)[0, 0] == pytest.approx((2 * 10 + 6 * 20) / 8)
    found = {name: values[0, 0] for name, values in variances(sums, 1.0).items()}
    assert found["var_rnoise"] == pytest.approx(0.8)
    assert found["var_poisson"] == pytest.approx(5.8)
    assert found["var_flat"] == 0
    assert sums.context[0, 0, 0] == 0b11
    assert variances(sums, 0.25)["var_rnoise"][0, 0] == pytest.approx(0.2)


def test_exposure_time_weights_variances():
    """Weights 1 and 3: VAR = (1 + 4 x 9) / 16."""
    parts = [drizzled(1, 0, (1, 0, 0), fixed=1.0), drizzled(3, 0, (2, 0, 0), 1, fixed=3.0)]
    sums = coadd_first((1, 1), Contents(variances=True), parts)
    assert variances(sums, 1.0)["var_rnoise"][0, 0] == pytest.approx(37 / 16)


def test_missing_variance_is_no_variance():
    parts = [drizzled(1, 5, (1, 2, 0), present=(True, True, False))]
    found = variances(coadd_first((1, 1), Contents(variances=True), parts), 1.0)
    assert found["var_poisson"][0, 0] == 4
    assert np.isnan(found["var_flat"][0, 0])
    assert total_error(found)[0, 0] == pytest.approx(sqrt(5))


def test_nothing_there():
    sums = coadd_first(
        (2, 2), Contents(variances=True, context=1), [drizzled(0, np.nan, (1, 1, 1))]
    )
    assert (image(sums, -1.0) == -1).all()
    found = variances(sums, 1.0)
    assert all(np.isnan(values).all() for values in found.values())
    assert np.isnan(total_error(found)).all()
    assert not sums.context.any()


def test_context_bits():
    """Exposure 31 sets the sign bit of plane 0, exposure 32 the first bit of plane 1."""
    first = coadd_first((1, 1), Contents(context=2), [drizzled(1, 1, (), 31)])
    both = coadd(first, [drizzled(1, 2, (), 32)])
    assert both.context[:, 0, 0].tolist() == [-(2**31), 1]
    assert first.context[:, 0, 0].tolist() == [-(2**31), 0]
    assert image(both)[0, 0] == 1.5
