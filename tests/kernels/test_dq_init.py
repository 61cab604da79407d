import numpy as np
import pytest
from astropy.io import fits

from jwpipe.dq import Pixel
from jwpipe.exposure import ExposureError, Header
from jwpipe.refs import References
from jwpipe.stage1.dq_init import DqInitParams, dq_init, start_flags

HEADER = Header({"filename": "a_uncal.fits"})


def test_unusable_pixels_are_so_in_every_group_other_flags_are_the_pixels():
    mask = np.array([[0, Pixel.DO_NOT_USE | Pixel.DEAD, Pixel.HOT]], np.uint32)
    groupdq = np.zeros((2, 3, 1, 3), np.uint8)
    groupdq[1, 2, 0, 0] = 4
    pixeldq = np.array([[Pixel.WARM, 0, 0]], np.uint32)
    given = groupdq.copy(), pixeldq.copy(), mask.copy()
    groups, pixels = start_flags(groupdq, pixeldq, mask, None)
    np.testing.assert_array_equal(pixels, [[Pixel.WARM, mask[0, 1], Pixel.HOT]])
    np.testing.assert_array_equal(groups[:, :, 0, 1], 1)
    assert groups[1, 2, 0, 0] == 4
    assert groups.sum() == 6 + 4
    assert (groups.dtype, pixels.dtype) == (np.uint8, np.uint32)
    for before, after in zip(given, (groupdq, pixeldq, mask), strict=True):
        np.testing.assert_array_equal(before, after)


def test_user_flags_add_to_the_mask():
    mask, user = np.array([[1, 0]], np.uint32), np.array([[2048, 1]], np.uint32)
    groups, pixels = start_flags(
        np.zeros((1, 1, 1, 2), np.uint8), np.zeros((1, 2), np.uint32), mask, user
    )
    np.testing.assert_array_equal(pixels, [[2049, 1]])
    np.testing.assert_array_equal(groups[0, 0], [[1, 1]])


def references(folder):
    path = folder / "mask.fits"
    primary = fits.PrimaryHDU()
    primary.header.update(REFTYPE="MASK", INSTRUME="NIRCAM")
    fits.HDUList([primary, fits.ImageHDU(np.eye(4, dtype=np.uint32), name="DQ")]).writeto(path)
    return References.from_files({"mask": path})


def test_user_flags_are_read_from_their_file(tmp_path):
    fits.writeto(tmp_path / "user.fits", np.full((4, 4), 16, np.int32))
    params = DqInitParams(user_supplied_dq=str(tmp_path / "user.fits"))
    mask, user = dq_init.prepare(references(tmp_path), HEADER, params)
    np.testing.assert_array_equal(mask.read(), np.eye(4))
    np.testing.assert_array_equal(user.read(slice(1, 3)), 16)
    assert dq_init.prepare(references_again(tmp_path), HEADER, DqInitParams())[1] is None


def references_again(folder):
    return References.from_files({"mask": folder / "mask.fits"})


@pytest.mark.parametrize("flags", [np.zeros((3, 4), np.int32), np.zeros((4, 4), np.float32)])
def test_user_flags_of_another_kind_are_refused(tmp_path, flags):
    fits.writeto(tmp_path / "user.fits", flags)
    params = DqInitParams(user_supplied_dq=str(tmp_path / "user.fits"))
    with pytest.raises(ExposureError, match=r"a_uncal.*dq_init.*user\.fits.*\(4, 4\)"):
        dq_init.prepare(references(tmp_path), HEADER, params)


def test_an_unreadable_user_file_is_refused(tmp_path):
    params = DqInitParams(user_supplied_dq=str(tmp_path / "none.fits"))
    with pytest.raises(ExposureError, match=r"none\.fits"):
        dq_init.prepare(references(tmp_path), HEADER, params)
