import numpy as np
import pytest
from astropy.io import fits

from jwpipe.exposure import ExposureError, Header
from jwpipe.refs import References
from jwpipe.stage1.dark_current import (
    DarkCurrentParams,
    average_dark_current,
    average_frames,
    dark_current,
    dark_of_groups,
    save_dark,
    subtract_dark,
)


def frames(*values):
    return np.array(values, np.float32).reshape(-1, 1, 1)


def header(ngroups, nframes, groupgap):
    keywords = {"NGROUPS": ngroups, "NFRAMES": nframes, "GROUPGAP": groupgap}
    return Header({"primary": keywords, "filename": "a_uncal.fits"})


def references(folder, dark, **keywords):
    primary = fits.PrimaryHDU()
    primary.header.update({"REFTYPE": "DARK", "NFRAMES": 1, "GROUPGAP": 0} | keywords)
    flags = np.full(dark.shape[-2:], 8, np.uint32)
    hdus = [primary, fits.ImageHDU(dark, name="SCI"), fits.ImageHDU(flags, name="DQ")]
    fits.HDUList(hdus).writeto(folder / "dark.fits")
    return References.from_files({"dark": folder / "dark.fits"})


def test_subtracts_the_dark_of_the_group_from_every_integration():
    sci = np.array([[10.0, 20.0], [12.0, 24.0]], np.float32).reshape(2, 2, 1, 1)
    before = sci.copy()
    corrected, flags, _ = subtract_dark(
        sci, np.array([[1]], np.uint32), frames(1, 3), np.array([[4]], np.uint32)
    )
    np.testing.assert_array_equal(corrected.ravel(), [9, 17, 11, 21])
    assert flags[0, 0] == 5
    np.testing.assert_array_equal(sci, before)


def test_two_frames_averaged_one_skipped():
    # Frames 1 2 | 3 | 4 5 | 6: groups (1 + 2) / 2 and (4 + 5) / 2.
    averaged = average_frames(frames(1, 2, 3, 4, 5, 6), 2, 2, 3, 0)
    np.testing.assert_array_equal(averaged.ravel(), [1.5, 4.5])
    assert averaged.dtype == np.float32


def test_short_dark_goes_on_with_its_last_difference_and_nan_is_zero():
    # 1 3 6 goes on as 9 12 15: groups of two are (1+3)/2, (6+9)/2, (12+15)/2.
    averaged = average_frames(frames(1, 3, 6), 3, 2, 2, 3)
    np.testing.assert_array_equal(averaged.ravel(), [2.0, 7.5, 13.5])
    # The difference from NaN is NaN: the continuation is zero, (4 + 0) / 2.
    np.testing.assert_array_equal(average_frames(frames(np.nan, 4), 2, 2, 2, 2).ravel(), [2.0, 0.0])


def test_dark_of_single_frames_takes_the_exposures_pattern(tmp_path):
    dark = np.arange(12, dtype=np.float32).reshape(12, 1, 1) * np.ones((12, 4, 4), np.float32)
    refs = references(tmp_path, dark)
    groups, flags, _ = dark_current.prepare(refs, header(3, 2, 1), DarkCurrentParams())
    assert groups.shape == (3, 4, 4)
    # Frames 0 1, 3 4, 6 7.
    np.testing.assert_array_equal(groups.read(slice(1, 3))[:, 0, 0], [0.5, 3.5, 6.5])
    np.testing.assert_array_equal(flags.read(), 8)


def test_dark_of_the_same_pattern_is_taken_as_it_is(tmp_path):
    dark = np.arange(5, dtype=np.float32).reshape(5, 1, 1) * np.ones((5, 4, 4), np.float32)
    refs = references(tmp_path, dark, NFRAMES=4, GROUPGAP=1)
    groups, _, _ = dark_current.prepare(refs, header(3, 4, 1), DarkCurrentParams())
    np.testing.assert_array_equal(groups.read()[:, 2, 2], [0, 1, 2])


