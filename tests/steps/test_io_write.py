import os
import warnings
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from io_examples import OBSERVATIONS, rate, real_data, uncal

import jwpipe.io as jio
from jwpipe.exposure import ExposureError
from jwpipe.io import fits_target, product
from jwpipe.io.fits_target import FitsTarget, stored

PRODUCTS = [
    "nircam_sub400p/uncal/jw90001001001_02101_00001_nrcb1_uncal.fits",
    "nircam_sub400p/peer/jw90001001001_02101_00001_nrcb1_rate.fits",
    "nircam_sub400p/peer/jw90001001001_02101_00001_nrcb1_cal.fits",
    "nircam_sub400p/peer/jw90001-o001_t001_nircam_f200w_i2d.fits",
    "nircam_tso_sub64p/peer/jw90021001001_02101_00001_nrcb1_rateints.fits",
    "miri_sub256/uncal/jw90032001001_02101_00001_mirimage_uncal.fits",
    "miri_sub256/peer/jw90032001001_02101_00001_mirimage_cal.fits",
]
MADE_ANEW = ("DATE", "FILENAME")


def same(one, other):
    assert set(one) == set(other)
    for name in one:
        assert one[name].dims == other[name].dims
        assert one[name].dtype == other[name].dtype
        np.testing.assert_array_equal(one[name].values, other[name].values)


def kept(attrs):
    return {k: v for k, v in attrs["primary"].items() if k not in MADE_ANEW}, attrs["sci"]


@pytest.fixture
def exposure(tmp_path):
    rate(tmp_path / "jw01234001001_02101_00001_nrcb1_rate.fits")
    return jio.open(tmp_path / "jw01234001001_02101_00001_nrcb1_rate.fits")


def test_what_is_written_is_read(exposure, tmp_path):
    path = jio.save(exposure, tmp_path / "out_rate.fits")
    again = jio.open(path)
    same(exposure, again)
    assert kept(exposure.attrs) == kept(again.attrs)
    assert again.attrs["primary"]["FILENAME"] == "out_rate.fits"


def test_a_ramp_keeps_its_type_and_tables(tmp_path):
    uncal(tmp_path / "a_uncal.fits")
    before = jio.open(tmp_path / "a_uncal.fits")
    after = jio.open(jio.save(before, tmp_path / "out"))
    same(before, after)
    np.testing.assert_array_equal(
        before.attrs["tables"]["INT_TIMES"], after.attrs["tables"]["INT_TIMES"]
    )
    assert after.attrs["primary"]["HISTORY"] == ["made by hand"]
    assert after.attrs["primary"]["DATAMODL"] == "Level1bModel"


def test_numbers_are_stored_as_the_product_has_them(exposure, tmp_path):
    doubled = exposure.assign(sci=exposure["sci"].astype("f8") * 2, dq=exposure["dq"].astype("i8"))
    again = jio.open(jio.save(doubled, tmp_path / "out_rate.fits"))
    assert again["sci"].dtype == np.float32
    assert again["dq"].dtype == np.uint32
    np.testing.assert_array_equal(again["dq"].values, exposure["dq"].values)


@pytest.mark.parametrize(
    ("dims", "product", "dtype", "model"),
    [
        (("y", "x"), "segm", "i8", "SegmentationMapModel"),
        (("integration", "group", "y", "x"), "ramp", "f4", "RampModel"),
        (("integration", "y", "x"), "rateints", "f8", "CubeModel"),
        (("y", "x"), "cal", "f4", "ImageModel"),
    ],
)
def test_models_of_products(dims, product, dtype, model, tmp_path):
    from stdatamodels.jwst import datamodels

    attrs = {
        "product": product,
        "primary": {"INSTRUME": "NIRCAM", "DATAMODL": "Level1bModel"},
        "sci": {},
    }
    pixels = da.ones((2, 3, 8, 6)[-len(dims) :], dtype=dtype)
    path = jio.save(xr.Dataset({"sci": (dims, pixels)}, attrs=attrs), tmp_path / "a.fits")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with datamodels.open(path) as opened:
            assert type(opened).__name__ == model
            assert opened.data.dtype.kind == ("u" if product == "segm" else "f")
            np.testing.assert_array_equal(opened.data, 1)


def test_the_unit_of_the_pixels_goes_before_an_older_keyword(exposure, tmp_path):
    sci = exposure["sci"].assign_attrs(units="MJy/sr")
    again = jio.open(jio.save(exposure.assign(sci=sci), tmp_path / "a_cal.fits"))
    assert again.attrs["sci"]["BUNIT"] == again["err"].attrs["units"] == "MJy/sr"


