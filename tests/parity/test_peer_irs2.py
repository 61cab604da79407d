"""Interleaved NIRSpec frames through stage 1 against jwst 3.0.0."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from both import references
from compare import RATE, assert_same_image, beyond, planes, unequal
from peer import Peer, task

from jwpipe import simulate
from jwpipe.api import run_step, save
from jwpipe.runner import run

pytestmark = pytest.mark.peer

STEPS = ("saturation", "superbias", "refpix")
NAME = "jw90210001001_02101_00001_nrs2"
OPTIONS = {
    "irs2_mean_subtraction": True,
    "preserve_irs2_refpix": True,
    "ovr_corr_mitigation_ftr": 2.0,
    "odd_even_columns": False,
    "siglimit": 2.0,
}


@pytest.fixture(scope="module")
def results(peer: Peer, tmp_path_factory) -> Path:
    """A folder with our products in ``ours``, theirs in ``theirs``, and refpix with options of both in ``options``."""
    root = tmp_path_factory.mktemp("irs2")
    observation = simulate.observation(
        root, detectors=("NRS2",), dithers=1, subarray="FULL", readpatt="NRSIRS2", ngroups=3, filter="F100LP"
    )  # fmt: skip
    (uncal,) = observation.uncal
    files = references(observation, uncal)
    theirs = root / "theirs"
    superbias = theirs / f"{NAME}_superbias.fits"
    alone = {**task("RefPixStep", superbias, root / "options", files), "parameters": OPTIONS}
    job = peer.start("irs2", [task("Detector1Pipeline", uncal, theirs, files, save=STEPS), alone])
    (outcome,) = run("detector1", uncal, root / "ours", overrides=files, save=("detector1", *STEPS))
    assert not outcome.error
    ours = root / "ours" / f"{NAME}_superbias.fits"
    save(run_step("refpix", ours, overrides=files, **OPTIONS), root / "options" / "ours.fits")
    job.wait()
    return root


@pytest.mark.parametrize("suffix", ["rate", "rateints"])
def test_rates(results: Path, suffix: str):
    ours, theirs = (results / who / f"{NAME}_{suffix}.fits" for who in ("ours", "theirs"))
    assert_same_image(ours, theirs, RATE)


def test_rates_are_true(results: Path):
    """Rates without bias, errors that are the scatter, and lines level: the drift of 3 DN is taken out.

    Lines run along the columns of the image. The drift would leave their medians apart by 0.08 DN/s, the noise of
    2000 pixels by 0.004 DN/s.
    """
    found = planes(results / "ours" / f"{NAME}_rate.fits")
    truth = simulate.Truth.read(results / "truth" / f"{NAME}_truth.npz")
    off, clean = found["SCI"] - truth.rate, found["DQ"] == 0
    pull = (off / found["ERR"])[clean]
    assert abs(np.median(pull)) < 0.02
    assert 1.4826 * np.median(np.abs(pull)) == pytest.approx(1.0, abs=0.1)
    bright = clean & (truth.rate > 20)
    assert np.sum(off[bright]) / np.sum(truth.rate[bright]) == pytest.approx(0.0, abs=2e-3)
    lines = np.nanmedian(np.where(clean & (truth.rate < 1), off, np.nan)[:, 4:-4], axis=0)
    assert lines.std() < 0.025


@pytest.mark.parametrize("step", STEPS)
def test_steps(results: Path, step: str):
    a, b = (planes(results / who / f"{NAME}_{step}.fits") for who in ("ours", "theirs"))
    assert_same_ramp(a, b)


def test_options(results: Path):
    theirs = planes(next((results / "options").glob("*refpixstep.fits")))
    ours = planes(results / "options" / "ours.fits")
    assert ours["SCI"].shape[-2] == 3200
    assert_same_ramp(ours, theirs)


def assert_same_ramp(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    for name in ("PIXELDQ", "GROUPDQ"):
        assert unequal(ours[name], theirs[name]) == 0, name
    # A read that comes out as exactly 0 in one of both counts as not read: its surroundings follow.
    assert beyond(ours["SCI"], theirs["SCI"], 5e-3) < 1e-4
