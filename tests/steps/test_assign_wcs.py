"""The WCS of images: pointing, frames, footprint, SIP keywords, and what is refused."""

import json
import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from astropy import wcs as fitswcs
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.modeling.models import Mapping, Polynomial2D, Scale, Shift
from hypothesis import given, settings
from hypothesis import strategies as st

from jwpipe.exposure import ExposureError, Header
from jwpipe.refs import References
from jwpipe.stage2.assign_wcs import AssignWcsParams, assign_wcs, tie_to_sky
from jwpipe.wcs.imaging import filter_offset, imaging_wcs
from jwpipe.wcs.pixelmap import SparseMap, between
from jwpipe.wcs.pointing import Pointing

DATA = Path(os.environ.get("JWPIPE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
SHAPE = (40, 50)
KEYWORDS = {
    "INSTRUME": "NIRCAM",
    "EXP_TYPE": "NRC_IMAGE",
    "FILTER": "F200W",
    "PUPIL": "CLEAR",
    "SUBSTRT1": 101,
    "SUBSTRT2": 201,
    "V2_REF": -120.0,
    "V3_REF": -450.0,
    "RA_REF": 80.0,
    "DEC_REF": -69.5,
    "ROLL_REF": 37.0,
    "VA_SCALE": 1.00006,
    "CRPIX1": 20.25,
    "CRPIX2": 30.75,
    "CDELT1": 1e-5,
    "PC1_1": 1.0,
    "A_1_1": 9.0,
}


def distortion(bend=2e-7):
    """0.03 arcsec a pixel, a little bent, pixel (124.5, 219.5) of the full frame at the reference."""
    centre = Shift(-124.5) & Shift(-219.5)
    x = Polynomial2D(2, c1_0=-0.03, c0_1=0.001, c1_1=bend)
    y = Polynomial2D(2, c1_0=0.001, c0_1=0.03, c2_0=bend)
    model = centre | Mapping((0, 1, 0, 1)) | (x & y) | (Shift(-120.0) & Shift(-450.0))
    model.inverse = (
        (Shift(120.0) & Shift(450.0))
        | (Scale(-1 / 0.03) & Scale(1 / 0.03))
        | (Shift(124.5) & Shift(219.5))
    )
    return model


def exposure(**changes):
    values = {key: value for key, value in (KEYWORDS | changes).items() if value is not None}
    variables = {"sci": (("y", "x"), np.zeros(SHAPE, np.float32))}
    return xr.Dataset(variables, attrs={"primary": {}, "sci": values, "filename": "one_rate.fits"})


def references(model=None, filters=None):
    model = distortion() if model is None else model
    offsets = None if filters is None else SimpleNamespace(tree=lambda: {"filters": filters})
    file = SimpleNamespace(tree=lambda: {"model": model}, path="distortion.asdf")
    return {"distortion": file, "filteroffset": offsets}


def run(changes=None, **parameters):
    given_ = exposure(**(changes or {}))
    return tie_to_sky(given_, references(), AssignWcsParams(**parameters))


def separation(a, b):
    """Largest distance on the sky, in mas."""
    return SkyCoord(*a, unit="deg").separation(SkyCoord(*b, unit="deg")).mas.max()


def test_reference_point_is_where_the_header_says():
    pointing = Pointing(v2=-120, v3=-450, ra=80, dec=-69.5, roll=37)
    np.testing.assert_allclose(pointing.to_sky()(-120, -450), (80, -69.5), atol=1e-12)


def test_roll_zero_puts_v3_to_the_north_and_v2_to_the_east():
    """At dec 60, 36 arcsec of V3 are 0.01 deg of dec, and 36 arcsec of V2 are 0.02 deg of RA."""
    sky = Pointing(v2=0, v3=0, ra=10, dec=60, roll=0).to_sky()
    np.testing.assert_allclose(sky(0, 36), (10, 60.01), atol=1e-12)
    np.testing.assert_allclose(sky(36, 0), (10.02, 60), atol=2e-6)


def test_roll_is_the_position_angle_of_v3():
    ra, dec = Pointing(v2=100, v3=50, ra=10, dec=0, roll=30).to_sky()(100, 50 + 3.6)
    assert (ra - 10) / 0.001 == pytest.approx(np.sin(np.radians(30)), rel=1e-6)
    assert dec / 0.001 == pytest.approx(np.cos(np.radians(30)), rel=1e-6)


def test_aberration_scales_about_the_reference_point():
    model = Pointing(v2=-120, v3=-450, ra=0, dec=0, roll=0, scale=1.0001).aberration()
    np.testing.assert_allclose(model(-120, -450), (-120, -450))
    np.testing.assert_allclose(model(-20, -450), (-20 + 0.01, -450))


def test_frames_units_and_bounding_box():
    wcs = run().attrs["wcs"]
    assert wcs.available_frames == ["detector", "v2v3", "v2v3vacorr", "world"]
    assert [str(unit) for unit in wcs.output_frame.unit] == ["deg", "deg"]
    box = wcs.bounding_box
    assert (tuple(box[0]), tuple(box[1])) == ((-0.5, 49.5), (-0.5, 39.5))
    # Full-frame pixel (124.5, 219.5) is (24.5, 19.5) of the subarray that begins at (100, 200).
    np.testing.assert_allclose(wcs(24.5, 19.5), (80, -69.5), atol=1e-12)


def test_filter_offset_is_added_to_the_pixel():
    filters = [{"filter": "F200W", "pupil": "CLEAR", "column_offset": 0.5, "row_offset": -0.25}]
    plain = run().attrs["wcs"]
    shifted = tie_to_sky(exposure(), references(filters=filters), AssignWcsParams()).attrs["wcs"]
    np.testing.assert_allclose(shifted(10, 10), plain(10.5, 9.75), atol=1e-13)


def test_filter_offset_rows():
    header = Header({"sci": {"INSTRUME": "NIRCAM", "FILTER": "F200W", "PUPIL": "CLEAR"}})
    row = {"filter": "F200W", "pupil": "CLEAR", "column_offset": 1.0, "row_offset": 2.0}
    assert filter_offset(header, [row | {"pupil": "WLP8"}]) == (0, 0)
    assert filter_offset(header, [row | {"row_offset": "N/A"}]) == (0, 0)
    with pytest.raises(ExposureError, match="2 rows for F200W CLEAR"):
        filter_offset(header, [row, row])
    miri = Header({"sci": {"INSTRUME": "MIRI", "FILTER": "F200W"}})
    assert filter_offset(miri, [row, row | {"row_offset": 5.0}]) == (1, 2)


def test_limits_of_the_distortion_hold_for_full_frames_only():
    model = distortion()
    model.bounding_box = ((3.5, 35.5), (-0.5, 1e4))
    full = Header({"sci": KEYWORDS | {"SUBSTRT1": 1, "SUBSTRT2": 1}})
    box = imaging_wcs(full, SHAPE, model).bounding_box
    assert (tuple(box[0]), tuple(box[1])) == ((-0.5, 49.5), (3.5, 35.5))
    subarray = imaging_wcs(Header({"sci": KEYWORDS}), SHAPE, model).bounding_box
    assert tuple(subarray[1]) == (-0.5, 39.5)


@settings(deadline=None, max_examples=20)
@given(
    ra=st.floats(0, 359.99), dec=st.floats(-89.9, 89.9), roll=st.floats(0, 360), x=st.floats(0, 49)
)
def test_sky_to_pixel_inverts(ra, dec, roll, x):
    header = Header({"sci": KEYWORDS | {"RA_REF": ra, "DEC_REF": dec, "ROLL_REF": roll}})
    linear = (Shift(-124.5) & Shift(-219.5)) | (Scale(-0.03) & Scale(0.03))
    wcs = imaging_wcs(header, SHAPE, linear | (Shift(-120) & Shift(-450)))
    np.testing.assert_allclose(wcs.invert(*wcs(x, 7.0)), (x, 7.0), atol=1e-6)


def test_footprint_goes_clockwise_from_the_first_corner():
    result = run()
    words = result.attrs["sci"]["S_REGION"].split()
    assert words[:2] == ["POLYGON", "ICRS"]
    corners = np.array(words[2:], float).reshape(4, 2)
    x, y = np.array([-0.5, -0.5, 49.5, 49.5]), np.array([-0.5, 39.5, 39.5, -0.5])
    sky = result.attrs["wcs"](x, y, with_bounding_box=False)
    np.testing.assert_allclose(corners, np.transpose(sky), atol=1e-9)


def test_sip_keywords_give_the_same_sky_within_the_error_they_state():
    given_ = exposure()
    result = tie_to_sky(given_, references(), AssignWcsParams(sip_degree=3))
    keywords = result.attrs["sci"]
    assert keywords["CTYPE1"] == "RA---TAN-SIP"
    assert keywords["CRPIX1"] == pytest.approx(20.25)
    assert "CDELT1" not in keywords
    assert "PC1_1" not in keywords
    assert keywords["A_1_1"] != 9
    assert all(type(value) in (str, int, float) for value in keywords.values())
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    approximate = fitswcs.WCS(fits.Header(keywords)).all_pix2world(x, y, 0)
    error = separation(approximate, result.attrs["wcs"](x, y)) / 30
    assert error < max(keywords["SIPMXERR"], 1e-6)
    assert given_.attrs["sci"]["CDELT1"] == 1e-5
    assert "wcs" not in given_.attrs


def test_sip_can_be_left_out():
    assert "CTYPE1" not in run(sip_approx=False).attrs["sci"]


def test_wcs_survives_pickling():
    wcs = run().attrs["wcs"]
    copy = pickle.loads(pickle.dumps(wcs))
    np.testing.assert_array_equal(copy(3, 4), wcs(3, 4))


def test_exposures_with_the_same_distortion_do_not_share_it():
    model = distortion()
    first = imaging_wcs(Header({"sci": KEYWORDS}), SHAPE, model)
    imaging_wcs(Header({"sci": KEYWORDS}), (7, 7), model)
    assert tuple(first.bounding_box[0]) == (-0.5, 49.5)
    with pytest.raises(NotImplementedError):
        _ = model.bounding_box


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RA_REF": None}, "RA_REF is missing"),
        ({"ROLL_REF": float("nan")}, "ROLL_REF = nan"),
        ({"V2_REF": "unknown"}, "V2_REF = 'unknown'"),
        ({"DEC_REF": 91.0}, "DEC_REF = 91.0"),
        ({"VA_SCALE": 0.0}, "VA_SCALE = 0.0"),
        ({"EXP_TYPE": "NRC_LED"}, "EXP_TYPE NRC_LED has no WCS"),
        ({"EXP_TYPE": "NRC_DARK"}, "EXP_TYPE NRC_DARK has no WCS"),
    ],
)
def test_refusals_name_file_step_and_keyword(changes, message):
    with pytest.raises(ExposureError, match=rf"one_rate\.fits: assign_wcs: .*{message}"):
        run(changes)


