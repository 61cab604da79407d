"""Stage 3 of images against jwst 3.0.0: alignment, sky levels, outliers, the mosaic and its catalogue."""

import numpy as np
import pytest
from both import Runs, references
from compare import (
    MILLIARCSECOND,
    VARIANCES,
    assert_same_mosaic,
    assert_same_wcs,
    keywords,
    planes,
    same_holes,
    unequal,
)
from compare_tables import catalogue, far_sources

import jwpipe

pytestmark = pytest.mark.peer


def test_alignment(runs: Runs):
    for ours, theirs in runs.pairs("o001_crf"):
        assert keywords(ours)["S_TWKREG"] == keywords(theirs)["S_TWKREG"] == "COMPLETE"
        assert_same_wcs(ours, theirs)


def test_sky_levels(runs: Runs):
    """Levels agree to 1e-5 of a pixel's noise: they are modes of pixels whose values are rounded differently."""
    for ours, theirs in runs.pairs("o001_crf"):
        allowed = 1e-5 * float(np.nanmedian(planes(theirs)["ERR"]))
        assert keywords(ours)["BKGLEVEL"] == pytest.approx(
            keywords(theirs)["BKGLEVEL"], abs=allowed
        )
        assert keywords(ours)["BKGSUB"] == keywords(theirs)["BKGSUB"]


def test_outliers(runs: Runs):
    """Flags equal in 99.99 % of the pixels, and the pixels blanked are the same."""
    for ours, theirs in runs.pairs("o001_crf"):
        a, b = planes(ours), planes(theirs)
        assert unequal(a["DQ"], b["DQ"]) <= 1e-4
        assert all(same_holes(a[name], b[name]) for name in ("SCI", "ERR", *VARIANCES))


def test_mosaic(runs: Runs):
    assert_same_mosaic(*runs.mosaics("i2d.fits"))


def test_mosaic_footprint(runs: Runs):
    """The same corners to 0.1 mas, from whichever the polygons start."""
    regions = [keywords(path)["S_REGION"] for path in runs.mosaics("i2d.fits")]
    ours, theirs = (
        sorted(float(word) for word in region.split() if word[-1].isdigit()) for region in regions
    )
    assert ours == pytest.approx(theirs, abs=0.1 * MILLIARCSECOND)


class TestCatalogue:
    def test_of_the_same_mosaic(self, runs: Runs, tmp_path):
        """Our catalogue of their mosaic is theirs, but for the order of sums in single precision."""
        files = references(runs.observation, runs.observation.uncal[0])
        ours, segments = jwpipe.source_catalog(runs.mosaics("i2d.fits")[1], overrides=files)
        theirs = catalogue(runs.mosaics("cat.ecsv")[1])
        assert ours.colnames == theirs.colnames
        assert len(ours) == len(theirs) > 30
        assert far_sources(ours, theirs, 1e-5) == {}
        assert (
            unequal(np.asarray(segments["sci"]), planes(runs.mosaics("segm.fits")[1])["SCI"]) == 0
        )

    def test_of_the_whole_chain(self, runs: Runs):
        """Every number within 1e-4 of itself or of its error."""
        ours, theirs = (catalogue(path) for path in runs.mosaics("cat.ecsv"))
        assert np.array_equal(ours["label"], theirs["label"])
        assert far_sources(ours, theirs, 1e-4) == {}

    def test_segments(self, runs: Runs):
        ours, theirs = (planes(path)["SCI"] for path in runs.mosaics("segm.fits"))
        assert unequal(ours, theirs) == 0