def test_names_follow_the_exposure(exposure, tmp_path):
    flat = exposure.assign_attrs(product="cal")
    assert (
        jio.save(flat, tmp_path / "new" / "folder").name
        == "jw01234001001_02101_00001_nrcb1_cal.fits"
    )
    assert jio.product_path(flat, tmp_path, format="zarr").name.endswith("nrcb1_cal.zarr")
    assert jio.product_name("jw1_nrca1_cal.fits", "crf", asn_id="o001") == "jw1_nrca1_o001_crf.fits"
    assert (
        jio.product_name("jw1_nrca1_o001_crf.fits", "crf", asn_id="o001")
        == "jw1_nrca1_o001_crf.fits"
    )
    assert jio.product_name("some name", "rate") == "some name_rate.fits"


def test_provenance_and_other_metadata_stay(exposure, tmp_path):
    history = [{"step": "jump", "status": "COMPLETE", "parameters": {"rejection_threshold": 4.0}}]
    again = jio.open(jio.save(exposure.assign_attrs(history=history), tmp_path / "a_rate.fits"))
    assert again.attrs["history"] == history
    third = jio.open(jio.save(again, tmp_path / "b_rate.fits"))
    assert third.attrs["history"] == history


def test_undefined_and_infinite_keywords_are_left_out(exposure, tmp_path):
    sci = {
        **exposure.attrs["sci"],
        "PHOTMJSR": np.nan,
        "PIXAR_SR": np.float32(2.5),
        "VELOSYS": None,
    }
    again = jio.open(jio.save(exposure.assign_attrs(sci=sci), tmp_path / "a_rate.fits"))
    assert again.attrs["sci"]["PIXAR_SR"] == 2.5
    assert not {"PHOTMJSR", "VELOSYS"} & set(again.attrs["sci"])


def test_two_products_in_one_graph(exposure, tmp_path):
    runs = []

    def slow(block):
        runs.append(block.shape)
        return block + 1

    sci = exposure["sci"].data.map_blocks(slow, dtype="f4", meta=np.empty((0, 0), "f4"))
    one = exposure.assign(sci=(("y", "x"), sci))
    two = exposure.assign(sci=(("y", "x"), sci * 2)).assign_attrs(product="cal")
    paths = jio.store([jio.prepare(one, tmp_path / "out"), jio.prepare(two, tmp_path / "out")])
    assert [path.name[-9:] for path in paths] == ["rate.fits", "_cal.fits"]
    assert len(runs) == 1
    np.testing.assert_array_equal(jio.open(paths[1])["sci"], jio.open(paths[0])["sci"] * 2)


@pytest.mark.parametrize("kind", ["fits", "zarr"])
@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt()])
def test_nothing_is_left_of_a_failure(exposure, tmp_path, kind, error):
    def fail(block):
        raise error

    broken = exposure.assign(
        err=(("y", "x"), exposure["err"].data.map_blocks(fail, meta=np.empty((0, 0), "f4")))
    )
    with pytest.raises(type(error)), dask.config.set(scheduler="sync"):
        jio.save(broken, tmp_path / "out", format=kind)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_older_product_stays_until_the_new_is_complete(exposure, tmp_path):
    path = jio.save(exposure, tmp_path / "a_rate.fits")
    before = path.read_bytes()
    pending = jio.prepare(exposure.isel(y=slice(0, 4)), path)
    assert path.read_bytes() == before
    pending.discard()
    assert path.read_bytes() == before
    jio.save(exposure.isel(y=slice(0, 4)), path)
    assert jio.open(path).sizes["y"] == 4


