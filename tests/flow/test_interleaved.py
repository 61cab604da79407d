"""An IRS2 exposure through the steps: noise that its reads show goes, and frames are cut where they should be."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

import jwpipe
from jwpipe.dq import Pixel
from jwpipe.engine.interleaved import run_parts
from jwpipe.engine.preparing import Planned
from jwpipe.exposure import ExposureError
from jwpipe.numerics.irs2 import LINES, MIDDLE, OUTPUTS, SAMPLES, TICKS, Interleaving, is_reference
from jwpipe.refs import References
from jwpipe.stage1.linearity import linearity
from jwpipe.stage1.refpix import RefpixParams
from jwpipe.stage1.refpix_irs2 import refpix_irs2

LAYOUT = Interleaving(turned=True)
SIGNAL = 300.0
ROW = 3 * 640 + 28
"""A row of reference reads of output 1."""


@pytest.fixture(scope="module")
def refpix(tmp_path_factory) -> Path:
    """A reference that takes the reference output's noise as it is: alpha is 1."""
    path = tmp_path_factory.mktemp("refs") / "jwst_nirspec_refpix.fits"
    names = [f"{name}_{output}" for name in ("ALPHA", "BETA") for output in range(4)]
    rows = np.zeros(2 * SAMPLES, [(name, ">f4") for name in names])
    for output in range(4):
        rows[f"ALPHA_{output}"][::2] = 1
    bad = np.array([(1, 1, 1)], [("OUTPUT", ">i2"), ("ODD_EVEN", ">i2"), ("MASK", ">i4")])
    head = fits.PrimaryHDU()
    head.header.update(REFTYPE="REFPIX", INSTRUME="NIRSPEC", TELESCOP="JWST", READPATT="NRSIRS2")
    tables = [fits.BinTableHDU(rows, name="IRS2"), fits.BinTableHDU(bad, name="DQ")]
    fits.HDUList([head, *tables]).writeto(path)
    return path


def frames_with(amplitudes) -> np.ndarray:
    """Raw frames (1, g, y, x) of a signal in the pixels, and a sine of an amplitude for each group in all outputs."""
    frames = np.zeros((1, len(amplitudes), 3200, 2048), np.float32)
    frames[0, :, LAYOUT.science_rows()] = SIGNAL
    for output in range(OUTPUTS):
        time = LAYOUT.lines() * TICKS + LAYOUT.ticks(output)[:, np.newaxis]
        wave = np.sin(0.3 + 2 * np.pi * 2000 * time / SAMPLES)
        for group, amplitude in enumerate(amplitudes):
            frames[0, group, LAYOUT.rows(output)] += amplitude * wave
    return frames


@pytest.fixture(scope="module")
def exposure() -> xr.Dataset:
    sci = frames_with([2.0, -2.0])
    primary = {
        "INSTRUME": "NIRSPEC", "DETECTOR": "NRS2", "READPATT": "NRSIRS2", "SUBARRAY": "FULL", "FASTAXIS": -2,
        "SLOWAXIS": -1, "SUBSTRT1": 1, "SUBSTRT2": 1, "SUBSIZE1": 2048, "SUBSIZE2": 2048, "NRS_NORM": 16, "NRS_REF": 4,
        "EXP_TYPE": "NRS_FIXEDSLIT", "NGROUPS": 2,
    }  # fmt: skip
    pixeldq = np.zeros((3200, 2048), np.uint32)
    pixeldq[ROW, 7] = Pixel.BAD_REF_PIXEL
    return xr.Dataset(
        {
            "sci": (("integration", "group", "y", "x"), sci),
            "pixeldq": (("y", "x"), pixeldq),
            "groupdq": (("integration", "group", "y", "x"), np.zeros(sci.shape, np.uint8)),
        },
        attrs={"primary": primary, "sci": {}, "product": "superbias", "filename": "a.fits"},
    ).chunk()


def test_a_common_sine_goes_and_frames_are_cut(exposure, refpix):
    found = jwpipe.run_step("refpix", exposure, overrides={"refpix": refpix})
    assert found["sci"].shape == (1, 2, 2048, 2048)
    assert found["pixeldq"].shape == (2048, 2048)
    assert found["groupdq"].shape == (1, 2, 2048, 2048)
    assert found.attrs["primary"]["S_REFPIX"] == "COMPLETE"
    np.testing.assert_allclose(found["sci"], SIGNAL, atol=2e-3)
    corner = found["sci"][..., 100:103, 5:9].values
    np.testing.assert_allclose(corner, SIGNAL, atol=2e-3)


def test_preserved_reads_lie_where_they_were(exposure, refpix):
    found = jwpipe.run_step(
        "refpix", exposure, overrides={"refpix": refpix}, preserve_irs2_refpix=True
    )
    assert found["sci"].shape == (1, 2, 3200, 2048)
    rows = LAYOUT.science_rows()
    sci, pixeldq = found["sci"][0].values, found["pixeldq"].values
    np.testing.assert_allclose(sci[:, rows], SIGNAL, atol=2e-3)
    between = np.concatenate([LAYOUT.rows(output)[is_reference()] for output in range(1, OUTPUTS)])
    # There the reference output is filled nearly, but where its series ends and begins.
    assert np.mean(np.abs(sci[:, between]) > 2e-3) < 0.01
    # The reference output keeps its wave but for the straight line in time.
    first = LAYOUT.rows(0)[~is_reference()]
    time = LAYOUT.lines() * TICKS + LAYOUT.ticks(0)[~is_reference()][:, np.newaxis] - MIDDLE
    lost = exposure["sci"][0, 0].values[first] - sci[0, first]
    slope = np.polyfit(time.ravel()[:: LINES + 7], lost.ravel()[:: LINES + 7], 1)
    np.testing.assert_allclose(lost, np.polyval(slope, time), atol=1e-3)
    flagged = np.flatnonzero(pixeldq.any(axis=1))
    np.testing.assert_array_equal(flagged, [ROW])
    assert (pixeldq[ROW] == Pixel.BAD_REF_PIXEL | Pixel.DO_NOT_USE | 0).all()


def test_steps_after_refpix_refuse_interleaved_frames(exposure):
    def run(*_: object) -> xr.Dataset:
        raise AssertionError

    planned = [Planned(linearity, linearity.params(), "")]
    with pytest.raises(
        ExposureError, match=r"a\.fits: linearity: .*3200 rows.*refpix does not run"
    ):
        run_parts(exposure, planned, References({}, {}), run)
    kept = Planned(refpix_irs2, RefpixParams(preserve_irs2_refpix=True), "")
    with pytest.raises(ExposureError, match=r"linearity: .*preserve_irs2_refpix"):
        run_parts(exposure, [kept, *planned], References({}, {}), run)


def test_references_must_have_the_reads(exposure, tmp_path):
    path = tmp_path / "jwst_nirspec_superbias.fits"
    head = fits.PrimaryHDU()
    head.header.update(REFTYPE="SUPERBIAS", INSTRUME="NIRSPEC", TELESCOP="JWST", READPATT="NRS")
    head.header.update(SUBSTRT1=1, SUBSTRT2=1, SUBSIZE1=2048, SUBSIZE2=2048)
    bias = fits.ImageHDU(np.zeros((2048, 2048), np.float32), name="SCI")
    flags = fits.ImageHDU(np.zeros((2048, 2048), np.uint32), name="DQ")
    fits.HDUList([head, bias, flags]).writeto(path)
    with pytest.raises(ExposureError, match=r"a\.fits: superbias: .*2048 rows.*3200.*NRSIRS2"):
        jwpipe.run_step("superbias", exposure, overrides={"superbias": path})
