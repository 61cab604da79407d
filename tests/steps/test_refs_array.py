"""Pixels of references: cut, translated, transformed, cached."""

import gzip
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from refs_files import CORNER, definitions, exposure, image, write, write_asdf

from jwpipe.dq import Pixel
from jwpipe.refs import RefArray, ReferenceRefused, References, RefFile
from jwpipe.refs.cache import CACHE, ArrayCache, SparseFlags
from jwpipe.refs.quality import translate, translation

DATA = Path(os.environ.get("JWPIPE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
RNG = np.random.default_rng(1)
CUBE = RNG.random((5, 24, 32), dtype=np.float32)


def opened(path: Path, kind: str, **changes: object) -> RefFile:
    file = References.from_files({kind: path}, exposure(**changes))[kind]
    assert file is not None
    return file


@pytest.fixture
def linearity(tmp_path: Path) -> RefFile:
    flags = np.arange(24 * 32, dtype=np.uint32).reshape(24, 32) % 8
    rows = (0, 1, "DO_NOT_USE"), (1, 2, "NO_LIN_CORR"), (2, 4, "NOT_A_FLAG")
    path = write(
        tmp_path / "linearity.fits",
        "LINEARITY",
        image(CUBE, "COEFFS"),
        image(flags, "DQ"),
        definitions(*rows),
        **CORNER,
    )
    return opened(path, "linearity")


def test_pixels_are_cut_to_the_subarray_with_leading_axes_whole(linearity: RefFile) -> None:
    array = linearity.array("coeffs")
    assert array is not None
    assert array.shape == (5, 6, 8)
    assert np.array_equal(array.read(), CUBE[:, 10:16, 10:18])


@given(
    rows=st.tuples(st.integers(0, 6), st.integers(0, 6)).map(sorted),
    columns=st.tuples(st.integers(0, 8), st.integers(0, 8)).map(sorted),
)
def test_a_region_is_the_slice_of_the_whole(rows: list[int], columns: list[int]) -> None:
    array = RefArray.from_numpy(CUBE).cut(10, 10, 6, 8)
    region = array.read(slice(*rows), slice(*columns))
    assert region.flags.c_contiguous
    assert np.array_equal(region, array.read()[:, slice(*rows), slice(*columns)])


def test_a_handle_is_small_hashable_and_survives_pickling(linearity: RefFile) -> None:
    array = linearity.array("coeffs")
    again = pickle.loads(pickle.dumps(array))
    assert len(pickle.dumps(array)) < 1000
    assert again == array
    assert hash(again) == hash(array)
    assert np.array_equal(again.read(slice(1, 3)), CUBE[:, 11:13, 10:18])


def test_flags_are_translated_by_name_and_unknown_names_dropped(linearity: RefFile) -> None:
    # Value 7 = DO_NOT_USE + NO_LIN_CORR + a flag that does not exist.
    with pytest.warns(UserWarning, match="NOT_A_FLAG"):
        array = linearity.array("dq")
    assert array is not None
    flags = array.read()
    values = (np.arange(24 * 32).reshape(24, 32) % 8)[10:16, 10:18]
    expected = np.where(values & 1, Pixel.DO_NOT_USE, 0) | np.where(
        values & 2, Pixel.NO_LIN_CORR, 0
    )
    assert flags.dtype == np.uint32
    assert np.array_equal(flags, expected)


@given(
    st.lists(
        st.tuples(st.integers(0, 31), st.sampled_from([f.name for f in Pixel if f])),
        max_size=12,
    ),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20),
)
def test_translation_agrees_with_one_bit_at_a_time(
    rows: list[tuple[int, str]], values: list[int]
) -> None:
    pairs = translation([(1 << bit, name) for bit, name in rows], "file")
    expected = [sum({int(Pixel[n]) for b, n in rows if value >> b & 1}) for value in values]
    assert translate(np.array(values, np.uint32), pairs).tolist() == expected


def test_flags_without_definitions_are_standard(tmp_path: Path) -> None:
    flags = np.full((24, 32), int(Pixel.REFERENCE_PIXEL), np.uint32)
    file = opened(write(tmp_path / "m.fits", "MASK", image(flags, "DQ"), **CORNER), "mask")
    array = file.array("dq")
    assert array is not None
    assert (array.read() == Pixel.REFERENCE_PIXEL).all()


def test_small_integer_flags_become_uint32(tmp_path: Path) -> None:
    flags = np.full((24, 32), 2, np.uint8)
    hdus = image(flags, "DQ"), definitions((1, 2, "HOT"))
    array = opened(write(tmp_path / "m.fits", "MASK", *hdus, **CORNER), "mask").array("dq")
    assert array is not None
    assert (array.read() == Pixel.HOT).all()
    assert array.read().dtype == np.uint32


def test_doubles_come_as_float32_unless_asked(tmp_path: Path) -> None:
    values = RNG.random((24, 32))
    file = opened(write(tmp_path / "g.fits", "GAIN", image(values), **CORNER), "gain")
    single, double = file.array("sci"), file.array("sci", dtype=np.float64)
    assert single is not None
    assert double is not None
    assert single.read().dtype == np.float32
    assert np.array_equal(double.read(), values[10:16, 10:18])


def test_missing_extension_is_none(linearity: RefFile) -> None:
    assert linearity.array("err") is None


@pytest.mark.parametrize("packing", ["gz", "scaled"])
def test_packed_pixels_are_decoded_once(
    tmp_path: Path, packing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.arange(24 * 32, dtype=np.int16).reshape(24, 32)
    hdu = image(values)
    if packing == "scaled":
        hdu = image(values.astype(np.float32) * 0.5)
        hdu.scale("int16", bscale=0.5)
    path = write(tmp_path / "g.fits", "GAIN", hdu, **CORNER)
    if packing == "gz":
        path = tmp_path / "g.fits.gz"
        path.write_bytes(gzip.compress((tmp_path / "g.fits").read_bytes()))
    array = opened(path, "gain").array("sci", dtype=np.float32)
    assert array is not None
    first = array.read(slice(0, 2))
    monkeypatch.setattr("jwpipe.refs.array.decoded", lambda *_: pytest.fail("decoded again"))
    second = array.read(slice(2, 6))
    factor = 0.5 if packing == "scaled" else 1
    assert np.array_equal(np.concatenate([first, second]), values[10:16, 10:18] * factor)


def test_full_frame_area_is_cut_though_it_has_no_place_keywords(tmp_path: Path) -> None:
    values = np.arange(2048 * 2048, dtype=np.float32).reshape(2048, 2048)
    array = opened(write(tmp_path / "area.fits", "AREA", image(values)), "area").array("sci")
    assert array is not None
    assert np.array_equal(array.read(), values[200:206, 100:108])


def test_miri_full_frame_is_1032_by_1024(tmp_path: Path) -> None:
    values = np.arange(1032 * 1024, dtype=np.float32).reshape(1024, 1032)
    path = write(tmp_path / "g.fits", "GAIN", image(values), INSTRUME="MIRI")
    array = opened(path, "gain", INSTRUME="MIRI").array("sci")
    assert array is not None
    assert np.array_equal(array.read(), values[200:206, 100:108])


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({}, "SUBSTRT1, SUBSTRT2, SUBSIZE1, SUBSIZE2; its place on the detector is unknown"),
        (CORNER | {"SUBSTRT1": 76}, "the exposure needs SUBSTRT1=101"),
        (CORNER | {"SUBSTRT2": 202}, "give a reference of this subarray or of the full frame"),
        (CORNER | {"SUBSTRT1": 0}, "expected 1 or more"),
    ],
)
def test_arrays_that_cannot_be_cut_are_refused(
    tmp_path: Path, place: dict[str, int], message: str
) -> None:
    path = write(tmp_path / "gain.fits", "GAIN", image(CUBE[0]), **place)
    with pytest.raises(ReferenceRefused, match=message) as error:
        opened(path, "gain").check()
    assert str(path) in str(error.value)


