import json
import pickle

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from io_examples import OBSERVATIONS, rate, real_data, uncal

import jwpipe.io as jio
from jwpipe.exposure import ExposureError
from jwpipe.io.zarr import decode, encode

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary()
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text("abcXYZ"), inner), max_leaves=10
)


def same(one, other):
    assert set(one) == set(other)
    for name in one:
        assert one[name].dims == other[name].dims
        assert one[name].dtype == other[name].dtype
        assert one[name].attrs == other[name].attrs
        np.testing.assert_array_equal(one[name].values, other[name].values)


def test_what_is_written_is_read(tmp_path):
    uncal(tmp_path / "a_uncal.fits", size=(300, 16))
    before = jio.open(tmp_path / "a_uncal.fits")
    path = jio.save(before, tmp_path / "out", format="zarr")
    assert path.name == "a_uncal.zarr"
    after = jio.open(path)
    same(before, after)
    assert after.attrs["primary"] == before.attrs["primary"]
    assert after.attrs["sci"] == before.attrs["sci"]
    assert after.attrs["product"] == "uncal"
    table = after.attrs["tables"]["INT_TIMES"]
    np.testing.assert_array_equal(table, before.attrs["tables"]["INT_TIMES"])
    assert table.dtype == before.attrs["tables"]["INT_TIMES"].dtype


def test_other_programs_read_it(tmp_path):
    rate(tmp_path / "a_rate.fits")
    path = jio.save(jio.open(tmp_path / "a_rate.fits"), tmp_path / "a_rate.zarr", format="zarr")
    seen = xr.open_zarr(path, consolidated=False)
    assert seen["sci"].dims == ("y", "x")
    assert seen.attrs["primary"]["FILTER"] == "F200W"
    json.loads((path / "zarr.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    "chunks",
    [None, {"y": 100}, {"y": 7, "x": 5}, {"integration": 1, "group": 2}],
)
def test_blocks_never_share_a_stored_chunk(tmp_path, chunks):
    uncal(tmp_path / "a_uncal.fits", size=(300, 16))
    before = jio.open(tmp_path / "a_uncal.fits", chunks=chunks)
    pending = jio.prepare(before, tmp_path / "a_uncal.zarr", format="zarr")
    for pixels, target in zip(pending.arrays, pending.targets, strict=True):
        for sizes, step in zip(pixels.chunks, target.chunks, strict=True):
            assert all(edge % step == 0 for edge in np.cumsum(sizes)[:-1])
    jio.store([pending])
    same(before, jio.open(tmp_path / "a_uncal.zarr"))


def test_many_small_planes_make_few_files(tmp_path):
    uncal(tmp_path / "a_uncal.fits", integrations=50, groups=4, size=(32, 32))
    path = jio.save(jio.open(tmp_path / "a_uncal.fits"), tmp_path / "a_uncal.zarr", format="zarr")
    assert sum(1 for file in path.rglob("*") if file.is_file()) < 10


def test_an_uneven_array_is_cut_anew(tmp_path):
    rate(tmp_path / "a_rate.fits", size=(600, 8))
    before = jio.open(tmp_path / "a_rate.fits")
    uneven = before.chunk(y=(33, 100, 467))
    same(before, jio.open(jio.save(uneven, tmp_path / "a_rate.zarr", format="zarr")))


def test_a_product_is_replaced(tmp_path):
    rate(tmp_path / "a_rate.fits")
    exposure = jio.open(tmp_path / "a_rate.fits")
    jio.save(exposure, tmp_path / "a_rate.zarr", format="zarr")
    path = jio.save(exposure.isel(y=slice(0, 5)), tmp_path / "a_rate.zarr", format="zarr")
    assert jio.open(path).sizes["y"] == 5
    assert {p.name for p in tmp_path.iterdir()} == {"a_rate.fits", "a_rate.zarr"}


def test_from_zarr_to_fits(tmp_path):
    rate(tmp_path / "a_rate.fits")
    before = jio.open(tmp_path / "a_rate.fits")
    middle = jio.open(jio.save(before, tmp_path / "a_rate.zarr", format="zarr"))
    after = jio.open(jio.save(middle, tmp_path / "b_rate.fits"))
    assert set(before) == set(after)
    for name in before:
        np.testing.assert_array_equal(before[name].values, after[name].values)
    assert before.attrs["sci"] == after.attrs["sci"]


def test_a_pickled_exposure_reads_elsewhere(tmp_path):
    arrays = rate(tmp_path / "a_rate.fits")
    path = jio.save(jio.open(tmp_path / "a_rate.fits"), tmp_path / "a_rate.zarr", format="zarr")
    again = pickle.loads(pickle.dumps(jio.open(path)))
    np.testing.assert_array_equal(again["sci"].values, arrays["SCI"])


@settings(deadline=None, max_examples=50)
@given(TREES)
def test_metadata_survive_json(tree):
    assert decode(json.loads(json.dumps(encode(tree), allow_nan=False))) == tree


def test_what_json_has_no_words_for():
    tree = {"a": np.float32(0.5), "b": float("nan"), "c": (1, -np.inf), "d": np.bool_(True)}
    back = decode(json.loads(json.dumps(encode(tree), allow_nan=False)))
    assert back["a"] == 0.5
    assert np.isnan(back["b"])
    assert back["c"] == [1, -np.inf]
    assert back["d"] is True
    with pytest.raises(TypeError, match="cannot be kept"):
        encode({"a": object()})


def test_folders_of_others(tmp_path):
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(ExposureError, match="not a readable zarr folder"):
        jio.open(tmp_path / "empty.zarr")
    zarr.open_group(tmp_path / "other.zarr", mode="w", zarr_format=3)
    with pytest.raises(ExposureError, match="another program"):
        jio.open(tmp_path / "other.zarr")


@real_data
def test_real_wcs_survives(tmp_path):
    cal = jio.open(OBSERVATIONS / "nircam_sub400p/peer/jw90001001001_02101_00001_nrcb1_cal.fits")
    again = jio.open(jio.save(cal, tmp_path, format="zarr"))
    assert again.attrs["wcs"](100, 200) == cal.attrs["wcs"](100, 200)
    assert again.attrs["asdf"] == cal.attrs["asdf"]


def test_fits_products_are_not_called_zarr(tmp_path):
    rate(tmp_path / "a_rate.fits")
    with pytest.raises(ExposureError, match="format='zarr'"):
        jio.save(jio.open(tmp_path / "a_rate.fits"), tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()
