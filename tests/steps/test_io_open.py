import gzip
import pickle
import shutil
import time

import dask
import numpy as np
import pytest
from astropy.io import fits
from io_examples import OBSERVATIONS, rate, real_data, uncal

import jwpipe.io as jio
from jwpipe.io import fits_read, local, source
from jwpipe.io.fitsarray import FitsArray, bounding_box


class Counting:
    """A source that notes which bytes were read."""

    def __init__(self, inner):
        self.inner, self.size, self.stamp, self.compressed = inner, inner.size, inner.stamp, False
        self.ranges = []

    def read(self, start, stop):
        self.ranges.append((start, stop))
        return self.inner.read(start, stop)


@pytest.fixture
def ramp(tmp_path):
    path = tmp_path / "jw01234001001_02101_00001_nrcb1_uncal.fits"
    return path, uncal(path)


def test_a_ramp(ramp):
    path, pixels = ramp
    exposure = jio.open(path)
    assert exposure["sci"].dims == ("integration", "group", "y", "x")
    assert exposure["sci"].dtype == np.uint16
    assert exposure["zeroframe"].dims == ("integration", "y", "x")
    np.testing.assert_array_equal(exposure["sci"].values, pixels)
    np.testing.assert_array_equal(exposure["zeroframe"].values, pixels[:, 0] // 4)
    assert exposure.attrs["product"] == "uncal"
    assert exposure.attrs["filename"] == path.name
    assert exposure.attrs["history"] == []


def test_keywords_are_plain_values(ramp):
    attrs = jio.open(ramp[0]).attrs
    assert attrs["primary"]["NGROUPS"] == 4
    assert attrs["primary"]["ZEROFRAM"] is True
    assert attrs["primary"]["HISTORY"] == ["made by hand"]
    assert attrs["sci"]["S_REGION"] == ("POLYGON ICRS " + "80.4816156 " * 12).rstrip()
    assert not {"NAXIS1", "BITPIX", "BZERO", "SIMPLE"} & (attrs["primary"].keys() | attrs["sci"])


def test_tables(ramp):
    rows = jio.open(ramp[0]).attrs["tables"]["INT_TIMES"]
    assert rows["integration_number"].tolist() == [1, 2]
    assert rows["int_start_MJD_UTC"].tolist() == [61100.25, 61100.5]
    assert rows.dtype.isnative


def test_an_image_with_flags_and_nan(tmp_path):
    arrays = rate(tmp_path / "a_rate.fits")
    exposure = jio.open(tmp_path / "a_rate.fits")
    for name, expected in arrays.items():
        np.testing.assert_array_equal(exposure[name.lower()].values, expected)
    assert exposure["dq"].dtype == np.uint32
    assert exposure["sci"].attrs["units"] == "DN/s"


@pytest.mark.parametrize(
    ("name", "model", "unit", "product"),
    [
        ("x_cal.fits", "ImageModel", "DN/s", "cal"),
        ("x_o001_crf.fits", "ImageModel", "MJy/sr", "crf"),
        ("noname.fits", "ImageModel", "DN/s", "rate"),
        ("noname.fits", "ImageModel", "MJy/sr", "cal"),
    ],
)
def test_what_a_file_holds(tmp_path, name, model, unit, product):
    rate(tmp_path / name, DATAMODL=model)
    with fits.open(tmp_path / name, "update") as hdus:
        hdus["SCI"].header["BUNIT"] = unit
    assert jio.open(tmp_path / name).attrs["product"] == product


def test_a_refout_narrower_than_the_frame(tmp_path):
    path = tmp_path / "a_uncal.fits"
    uncal(path)
    fits.append(path, np.zeros((2, 4, 20, 4), np.uint16), fits.Header({"EXTNAME": "REFOUT"}))
    assert jio.open(path)["refout"].dims == ("integration", "group", "y", "x_refout")


def test_chunks_are_blocks_of_whole_rows(tmp_path):
    uncal(tmp_path / "a_uncal.fits", size=(600, 8))
    exposure = jio.open(tmp_path / "a_uncal.fits")
    assert exposure["sci"].chunks == ((2,), (4,), (256, 256, 88), (8,))
    asked = jio.open(tmp_path / "a_uncal.fits", chunks={"y": 100, "integration": 1})
    assert asked["sci"].chunks == ((1, 1), (4,), (100,) * 6, (8,))
    square = jio.open(tmp_path / "a_uncal.fits", chunks=300)
    assert square["sci"].chunks[2:] == ((300, 300), (8,))


def test_opening_reads_headers_and_tables_only(ramp, monkeypatch):
    seen = []
    monkeypatch.setattr(
        fits_read,
        "LocalSource",
        lambda *a: seen.append(Counting(source.LocalSource(*a))) or seen[-1],
    )
    jio.open(ramp[0])
    with fits.open(ramp[0]) as hdus:
        data = [(i["datLoc"], i["datLoc"] + i["datSpan"]) for i in map(hdus.fileinfo, range(3))]
    read = seen[0].ranges
    assert read
    assert not any(a < stop and start < b for start, stop in read for a, b in data if b > a)


def test_a_tile_reads_its_rows_only(ramp, monkeypatch):
    indices = []
    original = FitsArray.__getitem__
    monkeypatch.setattr(
        FitsArray, "__getitem__", lambda self, i: indices.append(i) or original(self, i)
    )
    exposure = jio.open(ramp[0], chunks={"y": 5})
    tile = exposure["sci"].isel(y=slice(5, 10), x=slice(2, 7)).compute(scheduler="sync")
    np.testing.assert_array_equal(tile, ramp[1][:, :, 5:10, 2:7])
    assert len(indices) == 1
    assert [range(n)[part] for part, n in zip(indices[0], (2, 4, 20, 16), strict=True)][2] == range(
        5, 10
    )


def test_a_pickled_exposure_reads_elsewhere(ramp):
    again = pickle.loads(pickle.dumps(jio.open(ramp[0])))
    np.testing.assert_array_equal(again["sci"].values, ramp[1])
    assert len(pickle.dumps(again)) < 30_000


def test_a_changed_file_gets_new_names(ramp):
    first = jio.open(ramp[0])["sci"].data.name
    assert jio.open(ramp[0])["sci"].data.name == first
    uncal(ramp[0], seed=1)
    assert jio.open(ramp[0])["sci"].data.name != first


def test_gzip(ramp, tmp_path):
    packed = tmp_path / "b_uncal.fits.gz"
    with ramp[0].open("rb") as plain, gzip.open(packed, "wb") as out:
        shutil.copyfileobj(plain, out)
    exposure = jio.open(packed)
    assert exposure.attrs["product"] == "uncal"
    np.testing.assert_array_equal(exposure["sci"].isel(y=slice(3, 9)).values, ramp[1][:, :, 3:9])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(exposure))["sci"].values, ramp[1])


