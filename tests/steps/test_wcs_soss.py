"""The WCS of NIRISS single-object slitless spectra: orders, subarrays, and what is refused."""

import pickle
from types import SimpleNamespace

import asdf
import numpy as np
import pytest
import xarray as xr
from astropy.modeling.models import Tabular2D
from hypothesis import given, settings
from hypothesis import strategies as st

from jwpipe.exposure import ExposureError
from jwpipe.stage2.assign_wcs import AssignWcsParams, tie_to_sky
from jwpipe.wcs import soss

PARAMS = AssignWcsParams()
LIGHT = 299792458.0
KEYWORDS = {
    "INSTRUME": "NIRISS",
    "EXP_TYPE": "NIS_SOSS",
    "FILTER": "CLEAR",
    "PUPIL": "GR700XD",
    "SUBARRAY": "SUBSTRIP96",
    "SUBSTRT1": 1,
    "SUBSTRT2": 1803,
    "TARG_RA": 187.1,
    "TARG_DEC": 2.05,
    "PWCPOS": 245.79,
}
SHAPE = (96, 2048)


def table(start, step, tilt=1e-6):
    """Wavelengths start + step x + tilt y (micron) of the full frame, NaN outside."""
    y, x = np.linspace(0, 2047, 3), np.linspace(0, 2047, 5)
    waves = start + step * x[None, :] + tilt * y[:, None]
    return Tabular2D(points=(y, x), lookup_table=waves, bounds_error=False, fill_value=np.nan)


def tables():
    return {1: table(2.84, -9.7e-4), 2: table(1.5, -4.6e-4), 3: table(0.95, -3e-4)}


def exposure(**changes):
    values = {key: value for key, value in (KEYWORDS | changes).items() if value is not None}
    variables = {"sci": (("y", "x"), np.zeros(SHAPE, np.float32))}
    return xr.Dataset(variables, attrs={"primary": {}, "sci": values, "filename": "one_rate.fits"})


def references(tree):
    return {"specwcs": SimpleNamespace(tree=lambda: tree, path="made_up.asdf", header={})}


def built(**changes):
    return soss.build(exposure(**changes), references(tables()), PARAMS).wcs


def test_each_order_has_its_wavelengths():
    """Pixel (1000, 8) of the strip is (1000, 1810) of the full frame."""
    wcs = built()
    expected = {1: 2.84 - 0.97, 2: 1.5 - 0.46, 3: 0.95 - 0.3}
    for order, wavelength in expected.items():
        found = soss.one_order(wcs, order)(1000.0, 8.0)
        np.testing.assert_allclose(found, (187.1, 2.05, wavelength + 1810e-6), rtol=1e-12)


def test_wavelengths_are_those_at_the_barycentre():
    still, fast = soss.one_order(built(), 1), soss.one_order(built(VELOSYS=0.01 * LIGHT), 1)
    assert fast(900.0, 20.0)[2] == pytest.approx(still(900.0, 20.0)[2] / 1.01, rel=1e-12)


@settings(deadline=None, max_examples=15)
@given(x=st.floats(0, 2047), y=st.floats(0, 95), order=st.sampled_from([1, 2, 3]))
def test_subarrays_see_the_full_frame(x, y, order):
    strip, full = (soss.one_order(built(SUBSTRT2=row), order) for row in (1803, 1))
    np.testing.assert_allclose(strip(x, y), full(x, y + 1802), rtol=1e-12)


def test_the_angle_of_the_pupil_wheel_is_left_to_the_extraction():
    wcs = soss.one_order(built(PWCPOS=246.3), 1)
    np.testing.assert_array_equal(wcs(900.0, 20.0), soss.one_order(built(), 1)(900.0, 20.0))


def test_frames_and_boxes():
    wcs = built()
    assert wcs.available_frames == ["detector", "world"]
    assert [str(unit) for unit in wcs.output_frame.unit] == ["deg", "deg", "micron"]
    assert wcs.bounding_box is None
    box = soss.one_order(wcs, 2).bounding_box
    assert (tuple(box[0]), tuple(box[1])) == ((-0.5, 2047.5), (-0.5, 95.5))
    assert np.isnan(soss.one_order(wcs, 2)(10.0, 96.0)).all()
    assert soss.one_order(built(SUBSTRT2=1), 2).bounding_box is None


def test_survives_pickling_and_asdf(tmp_path):
    wcs = built(VELOSYS=-18000.0)
    asdf.AsdfFile({"wcs": wcs}).write_to(tmp_path / "wcs.asdf")
    with asdf.open(tmp_path / "wcs.asdf", lazy_load=False, memmap=False) as opened:
        for copy in (opened["wcs"], pickle.loads(pickle.dumps(wcs))):
            for order in (1, 2, 3):
                found, expected = (soss.one_order(each, order)(700.0, 30.0) for each in (copy, wcs))
                np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_the_step_keeps_the_footprint():
    given_ = exposure(S_REGION="POLYGON ICRS  1 2 3 4 5 6 7 8")
    sci = tie_to_sky(given_, references(tables()), PARAMS).attrs["sci"]
    assert sci["S_REGION"] == "POLYGON ICRS  1 2 3 4 5 6 7 8"
    assert (sci["DISPAXIS"], sci["SPECSYS"]) == (1, "BARYCENT")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"TARG_RA": None}, "TARG_RA is missing"),
        ({"TARG_DEC": "unknown"}, "TARG_DEC is 'unknown'"),
        ({"VELOSYS": float("inf")}, "VELOSYS is inf"),
    ],
)
def test_wrong_keywords_are_refused(changes, words):
    with pytest.raises(ExposureError, match=words) as caught:
        built(**changes)
    assert "one_rate.fits: assign_wcs" in str(caught.value)


def test_wrong_references_and_orders_are_refused():
    with pytest.raises(ExposureError, match="no specwcs reference"):
        soss.build(exposure(), {"specwcs": None}, PARAMS)
    without = {order: each for order, each in tables().items() if order != 3}
    with pytest.raises(ExposureError, match="has no order 3"):
        soss.build(exposure(), references(without), PARAMS)
    with pytest.raises(ExposureError, match="SOSS has no order 4"):
        soss.one_order(built(), 4)