def test_all_wrong_keywords_are_named_at_once():
    with pytest.raises(ExposureError, match="V3_REF is missing, ROLL_REF = inf"):
        run({"V3_REF": None, "ROLL_REF": float("inf")})


def test_missing_distortion_is_refused_with_a_remedy():
    nothing = {"distortion": None, "filteroffset": None}
    with pytest.raises(ExposureError, match="--override distortion=FILE"):
        tie_to_sky(exposure(), nothing, AssignWcsParams())


def test_velocity_aberration_may_be_unknown():
    assert len(run({"VA_SCALE": None}).attrs["wcs"].v2v3vacorr.axes_names) == 2


def test_step_declares_its_references():
    assert assign_wcs.needs(Header({"sci": KEYWORDS}), None) == ("distortion", "filteroffset")
    assert assign_wcs.optional_types == {"filteroffset"}


OBSERVATIONS = ("nircam_sub400p", "niriss_sub256", "miri_sub256")


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_wcs_equals_the_jwst_calibration_pipeline(name):
    folder = DATA / "observations" / name
    if not folder.exists():
        pytest.skip(f"{folder} is absent")
    from stdatamodels.jwst import datamodels

    (rate,) = (folder / "peer").glob("*_rate.fits")
    (files,) = json.loads((folder / "refs" / "manifest.json").read_text()).values()
    chosen = {kind: folder / "refs" / files[kind] for kind in assign_wcs.reference_types}
    with fits.open(rate) as hdus:
        attrs = {"primary": dict(hdus[0].header), "sci": dict(hdus["SCI"].header)}
        given_ = xr.Dataset({"sci": (("y", "x"), np.zeros(hdus["SCI"].shape))}, attrs=attrs)
    result = tie_to_sky(given_, References.from_files(chosen), AssignWcsParams())
    cal = str(rate).replace("_rate", "_cal")
    with datamodels.open(cal) as model:
        expected = model.meta.wcs
    found = result.attrs["wcs"]
    y, x = np.mgrid[: given_.sizes["y"], : given_.sizes["x"]]
    sky = expected(x, y)
    assert separation(sky, found(x, y)) < 1e-6
    np.testing.assert_allclose(found.invert(*sky), expected.invert(*sky), atol=1e-9)
    assert found.bounding_box == expected.bounding_box
    header = fits.getheader(cal, "SCI")
    assert result.attrs["sci"]["S_REGION"] == header["S_REGION"]
    assert result.attrs["sci"]["CTYPE1"] == header["CTYPE1"]
    for keyword in header:
        if keyword[:2] in ("CR", "CD", "A_", "B_", "AP", "BP"):
            assert result.attrs["sci"][keyword] == pytest.approx(header[keyword], rel=1e-9)
    sparse = SparseMap.build(between(found, expected), x.shape)
    whole = np.stack(expected.invert(*sky, with_bounding_box=False), axis=-1)
    assert np.abs(sparse.tile() - whole).max() < 1e-4
