"""A mosaic of a moving target against jwst 3.0.0: exposures aligned on the target, not on the stars."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from both import association, exposure_name, references
from compare import assert_same_mosaic, keywords, wcs_of
from peer import Peer, task

from jwpipe import simulate
from jwpipe.runner import run

pytestmark = pytest.mark.peer

STEPS = {
    "source_catalog": {"skip": True},
    "outlier_detection": {"skip": True},
    "skymatch": {"skip": True},
}
PIXEL = 0.031 / 3600


@pytest.fixture(scope="module")
def results(peer: Peer, tmp_path_factory) -> tuple[Path, Path, list[str]]:
    """Folders of our products and theirs, and the names of the exposures."""
    root = tmp_path_factory.mktemp("moving")
    observation = simulate.observation(
        root / "raw", detectors=("NRCB1",), dithers=2, size=64, subarray="SUB160", ngroups=4
    )
    cal = root / "cal"
    folders = [observation.references]
    outcomes = run("detector1,image2", list(map(str, observation.uncal)), cal, refs=folders)
    assert not [outcome.error for outcome in outcomes if outcome.error]
    names = [exposure_name(path) for path in observation.uncal]
    for number, name in enumerate(names):
        with fits.open(cal / f"{name}_cal.fits", mode="update") as hdus:
            hdus[0].header["TARGTYPE"] = "MOVING"
            sci = hdus["SCI"].header
            # The target goes six pixels in right ascension and three in declination from one to the next.
            sci["MT_RA"] = sci["RA_REF"] + number * 6 * PIXEL / np.cos(np.radians(sci["DEC_REF"]))
            sci["MT_DEC"] = sci["DEC_REF"] - number * 3 * PIXEL
    asn = association(cal, names)
    files = references(observation, observation.uncal[0])
    save = ("assign_mtwcs",)
    chain = task("Image3Pipeline", asn, root / "theirs", files, steps=STEPS, save=save)
    job = peer.start("moving", [chain])
    (outcome,) = run("image3", str(asn), root / "ours", refs=folders, steps=STEPS, save=save)
    assert not outcome.error
    job.wait()
    return root / "ours", root / "theirs", names


def test_mosaic(results):
    ours, theirs, _ = results
    (mosaic,) = theirs.glob("*_i2d.fits")
    assert_same_mosaic(ours / mosaic.name, mosaic)


def test_exposures_lie_on_the_target(results):
    ours, theirs, names = results
    for name in names:
        mine, other_file = (
            next(folder.glob(f"{name}*_assign_mtwcs.fits")) for folder in (ours, theirs)
        )
        (one, shape), (other, _) = wcs_of(mine), wcs_of(other_file)
        assert one.available_frames == other.available_frames
        assert one.output_frame.name == "moving_target"
        y, x = np.mgrid[0 : shape[0] : 16, 0 : shape[1] : 16]
        np.testing.assert_allclose(one(x, y), other(x, y), rtol=0, atol=1e-11)
        words, expected = keywords(mine), keywords(other_file)
        for word in ("MT_AVRA", "MT_AVDEC", "MT_RA", "MT_DEC"):
            assert words[word] == pytest.approx(expected[word], abs=1e-12), word
        assert words["S_MTWCS"] == expected["S_MTWCS"] == "COMPLETE"
        corners, theirs_corners = (
            [float(v) for v in w["S_REGION"].split()[2:]] for w in (words, expected)
        )
        np.testing.assert_allclose(corners, theirs_corners, rtol=0, atol=2e-9)
