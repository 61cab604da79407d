"""What is wrong with an exposure of a spectrograph is told with file, keyword, expectation and remedy."""

import nirspec_examples as examples
import numpy as np
import pytest
from astropy.io import fits
from test_wcs_nirspec_msa import SOURCE, row

from jwpipe.exposure import ExposureError, MissingKeyword
from jwpipe.stage2.assign_wcs import AssignWcsParams, tie_to_sky
from jwpipe.wcs import nirspec
from jwpipe.wcs.nirspec_slits import NoLightError

needs_references = pytest.mark.skipif(
    not examples.REFERENCES.exists(), reason=f"{examples.REFERENCES} is absent"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("nirspec")


def solved(folder, exp_type, *optics, detector="NRS1", **changes):
    optics = optics or ("F100LP", "G140M")
    values = examples.keywords(exp_type, *optics, detector=detector, **changes)
    references = examples.references(*optics, folder)
    return tie_to_sky(
        examples.exposure(values, folder=folder), references, AssignWcsParams()
    ).attrs["wcs"]


@needs_references
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"GWA_XTIL": "N/A"}, "GWA_XTIL is 'N/A', expected a finite number"),
        ({"GWA_YTIL": np.nan}, "GWA_YTIL is nan, expected a finite number"),
        ({"VELOSYS": "fast"}, "VELOSYS is 'fast', expected the radial velocity"),
        ({"RA_REF": None, "V3_REF": "far"}, "V3_REF = 'far', RA_REF is missing"),
        ({"FILTER": "CLEAR2"}, "FILTER is 'CLEAR2'.*expected one of CLEAR F070LP"),
        ({"GRATING": "G999H"}, "GRATING is 'G999H'.*expected one of G140M"),
        ({"DETECTOR": "NRS3"}, "DETECTOR is 'NRS3', expected NRS1 or NRS2"),
    ],
)
def test_keywords_of_nirspec(folder, changes, reason):
    with pytest.raises(ExposureError, match=rf"one_rate\.fits: assign_wcs: .*{reason}"):
        solved(folder, "NRS_FIXEDSLIT", **changes)


@needs_references
@pytest.mark.parametrize("keyword", ["FILTER", "GRATING", "DETECTOR"])
def test_keywords_that_are_missing_are_told_with_the_step(folder, keyword):
    with pytest.raises(MissingKeyword, match=rf"fits: assign_wcs: keyword {keyword} is missing"):
        solved(folder, "NRS_FIXEDSLIT", **{keyword: None})


@needs_references
@pytest.mark.filterwarnings("ignore:.*it does not hold the primary source")
@pytest.mark.parametrize("kind", ["fpa", "camera", "disperser", "collimator", "fore", "ote", "msa"])
def test_references_that_are_missing_are_named_with_the_remedy(folder, kind):
    values = examples.keywords("NRS_MSASPEC")
    examples.write_msa_metadata(folder / "one_msa.fits")
    references = examples.references(folder=folder, **{kind: None})
    with pytest.raises(ExposureError, match=rf"no {kind} reference.*--override {kind}=FILE"):
        tie_to_sky(examples.exposure(values, folder=folder), references, AssignWcsParams())


@pytest.mark.parametrize(
    ("table", "column"),
    [("SHUTTER_INFO", "shutter_state"), ("SHUTTER_INFO", "slitlet_id"), ("SOURCE_INFO", "alias")],
)
@needs_references
def test_msa_files_without_a_column(folder, table, column):
    path = examples.write_msa_metadata(folder / "one_msa.fits")
    with fits.open(path, mode="update") as hdus:
        hdus[table].columns.del_col(column)
    told = rf"one_msa\.fits .MSAMETFL.: no MSA metadata file.*{table} has no column {column}"
    with pytest.raises(ExposureError, match=told):
        solved(folder, "NRS_MSASPEC")


@needs_references
def test_an_msa_file_whose_tables_are_images(folder):
    names = ("SHUTTER_INFO", "SOURCE_INFO")
    images = (fits.ImageHDU(np.zeros((2, 2)), name=name) for name in names)
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(folder / "one_msa.fits", overwrite=True)
    with pytest.raises(ExposureError, match="SHUTTER_INFO has no column slitlet_id"):
        solved(folder, "NRS_MSASPEC")


@needs_references
def test_slitlets_that_miss_the_detector_leave_the_others_alone(folder):
    """Light of row 20 of the first quadrant falls on NRS2 alone, that of row 340 on both detectors."""
    seen = row(1, 90, shutter_quadrant=1, shutter_row=340, **SOURCE)
    missed = row(2, 90, shutter_quadrant=1, shutter_row=20, **SOURCE)
    boxes = {}
    for name, rows in {"both": [seen, missed], "one": [seen]}.items():
        examples.write_msa_metadata(folder / "one_msa.fits", rows)
        wcs = solved(folder, "NRS_MSASPEC")
        boxes[name] = {n: nirspec.one_slit(wcs, n).bounding_box for n in nirspec.slit_names(wcs)}
    assert list(boxes["both"]) == list(boxes["one"]) == [1]
    assert boxes["both"][1] == boxes["one"][1]


@needs_references
def test_an_exposure_none_of_whose_slits_is_seen_says_so(folder):
    examples.write_msa_metadata(
        folder / "one_msa.fits", [row(1, 90, shutter_quadrant=3, shutter_row=5, **SOURCE)]
    )
    with pytest.raises(NoLightError, match=r"one_rate\.fits.*none of the open slits falls on NRS2"):
        solved(folder, "NRS_MSASPEC", "CLEAR", "PRISM", detector="NRS2")
