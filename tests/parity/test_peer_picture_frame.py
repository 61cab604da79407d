"""The picture frame of NIRSpec's full frames against jwst 3.0.0: of a ramp, and of rates of the fixed slits.

The references of the slits are found through ``JWPIPE_TEST_DATA``; without them that case is skipped.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from compare import planes
from peer import Job, Peer, task

from jwpipe.runner import run

sys.path.append(str(Path(__file__).parents[1] / "steps"))
from nirspec_examples import REFERENCES, keywords, references

pytestmark = pytest.mark.peer

SIZE = 2048
READOUT = {
    "DATE-OBS": "2022-07-01",
    "TIME-OBS": "10:00:00.000",
    "READPATT": "NRSRAPID",
    "NFRAMES": 1,
    "GROUPGAP": 0,
    "NINTS": 1,
    "NGROUPS": 3,
    "TFRAME": 10.73677,
    "TGROUP": 10.73677,
    "SUBSIZE1": SIZE,
    "SUBSIZE2": SIZE,
    "FASTAXIS": 2,
    "SLOWAXIS": 1,
}


def reference(kind: str, pixels: np.ndarray, path: Path) -> str:
    """A reference file of the full frame."""
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(pixels.astype(np.float32), name="SCI")])
    words = {"REFTYPE": kind.upper(), "TELESCOP": "JWST", "INSTRUME": "NIRSPEC", "DETECTOR": "NRS1",
             "SUBARRAY": "FULL", "SUBSTRT1": 1, "SUBSTRT2": 1, "SUBSIZE1": SIZE, "SUBSIZE2": SIZE,
             "FASTAXIS": 2, "SLOWAXIS": 1, "AUTHOR": "test", "PEDIGREE": "DUMMY", "DESCRIP": kind,
             "HISTORY": "test", "USEAFTER": "2022-01-01T00:00:00"}  # fmt: skip
    hdus[0].header.update(words)
    hdus.writeto(path)
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, str]:
    """A pattern that is larger near the edges, gain and read noise."""
    folder = tmp_path_factory.mktemp("pictureframe")
    draw = np.random.default_rng(5)
    y, x = np.mgrid[:SIZE, :SIZE]
    edge = np.minimum(np.minimum(y, SIZE - 1 - y), np.minimum(x, SIZE - 1 - x))
    pattern = 0.02 * np.exp(-edge / 60.0) + draw.normal(0, 0.001, (SIZE, SIZE))
    return {
        "pictureframe": reference("pictureframe", pattern, folder / "pictureframe.fits"),
        "gain": reference("gain", np.full((SIZE, SIZE), 1.1), folder / "gain.fits"),
        "readnoise": reference("readnoise", np.full((SIZE, SIZE), 8.0), folder / "readnoise.fits"),
    }


def with_frame(files: dict[str, str], shape: tuple[int, ...], step: float) -> np.ndarray:
    """Noise, sources, NaN, and ``step`` times as much of the pattern as in the frame before."""
    draw = np.random.default_rng(len(shape))
    pattern = fits.getdata(files["pictureframe"])
    data = draw.normal(0.1, 0.02, shape).astype(np.float32)
    strength = np.arange(np.prod(shape[:-2])).reshape(*shape[:-2], 1, 1) + 1
    data += (step * strength * pattern).astype(np.float32)
    data[..., 600:640, 100:1900] += 5
    data[..., 1200, ::50] = np.nan
    return data


def write(path: Path, words: dict[str, Any], arrays: dict[str, np.ndarray], model: str) -> Path:
    """An exposure as the data models write it."""
    from stdatamodels.jwst import datamodels

    hdus = fits.HDUList([fits.PrimaryHDU()])
    primary = {k: v for k, v in words.items() if k not in POINTING}
    hdus[0].header.update(primary | {"DATAMODL": model, "FILENAME": path.name, "TELESCOP": "JWST"})
    for name, array in arrays.items():
        hdus.append(fits.ImageHDU(array, name=name))
    hdus["SCI"].header.update({k: v for k, v in words.items() if k in POINTING})
    hdus["SCI"].header["BUNIT"] = "DN" if "GROUPDQ" in arrays else "DN/s"
    hdus.writeto(path)
    with getattr(datamodels, model)(str(path)) as opened:
        opened.save(str(path))
    return path


POINTING = ("VELOSYS", "VA_SCALE", "V2_REF", "V3_REF", "RA_REF", "DEC_REF", "ROLL_REF", "V3I_YANG", "CRPIX1",
            "CRPIX2")  # fmt: skip


def assert_same(ours: Path, theirs: Path) -> None:
    """The pixels agree to single precision, and something was taken off."""
    mine, others = planes(ours), planes(theirs)
    np.testing.assert_allclose(mine["SCI"], others["SCI"], rtol=2e-6, atol=2e-6)


def started(
    peer: Peer, name: str, source: Path, files: dict[str, str], out: Path, **given: Any
) -> Job:
    """The peer at work on a file."""
    options = {**given, "skip": False, "save_mask": True, "save_correction": True}
    work = task("PictureFrameStep", source, out, files)
    return peer.start(name, [work | {"parameters": options}])


def ours_of(source: Path, files: dict[str, str], out: Path, **given: Any) -> None:
    """Our products of the same."""
    steps = {"picture_frame": {**given, "save_mask": True, "save_correction": True}}
    (outcome,) = run("picture_frame", source, out, overrides=files, steps=steps)
    assert not outcome.error, outcome.error


def test_ramps(peer: Peer, files, tmp_path):
    """Each group, less the first, loses its own share of the pattern."""
    shape = (1, 3, SIZE, SIZE)
    sci = np.cumsum(with_frame(files, shape, 40), axis=1, dtype=np.float32)
    groupdq = np.zeros(shape, np.uint8)
    groupdq[:, 2, 900:950, 900:950] = 4
    arrays = {"SCI": sci, "PIXELDQ": np.zeros(shape[2:], np.uint32), "GROUPDQ": groupdq}
    words = keywords("NRS_IFU", FXD_SLIT="NONE", MSAMETFL="N/A") | READOUT
    source = write(
        tmp_path / "jw00001001001_02101_00001_nrs1_jump.fits", words, arrays, "RampModel"
    )
    options = {"mask_science_regions": False, "n_sigma": 2.5}
    job = started(peer, "picture frame of a ramp", source, files, tmp_path / "theirs", **options)
    ours_of(source, files, tmp_path / "ours", **options)
    job.wait()
    compare(source, tmp_path)
    change = planes(product(source, tmp_path / "ours", "pctfrm_correction"))["SCI"]
    assert not change[:, 0].any()
    assert np.nanmedian(change[0, 2, :70]) < np.nanmedian(change[0, 2, 900:1000]) < 0


def test_rates(peer: Peer, files, tmp_path):
    """The slits are left out of the background; integrations share their mask."""
    if not REFERENCES.exists():
        pytest.skip(f"{REFERENCES} is not there")
    found = references(folder=tmp_path)
    given = files | {kind: file.path for kind, file in found.items() if file is not None}
    shape = (2, SIZE, SIZE)
    sci = with_frame(files, shape, 1)
    arrays = {"SCI": sci, "ERR": np.ones_like(sci), "DQ": np.zeros(shape, np.uint32)}
    words = keywords("NRS_FIXEDSLIT") | READOUT
    source = write(
        tmp_path / "jw00001001001_02101_00001_nrs1_rateints.fits", words, arrays, "CubeModel"
    )
    job = started(peer, "picture frame of rates", source, given, tmp_path / "theirs")
    ours_of(source, given, tmp_path / "ours")
    job.wait()
    compare(source, tmp_path)


def product(source: Path, folder: Path, suffix: str) -> Path:
    """A product of an exposure."""
    (path,) = folder.glob(f"{source.name.rpartition('_')[0]}*{suffix}.fits")
    return path


def compare(source: Path, folder: Path) -> None:
    """Masks are the same; the pixels and what was added to them agree to single precision."""
    ours, theirs = folder / "ours", folder / "theirs"
    masks = [planes(product(source, each, "pctfrm_mask"))["SCI"] for each in (ours, theirs)]
    assert 0.2 < masks[1].mean() < 0.99
    np.testing.assert_array_equal(*masks)
    for suffix in ("pctfrm_correction", "pictureframe*"):
        pixels = [planes(product(source, each, suffix))["SCI"] for each in (ours, theirs)]
        np.testing.assert_allclose(*pixels, rtol=2e-6, atol=2e-6)
