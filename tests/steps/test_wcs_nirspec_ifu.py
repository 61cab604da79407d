"""The IFU of NIRSpec: slices, the map of them, and both kinds of WCS, against jwst 3.0.0."""

import nirspec_examples as examples
import numpy as np
import pytest

from jwpipe.io.asdf_tree import dump, parse
from jwpipe.stage2.assign_wcs import AssignWcsParams, tie_to_sky
from jwpipe.wcs import nirspec

pytestmark = pytest.mark.skipif(
    not examples.REFERENCES.exists(), reason=f"{examples.REFERENCES} is absent"
)
PIXEL = (839.5, 455.5)
SKY = (150.06407193266372, 2.40331498957136, 1.4294344455110461)
"""A place in slice 14, as jwst 3.0.0 has it."""


def run(
    folder, exp_type="NRS_IFU", filter_="F100LP", grating="G140M", *, by_slice=False, **changes
):
    values = examples.keywords(exp_type, filter_, grating, **changes)
    references = examples.references(filter_, grating, folder)
    return tie_to_sky(
        examples.exposure(values), references, AssignWcsParams(nrs_ifu_slice_wcs=by_slice)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ifu")


@pytest.fixture(scope="module")
def solved(folder):
    return run(folder)


def test_coordinates_find_their_slice(solved):
    wcs = solved.attrs["wcs"]
    assert wcs.available_frames[:3] == ["coordinates", "detector", "slicer"]
    assert wcs.available_frames[3:6] == ["msa_frame", "oteip", "oteip_chromcorr"]
    np.testing.assert_allclose(wcs(*PIXEL), SKY, rtol=1e-12)
    np.testing.assert_allclose(wcs.invert(*wcs(*PIXEL)), PIXEL, atol=0.02)
    assert np.isnan(wcs(5, 5)).all()


def test_map_of_the_slices(solved):
    """Pixels of no slice, and of slices 0, 14 and 29, as many as jwst 3.0.0 finds."""
    regions = solved["regions"]
    assert (regions.dtype, regions.shape) == (np.int32, (2048, 2048))
    counts = np.bincount(regions.values.ravel(), minlength=31)
    assert counts[[0, 1, 15, 30]].tolist() == [2750958, 47922, 48435, 47640]


def test_footprint_holds_all_slices(solved):
    assert solved.attrs["sci"]["S_REGION"] == (
        "POLYGON ICRS  150.063603853 2.402579804 150.064823342 2.402579804 "
        "150.064823342 2.403702378 150.063603853 2.403702378"
    )


def test_single_slices(solved):
    wcs = solved.attrs["wcs"]
    assert nirspec.slit_names(wcs) == list(range(30))
    single = nirspec.one_slit(wcs, 14)
    np.testing.assert_allclose(single(*PIXEL), SKY, rtol=1e-12)
    np.testing.assert_allclose(single.invert(*SKY), PIXEL, atol=0.02)
    assert [tuple(single.bounding_box[axis]) for axis in "xy"] == [(108.5, 1570.5), (432.5, 478.5)]
    # The next slice does not see this pixel.
    assert np.isnan(nirspec.one_slit(wcs, 15)(*PIXEL, with_bounding_box=False)[2])


def test_wcs_survives_files(solved):
    wcs = solved.attrs["wcs"]
    copy = parse(dump({"wcs": wcs}), "here")["wcs"]
    np.testing.assert_allclose(copy(*PIXEL), wcs(*PIXEL), rtol=1e-15)
    assert nirspec.one_slit(copy, 14).bounding_box == nirspec.one_slit(wcs, 14).bounding_box


def test_slices_by_number(folder, solved):
    by_slice = run(folder, by_slice=True)
    wcs = by_slice.attrs["wcs"]
    assert wcs.available_frames[:6] == [
        "detector",
        "sca",
        "gwa",
        "slit_frame",
        "slicer",
        "msa_frame",
    ]
    np.testing.assert_allclose(wcs(*PIXEL, 14), [*SKY, 14], rtol=1e-12)
    assert by_slice.attrs["sci"]["S_REGION"] == solved.attrs["sci"]["S_REGION"]
    box = nirspec.one_slit(wcs, 14).bounding_box
    (left, right), (bottom, top) = tuple(box["x"]), tuple(box["y"])
    assert (bottom, top) == (429.5, 479.5)
    assert (left, right) == pytest.approx((108.5, 1570.5), abs=1)


def test_colour_of_the_fore_optics(folder, solved):
    """0.4 and -0.7 units of the telescope's focus per metre of wavelength, magnified as by the telescope."""
    values = examples.keywords("NRS_IFU")
    references = examples.references(folder=folder, chromcorr=None)
    plain = tie_to_sky(examples.exposure(values), references, AssignWcsParams()).attrs["wcs"]
    before, after = np.array(plain(*PIXEL)), np.array(solved.attrs["wcs"](*PIXEL))
    assert before[2] == after[2]
    x, y, wavelength = plain.transform("coordinates", "oteip", *PIXEL)
    telescope = references["ote"].tree()["model"]
    shift = np.subtract(telescope(x + 0.4 * wavelength, y - 0.7 * wavelength), telescope(x, y))
    moved = (after - before)[:2] * 3600 * [np.cos(np.radians(SKY[1])), 1]
    assert np.hypot(*moved) == pytest.approx(np.hypot(*shift), rel=0.02)
    assert np.hypot(*moved) > 1e-3


def test_lamps_keep_the_numbers_and_have_no_map(folder):
    found = run(folder, "NRS_LAMP", "OPAQUE", "G395H", OPMODE="IFU", LAMP="FLAT3")
    assert "regions" not in found
    single = nirspec.one_slit(found.attrs["wcs"], 9)
    pixel = 1210.8509184601899, 1418.5
    x, y, wavelength = single(*pixel)
    assert wavelength == pytest.approx(3.457988356609748, rel=1e-11)
    assert (x, y) == pytest.approx((0.0411, -0.0001), abs=1e-4)
    np.testing.assert_allclose(single.invert(x, y, wavelength), pixel, atol=0.05)