def test_array_size_wins_over_size_keywords(tmp_path: Path) -> None:
    place = CORNER | {"SUBSIZE1": 9999}
    file = opened(write(tmp_path / "g.fits", "GAIN", image(CUBE[0]), **place), "gain")
    array = file.array("sci")
    assert array is not None
    assert np.array_equal(array.read(), CUBE[0, 10:16, 10:18])


def test_irs2_arrays_keep_their_interleaved_rows(tmp_path: Path) -> None:
    frame = dict.fromkeys(("SUBSTRT1", "SUBSTRT2"), 1) | {"SUBSIZE1": 64, "SUBSIZE2": 2048}
    path = write(tmp_path / "b.fits", "SUPERBIAS", image(np.zeros((3200, 64), "f4")), **frame)
    array = opened(path, "superbias", **frame).array("sci")
    assert array is not None
    assert array.shape == (3200, 64)


def test_darks_are_not_cut_and_a_wrong_shape_is_refused(tmp_path: Path) -> None:
    right = write(tmp_path / "right.fits", "DARK", image(np.ones((3, 6, 8), "f4")))
    wrong = write(tmp_path / "wrong.fits", "DARK", image(CUBE), **CORNER)
    array = opened(right, "dark").array("sci")
    assert array is not None
    assert array.shape == (3, 6, 8)
    with pytest.raises(ReferenceRefused, match="dark reference of 24 x 32 pixels"):
        opened(wrong, "dark").check()