def test_saved_dark_serves_as_a_reference_of_that_pattern(tmp_path):
    dark = np.arange(12, dtype=np.float32).reshape(12, 1, 1) * np.ones((12, 4, 4), np.float32)
    refs = references(tmp_path, dark)
    save_dark(refs, header(3, 2, 1), tmp_path / "averaged.fits")
    again = References.from_files({"dark": tmp_path / "averaged.fits"})
    first, _, _ = dark_current.prepare(refs, header(3, 2, 1), DarkCurrentParams())
    second, flags, _ = dark_current.prepare(again, header(3, 2, 1), DarkCurrentParams())
    np.testing.assert_array_equal(second.read(), first.read())
    np.testing.assert_array_equal(flags.read(), 8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["averaged.fits", "dark.fits"]


@pytest.mark.parametrize(("nframes", "groupgap"), [(8, 0), (1, 3)])
def test_coarser_dark_does_not_suit(tmp_path, nframes, groupgap):
    refs = references(tmp_path, np.ones((5, 4, 4), np.float32), NFRAMES=nframes, GROUPGAP=groupgap)
    assert "NFRAMES" in dark_current.unsuitable(refs, header(3, 4, 1), DarkCurrentParams())
    assert not dark_current.unsuitable(refs, header(3, 8, 3), DarkCurrentParams())


def test_refuses_a_dark_that_cannot_be_averaged(tmp_path):
    refs = references(tmp_path, np.ones((5, 4, 4), np.float32), NFRAMES=2)
    with pytest.raises(ExposureError, match=r"a_uncal.*dark_current.*dark\.fits.*found NFRAMES 2"):
        dark_current.prepare(refs, header(3, 4, 1), DarkCurrentParams())


def test_refuses_to_continue_a_single_group(tmp_path):
    refs = references(tmp_path, np.ones((1, 4, 4), np.float32))
    with pytest.raises(ExposureError, match="one group cannot be continued"):
        dark_current.prepare(refs, header(3, 1, 0), DarkCurrentParams())


def test_average_dark_current_of_the_user_goes_first(tmp_path):
    refs = references(tmp_path, np.ones((2, 4, 4), np.float32), AVDRKCUR=0.002)
    *_, average = dark_current.prepare(refs, header(1, 1, 0), DarkCurrentParams())
    assert average == 0.002
    zeros = np.zeros((1, 1, 4, 4), np.float32)
    *_, left = subtract_dark(zeros, np.zeros((4, 4), np.uint32), zeros[0], None, average)
    assert np.array_equal(left, np.full((4, 4), 0.002, np.float32))
    assert average_dark_current(refs, DarkCurrentParams(average_dark_current=0.5)) == 0.5
    assert average_dark_current(References.from_files({"dark": None}), DarkCurrentParams()) == 0


def test_integrations_have_darks_of_their_own_the_last_goes_on():
    sci = np.full((3, 1, 1, 1), 10, np.float32)
    dark = np.array([1, 4], np.float32).reshape(2, 1, 1, 1)
    corrected, *_ = subtract_dark(sci, np.zeros((1, 1), np.uint32), dark, None)
    np.testing.assert_array_equal(corrected.ravel(), [9, 6, 6])


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({"NINTS": 3}, [[1, 2, 3], [4, 6, 8]]),
        ({"NINTS": 1}, [[1, 2, 3]]),
        ({"NINTS": 9, "INTSTART": 4}, [[4, 6, 8]]),
    ],
)
def test_darks_of_the_integrations_that_the_exposure_has(tmp_path, keywords, expected):
    # The second integration of the dark is a group short and goes on with 6 + (6 - 4).
    dark = np.array([[1, 2], [4, 6]], np.float32).reshape(2, 2, 1, 1)
    found = references(tmp_path, dark)
    groups = Header({"primary": {"NGROUPS": 3, "NFRAMES": 1, "GROUPGAP": 0} | keywords})
    array, flags = dark_of_groups(found, groups)
    np.testing.assert_array_equal(array.read()[..., 0, 0], expected)
    assert array.shape == (len(expected), 3, 1, 1)
    np.testing.assert_array_equal(flags.read(), [[8]])


def test_flags_of_all_integrations_of_the_dark_count(tmp_path):
    flags = np.array([1, 4], np.uint32).reshape(2, 1, 1, 1)
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(np.zeros((2, 3, 1, 1), np.float32), name="SCI"),
        fits.ImageHDU(flags, name="DQ"),
    ]
    fits.HDUList(hdus).writeto(tmp_path / "dark.fits")
    found = References.from_files({"dark": tmp_path / "dark.fits"})
    keywords = {"NGROUPS": 3, "NFRAMES": 1, "GROUPGAP": 0, "NINTS": 2}
    _, combined = dark_of_groups(found, Header({"primary": keywords}))
    np.testing.assert_array_equal(combined.read(), [[5]])


@pytest.mark.parametrize("pixels", [None, 0.0, 0.25])
def test_average_of_each_pixel_goes_before_the_keyword(tmp_path, pixels):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(np.zeros((3, 2, 2), np.float32), name="SCI")]
    hdus[0].header["AVDRKCUR"] = 0.5
    if pixels is not None:
        hdus.append(fits.ImageHDU(np.full((2, 2), pixels, np.float32), name="AVDRKCUR"))
    fits.HDUList(hdus).writeto(tmp_path / "dark.fits")
    found = References.from_files({"dark": tmp_path / "dark.fits"})
    average = average_dark_current(found, DarkCurrentParams())
    if pixels:
        np.testing.assert_array_equal(average.read(), np.full((2, 2), 0.25))
    else:
        # Zeros in the pixels say that nothing is known of them.
        assert average == 0.5
    assert average_dark_current(found, DarkCurrentParams(average_dark_current=2.0)) == 2.0


def test_average_of_each_pixel_goes_on_to_ramp_fit():
    sci, flags = np.zeros((1, 2, 1, 2), np.float32), np.zeros((1, 2), np.uint32)
    average = np.array([[0.1, 0.4]], np.float32)
    *_, kept = subtract_dark(sci, flags, np.zeros((2, 1, 2), np.float32), None, average)
    np.testing.assert_array_equal(kept, average)
    assert kept is not average
