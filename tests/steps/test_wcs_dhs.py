"""The WCS of stripes of the Dispersed Hartmann Sensor: each pixel belongs to a stripe, each stripe has a trace."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from astropy.modeling.models import Polynomial1D
from test_wcs_grism import POINTING, distortion

from jwpipe.exposure import ExposureError, header
from jwpipe.quicklook import show
from jwpipe.stage2.assign_wcs import AssignWcsParams, tie_to_sky
from jwpipe.wcs.inspect import Choice, part_of, parts_of
from jwpipe.wcs.modes import family_of

PARAMS = AssignWcsParams()
KEYWORDS = POINTING | {
    "INSTRUME": "NIRCAM", "EXP_TYPE": "NRC_TSGRISM", "MODULE": "A", "DETECTOR": "NRCA1", "FILTER": "F150W2",
    "PUPIL": "GDHS0", "SUBARRAY": "SUB82STRIPE2_DHS", "SUBSTRT1": 1, "SUBSTRT2": 1, "SUBSIZE1": 2048, "SUBSIZE2": 22,
    "FASTAXIS": -1, "SLOWAXIS": 2, "MSTR_RD1": 1, "MSTR_SK1": 99, "MSTR_RD2": 10, "MSTR_SK2": 190, "MSTR_RPT": 1,
    "MSTR_ILV": 1, "SSTR_NST": 0, "SSTR_STP": 0, "PPS_APER": "NRCA5_40STRIPE1_DHS_F444W", "XREF_SCI": 1001.0,
    "YREF_SCI": 1001.0, "VELOSYS": None,
}  # fmt: skip
LONG = KEYWORDS | {"DETECTOR": "NRCALONG", "PUPIL": "GRISMR", "FILTER": "F444W", "MSTR_ILV": 0}


def line(start, length):
    return Polynomial1D(1, c0=start, c1=length)


def regions():
    """Stripe 4 on rows 100 to 109 of the detector, stripe 3 on rows 300 to 309."""
    labels = np.zeros((2048, 2048))
    labels[100:110], labels[300:310] = 4, 3
    return labels


def specwcs():
    """Order 1 from 1 to 2 micron over 2000 pixels from column 10 times the stripe on; for two field points."""
    stripes = [3, 4, 5, 3, 4, 5]
    return {
        "orders": [1],
        "stripes": stripes,
        "fieldpoints": ["F322W2"] * 3 + ["F444W"] * 3,
        "displ": [[line(1.0, 1.0)]] * 6,
        "dispx": [[line(10.0 * n + (500 if k < 3 else 0), 2000.0)] for k, n in enumerate(stripes)],
        "dispy": [[line(0.0, 0.0)]] * 6,
    }


def long_specwcs():
    """One trace, from 3 to 5 micron over 2000 pixels about the star."""
    return {
        "orders": [1],
        "displ": [line(3.0, 2.0)],
        "dispx": [line(-1000.0, 2000.0)],
        "dispy": [line(0.0, 0.0)],
    }


def file(tree, name):
    return SimpleNamespace(tree=lambda: tree, path=f"{name}.asdf", header={})


def references(**changes):
    trees = {
        "distortion": {"model": distortion()},
        "specwcs": specwcs(),
        "regions": {"regions": regions()},
    }
    found = {kind: file(tree, kind) for kind, tree in (trees | changes).items()}
    return found | {"filteroffset": None}


def exposure(keywords):
    values = {key: value for key, value in keywords.items() if value is not None}
    variables = {"sci": (("y", "x"), np.zeros((22, 2048), np.float32))}
    return xr.Dataset(variables, attrs={"primary": {}, "sci": values, "filename": "one_rate.fits"})


def solved(keywords=KEYWORDS, **changes):
    return tie_to_sky(exposure(keywords), references(**changes), PARAMS)


def test_stripes_need_their_regions():
    family = family_of(header(exposure(KEYWORDS)))
    assert family.name == "dhs"
    assert "regions" in family.refs
    assert family_of(header(exposure(KEYWORDS | {"SUBARRAY": "SUBGRISM64"}))).name == "grism"


def test_each_pixel_has_the_wavelength_of_its_stripe():
    wcs = solved().attrs["wcs"]
    # Rows 1 to 10 are those of stripe 4, which begins at column 40; rows 12 to 21 of stripe 3, at column 30.
    _, _, wavelength, order, stripe = wcs(540.0, 5.0, 1)
    assert (float(wavelength), order, stripe) == (pytest.approx(1.25), 1, 4)
    _, _, wavelength, _, stripe = wcs(530.0, 15.0, 1)
    assert (float(wavelength), stripe) == (pytest.approx(1.25), 3)


def test_all_light_is_the_stars():
    wcs = solved().attrs["wcs"]
    # XREF_SCI and YREF_SCI are pixel (1000, 1000), where the distortion has the reference point.
    ra, dec = wcs(np.array([50.0, 900.0]), np.array([5.0, 5.0]), np.array([1, 1]))[:2]
    np.testing.assert_allclose(ra, POINTING["RA_REF"], atol=1e-9)
    np.testing.assert_allclose(dec, POINTING["DEC_REF"], atol=1e-9)


def test_rows_of_reference_pixels_belong_to_no_stripe():
    with pytest.warns(UserWarning, match="not inside any region"):
        assert np.isnan(solved().attrs["wcs"](540.0, 0.0, 1)[2])


def test_the_way_back_goes_through_the_stripe():
    wcs = solved().attrs["wcs"]
    for x, y in ((540.0, 5.0), (1930.0, 15.0)):
        assert wcs.backward_transform(*wcs(x, y, 1))[0] == pytest.approx(x, abs=1e-2)


def test_the_long_channel_has_one_trace_for_all_stripes():
    labels = np.zeros((2048, 2048))
    labels[100:110] = 1
    found = solved(LONG, specwcs=long_specwcs(), regions={"regions": labels})
    wcs = found.attrs["wcs"]
    for y in (5.0, 15.0):
        _, _, wavelength, _, stripe = wcs(1500.0, y, 1)
        assert (float(wavelength), stripe) == (pytest.approx(4.5), 1)
    assert found.attrs["sci"]["DISPAXIS"] == 1


def test_keywords_say_what_is_known():
    assert solved().attrs["sci"]["DISPAXIS"] == 1
    assert "DISPAXIS" not in solved(KEYWORDS | {"PUPIL": "GDHS60"}).attrs["sci"]


def test_it_pickles():
    wcs = pickle.loads(pickle.dumps(solved().attrs["wcs"]))
    assert float(wcs(540.0, 5.0, 1)[2]) == pytest.approx(1.25)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"MODULE": "B"}, "MODULE is 'B', expected A"),
        ({"MSTR_RD1": None}, "without stripes along y.*MSTR_RD1"),
        ({"MSTR_RD2": 7}, "do not fill 22 rows.*MSTR_"),
        ({"PPS_APER": "NRCA5_GRISM64_F277W"}, r"no stripe in both.*PPS_APER"),
        ({"XREF_SCI": None}, "XREF_SCI is missing"),
    ],
)
def test_wrong_keywords_are_told(changes, reason):
    with pytest.raises(ExposureError, match=rf"one_rate\.fits.*{reason}"):
        solved(KEYWORDS | changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"regions": {"regions": np.zeros((3, 4, 5))}}, "regions of shape"),
        ({"regions": {}}, "has no regions"),
        ({"specwcs": {"orders": [1]}}, "has no displ, dispx, dispy"),
        ({"specwcs": long_specwcs()}, "no stripes, fieldpoints"),
        ({"regions": {"regions": np.full((2048, 2048), 9.0)}}, r"regions has \[9\]"),
    ],
)
def test_references_of_another_mode_are_refused(changes, reason):
    with pytest.raises(ExposureError, match=rf"one_rate\.fits.*{reason}"):
        solved(**changes)


def test_the_long_channel_counts_stripes_by_the_subarrays_name():
    with pytest.raises(ExposureError, match="expected the number of its stripes"):
        solved(LONG | {"SUBARRAY": "SUB_DHS"}, specwcs=long_specwcs())


def test_pixels_and_light_are_found():
    """1.25 micron is an eighth into the trace: in stripe 4 at 540, in stripe 3 at 530 pixels."""
    exposure = solved()
    assert [part.label for part in parts_of(exposure)] == ["order 1"]
    place = part_of(exposure, Choice()).place(540, 5)
    assert place.wavelength == pytest.approx(1.25)
    for stripe, x in ((3, 530), (4, 540)):
        back = part_of(exposure, Choice(stripe=stripe), inverse=True)
        found = back.pixel(place.ra, place.dec, 1.25)
        assert (found.x, found.part) == (pytest.approx(x, abs=1e-2), f"order 1 of stripe {stripe}")
    with pytest.raises(ExposureError, match="say which stripe with --stripe; it has 3, 4"):
        part_of(exposure, Choice(), inverse=True)


def test_the_spectra_are_drawn(tmp_path):
    bare = show(solved(), tmp_path / "bare.png").read_bytes()
    assert show(solved(), tmp_path / "drawn.png", wcs=True).read_bytes() != bare