def test_without_an_exposure_nothing_is_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "g.fits", "GAIN", image(CUBE[0]))
    file = References.from_files({"gain": path, "ipc": "N/A"})["gain"]
    assert file is not None
    array = file.array("sci")
    assert array is not None
    assert array.shape == (24, 32)


def averaged(pixels: np.ndarray, weight: float) -> np.ndarray:
    CALLS.append(pixels.shape)
    return pixels.mean(axis=0, keepdims=True) * weight


CALLS: list[tuple[int, ...]] = []


def test_mapped_pixels_are_computed_once_for_a_region() -> None:
    CALLS.clear()
    CACHE.clear()
    array = RefArray.from_numpy(CUBE).map(averaged, 2.0, shape=(1, 24, 32), dtype=np.float32)
    again = pickle.loads(pickle.dumps(array))
    results = [each.read(slice(0, 8)) for each in (array, again, array)]
    assert CALLS == [(5, 8, 32)]
    assert results[0].dtype == np.float32
    np.testing.assert_allclose(results[1], CUBE[:, :8].mean(axis=0, keepdims=True) * 2, rtol=1e-6)
    array.read(slice(8, 16))
    assert len(CALLS) == 2


def difference(pixels: np.ndarray, other: np.ndarray) -> np.ndarray:
    return pixels - other


def test_reference_arrays_among_arguments_are_read_over_the_same_region() -> None:
    first, second = RefArray.from_numpy(CUBE[0]), RefArray.from_numpy(CUBE[1])
    mapped = first.map(difference, second).cut(2, 3, 4, 5)
    assert np.array_equal(mapped.read(), (CUBE[0] - CUBE[1])[2:6, 3:8])


def test_concurrent_requests_compute_once() -> None:
    cache, started, calls = ArrayCache(1000), threading.Barrier(4), []

    def compute() -> np.ndarray:
        calls.append(1)
        return np.ones(10)

    def ask() -> np.ndarray:
        started.wait()
        return cache.get("array", "region", compute)

    with ThreadPoolExecutor(4) as pool:
        results = [f.result() for f in [pool.submit(ask) for _ in range(4)]]
    assert len(calls) == 1
    assert all(result is results[0] for result in results)


def test_what_does_not_fit_together_is_kept_in_part() -> None:
    cache = ArrayCache(800)
    made: list[int] = []

    def compute(key: int) -> np.ndarray:
        made.append(key)
        return np.zeros(10)

    for _ in range(20):
        for key in range(15):
            cache.get("array", key, lambda key=key: compute(key))
    assert cache.nbytes == 800
    assert len(made) < 0.8 * 20 * 15


def test_regions_of_the_array_least_recently_used_are_dropped_first() -> None:
    cache = ArrayCache(240)
    cache.get("old", 1, lambda: np.zeros(10))
    cache.get("new", 1, lambda: np.zeros(10))
    cache.get("old", 1, lambda: pytest.fail("old was dropped"))
    cache.get("newest", 1, lambda: np.zeros(10))
    cache.get("newest", 2, lambda: np.zeros(10))
    cache.get("old", 1, lambda: pytest.fail("old was dropped"))
    assert cache.get("new", 1, lambda: np.ones(10))[0] == 1


def test_nothing_is_dropped_for_what_is_cheap_to_read() -> None:
    cache = ArrayCache(100)
    cache.get("array", "a", lambda: np.zeros(10), spare=True)
    cache.get("array", "b", lambda: np.zeros(10), spare=True)
    cache.get("array", "a", lambda: pytest.fail("a was dropped"))
    assert cache.get("array", "b", lambda: np.ones(10), spare=True)[0] == 1
    cache.get("array", "c", lambda: np.zeros(10))
    assert cache.nbytes == 80


