"""The WCS of slitless spectra: traces, sources, angle of the filter wheel, time series, and what is refused."""

import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import asdf
import numpy as np
import pytest
import xarray as xr
from astropy.modeling.models import Polynomial1D, Polynomial2D, Scale, Shift
from hypothesis import given, settings
from hypothesis import strategies as st

from jwpipe.exposure import ExposureError, MissingKeyword, header
from jwpipe.refs import RefFile
from jwpipe.stage2.assign_wcs import AssignWcsParams, tie_to_sky
from jwpipe.wcs import grism, imaging

DATA = Path(os.environ.get("JWPIPE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
REFERENCES = DATA / "crds" / "references" / "jwst"
PARAMS = AssignWcsParams()
LIGHT = 299792458.0

NAMES = ("V2_REF", "V3_REF", "RA_REF", "DEC_REF", "ROLL_REF", "VA_SCALE", "VELOSYS")
VALUES = (86.1, -493.2, 53.16, -27.8, 37.25, 1.0000431, -18342.7)
POINTING = dict(zip(NAMES, VALUES, strict=True))
NIRCAM = POINTING | {"INSTRUME": "NIRCAM", "EXP_TYPE": "NRC_WFSS", "FILTER": "F444W", "MODULE": "A"}
ROWS = NIRCAM | {"PUPIL": "GRISMR"}
COLUMNS = NIRCAM | {"PUPIL": "GRISMC"}
SERIES = ROWS | {
    "EXP_TYPE": "NRC_TSGRISM",
    "SUBARRAY": "SUBGRISM64",
    "SUBSTRT1": 201,
    "SUBSTRT2": 801,
    "XREF_SCI": 887.0,
    "YREF_SCI": 35.0,
}
NIRISS = POINTING | {
    "INSTRUME": "NIRISS",
    "EXP_TYPE": "NIS_WFSS",
    "FILTER": "GR150C",
    "PUPIL": "F150W",
    "FWCPOS": 354.0,
    "V2_REF": -289.966976,
    "V3_REF": -697.723326,
}


def distortion():
    """0.06 arcsec a pixel, the pixel (1000, 1000) at the reference point of NIRCam."""
    model = (Scale(-0.06) & Scale(0.06)) | (Shift(60.0 + 86.1) & Shift(-60.0 - 493.2))
    model.inverse = (Shift(-60.0 - 86.1) & Shift(60.0 + 493.2)) | (
        Scale(-1 / 0.06) & Scale(1 / 0.06)
    )
    return model


def line(start, length):
    return Polynomial1D(1, c0=start, c1=length)


def nircam_tree(along="x"):
    """Order 1: 2.4 to 5 micron over 2600 pixels from -1500 on; order 2 twice as long."""
    traces = [line(-1500.0, 2600.0), line(800.0, 5200.0)]
    inverse = [line(1500 / 2600, 1 / 2600), line(-800 / 5200, 1 / 5200)]
    across = "y" if along == "x" else "x"
    return {
        "orders": [1, 2],
        "displ": [line(2.4, 2.6)] * 2,
        "invdispl": [line(-2.4 / 2.6, 1 / 2.6)] * 2,
        f"disp{along}": traces,
        f"invdisp{along}": inverse,
        f"disp{across}": [line(0.0, 0.0)] * 2,
        f"invdisp{across}": [line(0.0, 0.0)] * 2,
    }


def constant(value):
    return Polynomial2D(1, c0_0=value)


def niriss_tree(length=(-200.0, 0.0), angle=354.0):
    """Order 1: 0.8 to 2.3 micron along ``length`` (x, y) pixels; order -1 on the other side."""
    return {
        "orders": [1, -1],
        "displ": [line(0.8, 1.5)] * 2,
        "invdispl": [line(-0.8 / 1.5, 1 / 1.5)] * 2,
        "dispx": [[constant(10.0), constant(length[0])], [constant(-10.0), constant(-length[0])]],
        "dispy": [[constant(0.0), constant(length[1])], [constant(0.0), constant(-length[1])]],
        "fwcpos_ref": angle,
    }


def file(tree, **keywords):
    return SimpleNamespace(tree=lambda: tree, path="made_up.asdf", header=keywords)


def references(tree, **keywords):
    return {
        "distortion": file({"model": distortion()}),
        "filteroffset": None,
        "specwcs": file(tree, **keywords),
    }


def exposure(keywords, shape=(64, 80)):
    values = {key: value for key, value in keywords.items() if value is not None}
    variables = {"sci": (("y", "x"), np.zeros(shape, np.float32))}
    return xr.Dataset(variables, attrs={"primary": {}, "sci": values, "filename": "one_rate.fits"})


def built(keywords, tree, shape=(64, 80)):
    return grism.build(exposure(keywords, shape), references(tree), PARAMS).wcs


def still(keywords):
    return keywords | {"VELOSYS": None}


def test_wavelength_along_a_row():
    """Half way along the trace, 900 - 1500 + 1300 = 700, the light has 2.4 + 1.3 micron."""
    wcs = built(still(ROWS), nircam_tree())
    ra, dec, wavelength, order = wcs(700.0, 12.0, 900.0, 800.0, 1.0)
    assert (wavelength, order) == (pytest.approx(3.7, rel=1e-12), 1)
    assert wcs(900.0 + 800.0 + 1300.0, 12.0, 900.0, 800.0, 2.0)[2] == pytest.approx(3.05, rel=1e-12)
    np.testing.assert_allclose(wcs.invert(ra, dec, 3.7, 1.0), (700, 800, 900, 800, 1), atol=1e-6)


def test_wavelength_along_a_column():
    wcs = built(still(COLUMNS), nircam_tree("y"))
    assert wcs(12.0, 600.0, 900.0, 800.0, 1.0)[2] == pytest.approx(3.7, rel=1e-12)


def test_the_sky_is_that_of_the_source_in_the_direct_image():
    given_ = exposure(ROWS | {"SUBSTRT1": 11, "SUBSTRT2": 21})
    direct = imaging.build(given_, references(nircam_tree()), PARAMS)
    wcs = grism.build(given_, references(nircam_tree()), PARAMS).wcs
    np.testing.assert_array_equal(wcs(5.0, 6.0, 30.0, 40.0, 1.0)[:2], direct(30.0, 40.0))


def test_wavelengths_are_those_at_the_barycentre():
    fast = built(ROWS | {"VELOSYS": 0.01 * LIGHT}, nircam_tree())
    assert fast(700.0, 12.0, 900.0, 800.0, 1.0)[2] == pytest.approx(3.7 / 1.01, rel=1e-12)


def test_the_filter_wheel_turns_the_traces():
    """At t = 0.5 light is 10 - 100 = -90 pixels along x; a wheel 90 deg ahead puts it, backwards by -90, at y = 90."""
    tree = niriss_tree()
    straight = built(still(NIRISS), tree)
    sky = straight(0.0, 0.0, 500.0, 400.0, 1.0)[:2]
    x, y, *_ = straight.invert(*sky, 1.55, 1.0)
    np.testing.assert_allclose((x, y), (410, 400), atol=1e-6)
    turned = built(still(NIRISS) | {"FWCPOS": 444.0}, tree)
    x, y, *_ = turned.invert(*sky, 1.55, 1.0)
    np.testing.assert_allclose((x, y), (500, 490), atol=1e-6)
    assert straight(410.0, 0.0, 500.0, 400.0, 1.0)[2] == pytest.approx(1.55)
    slightly = built(still(NIRISS) | {"FWCPOS": 355.0}, tree)
    along = 500 - 90 * np.cos(np.radians(1))
    assert slightly(along, 0.0, 500.0, 400.0, 1.0)[2] == pytest.approx(1.55)


def test_rows_and_columns_of_niriss():
    solution = grism.build(
        exposure(still(NIRISS) | {"FILTER": "GR150R"}),
        references(niriss_tree((0.0, -200.0))),
        PARAMS,
    )
    assert solution.sci["DISPAXIS"] == 2
    assert solution.wcs(7.0, 300.0, 500.0, 400.0, 1.0)[2] == pytest.approx(0.8 + 1.5 * 0.5)


@settings(deadline=None, max_examples=15)
@given(
    x0=st.floats(0, 2047),
    y0=st.floats(0, 2047),
    wavelength=st.floats(2.45, 4.95),
    order=st.sampled_from([1.0, 2.0]),
    columns=st.booleans(),
)
def test_there_and_back_with_nircam(x0, y0, wavelength, order, columns):
    wcs = built(COLUMNS if columns else ROWS, nircam_tree("y" if columns else "x"))
    ra, dec, *_ = wcs(0.0, 0.0, x0, y0, order)
    found = wcs.invert(ra, dec, wavelength, order)
    np.testing.assert_allclose(found[2:], (x0, y0, order), atol=1e-5)
    np.testing.assert_allclose(wcs(*found)[2], wavelength, rtol=1e-12)


@settings(deadline=None, max_examples=15)
@given(
    x0=st.floats(0, 2047),
    wavelength=st.floats(0.85, 2.25),
    order=st.sampled_from([1.0, -1.0]),
    turn=st.floats(-3, 3),
)
def test_there_and_back_with_niriss(x0, wavelength, order, turn):
    """Forwards turns by the angle and backwards against it: along a straight trace, both ways are as long."""
    wcs = built(NIRISS | {"FWCPOS": 354.0 + turn}, niriss_tree())
    ra, dec, *_ = wcs(0.0, 0.0, x0, 700.0, order)
    x, y, *source = wcs.invert(ra, dec, wavelength, order)
    np.testing.assert_allclose(wcs(x, y, *source)[2], wavelength, rtol=1e-9)


def test_time_series():
    """The star is at (887, 35) of the full frame; column 0 of the subarray is column 200 of that."""
    wcs = built(still(SERIES), nircam_tree())
    direct = imaging.build(exposure(ROWS), references(nircam_tree()), PARAMS)
    ra, dec, wavelength, order = wcs(887.0 - 1500 + 1300 - 200, 12.0, 1.0)
    np.testing.assert_array_equal((ra, dec), direct(887.0, 35.0, with_bounding_box=False))
    assert (wavelength, order) == (pytest.approx(3.7, rel=1e-12), 1)
    np.testing.assert_allclose(wcs.invert(ra, dec, 3.7, 1.0), (487, 35 - 800, 1), atol=1e-6)


@pytest.mark.parametrize(("keywords", "direct"), [(ROWS, "detector"), (SERIES, "direct_image")])
def test_frames(keywords, direct):
    wcs = built(keywords, nircam_tree())
    assert wcs.available_frames == ["grism_detector", direct, "v2v3", "v2v3vacorr", "world"]
    assert [str(unit) for unit in wcs.output_frame.unit] == ["deg", "deg", "micron"]
    assert wcs.bounding_box is None


@pytest.mark.parametrize(
    ("keywords", "tree", "source"),
    [
        (ROWS, nircam_tree(), (300.0, 200.0, 1.0)),
        (COLUMNS, nircam_tree("y"), (300.0, 200.0, 2.0)),
        (SERIES, nircam_tree(), (1.0,)),
        (NIRISS, niriss_tree(), (300.0, 200.0, -1.0)),
    ],
)
def test_map_of_a_tile_equals_the_transform(keywords, tree, source):
    given_ = exposure(keywords)
    solution = grism.build(given_, references(tree), PARAMS)
    assert solution.sci == {"DISPAXIS": 2 if keywords is COLUMNS else 1, "SPECSYS": "BARYCENT"}
    given_ = given_.assign_attrs(sci=given_.attrs["sci"] | dict(solution.sci))
    found = grism.trace_map(solution.wcs, header(given_), (slice(3, 9), slice(10, 30)), *source)
    y, x = np.mgrid[3:9, 10:30].astype(float)
    exact = solution.wcs(x, y, *(np.full_like(x, value) for value in source))
    np.testing.assert_allclose(exact[0], found[0], rtol=1e-14)
    np.testing.assert_allclose(exact[1], found[1], rtol=1e-14)
    np.testing.assert_array_equal(exact[2], found[2])


def spatial_tree():
    """Traces that depend on the place of the source, without inverses."""
    tilt = Polynomial2D(1, c0_0=2600.0, c1_0=0.01)
    return {
        "orders": [1],
        "displ": [[constant(2.4), constant(2.6)]],
        "dispx": [[constant(-1500.0), tilt]],
        "dispy": [[constant(1.0), constant(0.0)]],
    }


def test_traces_that_depend_on_the_source():
    """At x0 = 900 the trace is 2609 pixels long: t = 0.25 is at 900 - 1500 + 652.25."""
    given_ = exposure(still(ROWS))
    solution = grism.build(given_, references(spatial_tree()), PARAMS)
    _, _, wavelength, _ = solution.wcs(np.array([52.25]), np.array([1.0]), 900.0, 800.0, 1.0)
    np.testing.assert_allclose(wavelength, 2.4 + 0.25 * 2.6, rtol=1e-9)


@pytest.mark.parametrize(
    ("keywords", "tree"), [(ROWS, nircam_tree()), (SERIES, nircam_tree()), (NIRISS, niriss_tree())]
)
def test_survives_pickling_and_asdf(keywords, tree, tmp_path):
    wcs = built(keywords, tree)
    source = (1.0,) if keywords is SERIES else (300.0, 200.0, 1.0)
    pixel = (200.0, 33.0, *source)
    asdf.AsdfFile({"wcs": wcs}).write_to(tmp_path / "wcs.asdf")
    with asdf.open(tmp_path / "wcs.asdf") as opened:
        for copy in (opened["wcs"], pickle.loads(pickle.dumps(wcs))):
            # Text keeps all but the last bit of a coefficient.
            np.testing.assert_allclose(copy(*pixel), wcs(*pixel), rtol=1e-14)
            back = copy.invert(*wcs(*pixel))
            np.testing.assert_allclose(back, wcs.invert(*wcs(*pixel)), atol=1e-9)


def test_the_step_keeps_the_footprint_and_approximates_the_direct_image():
    given_ = exposure(ROWS | {"S_REGION": "POLYGON ICRS  1 2 3 4 5 6 7 8"}, (200, 300))
    found = tie_to_sky(given_, references(nircam_tree()), PARAMS).attrs
    assert found["sci"]["S_REGION"] == "POLYGON ICRS  1 2 3 4 5 6 7 8"
    assert found["sci"]["CTYPE1"].startswith("RA---TAN")
    assert found["wcs"].available_frames[0] == "grism_detector"
    series = tie_to_sky(exposure(SERIES), references(nircam_tree()), PARAMS).attrs
    assert "CTYPE1" not in series["sci"]


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        (NIRCAM | {"PUPIL": "CLEAR"}, "PUPIL is 'CLEAR', expected GRISMR or GRISMC"),
        (NIRISS | {"FILTER": "CLEAR"}, "FILTER is 'CLEAR', expected GR150R or GR150C"),
        (NIRISS | {"FWCPOS": None}, "FWCPOS is missing"),
        (NIRISS | {"FWCPOS": "N/A"}, "FWCPOS is 'N/A'"),
        (SERIES | {"XREF_SCI": None}, "XREF_SCI is missing"),
        (SERIES | {"YREF_SCI": float("nan")}, "YREF_SCI is nan"),
        (SERIES | {"MODULE": "B"}, "MODULE B, PUPIL GRISMR; expected module A"),
        (SERIES | {"PUPIL": "GRISMC"}, "PUPIL GRISMC; expected module A and GRISMR"),
        (SERIES | {"PUPIL": "GDHS0"}, "PUPIL GDHS0; expected.*a subarray with DHS in its name"),
        (ROWS | {"VELOSYS": "fast"}, "VELOSYS is 'fast'"),
        (ROWS | {"RA_REF": None}, "RA_REF is missing"),
    ],
)
def test_wrong_keywords_are_refused(keywords, words):
    tree = niriss_tree() if keywords["INSTRUME"] == "NIRISS" else nircam_tree()
    with pytest.raises(ExposureError, match=words) as caught:
        grism.build(exposure(keywords), references(tree), PARAMS)
    assert "one_rate.fits: assign_wcs" in str(caught.value)


