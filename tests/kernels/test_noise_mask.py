"""The mask of background: by hand, histograms, regions, integrations."""

import dask.array as da
import numpy as np
import pytest
from astropy.io import fits

from jwpipe.exposure import ExposureError
from jwpipe.stage1.flicker.mask import background_mask, lazy_background_mask, user_mask

RNG = np.random.default_rng(4)


def test_sources_holes_and_zeros_are_no_background():
    """As many of 1, 2 and 3: about 2, sigma is the root of 2/3, and limits are 3 sigma below, 2 sigma above."""
    rate = np.tile(np.array([1, 2, 3], np.float32), (100, 20))
    rate[0, :6] = [3.6, 3.7, -0.4, -0.5, np.nan, 0.0]
    mask = background_mask(rate)
    assert mask[0, :6].tolist() == [True, False, True, False, False, False]
    assert mask[1:].all()
    assert background_mask(rate, n_sigma=0)[0, :6].tolist() == [True] * 4 + [False] * 2


def test_known_light_is_no_background():
    rate = RNG.normal(1, 0.1, (16, 16)).astype(np.float32)
    science = np.zeros(rate.shape, bool)
    science[4:8] = True
    assert not background_mask(rate, science)[4:8].any()


def test_histogram_tells_the_core_of_the_distribution():
    """A quarter of the pixels have faint light: the fitted core is narrower than the clipped deviation."""
    rate = RNG.normal(1, 0.05, (200, 200)).astype(np.float32)
    rate[:50] += RNG.exponential(0.1, (50, 200)).astype(np.float32)
    fitted, clipped = (background_mask(rate, fit_histogram=each) for each in (True, False))
    assert fitted.sum() < clipped.sum()
    assert np.abs(rate[fitted].max() - 1.1) < 0.02


def test_integrations_have_masks_of_their_own_or_one():
    rates = RNG.normal(1, 0.1, (3, 12, 12)).astype(np.float32)
    rates[1, 5, 5] = 50
    lazy = da.from_array(rates, chunks=(1, 6, 12))
    each = lazy_background_mask(lazy, single=False).compute()
    one = lazy_background_mask(lazy).compute()
    assert not each[1, 5, 5]
    np.testing.assert_array_equal(one, each.all(axis=0))
    for mask, rate in zip(each, rates, strict=True):
        np.testing.assert_array_equal(mask, background_mask(rate))


def test_masks_of_users(tmp_path):
    mask = np.zeros((6, 8), np.float32)
    mask[2] = 1
    mask[3, 3] = np.nan
    path = tmp_path / "mine_mask.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(mask, name="SCI")]).writeto(path)
    np.testing.assert_array_equal(user_mask(str(path), (5, 6, 8)).compute(), mask == 1)
    with pytest.raises(ExposureError, match=r"shape \(6, 8\), expected \(6, 9\)"):
        user_mask(str(path), (5, 6, 9))
    with pytest.raises(ExposureError, match=r"clean_flicker_noise: user_mask .*cannot be read"):
        user_mask(str(tmp_path / "none.fits"), (5, 6, 8))