@pytest.mark.parametrize(
    "index",
    [
        np.s_[...],
        np.s_[1],
        np.s_[:, 2, 3:9, ::2],
        np.s_[0, -1, 9:3:-2, 5],
        np.s_[..., 4:4, :],
        np.s_[:, 1:3, ..., -3:],
        np.s_[0, :, [3, 9, 4], 2:5],
        (slice(None), 1, np.array([], int)),
    ],
)
def test_bounding_boxes(ramp, index):
    box, rest = bounding_box(index, ramp[1].shape)
    np.testing.assert_array_equal(ramp[1][box][rest], ramp[1][index])


@pytest.mark.parametrize("small", [0, local.SMALL_PLANE], ids=["planes apart", "together"])
@pytest.mark.parametrize(
    "box",
    [np.s_[:], np.s_[1:2], np.s_[:, 1:3], np.s_[:, :, 3:9], np.s_[..., 2:5], np.s_[1:, :, 4:5, :3]],
)
def test_parts_of_planes(ramp, monkeypatch, small, box):
    monkeypatch.setattr(local, "SMALL_PLANE", small)
    monkeypatch.setattr(local, "PIECE", 3 * ramp[1][0, 0].nbytes)
    read = jio.open(ramp[0])["sci"].data[box].compute()
    np.testing.assert_array_equal(read, ramp[1][box])


@real_data
@pytest.mark.parametrize(
    "name",
    [
        "nircam_sub400p/uncal/jw90001001001_02101_00001_nrcb1_uncal.fits",
        "miri_sub256/uncal/jw90032001001_02101_00001_mirimage_uncal.fits",
        "nircam_tso_sub64p/peer/jw90021001001_02101_00001_nrcb1_rateints.fits",
        "nircam_sub400p/peer/jw90001001001_02101_00001_nrcb1_cal.fits",
        "nircam_sub400p/peer/jw90001-o001_t001_nircam_f200w_i2d.fits",
    ],
)
def test_real_files_are_what_astropy_sees(name):
    exposure = jio.open(OBSERVATIONS / name)
    with fits.open(OBSERVATIONS / name) as hdus:
        assert {h.name.lower() for h in hdus if isinstance(h, fits.ImageHDU)} == set(exposure)
        for key, variable in exposure.items():
            np.testing.assert_array_equal(variable.values, hdus[key].data)
        for key, rows in exposure.attrs["tables"].items():
            for column in rows.dtype.names:
                np.testing.assert_array_equal(
                    rows[column], np.asarray(hdus[key].data[column]).astype(rows[column].dtype)
                )
        for header, values in (
            (hdus[0].header, exposure.attrs["primary"]),
            (hdus["SCI"].header, exposure.attrs["sci"]),
        ):
            assert all(header[k] == v and type(header[k]) is type(v) for k, v in values.items())


@real_data
def test_real_wcs():
    cal = jio.open(OBSERVATIONS / "nircam_sub400p/peer/jw90001001001_02101_00001_nrcb1_cal.fits")
    ra, dec = cal.attrs["wcs"](238.6 - 1, 200.28 - 1)
    assert ra == pytest.approx(80.48, abs=1e-5)
    assert dec == pytest.approx(-69.5, abs=1e-5)


@real_data
def test_opening_is_fast():
    path = OBSERVATIONS / "nircam_sub400p/uncal/jw90001001001_02101_00001_nrcb1_uncal.fits"
    jio.open(path)
    durations = []
    for _ in range(5):
        start = time.process_time()
        jio.open(path)
        durations.append(time.process_time() - start)
    assert min(durations) < 0.01


def test_one_task_a_block(ramp):
    exposure = jio.open(ramp[0], chunks={"y": 5})
    assert len(dask.optimize(exposure["sci"].data)[0].dask) == 4
