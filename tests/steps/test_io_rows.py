"""Rows of files in turns, and arrays that wait on disk."""

import pickle

import numpy as np
import pytest
from astropy.io import fits

from jwpipe.exposure import ExposureError
from jwpipe.io.fitsarray import FitsArray
from jwpipe.io.fitsrows import FitsRows
from jwpipe.io.scratch import Scratch, ScratchRamp
from jwpipe.numerics.stripes import runs


@pytest.fixture
def rows_of_file(tmp_path):
    values = np.arange(2 * 12 * 5, dtype=np.float32).reshape(2, 12, 5)
    path = tmp_path / "image.fits"
    fits.PrimaryHDU(values).writeto(path)
    with fits.open(path) as hdus:
        offset = hdus[0].fileinfo()["datLoc"]
    array = FitsArray(str(path), offset, ">f4", np.dtype(np.float32), values.shape)
    wanted = np.array([1, 2, 5, 9, 10, 11])
    return FitsRows(array, runs(wanted), wanted.size), values[:, wanted]


def test_rows_of_a_file(rows_of_file):
    rows, expected = rows_of_file
    assert (rows.shape, rows.ndim, rows.dtype) == (expected.shape, 3, np.float32)
    np.testing.assert_array_equal(rows[...], expected)
    np.testing.assert_array_equal(rows[1, 2:5, 1:4], expected[1, 2:5, 1:4])
    box = slice(0, 2), slice(3, 3), slice(0, 5)
    assert rows.read(box).shape == (2, 0, 5)
    assert rows.read((slice(0, 1), slice(0, 6), slice(2, 4)), np.dtype(np.float64)).dtype == float


def test_planes_on_disk():
    plane = np.arange(12.0).reshape(4, 3)
    scratch = Scratch(plane[::-1])
    np.testing.assert_array_equal(scratch.rows(1, 3), plane[::-1][1:3])
    copy = pickle.loads(pickle.dumps(scratch))
    np.testing.assert_array_equal(copy.rows(0, 4), plane[::-1])


def test_ramps_on_disk():
    ramp = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    scratch = ScratchRamp([[Scratch(plane) for plane in planes] for planes in ramp])
    assert scratch.shape == ramp.shape
    part = slice(1, 2), slice(None), slice(1, 3), slice(2, 5)
    np.testing.assert_array_equal(scratch[part], ramp[part])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(scratch))[part], ramp[part])


def test_no_room_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(ExposureError, match=r"gone: .*TMPDIR"):
        Scratch(np.zeros((2, 2)))
