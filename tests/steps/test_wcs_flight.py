"""The gwcs of flight products: read, compared with our own for the same headers, and written again.

Our references are not those of flight, and the differences are stated. NIRCam's distortion is that of the SIAF here:
within a detector it has the shape found in flight within 0.07 arcsec (1 to 2 pixels), and module B is 1.5 arcsec off as
a whole. The WCS of flight were also aligned to stars, which moved them by 0.1 to 0.4 arcsec.
"""

import pickle
from pathlib import Path

import asdf
import nirspec_examples
import numpy as np
import pytest

from jwpipe.exposure import Header
from jwpipe.io import open, save
from jwpipe.io.asdf_tree import dump, parse
from jwpipe.wcs.imaging import imaging_wcs

DATA = nirspec_examples.DATA
NIRCAM = DATA / "flight" / "nircam_gwcs_1345_visit1"
SIAF = DATA / "references" / "nircam_distortion_siaf"
PRODUCTS = {
    "s2d": DATA
    / "flight/nirspec_fs_g140m_1492/jw01492-o005_s00004_nirspec_f100lp-g140m-s1600a1-sub2048_s2d.fits",
    "slit": DATA
    / "flight/nirspec_mos_prism_4233/jw04233006001_03101_00002_nrs1_phot.142.4233_46811.fits",
    "s3d": DATA / "flight/miri_mrs_ngc7469/Level3_ch4-short_s3d.fits.gz",
}
needs_flight = pytest.mark.skipif(not NIRCAM.exists(), reason=f"{NIRCAM} is absent")


def flight(detector):
    """The gwcs of a flight exposure and the keywords of its pointing."""
    path = next(iter(sorted(NIRCAM.glob(f"*_nrc{detector}_tweakreg.asdf"))))
    tree = parse(path.read_bytes(), path.name)
    sci = {key.upper(): value for key, value in tree["wcsinfo"].items()}
    # The scale of the velocity aberration is a step of the WCS.
    sci["VA_SCALE"] = float(tree["wcs"].pipeline[1].transform.parameters[0])
    primary = {"INSTRUME": "NIRCAM", "EXP_TYPE": "NRC_IMAGE", "FILTER": "F115W", "PUPIL": "CLEAR"}
    return tree["wcs"], Header({"primary": primary, "sci": sci})


def apart(one, other):
    """East and north (arcsec) from one set of positions (deg) to another."""
    east = (np.asarray(one[0]) - other[0]) * np.cos(np.radians(other[1]))
    return np.stack([east, np.asarray(one[1]) - other[1]]) * 3600


@needs_flight
@pytest.mark.parametrize(
    ("detector", "whole", "shape"), [("a1", 0.1, 0.02), ("along", 0.17, 0.04), ("b3", 1.5, 0.07)]
)
def test_ours_and_that_of_flight(detector, whole, shape):
    """As a whole within ``whole`` arcsec, and in shape within ``shape``, where alignment is left out."""
    theirs, header = flight(detector)
    with asdf.open(
        SIAF / f"nrc{detector.replace('long', '5')}_distortion.asdf", lazy_load=False, memmap=False
    ) as file:
        ours = imaging_wcs(header, (2048, 2048), file["model"])
    x, y = np.meshgrid(np.linspace(0, 2047, 9), np.linspace(0, 2047, 9))
    telescope = theirs.get_transform("detector", "v2v3vacorr")(x, y)
    onwards = ours.get_transform("v2v3vacorr", "world")
    off = apart(ours(x, y), onwards(*telescope))
    middle = off.mean(axis=(1, 2), keepdims=True)
    assert np.abs(middle).max() < whole
    assert np.hypot(*(off - middle)).max() < shape
    aligned = apart(theirs(x, y), onwards(*telescope))
    assert 0.05 < np.hypot(*aligned).mean() < 0.5


@needs_flight
def test_the_telescope_points_alike():
    """From V2, V3 to the sky nothing is left to references: both agree within a microarcsecond."""
    theirs, header = flight("b1")
    with asdf.open(SIAF / "nrcb1_distortion.asdf", lazy_load=False, memmap=False) as file:
        ours = imaging_wcs(header, (2048, 2048), file["model"])
    v2, v3 = np.meshgrid(header["V2_REF"] + np.arange(-30, 31, 15), header["V3_REF"] + np.arange(9))
    frames = ("v2v3corr", "world"), ("v2v3vacorr", "world")
    found = [
        wcs.get_transform(*pair)(v2, v3) for wcs, pair in zip((theirs, ours), frames, strict=True)
    ]
    assert np.abs(apart(*found)).max() < 1e-6


@needs_flight
def test_an_aligned_wcs_is_written_unchanged():
    theirs, _ = flight("a3")
    again = [parse(dump({"wcs": theirs}), "it")["wcs"], pickle.loads(pickle.dumps(theirs))]
    x, y = np.meshgrid(np.linspace(-0.5, 2047.5, 7), np.linspace(-0.5, 2047.5, 7))
    for wcs in again:
        assert wcs.available_frames == theirs.available_frames
        assert wcs.bounding_box == theirs.bounding_box
        np.testing.assert_array_equal(wcs(x, y), theirs(x, y))
        sky = theirs(x, y)
        np.testing.assert_array_equal(wcs.invert(*sky), theirs.invert(*sky))


@pytest.mark.parametrize("format", ["fits", "zarr"])
@pytest.mark.parametrize("product", PRODUCTS)
def test_products_are_written_unchanged(product, format, tmp_path):
    """Coordinates of all pixels through the WCS of a product, and of the same product written by jwpipe."""
    path = Path(PRODUCTS[product])
    if not path.exists():
        pytest.skip(f"{path} is absent")
    before = open(path)
    after = open(save(before, tmp_path / f"{path.name.split('.')[0]}.{format}", format=format))
    wcs = before.attrs["wcs"]
    assert after.attrs["wcs"].available_frames == wcs.available_frames
    pixels = np.mgrid[tuple(slice(0, size, 5) for size in before["sci"].shape)][::-1].astype(float)
    np.testing.assert_array_equal(after.attrs["wcs"](*pixels), wcs(*pixels))