def test_what_is_cheap_to_read_takes_the_place_of_another_detectors() -> None:
    cache = ArrayCache(160)
    cache.get("old", 1, lambda: np.zeros(10), spare=True)
    cache.get("new", 1, lambda: np.zeros(10), spare=True)
    cache.get("new", 2, lambda: np.zeros(10), spare=True)
    cache.get("new", 1, lambda: pytest.fail("new was dropped"))
    cache.get("new", 2, lambda: pytest.fail("new was dropped"))
    assert cache.get("old", 1, lambda: np.ones(10))[0] == 1


def test_flags_are_kept_without_those_that_are_not_set() -> None:
    flags = np.zeros((30, 40), np.uint32)
    flags[3, 4], flags[29, 39] = 5, 1 << 31
    sparse = SparseFlags.of(flags)
    assert sparse.nbytes == 2 * (4 + 4)
    assert np.array_equal(sparse.dense(), flags)
    assert sparse.dense().dtype == np.uint32


def test_an_array_larger_than_the_cache_is_not_kept() -> None:
    cache = ArrayCache(10)
    cache.get("array", "a", lambda: np.zeros(10))
    assert cache.nbytes == 0


def test_a_failed_computation_is_tried_again() -> None:
    cache = ArrayCache(1000)

    def broken() -> np.ndarray:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.get("array", "a", broken)
    assert cache.get("array", "a", lambda: np.ones(1))[0] == 1


def test_tables_are_native_with_lower_case_names_and_plain_text(tmp_path: Path) -> None:
    rows = np.array([("F200W", "CLEAR", 1.5), ("F070W ", "CLEAR", 9.0)], "S12,S12,>f4")
    table = fits.BinTableHDU(fits.FITS_rec.from_columns(fits.ColDefs(rows)), name="PHOTOM")
    for column, name in zip(table.columns, ("FILTER", "PUPIL", "photmjsr"), strict=True):
        column.name = name
    file = opened(write(tmp_path / "p.fits", "PHOTOM", table), "photom")
    records = file.table("PHOTOM")
    assert records.dtype.names == ("filter", "pupil", "photmjsr")
    assert records.filter.tolist() == ["F200W", "F070W"]
    assert records.photmjsr.dtype == np.float32
    with pytest.raises(ReferenceRefused, match=r"without a table APCORR; it has \['PHOTOM'\]"):
        file.table("apcorr")


def test_trees_are_in_memory_and_headers_have_fits_names(tmp_path: Path) -> None:
    meta = {
        "reftype": "distortion",
        "useafter": "2014-10-01T00:00:00",
        "instrument": {"name": "NIRCAM", "detector": "NRCB1", "p_pupil": "CLEAR|F162M|"},
        "input_units": "pixel",
    }
    path = write_asdf(tmp_path / "d.asdf", meta, values=np.arange(3.0))
    file = opened(path, "distortion")
    assert file.header["DETECTOR"] == "NRCB1"
    assert file.header["P_PUPIL"] == "CLEAR|F162M|"
    assert file.header["meta.input_units"] == "pixel"
    tree = file.tree()
    path.unlink()
    assert tree["values"].sum() == 3


def test_checksums_follow_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "g.fits", "GAIN", image(CUBE[0]), **CORNER)
    file = opened(path, "gain")
    before = file.sha256
    assert len(before) == 64
    assert file.sha256 == before
    write(path, "GAIN", image(CUBE[1]), **CORNER, DESCRIP="another")
    assert file.sha256 != before


@pytest.mark.parametrize("content", [b"", b"no FITS file at all", None])
def test_broken_files_are_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = write(tmp_path / "g.fits", "GAIN", image(np.zeros((600, 600), "f4")), **CORNER)
    path.write_bytes(path.read_bytes()[:9000] if content is None else content)
    with pytest.raises(ReferenceRefused, match=r"g\.fits"):
        opened(path, "gain").check()


def test_a_real_full_frame_mask_is_cut_and_translated() -> None:
    """A compressed CRDS file with an ASDF extension; its columns 1-4 are reference pixels."""
    path = DATA / "references" / "nircam_mask_full.fits.gz"
    if not path.is_file():
        pytest.skip(f"no real reference at {path}")
    place = {"SUBSTRT1": 1, "SUBSTRT2": 1001, "SUBSIZE1": 16, "SUBSIZE2": 12}
    with pytest.warns(UserWarning, match="NOISY, WEIRD"):
        array = opened(path, "mask", **place).array("dq")
    assert array is not None
    flags = array.read()
    assert flags.shape == (12, 16)
    assert (flags[:, :4] & Pixel.REFERENCE_PIXEL).all()
    assert not (flags[:, 4:] & Pixel.REFERENCE_PIXEL).any()