@pytest.mark.parametrize("kind", ["fits", "zarr"])
def test_a_disk_that_fills_up(exposure, tmp_path, kind, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    pending = jio.prepare(exposure, tmp_path / "out", format=kind)
    target = (
        (fits_target.os, "pwrite") if kind == "fits" else (type(pending.targets[0]), "__setitem__")
    )
    monkeypatch.setattr(*target, full)
    with pytest.raises(ExposureError, match=r"rate.*disk is full; free space"):
        jio.store([pending])
    assert list((tmp_path / "out").iterdir()) == []


def test_a_disk_without_room_shows_before_anything_is_computed(exposure, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ExposureError, match="disk is full"):
        jio.prepare(exposure, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_without_permission(exposure, tmp_path, monkeypatch):
    opened = Path.open

    def forbidden(path, *args, **kwargs):
        if ".tmp-" in path.name:
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(ExposureError, match="no permission to write into this folder"):
        jio.prepare(exposure, tmp_path / "out")


def test_a_file_where_the_folder_should_be(exposure, tmp_path):
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(ExposureError, match="cannot be written"):
        jio.save(exposure, tmp_path / "out" / "below")


def test_an_input_that_was_replaced_is_not_read_as_the_old_one(exposure, tmp_path):
    path = tmp_path / exposure.attrs["filename"]
    jio.save(exposure.isel(y=slice(5, 20)), path)
    with pytest.raises(
        ExposureError, match=r"rate\.fits: .*changed since it was opened; open it again"
    ):
        exposure["sci"].compute(scheduler="sync")


def test_products_stay_off_the_network(exposure):
    with pytest.raises(ExposureError, match="local or shared"):
        jio.save(exposure, "s3://bucket/a_rate.fits")


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_blocks_land_where_they_belong(data):
    shape = data.draw(st.tuples(*[st.integers(1, 5)] * data.draw(st.integers(1, 4))))
    chunks = data.draw(st.tuples(*(st.integers(1, n) for n in shape)))
    dtype = np.dtype(data.draw(st.sampled_from(["u1", "u2", "u4", "i4", "f4"])))
    values = np.random.default_rng(0).integers(0, 2**31, shape).astype(dtype)
    path = Path(data.draw(st.just("/tmp"))) / f"jwpipe-target-{os.getpid()}"
    path.write_bytes(bytes(7 + values.nbytes))
    try:
        array = da.from_array(values, chunks)
        da.store(array, FitsTarget(str(path), 7, dtype, shape), lock=False, scheduler="sync")
        content = np.frombuffer(path.read_bytes()[7:], stored(values, dtype).dtype).reshape(shape)
    finally:
        path.unlink()
    np.testing.assert_array_equal(content, stored(values, dtype))


def test_unsigned_numbers_as_fits_keeps_them():
    np.testing.assert_array_equal(
        stored(np.array([0, 1, 65535]), np.dtype("u2")), [-32768, -32767, 32767]
    )
    assert stored(np.array([1.0], "f4"), np.dtype("f4")).tobytes() == b"\x3f\x80\x00\x00"


def test_a_partial_write_is_continued(tmp_path, monkeypatch):
    path = tmp_path / "pixels"
    path.write_bytes(bytes(16))
    whole = os.pwrite
    monkeypatch.setattr(fits_target.os, "pwrite", lambda f, b, p: whole(f, bytes(b)[:3], p))
    FitsTarget(str(path), 0, np.dtype("u1"), (16,))[(slice(0, 16),)] = np.arange(16, dtype="u1")
    assert path.read_bytes() == bytes(range(16))


@real_data
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_look_as_users_know_them(name, tmp_path):
    """Same extensions, and the same cards but for the date and the cutting of long texts."""
    original = jio.open(OBSERVATIONS / name)
    path = jio.save(original, tmp_path)
    same(original, jio.open(path))
    with fits.open(OBSERVATIONS / name) as one, fits.open(path) as other:
        other.verify("exception")
        assert [hdu.name for hdu in one] == [hdu.name for hdu in other]
        for before, after in zip(one[:-1], other[:-1], strict=True):
            assert list(before.header) == list(after.header)
            cards = zip(before.header.cards, after.header.cards, strict=True)
            differing = [
                a.keyword
                for a, b in cards
                if a.value != b.value or a.comment[:20] != b.comment[:20]
            ]
            assert set(differing) <= {
                "DATE",
                "R_FILOFF",
                "R_LINEAR",
                "R_READNO",
                "R_SATURA",
                "R_SUPERB",
            }


@real_data
@pytest.mark.parametrize("name", PRODUCTS)
def test_data_models_open_without_a_warning(name, tmp_path):
    from stdatamodels.jwst import datamodels

    path = jio.save(jio.open(OBSERVATIONS / name), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with datamodels.open(OBSERVATIONS / name) as one, datamodels.open(path) as other:
            assert type(one) is type(other)
            other.validate()
            before, after = (dict(m.to_flat_dict(include_arrays=False)) for m in (one, other))
            if "meta.wcs" in before:
                assert one.meta.wcs(10, 20) == other.meta.wcs(10, 20)
    ours = {k: v for k, v in after.items() if not k.startswith(("history.", "asdf_library."))}
    for key, value in ours.items():
        if key not in ("meta.date", "meta.wcs"):
            assert value == before[key] or value == pytest.approx(before[key], rel=1e-14)
    lost = {k for k in set(before) - set(ours) if not k.startswith(("history.", "asdf_library."))}
    assert lost <= {"_fits_hash"}


def test_temporary_names_lie_beside_the_product_and_differ(tmp_path):
    one, other = (product.temporary_name(tmp_path / "a.fits") for _ in range(2))
    assert one.parent == other.parent == tmp_path
    assert one != other
