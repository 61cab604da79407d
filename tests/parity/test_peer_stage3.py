"""Stage 3 of images against jwst 3.0.0: alignment, sky levels, outliers, the mosaic and its catalogue."""

import numpy as np
import pytest
from both import Runs
from compare import VARIANCES, assert_same_wcs, beyond, interior, keywords, planes, same_holes, unequal
from compare_tables import catalogue, far_values

pytestmark = pytest.mark.peer


def test_alignment(runs: Runs):
    for ours, theirs in runs.pairs("o001_crf"):
        assert keywords(ours)["S_TWKREG"] == keywords(theirs)["S_TWKREG"] == "COMPLETE"
        assert_same_wcs(ours, theirs)


def test_sky_levels(runs: Runs):
    """Levels agree to 1e-5 of a pixel's noise: they are modes of pixels whose values are rounded differently."""
    for ours, theirs in runs.pairs("o001_crf"):
        allowed = 1e-5 * float(np.nanmedian(planes(theirs)["ERR"]))
        assert keywords(ours)["BKGLEVEL"] == pytest.approx(keywords(theirs)["BKGLEVEL"], abs=allowed)
        assert keywords(ours)["BKGSUB"] == keywords(theirs)["BKGSUB"]


def test_outliers(runs: Runs):
    """Flags equal in 99.99 % of the pixels, and the pixels blanked are the same."""
    for ours, theirs in runs.pairs("o001_crf"):
        a, b = planes(ours), planes(theirs)
        assert np.any(b["DQ"] & 16), "the comparison needs outliers"
        assert unequal(a["DQ"], b["DQ"]) <= 1e-4
        assert all(same_holes(a[name], b[name]) for name in ("SCI", "ERR", *VARIANCES))


@pytest.fixture(scope="module")
def mosaics(runs: Runs):
    ours, theirs = runs.mosaics("i2d.fits")
    return planes(ours), planes(theirs)


class TestMosaic:
    def test_grid(self, runs: Runs, mosaics):
        assert_same_wcs(*runs.mosaics("i2d.fits"))
        assert mosaics[0]["SCI"].shape == mosaics[1]["SCI"].shape

    def test_science(self, mosaics):
        ours, theirs = mosaics
        inside = interior(theirs["SCI"])
        assert same_holes(ours["SCI"], theirs["SCI"])
        assert beyond(ours["SCI"][inside], theirs["SCI"][inside], 1e-3 * theirs["ERR"][inside]) <= 1e-3

    def test_total_flux(self, mosaics):
        ours, theirs = (np.nansum(mosaic["SCI"], dtype=float) for mosaic in mosaics)
        assert ours == pytest.approx(theirs, rel=1e-5)

    @pytest.mark.parametrize("name", ["ERR", "WHT", *VARIANCES])
    def test_noise(self, mosaics, name: str):
        ours, theirs = (mosaic[name] for mosaic in mosaics)
        inside = interior(theirs)
        assert same_holes(ours, theirs)
        assert beyond(ours[inside], theirs[inside], 1e-3 * theirs[inside]) <= 1e-3

    def test_context(self, mosaics):
        assert unequal(*(mosaic["CON"] for mosaic in mosaics)) == 0


class TestCatalogue:
    def test_same_sources(self, runs: Runs):
        ours, theirs = (catalogue(path) for path in runs.mosaics("cat.ecsv"))
        assert len(theirs) > 30
        assert ours.colnames == theirs.colnames
        assert np.array_equal(ours["label"], theirs["label"])

    def test_values(self, runs: Runs):
        """Every number within 1e-4 of itself, or of its error; positions within 1e-4 pixel."""
        assert far_values(*(catalogue(path) for path in runs.mosaics("cat.ecsv"))) == {}

    def test_segments(self, runs: Runs):
        ours, theirs = (planes(path)["SCI"] for path in runs.mosaics("segm.fits"))
        assert unequal(ours, theirs) == 0
