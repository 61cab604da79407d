"""The WCS of MIRI's spectra: LRS with and without slit, MRS, WFSS; against hand-worked cases and jwst 3.0.0."""

import io
import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import asdf
import numpy as np
import pytest
import xarray as xr
from astropy import units
from astropy.constants import c
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.modeling.models import Const1D, Polynomial1D, Polynomial2D, Scale, Shift
from hypothesis import given, settings
from hypothesis import strategies as st

from jwpipe.exposure import ExposureError
from jwpipe.refs import References
from jwpipe.stage2.assign_wcs import AssignWcsParams, tie_to_sky
from jwpipe.wcs.modes import family_of

DATA = Path(os.environ.get("JWPIPE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
CRDS = DATA / "crds" / "references" / "jwst" / "miri"
FLT9 = DATA / "references" / "miri_flt9"

POINTING = {
    "V2_REF": -400.0,
    "V3_REF": -420.0,
    "RA_REF": 80.0,
    "DEC_REF": 0.0,
    "ROLL_REF": 0.0,
    "V3I_YANG": 0.0,
    "VPARITY": -1,
    "XOFFSET": 1.8,
    "YOFFSET": 3.6,
    "INSTRUME": "MIRI",
    "FILTER": "P750L",
}


def exposure(kind, shape, changes):
    values = POINTING | {"EXP_TYPE": kind} | changes
    sci = {key: value for key, value in values.items() if value is not None}
    pixels = {"sci": (("y", "x"), np.zeros(shape, np.float32))}
    return xr.Dataset(pixels, attrs={"primary": {}, "sci": sci, "filename": "one_rate.fits"})


def reference(tree=None, table=None, **header):
    return SimpleNamespace(
        tree=lambda: tree, table=lambda name: table, header=header, path="reference.file"
    )


def imager():
    """0.11 arcsec a pixel; V2 runs against x; pixel (30, 100) of the full frame is the reference point."""
    return (Shift(-30) & Shift(-100)) | (Scale(-0.11) & Scale(0.11)) | (Shift(-400) & Shift(-420))


def trace_table():
    """Rows from 50 above the reference point to 60 below, a hundredth of a column to the right for each row up."""
    y = np.arange(50.0, -61.0, -1.0)
    names = ["x_center", "y_center", "wavelength", "x0", "y0", "x1", "y2"]
    columns = [0.01 * y, y, 10 - 0.05 * y, y * 0 - 20.25, y + 0.5, y * 0 + 20.25, y - 0.5]
    return np.rec.fromarrays(columns, names=names)


SLIT = {"V2VERT1": -402, "V2VERT2": -402, "V2VERT3": -398, "V2VERT4": -398} | {
    "V3VERT1": -420, "V3VERT2": -421, "V3VERT3": -421, "V3VERT4": -420
}  # fmt: skip


def lrs(kind="MIR_LRS-FIXEDSLIT", specwcs=None, distortion=None, shape=(180, 70), **changes):
    usual = reference(table=trace_table(), IMX=31.0, IMY=101.0, IMXSLTL=31.0, IMYSLTL=101.0, **SLIT)
    files = {
        "specwcs": usual if specwcs is None else specwcs,
        "distortion": reference({"model": imager()} if distortion is None else distortion),
    }
    return tie_to_sky(exposure(kind, shape, changes), files, AssignWcsParams())


def slitless(**changes):
    corner = {"SUBSTRT1": 1, "SUBSTRT2": 21}
    return lrs("MIR_LRS-SLITLESS", **({"shape": (150, 60)} | corner | changes))


def test_lrs_by_hand():
    """40 rows up the trace is 0.4 columns to the right, the wavelength 8 micron; 10 columns are 1.1 arcsec of V2.

    At V3 = 420 arcsec an arcsec of V2 is shorter on the sky by 2e-6 of itself.
    """
    wcs = lrs().attrs["wcs"]
    np.testing.assert_allclose(wcs(30.4, 140), (80, 0, 8), atol=1e-9)
    ra, dec, wavelength = wcs(40.4, 140)
    assert (ra - 80) * 3600 == pytest.approx(-1.1, rel=1e-5)
    assert wavelength == pytest.approx(8)
    assert dec == pytest.approx(0, abs=1e-7)
    alpha, beta, _ = wcs.get_transform("detector", "alpha_beta")(40.4, 140.0)
    assert (alpha, beta) == (pytest.approx(1.1), 0)


def test_lrs_frames_and_boxes():
    wcs = lrs().attrs["wcs"]
    assert wcs.available_frames == ["detector", "alpha_beta", "v2v3", "v2v3vacorr", "world"]
    assert wcs.output_frame.unit == (units.deg, units.deg, units.micron)
    # Columns 9.75 to 50.25 and the rows of the trace, 40 to 150.
    assert [tuple(side) for side in wcs.bounding_box.bounding_box(order="F")] == [
        (8.5, 51.5),
        (40, 150),
    ]
    # Without slit: all columns but the four of reference pixels; rows 19.5 to 130.5 of the subarray.
    box = slitless().attrs["wcs"].bounding_box.bounding_box(order="F")
    assert [tuple(side) for side in box] == [(3.5, 59.5), (18.5, 131.5)]


def test_lrs_slitless_begins_at_its_subarray():
    np.testing.assert_allclose(slitless().attrs["wcs"](30.4, 120), (80, 0, 8), atol=1e-9)


def test_lrs_product():
    result = lrs()
    sci, primary = result.attrs["sci"], result.attrs["primary"]
    assert (sci["SPECSYS"], sci["DISPAXIS"]) == ("BARYCENT", 2)
    # The corners are 2 arcsec east and west, at the reference point's V3 and an arcsec south.
    corners = np.array(sci["S_REGION"].split()[2:], float).reshape(4, 2)
    expected = np.array([[-2, 0], [-2, -1], [2, -1], [2, 0]])
    np.testing.assert_allclose((corners - [80, 0]) * 3600, expected, atol=1e-5)
    # V2 runs against the ideal x: 1.8 arcsec to the west, 3.6 to the north.
    assert (primary["DITH_RA"] - 80) * 3600 == pytest.approx(-1.8, rel=1e-5)
    assert primary["DITH_DEC"] == pytest.approx(0.001, rel=1e-6)
    waves = result["wavelength"]
    assert (waves.dims, waves.dtype) == (("y", "x"), np.float32)
    assert float(waves[140, 30]) == pytest.approx(8)
    assert np.isnan(waves[140, 5])
    assert "DITH_RA" not in slitless().attrs["primary"]


def test_slit_without_known_corners_keeps_its_region():
    table = reference(table=trace_table(), IMX=31.0, IMY=101.0)
    assert lrs(specwcs=table, S_REGION="old").attrs["sci"]["S_REGION"] == "old"


@settings(deadline=None, max_examples=15)
@given(
    x=st.floats(9, 51),
    y=st.floats(41, 149),
    ra=st.floats(0, 359.9),
    dec=st.floats(-89, 89),
    speed=st.floats(-3e4, 3e4),
)
def test_lrs_sky_and_wavelength_give_the_pixel_back(x, y, ra, dec, speed):
    wcs = lrs(RA_REF=ra, DEC_REF=dec, VELOSYS=speed).attrs["wcs"]
    back = wcs.invert(*wcs(x, y), with_bounding_box=False)
    np.testing.assert_allclose(back, (x, y), atol=1e-5)


def test_wavelengths_are_divided_by_the_doppler_factor():
    speed = c.value * 1e-4
    assert lrs(VELOSYS=speed).attrs["wcs"](30.4, 140)[2] == pytest.approx(8 / 1.0001, rel=1e-12)
    assert mrs(VELOSYS=speed).attrs["wcs"](5, 10)[2] == pytest.approx(5.1 / 1.0001, rel=1e-12)
    assert wfss(VELOSYS=speed).attrs["wcs"](30, 60, 30, 100, 1)[2] == pytest.approx(9 / 1.0001)


def test_reference_point_is_where_path_loss_looks_for_it():
    to_sky = lrs().attrs["wcs"].get_transform("detector", "world")
    assert (to_sky.offset_1.value, to_sky.offset_2.value) == (-30, -100)


LABELS = {101: 5, 102: 15, 201: 25, 202: 35}
"""The slices of a small detector, and their middle columns: 7 columns are in a slice, 3 between slices."""


def mrs_trees(shape=(20, 40), planes=9, band="SHORT"):
    """0.2 arcsec a column along a slice; wavelengths 5 + row / 100 micron in channel 1, 8 + row / 100 in channel 2.

    Betas are -0.1 and 0.1 in channel 1, -0.2 and 0.2 in channel 2.
    """
    plane = np.zeros(shape, np.int16)
    for label, column in LABELS.items():
        plane[:, column - 3 : column + 4] = label
    regions = np.zeros((planes, *shape), np.int16)
    regions[-2 if planes > 1 else 0] = plane
    first = {label: {1: 5.0, 2: 8.0}[label // 100] for label in LABELS}
    betas = dict(zip(LABELS, (-0.1, 0.1, -0.2, 0.2), strict=True))
    names = [f"{channel}{band}" for channel in (1, 2)]
    distortion = {
        "slices": list(LABELS),
        # The row is the first input.
        "alpha_model": [Polynomial2D(1, c0_0=-0.2 * x, c0_1=0.2) for x in LABELS.values()],
        "beta_model": [Const1D(beta) for beta in betas.values()],
        # Wavelength and alpha.
        "x_model": [Polynomial2D(1, c0_0=x, c0_1=5) for x in LABELS.values()],
        "y_model": [Polynomial2D(1, c0_0=-100 * w, c1_0=100) for w in first.values()],
        "abv2v3_model": {
            "channel_band": names,
            "model": [Shift(-400) & Shift(-420), Shift(-400.5) & Shift(-420)],
        },
        "bzero": {"channel_band": names, "beta_zero": [-0.1, -0.2]},
        "bdel": {"channel_band": names, "delta_beta": [0.2, 0.4]},
    }
    return {
        "distortion": distortion,
        "specwcs": {"model": [Polynomial2D(1, c0_0=w, c1_0=0.01) for w in first.values()]},
        "regions": {"regions": regions if planes > 1 else regions[0]},
        "wavelengthrange": {
            "waverange_selector": names,
            "wavelengthrange": [[4.9, 5.5], [7.9, 8.5]],
        },
    }


def mrs(trees=None, shape=(20, 40), **changes):
    trees = mrs_trees() if trees is None else trees
    files = {kind: None if tree is None else reference(tree) for kind, tree in trees.items()}
    changes = {"CHANNEL": "12", "BAND": "SHORT"} | changes
    return tie_to_sky(exposure("MIR_MRS", shape, changes), files, AssignWcsParams())


def test_mrs_by_hand():
    """Two columns from the middle of a slice are 0.4 arcsec of alpha, which is V2 here; beta is V3."""
    wcs = mrs().attrs["wcs"]
    for x, y, offset, wavelength in ((7, 10, (0.4, -0.1), 5.1), (37, 3, (-0.1, 0.2), 8.03)):
        ra, dec, lam = wcs(x, y)
        assert ((ra - 80) * 3600, dec * 3600) == pytest.approx(offset, rel=1e-5)
        assert lam == pytest.approx(wavelength)
    assert np.isnan(wcs(np.array([7, 10]), np.array([10, 10]))).tolist() == [[False, True]] * 3
    assert wcs.available_frames == ["detector", "alpha_beta", "v2v3", "v2v3vacorr", "world"]
    box = wcs.bounding_box.bounding_box(order="F")
    assert [tuple(side) for side in box] == [(-0.5, 39.5), (-0.5, 19.5)]


def test_mrs_sky_and_wavelength_give_the_pixel_back_in_every_slice():
    wcs = mrs(ROLL_REF=123.0, DEC_REF=-60.0, VA_SCALE=1.00007).attrs["wcs"]
    y, x = np.mgrid[1:19, :40].astype(float)
    seen = np.isfinite(wcs(x, y)[0])
    assert seen.sum() == 18 * 28
    back = wcs.invert(*wcs(x[seen], y[seen]), with_bounding_box=False)
    np.testing.assert_allclose(back, (x[seen], y[seen]), atol=1e-6)


def test_mrs_way_back_keeps_the_radial_velocity():
    """5.1 micron become 5.1 / 1.0001, which is 0.051 rows of 0.01 micron lower; as in jwst 3.0.0."""
    wcs = mrs(VELOSYS=c.value * 1e-4).attrs["wcs"]
    back = wcs.invert(*wcs(7, 10), with_bounding_box=False)
    np.testing.assert_allclose(back, (7, 10 - 0.051), atol=1e-5)


@pytest.mark.parametrize("ra", [80.0, 0.0])
def test_mrs_region_holds_all_slices(ra):
    """The slices' ends are 0.6 arcsec from their middles, channel 2 is 0.5 arcsec west; betas to 0.2 arcsec."""
    result = mrs(RA_REF=ra)
    corners = np.array(result.attrs["sci"]["S_REGION"].split()[2:], float).reshape(4, 2)
    assert corners.min() >= -0.001
    offsets = (corners - [ra, 0] + 180) % 360 - 180
    expected = [[-1.1, -0.2], [0.6, -0.2], [0.6, 0.2], [-1.1, 0.2]]
    np.testing.assert_allclose(offsets * 3600, expected, atol=1e-5)


def test_mrs_regions_of_one_plane_and_crossed_bands():
    np.testing.assert_array_equal(
        mrs(mrs_trees(planes=1)).attrs["wcs"](7, 10), mrs().attrs["wcs"](7, 10)
    )
    crossed = mrs(mrs_trees(band="SHORT-LONG"), BAND="SHORT-LONG")
    np.testing.assert_array_equal(crossed.attrs["wcs"](7, 10), mrs().attrs["wcs"](7, 10))


def wfss(tree=None, shape=(150, 70), **changes):
    """Traces run straight down from 10 rows above the source, 100 rows for 8 micron from 5 micron on."""
    zero = Polynomial2D(1)
    usual = {
        "orders": [1],
        "displ": [Polynomial1D(1, c0=5, c1=8)],
        "invdispl": [Polynomial1D(1, c0=-5 / 8, c1=1 / 8)],
        "dispx": [[zero, zero]],
        "dispy": [[Polynomial2D(1, c0_0=10), Polynomial2D(1, c0_0=-100)]],
    }
    files = {
        "specwcs": reference(usual if tree is None else tree),
        "distortion": reference({"model": imager()}),
        "filteroffset": None,
    }
    return tie_to_sky(exposure("MIR_WFSS", shape, changes), files, AssignWcsParams())


def test_wfss_by_hand():
    """40 rows below the source is half way down the trace: 9 micron, at the source's place on the sky."""
    result = wfss()
    wcs = result.attrs["wcs"]
    np.testing.assert_allclose(wcs(30, 60, 30, 100, 1), (80, 0, 9, 1), atol=1e-9)
    back = [float(np.ravel(value)[0]) for value in wcs.invert(80.0, 0.0, 9.0, 1)]
    np.testing.assert_allclose(back, (30, 60, 30, 100, 1), atol=1e-6)
    assert wcs.bounding_box is None
    assert wcs.available_frames[:2] == ["grism_detector", "detector"]
    sci = result.attrs["sci"]
    # The direct image's distortion is linear here: a tangent projection says it all.
    assert (sci["DISPAXIS"], sci["CTYPE1"]) == (2, "RA---TAN")
    assert "S_REGION" not in sci


@pytest.mark.parametrize(("make", "at"), [(lrs, (31, 90)), (slitless, (31, 90)), (mrs, (7, 10))])
def test_wcs_survives_pickling_and_asdf(make, at):
    wcs = make().attrs["wcs"]
    stream = io.BytesIO()
    asdf.AsdfFile({"wcs": wcs}).write_to(stream)
    stream.seek(0)
    with asdf.open(stream, lazy_load=False, memmap=False) as opened:
        for copy in (opened["wcs"], pickle.loads(pickle.dumps(wcs))):
            np.testing.assert_array_equal(copy(*at), wcs(*at))
            sky = wcs(*at)
            np.testing.assert_array_equal(
                copy.invert(*sky, with_bounding_box=False),
                wcs.invert(*sky, with_bounding_box=False),
            )


def test_references_and_exposures_are_not_changed():
    trees = mrs_trees()
    first = mrs(trees).attrs["wcs"](7, 10)
    assert mrs(trees, VELOSYS=1e4).attrs["wcs"](7, 10)[2] < first[2]
    np.testing.assert_array_equal(mrs(trees).attrs["wcs"](7, 10), first)
    given_ = exposure("MIR_MRS", (20, 40), {"CHANNEL": "12", "BAND": "SHORT"})
    tie_to_sky(given_, {kind: reference(tree) for kind, tree in trees.items()}, AssignWcsParams())
    assert "SPECSYS" not in given_.attrs["sci"]
    assert "wcs" not in given_.attrs


def without(**trees):
    return mrs_trees() | trees


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lrs(RA_REF=None), "RA_REF is missing"),
        (lambda: lrs(VELOSYS=float("nan")), "VELOSYS is nan"),
        (lambda: lrs(V3I_YANG=None, XOFFSET=None), "V3I_YANG, XOFFSET missing"),
        (lambda: lrs(distortion=mrs_trees()["distortion"]), "has no model"),
        (lambda: lrs(specwcs=reference(table=trace_table())), "IMX = None"),
        (
            lambda: lrs(specwcs=reference(table=trace_table()[["x_center"]], IMX=1.0, IMY=1.0)),
            "has no y_center, wavelength",
        ),
        (lambda: mrs(CHANNEL="5"), "CHANNEL is '5'"),
        (lambda: mrs(BAND="LONG"), "no channel and band 1LONG .*1SHORT, 2SHORT"),
        (lambda: mrs(shape=(20, 41)), "regions reference has 20 x 40 pixels"),
        (lambda: mrs(without(regions=None)), "no regions reference.*--override regions=FILE"),
        (lambda: mrs(without(specwcs={"model": [Const1D(1)]})), "has 1 slices"),
        (lambda: mrs(without(distortion={"model": imager()})), "has no alpha_model"),
        (lambda: wfss(tree={"model": 1}), "has no displ, dispx, dispy, invdispl, orders"),
        (lambda: wfss(DEC_REF=100.0), "DEC_REF = 100.0"),
    ],
)
def test_refusals_name_file_step_and_remedy(make, message):
    with pytest.raises(ExposureError, match=rf"one_rate\.fits: assign_wcs: .*{message}"):
        make()


def test_families_name_their_references():
    types = {
        "MIR_LRS-FIXEDSLIT": ("distortion", "specwcs"),
        "MIR_LRS-SLITLESS": ("distortion", "specwcs"),
        "MIR_MRS": ("distortion", "specwcs", "regions", "wavelengthrange"),
        "MIR_WFSS": ("distortion", "filteroffset", "specwcs"),
    }
    for kind, expected in types.items():
        assert family_of({"EXP_TYPE": kind}).refs == expected


REAL = {
    "RA_REF": 80.1234,
    "DEC_REF": -69.51,
    "ROLL_REF": 37.1,
    "VA_SCALE": 1.000056,
    "V3I_YANG": 4.8354,
    "VELOSYS": 12345.6,
    "XOFFSET": 0.35,
    "YOFFSET": -0.12,
}


def real(kind, shape, files, **changes):
    for file in files.values():
        if not file.exists():
            pytest.skip(f"{file} is absent")
    return tie_to_sky(
        exposure(kind, shape, REAL | changes), References.from_files(files), AssignWcsParams()
    ).attrs["wcs"]


def assert_equal(found, expected):
    """Sky within 0.1 mas, wavelength within 1e-6 of itself."""
    a, b = (SkyCoord(ra, dec, unit="deg") for ra, dec, _ in (found, expected))
    assert a.separation(b).mas < 0.1
    assert found[2] == pytest.approx(expected[2], rel=1e-6)


def test_lrs_slit_equals_the_jwst_calibration_pipeline():
    files = {
        "distortion": FLT9 / "jwst_miri_imager_distortion_flt9.asdf",
        "specwcs": CRDS / "jwst_miri_specwcs_0003.fits",
    }
    wcs = real("MIR_LRS-FIXEDSLIT", (1024, 1032), files, V2_REF=-414.34, V3_REF=-400.93)
    assert_equal(wcs(320.5, 200.25), (80.1235954718372, -69.5098893622933, 10.934202649877534))
    assert_equal(wcs(310, 50), (80.12424076628942, -69.5100913656993, 13.72829763460335))
    # The distortion's own inverse is good to 0.004 px.
    back = wcs.invert(*wcs(320.5, 200.25))
    np.testing.assert_allclose(back, (320.4964705562216, 200.25), atol=1e-3)
    box = wcs.bounding_box.bounding_box(order="F")
    np.testing.assert_allclose(np.ravel(box), (302.5, 346.5, 8.100001525878895, 395.3970291137695))


def test_lrs_slitless_equals_the_jwst_calibration_pipeline():
    files = {
        "distortion": CRDS / "jwst_miri_distortion_0028.asdf",
        "specwcs": CRDS / "jwst_miri_specwcs_0003.fits",
    }
    place = {"SUBSTRT1": 1, "SUBSTRT2": 529, "V2_REF": -378.83, "V3_REF": -344.94, "VELOSYS": None}
    wcs = real("MIR_LRS-SLITLESS", (416, 72), files, **place)
    assert_equal(wcs(36, 200), (80.12346607284708, -69.51002282541458, 10.94656140801044))
    assert_equal(wcs(20.5, 100), (80.12443865850955, -69.51033281014011, 12.891455209478515))
    box = wcs.bounding_box.bounding_box(order="F")
    assert [tuple(side) for side in box] == [(3.5, 71.5), (6.5, 397.5)]


def test_mrs_equals_the_jwst_calibration_pipeline():
    names = {"distortion": "0032", "specwcs": "0019", "regions": "0017", "wavelengthrange": "0005"}
    files = {kind: CRDS / f"jwst_miri_{kind}_{number}.asdf" for kind, number in names.items()}
    place = {"CHANNEL": "34", "BAND": "LONG", "V2_REF": -503.65, "V3_REF": -318.74}
    wcs = real("MIR_MRS", (1024, 1032), files, **place)
    pixels = {
        (200, 500): (80.12290064622624, -69.51093188989562, 26.344841521260292),
        (700, 300): (80.12354344799459, -69.50980242247364, 17.373934285692776),
        (960, 1000): (80.12332997910215, -69.51018655522181, 15.42583160621956),
    }
    for pixel, expected in pixels.items():
        assert_equal(wcs(*pixel), expected)
    # The radial velocity is not undone on the way back.
    back = wcs.invert(*wcs(200, 500), with_bounding_box=False)
    np.testing.assert_allclose(back, (200.00076359920766, 500.244291528631), atol=1e-3)


def test_older_product_agrees_to_what_its_pipeline_allows():
    """A product of jwst 1.3.3 with the same references: wavelengths, smoothed otherwise, differ by 1e-5."""
    file = DATA / "ramps" / "miri_lrs_tso" / "miri_lrs_calints_example.fits"
    if not file.exists():
        pytest.skip(f"{file} is absent")
    with fits.open(file) as hdus:
        values = dict(hdus[0].header) | dict(hdus["SCI"].header)
    files = {
        "distortion": CRDS / "jwst_miri_distortion_0028.asdf",
        "specwcs": CRDS / "jwst_miri_specwcs_0003.fits",
    }
    wcs = real("MIR_LRS-SLITLESS", (416, 72), files, **(values | {"VELOSYS": None}))
    ra, dec, wavelength = wcs(36.0, 200.0)
    older = SkyCoord(98.82248634095643, -66.82946821298353, unit="deg")
    assert SkyCoord(ra, dec, unit="deg").separation(older).mas < 1
    assert wavelength == pytest.approx(10.946659845753489, rel=2e-5)
