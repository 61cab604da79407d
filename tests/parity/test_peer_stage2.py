"""Stage 2 of images against jwst 3.0.0: the WCS, the image after each step, and the single-exposure mosaic."""

import numpy as np
import pytest
from both import Runs
from compare import IMAGE, assert_same_image, assert_same_mosaic, assert_same_wcs, keywords, planes

pytestmark = pytest.mark.peer


@pytest.mark.parametrize("step", ["assign_wcs", "flat_field"])
def test_steps(runs: Runs, step: str):
    product = f"{runs.names[0]}_{step}.fits"
    assert_same_image(runs.steps / product, runs.theirs / product, IMAGE)


def test_calibrated(runs: Runs):
    for ours, theirs in runs.pairs("cal"):
        assert_same_image(ours, theirs, IMAGE)
        assert np.array_equal(planes(ours)["AREA"], planes(theirs)["AREA"])


def test_wcs(runs: Runs):
    for ours, theirs in runs.pairs("cal"):
        assert_same_wcs(ours, theirs)


@pytest.mark.parametrize(
    "name", ["PHOTMJSR", "PHOTUJA2", "PIXAR_SR", "PIXAR_A2", "CRPIX1", "CRPIX2", "CRVAL1"]
)
def test_keywords(runs: Runs, name: str):
    for ours, theirs in runs.pairs("cal"):
        assert keywords(ours)[name] == pytest.approx(keywords(theirs)[name], rel=1e-12)


def test_distortion_keywords(runs: Runs):
    """The SIP polynomials agree to 1e-7 pixel at the far corner of the frame."""
    for ours, theirs in runs.pairs("cal"):
        a, b = keywords(ours), keywords(theirs)
        names = [n for n in b if n.startswith(("A_", "B_", "AP_", "BP_")) and "ORDER" not in n]
        assert names
        for name in names:
            order = sum(map(int, name.split("_")[1:]))
            assert abs(a[name] - b[name]) * b["NAXIS1"] ** order < 1e-7


def test_footprint(runs: Runs):
    for ours, theirs in runs.pairs("cal"):
        assert keywords(ours)["S_REGION"] == keywords(theirs)["S_REGION"]


def test_single_exposure_mosaic(runs: Runs):
    for ours, theirs in runs.pairs("i2d"):
        assert_same_mosaic(ours, theirs)
