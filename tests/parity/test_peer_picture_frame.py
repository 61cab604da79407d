"""The picture frame of NIRSpec's full frames against jwst 3.0.0: of a ramp, and of rates of the fixed slits.

The references of the slits are found through ``JWPIPE_TEST_DATA``; without them that case is skipped.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from compare import planes
from peer import Peer, task

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


@dataclass(frozen=True)
class Case:
    """An exposure, its references and the step's parameters."""

    source: Path
    files: dict[str, str]
    options: dict[str, Any]


def ramp(files: dict[str, str], folder: Path) -> Case:
    """A ramp whose groups hold more and more of the pattern."""
    shape = (1, 3, SIZE, SIZE)
    sci = np.cumsum(with_frame(files, shape, 40), axis=1, dtype=np.float32)
    groupdq = np.zeros(shape, np.uint8)
    groupdq[:, 2, 900:950, 900:950] = 4
    arrays = {"SCI": sci, "PIXELDQ": np.zeros(shape[2:], np.uint32), "GROUPDQ": groupdq}
    words = keywords("NRS_IFU", FXD_SLIT="NONE", MSAMETFL="N/A") | READOUT
    path = folder / "jw00001001001_02101_00001_nrs1_jump.fits"
    options = {"mask_science_regions": False, "n_sigma": 2.5}
    return Case(write(path, words, arrays, "RampModel"), files, options)


def rates(files: dict[str, str], folder: Path) -> Case:
    """The rate of an exposure of the fixed slits."""
    found = references(folder=folder)
    optics = {kind: file.path for kind, file in found.items() if file is not None}
    shape = (SIZE, SIZE)
    sci = with_frame(files, shape, 1)
    arrays = {"SCI": sci, "ERR": np.ones_like(sci), "DQ": np.zeros(shape, np.uint32)}
    path = folder / "jw00002001001_02101_00001_nrs1_rate.fits"
    words = keywords("NRS_FIXEDSLIT") | READOUT
    return Case(write(path, words, arrays, "ImageModel"), files | optics, {})


@pytest.fixture(scope="module")
def results(peer: Peer, files, tmp_path_factory) -> Path:
    """A folder with our products and theirs."""
    folder = tmp_path_factory.mktemp("frames")
    cases = [ramp(files, folder)]
    if REFERENCES.exists():
        cases.append(rates(files, folder))
    save = {"save_mask": True, "save_correction": True}
    tasks = [
        task("PictureFrameStep", case.source, folder / "theirs", case.files)
        | {"parameters": {**case.options, **save, "skip": False}}
        for case in cases
    ]
    job = peer.start("picture frame", tasks)
    for case in cases:
        steps = {"picture_frame": {**case.options, **save}}
        (outcome,) = run(
            "picture_frame", case.source, folder / "ours", overrides=case.files, steps=steps
        )
        assert not outcome.error, outcome.error
    job.wait()
    return folder


def pixels(folder: Path, name: str, suffix: str) -> np.ndarray:
    """The pixels of a product."""
    (path,) = folder.glob(f"{name}*_{suffix}*.fits")
    return planes(path)["SCI"]


@pytest.mark.parametrize("name", ["jw00001", "jw00002"])
def test_products(results, name):
    """Masks are the same; the pixels, and what was added to them, agree to single precision."""
    if not list(results.glob(f"{name}*")):
        pytest.skip(f"{REFERENCES} is not there")
    ours, theirs = results / "ours", results / "theirs"
    masks = [pixels(folder, name, "pctfrm_mask") for folder in (ours, theirs)]
    assert 0.2 < masks[1].mean() < 0.99
    np.testing.assert_array_equal(*masks)
    for suffix in ("pctfrm_correction", "picture"):
        found = [pixels(folder, name, suffix) for folder in (ours, theirs)]
        np.testing.assert_allclose(*found, rtol=2e-6, atol=2e-6)


def test_later_groups_lose_more(results):
    change = pixels(results / "ours", "jw00001", "pctfrm_correction")
    assert not np.nan_to_num(change[:, 0]).any()
    assert np.nanmedian(change[0, 2, :70]) < np.nanmedian(change[0, 1, :70]) < 0
