"""Background subtraction: clipping, averaging, overlap of subarrays, flags, errors."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from jwpipe.exposure import ExposureError, header
from jwpipe.stage2.bkg_subtract import (
    BackgroundParams,
    bkg_subtract,
    clipped_mean,
    combined_background,
    subtract,
)


def exposure(sci, corner=(1, 1), *, err=1.0, dq=0, **keywords):
    """A rate exposure whose subarray begins at column and row ``corner``."""
    sci = np.asarray(sci, np.float32)
    dims = ("integration", "y", "x")[-sci.ndim :]
    keys = {
        "INSTRUME": "NIRCAM",
        "DETECTOR": "NRCB1",
        "EXP_TYPE": "NRC_IMAGE",
        "SUBSTRT1": corner[0],
        "SUBSTRT2": corner[1],
        "SUBSIZE1": sci.shape[-1],
        "SUBSIZE2": sci.shape[-2],
    }
    variables = {
        "sci": (dims, sci),
        "err": (dims, np.full(sci.shape, err, np.float32)),
        "dq": (dims, np.full(sci.shape, dq, np.uint32)),
    }
    return xr.Dataset(variables, attrs={"primary": keys | keywords, "filename": "test.fits"})


def run(science, *backgrounds, **params):
    return subtract(science, {}, BackgroundParams(bkg_list=backgrounds, **params))


def one_pixel(values, sigma, maxiters=-1):
    stack = np.array(values, float).reshape(-1, 1, 1)
    return [array[0, 0] for array in clipped_mean(stack, sigma, maxiters)]


def test_clipping_by_hand():
    """0 x 9 and 10: median 0, mean 1, std 3; 2 sigma leaves 0 .. 6: mean 0, nothing more to clip."""
    mean, low, high = one_pixel([0] * 9 + [10], 2.0)
    assert mean == low == high == 0
    assert one_pixel([0] * 9 + [10], 4.0)[0] == 1


def test_rounds_of_clipping():
    """First round: median 0, std 37.7 drops 100 only; the second: std 1.6 drops 5."""
    values = [0, 0, 0, 0, 0, 0, 5, 100]
    assert one_pixel(values, 2.0, 1)[0] == pytest.approx(5 / 7)
    assert one_pixel(values, 2.0)[0] == 0


def test_values_that_are_not_finite_never_count():
    assert one_pixel([np.nan, 2, np.inf, 4], 3.0)[0] == 3
    assert np.isnan(one_pixel([np.nan, np.nan], 3.0)).all()


@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=12),
    st.floats(1, 5),
    st.sampled_from([None, 1, 2, 5]),
)
def test_clipped_mean_agrees_with_astropy(values, sigma, maxiters):
    from astropy.stats import sigma_clip

    column = np.array(values).reshape(-1, 1, 1)
    found = clipped_mean(column, sigma, -1 if maxiters is None else maxiters)[0]
    expected = sigma_clip(column, sigma=sigma, maxiters=maxiters, axis=0).mean(axis=0)
    np.testing.assert_allclose(found[0, 0], expected[0, 0], rtol=1e-9, atol=1e-9)


def test_mean_of_backgrounds_is_subtracted_and_flags_are_united():
    science = exposure(np.full((2, 3), 10), dq=4)
    result = run(science, exposure(np.full((2, 3), 1), dq=2), exposure(np.full((2, 3), 3), dq=8))
    assert np.all(result.sci == 8)
    assert result.sci.dtype == np.float32
    assert np.all(result.dq == 14)
    assert np.all(result.err == 1)
    assert np.all(science.sci == 10)


def test_pixels_without_background_stay():
    background = exposure([[1, np.nan]])
    np.testing.assert_array_equal(run(exposure([[5, 5]]), background).sci, [[4, 5]])


def test_background_subarrays_lie_where_the_detector_has_them():
    science = exposure(np.full((4, 4), 10), (11, 21))
    early = exposure(np.full((4, 4), 1), (9, 19))
    late = exposure(np.full((4, 4), 2), (13, 23))
    expected = np.full((4, 4), 10)
    expected[:2, :2] -= 1
    expected[2:, 2:] -= 2
    np.testing.assert_array_equal(run(science, early, late).sci, expected)


def test_integrations_are_clipped_first():
    """Eleven integrations of 1 and one of 100: 1 after clipping, beside a background of 3."""
    spiky = np.ones((12, 1, 1))
    spiky[4] = 100
    result = run(exposure(np.full((2, 1, 1), 10)), exposure(spiky), exposure(np.full((3, 1, 1), 3)))
    np.testing.assert_allclose(result.sci, np.full((2, 1, 1), 8))


def test_background_that_is_all_nan_does_not_count_as_zero():
    nothing = exposure(np.full((3, 1, 1), np.nan))
    result = run(exposure(np.full((1, 1, 1), 10)), exposure(np.full((3, 1, 1), 4)), nothing)
    assert float(result.sci.values.squeeze()) == 6


def test_chunks_equal_the_whole():
    rng = np.random.default_rng(1)
    science = exposure(rng.normal(10, 1, (20, 9)), (5, 5))
    backgrounds = [exposure(rng.normal(3, 1, (20, 9)), (5 - k, 5 + k)) for k in range(4)]
    whole = run(science, *backgrounds, sigma=1.2)
    lazy = run(science.chunk(y=7), *(each.chunk(y=6) for each in backgrounds), sigma=1.2)
    assert lazy.sci.chunks[0] == (7, 7, 6)
    xr.testing.assert_identical(lazy.compute(), whole)


def test_combined_background_and_its_error():
    """ERR of the mean of two: sqrt(3^2 + 4^2) / 2; of one, where the other is NaN, its own."""
    params = BackgroundParams(
        bkg_list=[exposure([[1, 1]], err=3, dq=1), exposure([[3, np.nan]], err=4)]
    )
    combined = combined_background(exposure([[0, 0]]), params)
    np.testing.assert_array_equal(combined.sci, [[2, 1]])
    np.testing.assert_array_equal(combined.err, [[2.5, 3]])
    np.testing.assert_array_equal(combined.dq, [[1, 1]])


@pytest.mark.parametrize(
    ("background", "message"),
    [
        (exposure([[1, 1]], DETECTOR="NRCB2"), "NRCB2"),
        (exposure([[[1, 1]]]), "dimensions"),
        (exposure([[1, 1]], (500, 500)), "none of the 1 background"),
    ],
)
def test_unfit_backgrounds_are_refused(background, message):
    with pytest.raises(ExposureError, match=message):
        run(exposure([[5, 5]]), background)


def test_other_methods_are_refused_by_name():
    with pytest.raises(ExposureError, match="NIS_SOSS"):
        run(exposure([[5, 5]], EXP_TYPE="NIS_SOSS"), exposure([[5, 5]]))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("a.fits, b.fits,", ("a.fits", "b.fits")),
        (["a.fits", ""], ("a.fits",)),
        ("a.fits", ("a.fits",)),
    ],
)
def test_list_of_backgrounds_may_be_text(value, expected):
    assert BackgroundParams(bkg_list=value).bkg_list == expected


def test_step_is_left_out_without_backgrounds():
    keywords = header(exposure([[1]]))
    assert bkg_subtract.applies(keywords, BackgroundParams()) == "no background exposures"
    assert bkg_subtract.applies(keywords, BackgroundParams(bkg_list="a.fits")) == ""
