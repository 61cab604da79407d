"""The WCS of NIRSpec's spectra and images, against jwst 3.0.0 and the laws of optics."""

import pickle
import warnings

import nirspec_examples as examples
import numpy as np
import pytest
from astropy.modeling.models import Tabular2D

from jwpipe.exposure import ExposureError, Header
from jwpipe.io.asdf_tree import dump, parse
from jwpipe.stage2.assign_wcs import AssignWcsParams, assign_wcs, tie_to_sky
from jwpipe.wcs import nirspec
from jwpipe.wcs.nirspec_grating import Disperser, number, wave_range
from jwpipe.wcs.nirspec_optics import NoLightError
from jwpipe.wcs.nirspec_slits import falls_on_detector, fixed_slits
from jwpipe.wcs.nirspec_wavecorr import corrected, zero_point

needs_references = pytest.mark.skipif(
    not examples.REFERENCES.exists(), reason=f"{examples.REFERENCES} is absent"
)
FRAMES = [
    "detector",
    "sca",
    "gwa",
    "slit_frame",
    "msa_frame",
    "oteip",
    "v2v3",
    "v2v3vacorr",
    "world",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("nirspec")
    examples.write_msa_metadata(path / "one_msa.fits")
    return path


def run(
    folder,
    exp_type,
    filter_="F100LP",
    grating="G140M",
    detector="NRS1",
    shape=(2048, 2048),
    **changes,
):
    values = examples.keywords(exp_type, filter_, grating, detector, **changes)
    given = examples.exposure(values, shape, folder)
    return tie_to_sky(given, examples.references(filter_, grating, folder), AssignWcsParams())


@pytest.fixture(scope="module")
def slits(folder):
    return run(folder, "NRS_FIXEDSLIT").attrs["wcs"]


SUB_A2 = {"SUBARRAY": "SUBS200A2", "SUBSTRT2": 897, "FXD_SLIT": "S200A2", "shape": (64, 2048)}
BRIGHT = {"SUBARRAY": "SUB2048", "SUBSTRT2": 946, "FXD_SLIT": "S1600A1", "shape": (32, 2048)}
LAMP = {"OPMODE": "FIXEDSLIT", "LAMP": "LINE1"}
SOLVED = [
    # exposure, slit, its bounding box, a pixel, and its coordinates as jwst 3.0.0 finds them
    (
        ("NRS_FIXEDSLIT", "F100LP", "G140M", "NRS1", {}),
        "S200A1",
        ((665.826, 2047.5), (1053.5, 1100.5)),
        (1356.6630001287792, 1077.0),
        (150.0660950452584, 2.3929779298538336, 1.402677815313437),
    ),
    (
        ("NRS_FIXEDSLIT", "F290LP", "G395H", "NRS2", {"FXD_SLIT": "S200B1"}),
        "S200B1",
        ((-0.5, 2047.5), (1072.5, 1129.5)),
        (1023.5, 1101.0),
        (150.07962082229466, 2.357201657939011, 3.570940014967724),
    ),
    (
        ("NRS_FIXEDSLIT", "CLEAR", "PRISM", "NRS1", SUB_A2),
        "S200A2",
        ((888.5974, 1324.752), (125.5, 165.5)),
        (1106.6746962712714, 145.5),
        (150.0650616088309, 2.3984998745589885, 3.444148355683208),
    ),
    (
        ("NRS_BRIGHTOBJ", "F290LP", "G395H", "NRS1", BRIGHT),
        "S1600A1",
        ((773.7715, 2047.5), (18.5, 47.5)),
        (1410.6357567085147, 33.0),
        (150.06854596376212, 2.3952049497336, 3.2933331277840057),
    ),
    (
        ("NRS_MSASPEC", "CLEAR", "PRISM", "NRS1", {}),
        21,
        ((1489.3414, 1920.7991), (1636.5, 1650.5)),
        (1705.0702736453009, 1643.5),
        (150.0555118103185, 2.374191561019711, 3.4449312863952097),
    ),
    (
        ("NRS_MSASPEC", "F170LP", "G235M", "NRS2", {}),
        12,
        ((-0.5, 1071.6614), (1822.5, 1856.5)),
        (535.5806950816159, 1839.5),
        (150.05640246732648, 2.3559114437238717, 2.6136446039401515),
    ),
    (
        ("NRS_AUTOWAVE", "OPAQUE", "G140M", "NRS1", LAMP),
        "S1600A1",
        ((667.252, 1944.0146), (956.5, 985.5)),
        (1305.6333244559055, 971.0),
        (0.02866310067474842, 0.0015470812037735304, 1.3996342165021243),
    ),
]


@needs_references
@pytest.mark.parametrize(("what", "slit", "box", "pixel", "expected"), SOLVED)
def test_slits_are_where_the_jwst_calibration_pipeline_has_them(
    folder, what, slit, box, pixel, expected
):
    *mode, changes = what
    wcs = run(folder, *mode, **changes).attrs["wcs"]
    single = nirspec.one_slit(wcs, slit)
    np.testing.assert_allclose(single(*pixel), expected, rtol=1e-11)
    np.testing.assert_allclose(single.invert(*single(*pixel)), pixel, atol=0.02)
    np.testing.assert_allclose(box_of(single), box, atol=1e-4)
    number_ = nirspec.fixed_slit_id(slit) if isinstance(slit, str) else slit
    np.testing.assert_allclose(wcs(*pixel, number_), [*expected, number_], rtol=1e-11)


def box_of(wcs):
    return [tuple(wcs.bounding_box[axis]) for axis in ("x", "y")]


@needs_references
def test_frames_units_and_keywords(folder):
    found = run(folder, "NRS_FIXEDSLIT", S_REGION="POLYGON ICRS  1 2 3 4")
    wcs, sci = found.attrs["wcs"], found.attrs["sci"]
    assert wcs.available_frames == FRAMES
    assert [str(unit) for unit in wcs.output_frame.unit] == ["deg", "deg", "micron"]
    assert nirspec.slit_names(wcs) == ["S200A1", "S200A2", "S400A1", "S1600A1", "S200B1"]
    assert (sci["WAVSTART"], sci["WAVEND"], sci["SPORDER"]) == (9.7e-7, 1.89e-6, -1)
    assert (sci["SPECSYS"], sci["DISPAXIS"]) == ("BARYCENT", 1)
    assert sci["S_REGION"] == "POLYGON ICRS  1 2 3 4"
    assert "A_ORDER" not in sci


@needs_references
def test_internal_light_ends_at_the_msa(folder):
    found = run(folder, "NRS_AUTOWAVE", "OPAQUE", S_REGION="POLYGON ICRS  1 2 3 4", **LAMP)
    assert found.attrs["wcs"].available_frames == FRAMES[:5]
    assert "S_REGION" not in found.attrs["sci"]
    # S200B1's light does not reach NRS1 at these wavelengths.
    assert nirspec.slit_names(found.attrs["wcs"]) == ["S200A1", "S200A2", "S400A1", "S1600A1"]


@needs_references
def test_light_goes_both_ways(slits):
    """From places in the slit to pixels and back: the camera's two polynomials agree to some hundredths of a pixel."""
    single = nirspec.one_slit(slits, "S400A1")
    to_slit = single.get_transform("detector", "slit_frame")
    y, wavelength = (
        axis.ravel()
        for axis in np.meshgrid(np.linspace(-0.5, 0.5, 7), np.linspace(1.0e-6, 1.8e-6, 9))
    )
    pixels = to_slit.inverse(np.zeros_like(y), y, wavelength)
    x, found, lam = to_slit(*pixels)
    np.testing.assert_allclose(x, 0, atol=1e-15)
    np.testing.assert_allclose(found, y, atol=2e-3)
    np.testing.assert_allclose(lam, wavelength, rtol=2e-5)


@needs_references
def test_wavelength_and_place_are_continuous(slits):
    single = nirspec.one_slit(slits, "S200A1")
    x = np.arange(700, 2047)
    ra, dec, wavelength = single(x, np.full(x.shape, 1077))
    assert (np.diff(wavelength) > 0).all()
    assert np.abs(np.diff(wavelength, 2)).max() < 1e-6
    assert np.hypot(np.diff(ra), np.diff(dec)).max() * 3600 < 0.02


@needs_references
def test_pixels_beside_the_slit_have_no_coordinates(slits):
    single = nirspec.one_slit(slits, "S200A1")
    column = np.array(single(np.full(47, 1400.0), np.arange(1054.0, 1101.0)))
    seen = np.isfinite(column[2])
    assert 0.5 < seen.mean() < 1
    assert not seen[0]
    assert not seen[-1]
    assert np.isnan(single(1400, 900)).all()


@needs_references
def test_subarrays_shift_pixels_only(folder, slits):
    cut = run(folder, "NRS_FIXEDSLIT", SUBARRAY="SUBS200A1", SUBSTRT2=1041, shape=(64, 2048)).attrs[
        "wcs"
    ]
    assert nirspec.slit_names(cut) == ["S200A1"]
    full = nirspec.one_slit(slits, "S200A1")
    np.testing.assert_allclose(
        nirspec.one_slit(cut, "S200A1")(1400, 36), full(1400, 1076), rtol=1e-12
    )


@needs_references
def test_velocity_stretches_wavelengths(folder):
    still, moving = (
        nirspec.one_slit(run(folder, "NRS_FIXEDSLIT", VELOSYS=speed).attrs["wcs"], "S200A1")
        for speed in (None, 29979.2458)
    )
    assert moving(1400, 1076)[2] / still(1400, 1076)[2] == pytest.approx(1 / 1.0001, rel=1e-12)


@needs_references
def test_wcs_survives_files_and_pickles(slits):
    single = nirspec.one_slit(slits, "S200A1")
    for copy in (parse(dump({"wcs": slits}), "here")["wcs"], pickle.loads(pickle.dumps(slits))):
        assert nirspec.slit_names(copy) == nirspec.slit_names(slits)
        again = nirspec.one_slit(copy, "S200A1")
        np.testing.assert_allclose(again(1400, 1076), single(1400, 1076), rtol=1e-15)
        np.testing.assert_allclose(
            again.invert(*again(1400, 1076)), single.invert(*single(1400, 1076)), rtol=1e-12
        )
        assert box_of(again) == box_of(single)


@needs_references
def test_files_that_were_read_pickle_too(slits):
    copy = parse(dump({"wcs": slits}), "here")["wcs"]
    again = pickle.loads(pickle.dumps(copy))
    np.testing.assert_array_equal(again(1400, 1076, -101), slits(1400, 1076, -101))


@needs_references
def test_image_through_the_mirror(folder):
    found = run(folder, "NRS_IMAGE", "F110W", "MIRROR")
    wcs, sci = found.attrs["wcs"], found.attrs["sci"]
    assert wcs.available_frames == [
        "detector",
        "sca",
        "gwa",
        "msa",
        "oteip",
        "v2v3",
        "v2v3vacorr",
        "world",
    ]
    np.testing.assert_allclose(
        wcs(1023.5, 1023.5), (150.06357213309528, 2.405175889916799), rtol=1e-13
    )
    np.testing.assert_allclose(wcs.invert(*wcs(1023.5, 1023.5)), (1023.5, 1023.5), atol=0.02)
    assert sci["S_REGION"].startswith("POLYGON ICRS  150.080543776 2.442886335 150.024035385")
    assert sci["CTYPE1"] == "RA---TAN-SIP"


@needs_references
def test_image_with_the_filter_closed_ends_at_the_msa(folder):
    wcs = run(folder, "NRS_IMAGE", "OPAQUE", "MIRROR", LAMP="TEST").attrs["wcs"]
    assert wcs.available_frames == ["detector", "sca", "gwa", "msa"]
    x, y, wavelength = wcs(1023.5, 1023.5)
    assert wavelength == pytest.approx(2.95)
    np.testing.assert_allclose(wcs.invert(x, y), (1023.5, 1023.5), atol=0.02)


@needs_references
@pytest.mark.parametrize("keyword", ["GWA_XTIL", "GWA_YTIL", "ROLL_REF"])
def test_missing_keywords_are_named(folder, keyword):
    with pytest.raises(ExposureError, match=rf"one_rate.fits: assign_wcs: .*{keyword} is missing"):
        run(folder, "NRS_FIXEDSLIT", **{keyword: None})


@needs_references
def test_prism_needs_its_temperature(folder):
    with pytest.raises(ExposureError, match="GWA_TILT is missing"):
        run(folder, "NRS_FIXEDSLIT", "CLEAR", "PRISM", GWA_TILT=None)


@needs_references
@pytest.mark.parametrize(
    ("keyword", "value"),
    [("FILTER", "F444W"), ("GRATING", "GRISMR"), ("DETECTOR", "NRCA1"), ("OPMODE", "IMAGE")],
)
def test_unknown_elements_are_refused(folder, keyword, value):
    values = examples.keywords("NRS_LAMP", OPMODE="FIXEDSLIT", LAMP="LINE1") | {keyword: value}
    if keyword == "FILTER":
        values["EXP_TYPE"] = "NRS_FIXEDSLIT"
    references = examples.references(folder=folder)
    with pytest.raises(ExposureError, match=f"{keyword} is '{value}'"):
        tie_to_sky(examples.exposure(values), references, AssignWcsParams())


def test_combination_without_a_range_takes_that_of_its_grating():
    tree = {
        "waverange_selector": ["A_G140M", "B_G140M"],
        "order": [-1, -2],
        "wavelengthrange": [[1, 2], [3, 5]],
    }
    header = Header({"sci": {"EXP_TYPE": "NRS_FIXEDSLIT", "FILTER": "F070LP", "GRATING": "G140M"}})
    with pytest.warns(UserWarning, match="no wavelength range for F070LP_G140M"):
        assert wave_range(header, tree).end == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lamp = Header(
            {"sci": {"EXP_TYPE": "NRS_LAMP", "FILTER": "F070LP", "GRATING": "G140M", "LAMP": "B"}}
        )
        assert (wave_range(lamp, tree).order, wave_range(lamp, tree).centre) == (-2, 4)


def test_numbers_are_finite():
    header = Header({"sci": {"A": np.nan, "B": "7", "C": 7}})
    assert number(header, "C", "") == 7
    for keyword in "ABD":
        with pytest.raises(ExposureError, match=keyword):
            number(header, keyword, "correct it")


@needs_references
def test_grating_equation_both_ways():
    """order x density x wavelength is the change of alpha; with order -1 and 95397.1 lines a metre, 0.0954 at 1 um."""
    header = Header({"sci": examples.keywords("NRS_FIXEDSLIT", VELOSYS=None)})
    tree = examples.references()["disperser"].tree()
    disperser = Disperser.build(header, tree, -1)
    alpha, beta, _ = disperser.directions(1e-6, 0.2, -0.3, np.sqrt(1 - 0.04 - 0.09))
    assert beta == pytest.approx(0.3)
    assert alpha == pytest.approx(0.0953971 - 0.2, rel=1e-9)
    assert disperser.wavelength(0.2, -0.3, alpha) == pytest.approx(1e-6, rel=1e-12)


@needs_references
def test_tilt_turns_the_grating():
    """Half of 8436.451 arcsec per unit of the sensor about y, for a reading 0.01 above that of calibration."""
    references = examples.references()
    tree = references["disperser"].tree()
    reading = tree["gwa_tiltx"]["zeroreadings"][0]
    angles = [
        Disperser.build(
            Header({"sci": examples.keywords("NRS_FIXEDSLIT", GWA_XTIL=tilt)}), tree, -1
        ).rotation.angles
        for tilt in (reading, reading + 0.01)
    ]
    np.testing.assert_allclose(angles[1] - angles[0], [0, -0.5 * 84.36451 / 3600, 0, 0], atol=1e-12)


def test_sources_of_fixed_slits():
    full = Header({"sci": {"SUBARRAY": "FULL", "FXD_SLIT": "S400A1"}})
    assert [slit.source_id for slit in fixed_slits(full, (-0.5, 0.5))] == [31, 32, 1, 34, 35]
    unknown = Header({"sci": {"SUBARRAY": "SUB512", "FXD_SLIT": "NONE"}})
    (slit,) = fixed_slits(unknown, (-0.5, 0.5))
    assert (slit.name, slit.source_id, slit.quadrant, slit.slit_id) == ("S1600A1", 4, 5, -104)


def test_boxes_beyond_the_detector():
    assert falls_on_detector(((-0.5, 30.5), (-0.5, 30.5)))
    assert not falls_on_detector(((2048.5, 2047.5), (10, 30)))
    assert not falls_on_detector(((-0.5, -3), (10, 30)))
    assert not falls_on_detector(((10, 11), (10, 30)))


@needs_references
def test_names_of_slits_that_are_not_open(slits):
    with pytest.raises(ExposureError, match="no slit 'S200X9' in this WCS; it has S200A1, S200A2"):
        nirspec.one_slit(slits, "S200X9")


def test_types_have_their_references():
    need = {
        kind: set(assign_wcs.needs(Header({"sci": {"EXP_TYPE": f"NRS_{kind}"}}), None))
        for kind in ("IFU", "MSASPEC")
    }
    assert need["MSASPEC"] - need["IFU"] == {"msa"}
    assert need["IFU"] - need["MSASPEC"] == {"chromcorr", "ifufore", "ifupost", "ifuslicer"}


def zero_point_tree(slope):
    """A shift of ``slope`` x (place in the slit) pixels at all wavelengths."""
    table = slope * np.tile([-0.5, 0.5], (2, 1))
    model = Tabular2D(points=([1e-6, 2e-6], [-0.5, 0.5]), lookup_table=table)
    return {"apertures": [{"aperture_name": "S200A1", "zero_point_offset": model}]}


def test_zero_point_shifts_by_pixels():
    """A source 0.25 slit widths off shifts by 0.5 x 0.25 = 0.125 pixels, of 1 nm each, also beyond the table."""
    wavelength = np.tile(np.linspace(1.0e-6, 1.9e-6, 900, endpoint=False), (4, 1))
    wavelength[0, :5] = np.nan
    dispersion = np.full_like(wavelength, 1e-9)
    model = zero_point(wavelength, dispersion, zero_point_tree(0.5), "S200A1", 0.25)
    for there in (1.5e-6, 0.9e-6, 2.1e-6):
        assert model(there) == pytest.approx(there + 0.125e-9, rel=1e-9)
        assert model.inverse(model(there)) == pytest.approx(there, rel=1e-9)
    assert zero_point(wavelength, dispersion, zero_point_tree(0.5), "S200B1", 0.25) is None
    backwards = np.where(np.arange(900) % 2, 1e-8, 0)
    assert (
        zero_point(wavelength, np.tile(backwards, (4, 1)), zero_point_tree(0.5), "S200A1", 0.25)
        is None
    )


@needs_references
def test_wavelengths_of_sources_beside_the_middle(slits):
    single = nirspec.one_slit(slits, "S200A1")
    tree = examples.References.from_files(
        {"wavecorr": examples.REFERENCES / "jwst_nirspec_wavecorr_0001.asdf"}
    )["wavecorr"].tree()
    wcs = corrected(single, tree, "S200A1", 0.3)
    assert wcs.available_frames.index("wavecorr_frame") == 4
    before, after = np.array(single(1400, 1076)), np.array(wcs(1400, 1076))
    shift = (after[2] - before[2]) / (single(1401, 1076)[2] - before[2])
    expected = next(
        each["zero_point_offset"] for each in tree["apertures"] if each["aperture_name"] == "S200A1"
    )(before[2] * 1e-6, 0.3)
    assert shift == pytest.approx(expected, abs=2e-3)
    np.testing.assert_allclose(after[:2], before[:2], atol=1e-6 / 3600)
    np.testing.assert_allclose(wcs.invert(*after), single.invert(*before), atol=1e-5)


@needs_references
def test_ifu_of_short_gratings_misses_nrs2(folder):
    with pytest.raises(NoLightError, match="do not reach NRS2"):
        run(folder, "NRS_IFU", detector="NRS2")
