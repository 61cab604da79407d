"""Interleaved NIRSpec frames through stage 1 against jwst 3.0.0, and full frames with optimal kernels (SIRS)."""

from __future__ import annotations

from pathlib import Path

import asdf
import numpy as np
import pytest
from both import references
from compare import RATE, assert_same_image, beyond, planes, unequal
from peer import Peer, task

from jwpipe import simulate
from jwpipe.api import run_step, save
from jwpipe.exposure import Header
from jwpipe.runner import run
from jwpipe.stage1.refpix import RefpixParams, reference_levels, refpix, subtract_reference

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


SIRS = """
import sys
import asdf, numpy as np
from stdatamodels.jwst import datamodels
from jwst.refpix import reference_pixels
model = datamodels.RampModel(np.load(sys.argv[1]))
model.pixeldq = np.load(sys.argv[2])
model.groupdq = np.zeros(model.data.shape, np.uint8)
model.meta.instrument.name, model.meta.instrument.detector = "NIRSPEC", "NRS1"
model.meta.exposure.noutputs, model.meta.exposure.zero_frame = 4, False
place = model.meta.subarray
place.name, place.xstart, place.ystart, place.xsize, place.ysize = "FULL", 1, 1, 2048, 2048
place.fastaxis, place.slowaxis = 2, 1
how = {"refpix_algorithm": "sirs", "sirs_kernel_model": datamodels.SIRSKernelModel(sys.argv[3]),
       "sigreject": 3.0, "gaussmooth": 1.5, "halfwidth": 20}
reference_pixels.correct_model(model, True, True, 11, 1.0, True, how, 3.0)
np.save(sys.argv[4], model.data)
"""


def test_optimal_kernels(peer: Peer, tmp_path: Path):
    rng = np.random.default_rng(3)
    drift = np.cumsum(rng.normal(0, 0.2, (1, 1, 1, 2048)), axis=-1)
    sci = (rng.normal(100, 6, (1, 1, 2048, 2048)) + drift).astype(np.float32)
    sci[0, 0, 2, 100:110] += 500
    pixeldq = np.zeros((2048, 2048), np.uint32)
    pixeldq[5:30, 1] = 1
    frequency = np.arange(1025) / 1024
    output = np.arange(4)[:, np.newaxis]
    tree = {
        "gamma": (0.3 + 0.1 * output) * np.exp(-((frequency * 20) ** 2) + 3j * frequency),
        "zeta": (0.4 - 0.1 * output) * np.exp(-((frequency * 30) ** 2) - 2j * frequency),
    }
    path = tmp_path / "sirskernel.asdf"
    meta = {"reftype": "sirskernel", "telescope": "JWST", "instrument": {"name": "NIRSPEC"}}
    asdf.AsdfFile({"meta": meta, "nrs1": tree}).write_to(path)
    arrays = {"sci": sci, "pixeldq": pixeldq}
    for name, array in arrays.items():
        np.save(tmp_path / name, array)
    files = [tmp_path / "sci.npy", tmp_path / "pixeldq.npy", path, tmp_path / "theirs.npy"]
    peer.execute("sirs", SIRS, *files)
    found = optimal(sci, pixeldq, tree)
    np.testing.assert_allclose(found, np.load(files[-1]), atol=2e-5)


class Reference:
    """The kernels of one detector."""

    def __init__(self, tree: dict[str, np.ndarray]) -> None:
        self.content = {"NRS1": tree}

    def tree(self) -> dict[str, dict[str, np.ndarray]]:
        return self.content


def optimal(sci: np.ndarray, pixeldq: np.ndarray, tree: dict[str, np.ndarray]) -> np.ndarray:
    """What refpix makes of a full frame."""
    place = {"SUBSTRT1": 1, "SUBSTRT2": 1, "SUBSIZE1": 2048, "SUBSIZE2": 2048, "SUBARRAY": "FULL"}
    header = Header({"primary": {**place, "FASTAXIS": 2, "SLOWAXIS": 1, "DETECTOR": "NRS1"}})
    params = RefpixParams(refpix_algorithm="sirs", sigreject=3.0, gaussmooth=1.5, halfwidth=20)
    (kernels,) = refpix.prepare({"sirskernel": Reference(tree)}, header, params)
    keywords = refpix.keywords(header, params)
    edges = {
        "bottom": (slice(0, 4), slice(None)),
        "top": (slice(-4, None), slice(None)),
        "left": (slice(None), slice(0, 4)),
        "right": (slice(None), slice(-4, None)),
    }
    sides = {
        name: {"sci": np.ascontiguousarray(sci[(..., *cut)]), "pixeldq": pixeldq[cut]}
        for name, cut in edges.items()
    }
    levels = reference_levels(sides, kernels, **keywords)
    return subtract_reference(sci, pixeldq, None, kernels, *levels, **keywords)[0]