def test_a_missing_wheel_is_named():
    with pytest.raises(MissingKeyword, match="PUPIL"):
        grism.build(exposure(NIRCAM), references(nircam_tree()), PARAMS)


def test_wrong_references_and_orders_are_refused():
    good, without = references(nircam_tree()), nircam_tree()
    without.pop("dispy")
    cases = (
        (ROWS, good | {"specwcs": None}, "no specwcs reference"),
        (ROWS, good | {"distortion": None}, "no distortion reference"),
        (ROWS, references(without), "has no dispy"),
        (
            ROWS,
            references(nircam_tree(), PUPIL="GRISMC"),
            "is for PUPIL GRISMC, the exposure has GRISMR",
        ),
        (ROWS, references(nircam_tree(), MODULE="B"), "is for MODULE B"),
        (NIRISS, references(niriss_tree(), FILTER="GR150R"), "is for FILTER GR150R"),
    )
    for keywords, files, words in cases:
        with pytest.raises(ExposureError, match=words):
            grism.build(exposure(keywords), files, PARAMS)
    with pytest.raises(ValueError, match="order is not available"):
        built(ROWS, nircam_tree())(1.0, 1.0, 2.0, 2.0, 5.0)


PIXEL = (1024.3, 1024.7, 900.0, 800.0)
MODULE_A = ("nircam_distortion_0090", "nircam_specwcs_0010", "nircam_filteroffset_0002")
MODULE_B = ("nircam_distortion_0096", "nircam_specwcs_0012", "nircam_filteroffset_0001")
PARITY = {
    "nircam rows": (
        ROWS,
        MODULE_A,
        (*PIXEL, 2.0),
        (53.159220064971, -27.80445657413175, 2.0310228674548148, 2.0),
        (53.16, -27.809722222222224, 3.1, 2.0),
        (2941.190724401576, 584.2457815848043, 687.5844942389276, 584.2457815848043, 2.0),
    ),
    "nircam columns": (
        COLUMNS | {"MODULE": "B"},
        MODULE_B,
        (*PIXEL, 2.0),
        (53.11567364442644, -27.774507324419748, 2.08142675139937, 2.0),
        (53.16, -27.809722222222224, 3.1, 2.0),
        (-2009.8527081939815, 2782.6788553938177, -2009.8527081939815, 529.0726252311694, 2.0),
    ),
    "nircam time series": (
        SERIES,
        MODULE_A,
        (1024.3, 63.0, 2.0),
        (53.150223106842496, -27.81540707898369, 2.1379554100861915, 2.0),
        (53.16, -27.809722222222224, 2.5, 2.0),
        (1546.0447299725643, -215.75421841519574, 2.0),
    ),
    "niriss columns": (
        NIRISS | {"FILTER": "GR150R", "FWCPOS": 33.9},
        ("niriss_distortion_0010", "niriss_specwcs_0003"),
        (*PIXEL, 1.0),
        (53.15918392216898, -27.804527113546175, -0.025519522295880826, 1.0),
        (53.16, -27.809722222222224, 1.1, -1.0),
        (695.130127335174, 1040.5872545583297, 693.202498171903, 599.0089070120916, -1.0),
    ),
    "niriss rows": (
        NIRISS | {"PUPIL": "F115W"},
        ("niriss_distortion_0010", "niriss_specwcs_0006"),
        (*PIXEL, 1.0),
        (53.15918392216898, -27.804527113546175, 0.4662607383059668, 1.0),
        (53.16, -27.809722222222224, 1.1, -1.0),
        (1135.6709899495775, 597.9632789373338, 693.202498171903, 599.0089070120916, -1.0),
    ),
}
"""Keywords, references, and both ways through the WCS of jwst 3.0.0: pixel and its sky, sky and its pixel."""


@pytest.mark.parametrize("name", PARITY)
def test_real_references_give_what_jwst_gives(name):
    keywords, names, pixel, sky, place, back = PARITY[name]
    paths = [REFERENCES / each.split("_")[0] / f"jwst_{each}.asdf" for each in names]
    if not all(path.exists() for path in paths):
        pytest.skip(f"real references of {name} are not there")
    files = {path.stem.split("_")[2]: RefFile(str(path), path.stem.split("_")[2]) for path in paths}
    given_ = exposure(keywords)
    wcs = grism.build(given_, {"filteroffset": None} | files, PARAMS).wcs
    np.testing.assert_allclose(wcs(*pixel), sky, rtol=1e-12)
    np.testing.assert_allclose(wcs.invert(*place), back, atol=1e-6)
