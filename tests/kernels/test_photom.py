"""Photometric calibration: the conversion, its row, its change with time, keywords and areas."""

import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

from jwpipe.dq import Pixel
from jwpipe.exposure import ExposureError, header
from jwpipe.refs import References
from jwpipe.stage2.flat_field import FlatFieldParams, flat_field
from jwpipe.stage2.photom import PhotomParams, calibrate, convert, photom

DATA = Path(os.environ.get("JWPIPE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
NIRCAM = DATA / "observations" / "nircam_sub400p"
DNU = np.uint32(Pixel.DO_NOT_USE)
NIRCAM_KEYS = {"INSTRUME": "NIRCAM", "FILTER": "F200W", "PUPIL": "CLEAR", "SUBARRAY": "SUB400P"}
ROWS = [("F070W", "CLEAR", 9.9), ("F200W", "CLEAR", 1.75)]


def exposure(keywords, shape=(6, 8)):
    """A flat-fielded exposure of ones (errors 2, variances 3, 4, 5) with one NaN and one flag."""
    dims = ("integration", "y", "x")[-len(shape) :]
    values = {"sci": 1, "err": 2, "var_poisson": 3, "var_rnoise": 4, "var_flat": 5}
    variables = {name: (dims, np.full(shape, v, np.float32)) for name, v in values.items()}
    variables["var_flat"][1][..., 0, 0] = np.nan
    variables["dq"] = (dims, np.zeros(shape, np.uint32))
    variables["dq"][1][..., 1, 1] = DNU
    subarray = {"SUBSTRT1": 3, "SUBSTRT2": 2, "SUBSIZE1": shape[-1], "SUBSIZE2": shape[-2]}
    return xr.Dataset(
        variables, attrs={"primary": {**keywords, **subarray}, "sci": {"BUNIT": "DN/s"}}
    )


def photom_file(path, rows, columns=("filter", "pupil", "photmjsr"), tables=None):
    """A photom reference with its table, and tables of the change with time."""

    def table(name, names, values):
        kinds = [("S12" if isinstance(v, str) else "f4") for v in values[0]]
        dtype = list(zip(names, kinds, strict=True))
        return fits.BinTableHDU(np.array(values, dtype), name=name)

    primary = fits.PrimaryHDU(header=fits.Header({"PIXAR_SR": 2e-14, "PIXAR_A2": 9e-4}))
    extra = [table(name, *content) for name, content in (tables or {}).items()]
    fits.HDUList([primary, table("PHOTOM", columns, rows), *extra]).writeto(path)
    return str(path)


def references(photom_path, area=None):
    return References.from_files({"photom": photom_path, "area": area})


def test_worked_example(tmp_path):
    """1.75 MJy/sr a DN/s: SCI 1 -> 1.75, ERR 2 -> 3.5, variances x 3.0625."""
    given = exposure(NIRCAM_KEYS)
    result = convert(given, references(photom_file(tmp_path / "p.fits", ROWS)), PhotomParams())
    pixel = result.isel(y=3, x=3)
    assert float(pixel.sci) == 1.75
    assert float(pixel.err) == 3.5
    assert [float(pixel[f"var_{n}"]) for n in ("poisson", "rnoise", "flat")] == [
        3 * 3.0625,
        4 * 3.0625,
        5 * 3.0625,
    ]
    assert result.sci.dtype == np.float32
    assert result.attrs["sci"]["PHOTMJSR"] == 1.75
    # 1 MJy/sr = 1e12 uJy/sr x 2.3504e-11 sr/arcsec2 = 23.504 uJy/arcsec2
    assert result.attrs["sci"]["PHOTUJA2"] == pytest.approx(1.75 * 23.50443, rel=1e-6)
    assert result.attrs["sci"]["PIXAR_A2"] == 9e-4
    assert result.attrs["sci"]["BUNIT"] == result.sci.attrs["units"] == "MJy/sr"
    assert given.attrs["sci"] == {"BUNIT": "DN/s"}
    assert float(given.sci[3, 3]) == 1


def test_nan_and_do_not_use_are_made_to_agree(tmp_path):
    path = photom_file(tmp_path / "p.fits", ROWS)
    result = convert(exposure(NIRCAM_KEYS), references(path), PhotomParams())
    flagged = (result.dq.values & DNU) != 0
    assert flagged[0, 0]
    assert flagged[1, 1]
    assert flagged.sum() == 2
    for name in ("sci", "err", "var_poisson", "var_rnoise", "var_flat"):
        np.testing.assert_array_equal(np.isnan(result[name].values), flagged)


def test_inverse_undoes(tmp_path):
    references_ = references(photom_file(tmp_path / "p.fits", ROWS))
    there = convert(exposure(NIRCAM_KEYS), references_, PhotomParams())
    back = convert(there, references_, PhotomParams(inverse=True))
    assert back.attrs["sci"]["BUNIT"] == "DN/s"
    np.testing.assert_allclose(back.var_rnoise[3], 4)
    np.testing.assert_allclose(back.sci[3], 1)


def test_chunks_equal_the_whole_and_stay_lazy(tmp_path):
    references_ = references(photom_file(tmp_path / "p.fits", ROWS))
    whole = convert(exposure(NIRCAM_KEYS, (2, 6, 8)), references_, PhotomParams())
    chunked = exposure(NIRCAM_KEYS, (2, 6, 8)).chunk(y=4)
    result = convert(chunked, references_, PhotomParams())
    assert result.sci.chunks == chunked.sci.chunks
    xr.testing.assert_identical(result.compute(), whole)


def test_kernel_leaves_its_inputs():
    dq, sci = np.array([[0, 1]], np.uint32), np.array([[1, 2]], np.float32)
    flags, scaled = calibrate(dq, sci, scales=(2.0,), inverse=False)
    np.testing.assert_array_equal(sci, [[1, 2]])
    np.testing.assert_array_equal(dq, [[0, 1]])
    np.testing.assert_array_equal(scaled, [[2, np.nan]])
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(flags, dq)


def conversion(keywords, path, **params):
    result = convert(exposure(keywords), references(path), PhotomParams(**params))
    return result.attrs["sci"]["PHOTMJSR"]


def test_nircam_row_by_subarray_where_the_table_has_it(tmp_path):
    rows = [("F200W", "CLEAR", "FULL", 9.0), ("F200W", "CLEAR", "SUB400P", 4.0)]
    path = photom_file(tmp_path / "p.fits", rows, ("filter", "pupil", "subarray", "photmjsr"))
    assert conversion(NIRCAM_KEYS, path) == 4


def test_miri_row_by_subarray_else_generic(tmp_path):
    rows = [("F770W", "GENERIC", 2.0), ("F770W", "SUB256", 3.0)]
    path = photom_file(tmp_path / "p.fits", rows, ("filter", "subarray", "photmjsr"))
    keys = {"INSTRUME": "MIRI", "FILTER": "F770W"}
    assert conversion({**keys, "SUBARRAY": "SUB256"}, path) == 3
    assert conversion({**keys, "SUBARRAY": "SUB128"}, path) == 2


def test_fgs_has_one_row(tmp_path):
    path = photom_file(tmp_path / "p.fits", [(2.5,)], ("photmjsr",))
    assert conversion({"INSTRUME": "FGS"}, path) == 2.5


@pytest.mark.parametrize("rows", [ROWS[:1], ROWS + ROWS])
def test_no_row_or_several_are_refused_by_name(tmp_path, rows):
    path = photom_file(tmp_path / "p.fits", rows)
    with pytest.raises(ExposureError, match="rows for FILTER=F200W, PUPIL=CLEAR"):
        conversion(NIRCAM_KEYS, path)


def with_time(tmp_path, tables):
    return photom_file(tmp_path / "p.fits", ROWS, tables=tables)


def test_throughput_falls_linearly(tmp_path):
    """Half a percent a year lost for two years (730 days): conversion / 0.99."""
    tables = {"TIMECOEFF_LINEAR": (("t0", "lossperyear"), [(60000.0, 0.0), (60000.0, 0.005)])}
    path = with_time(tmp_path, tables)
    keys = {**NIRCAM_KEYS, "EXPMID": 60730.0}
    assert conversion(keys, path) == pytest.approx(1.75 / 0.99, rel=1e-6)
    assert conversion(keys, path, apply_time_correction=False) == 1.75


def test_all_changes_of_throughput_multiply(tmp_path):
    """A year after: 0.98 (power law by definition) x (0.1 exp(-365/365) + 0.9)."""
    names = ("t0", "amplitude", "tau", "const")
    tables = {
        "TIMECOEFF_EXPONENTIAL": (names, [(0.0, 0.0, 1.0, 1.0), (60000.0, 0.1, 365.0, 0.9)]),
        "TIMECOEFF_POWERLAW": (
            ("t0", "year1value", "tsoft", "alpha"),
            [(0.0, 1.0, 1.0, 0.0), (60000.0, 0.98, 2.0, -0.03)],
        ),
    }
    path = with_time(tmp_path, tables)
    expected = 1.75 / (0.98 * (0.1 * np.exp(-1) + 0.9))
    found = conversion({**NIRCAM_KEYS, "EXPMID": 60365.0}, path)
    assert found == pytest.approx(expected, rel=1e-6)


def test_time_is_needed_where_the_throughput_changes(tmp_path):
    tables = {"TIMECOEFF_LINEAR": (("t0", "lossperyear"), [(60000.0, 0.0), (60000.0, 0.005)])}
    with pytest.raises(ExposureError, match="EXPMID is missing"):
        conversion(NIRCAM_KEYS, with_time(tmp_path, tables))


def test_area_is_cut_to_the_subarray_and_lazy(tmp_path):
    area = tmp_path / "area.fits"
    keys = {"INSTRUME": "NIRCAM", "PIXAR_SR": 1e-13, "PIXAR_A2": 4e-3}
    frame = np.arange(2048 * 2048, dtype=np.float32).reshape(2048, 2048)
    primary = fits.PrimaryHDU(header=fits.Header(keys))
    fits.HDUList([primary, fits.ImageHDU(frame, name="SCI")]).writeto(area)
    given = exposure(NIRCAM_KEYS).chunk(y=4)
    files = {"photom": photom_file(tmp_path / "p.fits", ROWS), "area": str(area)}
    result = convert(given, References.from_files(files, header(given)), PhotomParams())
    assert result.area.chunks == given.sci.chunks
    np.testing.assert_array_equal(result.area.values, frame[1:7, 2:10])
    assert result.attrs["sci"]["PIXAR_SR"] == 1e-13


def test_niriss_integrations_are_left_alone():
    keys = {"INSTRUME": "NIRISS", "EXP_TYPE": "NIS_AMI"}
    for model, left_out in (("CubeModel", True), ("ImageModel", False), ("RampModel", True)):
        given = header(exposure({**keys, "DATAMODL": model}))
        assert bool(photom.applies(given, PhotomParams())) == left_out


def read(path):
    """An exposure from a FITS file, whole."""
    with fits.open(path, memmap=False) as hdus:
        names = ("SCI", "ERR", "DQ", "VAR_POISSON", "VAR_RNOISE")
        variables = {
            name.lower(): (
                ("y", "x"),
                hdus[name].data.astype(hdus[name].data.dtype.newbyteorder("=")),
            )
            for name in names
        }
        attrs = {"primary": dict(hdus[0].header), "sci": dict(hdus["SCI"].header)}
    return xr.Dataset(variables, attrs=attrs)


@pytest.mark.skipif(not NIRCAM.exists(), reason=f"{NIRCAM} is absent")
def test_rate_to_cal_equals_the_jwst_calibration_pipeline():
    (rate,) = (NIRCAM / "peer").glob("*_00001_*_rate.fits")
    given = read(rate)
    files = {
        kind: NIRCAM / "refs" / f"rig_nircam_nrcb1_{kind}.fits"
        for kind in ("flat", "photom", "area")
    }
    references_ = References.from_files(files, header(given))
    flat = [
        array.read() for array in flat_field.prepare(references_, header(given), FlatFieldParams())
    ]
    arrays = flat_field.kernel(*(given[n].values for n in flat_field.reads), *flat, inverse=False)
    flattened = {n: (("y", "x"), a) for n, a in zip(flat_field.writes, arrays, strict=True)}
    result = convert(given.assign(flattened).chunk(y=128), references_, PhotomParams())
    with fits.open(str(rate).replace("_rate", "_cal")) as cal:
        for name in ("SCI", "ERR", "DQ", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT", "AREA"):
            np.testing.assert_array_equal(result[name.lower()].values, cal[name].data)
        for keyword in ("PHOTMJSR", "PHOTUJA2", "PIXAR_SR", "PIXAR_A2", "BUNIT"):
            assert result.attrs["sci"][keyword] == cal["SCI"].header[keyword]
