import numpy as np
import pytest
from scipy.ndimage import convolve

from jwpipe.exposure import ExposureError, Header
from jwpipe.refs import RefArray
from jwpipe.stage1.ipc import IpcParams, deconvolve, ipc, science_pixels

KERNEL = np.array([[0.0, -0.01, 0.02], [-0.03, 1.1, -0.04], [0.0, -0.05, 0.0]], np.float32)


class File:
    path = "ipc.fits"

    def __init__(self, weights):
        self.weights = RefArray.from_numpy(weights)

    def array(self, name):
        return self.weights


def header(x=1, y=1, nx=2048, ny=2048, **more):
    keywords = {"SUBSTRT1": x, "SUBSTRT2": y, "SUBSIZE1": nx, "SUBSIZE2": ny}
    return Header({"primary": keywords | more, "filename": "a_uncal.fits"})


def test_one_bright_pixel_spreads_as_the_kernel():
    sci = np.zeros((1, 1, 5, 5), np.float32)
    sci[0, 0, 2, 2] = 100
    before = sci.copy()
    (out,) = deconvolve(sci, KERNEL, np.ones((5, 5), bool))
    np.testing.assert_allclose(out[0, 0, 1:4, 1:4], 100 * KERNEL, rtol=1e-6)
    np.testing.assert_array_equal(sci, before)


def test_is_the_convolution_with_zeros_beyond_and_without_reference_pixels():
    rng = np.random.default_rng(1)
    sci = rng.normal(1000, 100, (2, 2, 12, 14)).astype(np.float32)
    science = np.zeros((12, 14), bool)
    science[4:, :10] = True
    (out,) = deconvolve(sci, KERNEL, science)
    for i, g in np.ndindex(2, 2):
        expected = convolve(np.where(science, sci[i, g], 0), KERNEL, mode="constant")
        np.testing.assert_allclose(out[i, g], np.where(science, expected, sci[i, g]), rtol=1e-5)


def test_a_kernel_for_each_pixel():
    rng = np.random.default_rng(2)
    sci = rng.normal(1000, 100, (1, 2, 8, 9)).astype(np.float32)
    science = np.ones((8, 9), bool)
    same = np.ascontiguousarray(np.broadcast_to(KERNEL[..., None, None], (3, 3, 8, 9)))
    np.testing.assert_array_equal(
        deconvolve(sci, same, science)[0], deconvolve(sci, KERNEL, science)[0]
    )
    identity = np.zeros((3, 3, 8, 9), np.float32)
    identity[1, 1] = 1
    identity[1, 1, 3, 4] = 2
    (out,) = deconvolve(sci, identity, science)
    assert out[0, 1, 3, 4] == 2 * sci[0, 1, 3, 4]
    assert (out == sci).sum() == sci.size - 2


def test_strips_with_halo_equal_the_whole():
    rng = np.random.default_rng(3)
    sci = rng.normal(0, 1, (1, 1, 20, 9)).astype(np.float32)
    weights = rng.normal(0, 1, (5, 5)).astype(np.float32)
    science = np.ones((20, 9), bool)
    halo = ipc.halo(IpcParams())
    (whole,) = deconvolve(sci, weights, science)
    (strip,) = deconvolve(
        np.ascontiguousarray(sci[:, :, 6 - halo : 11 + halo]),
        weights,
        science[6 - halo : 11 + halo],
    )
    np.testing.assert_array_equal(strip[:, :, halo:-halo], whole[:, :, 6:11])


@pytest.mark.parametrize(
    ("keywords", "rows", "columns"),
    [
        ({}, (4, 2044), (4, 2044)),
        ({"x": 1649, "y": 1, "nx": 400, "ny": 400}, (4, 400), (0, 396)),
        ({"x": 1001, "y": 3, "nx": 64, "ny": 64}, (2, 64), (0, 64)),
        ({"nx": 1032, "ny": 1024, "INSTRUME": "MIRI"}, (0, 1024), (4, 1028)),
    ],
)
def test_reference_pixels_lie_at_the_edges_of_the_detector(keywords, rows, columns):
    science = science_pixels(header(**keywords))
    expected = np.zeros(science.shape, bool)
    expected[slice(*rows), slice(*columns)] = True
    np.testing.assert_array_equal(science.read(), expected)
    np.testing.assert_array_equal(science.read(slice(2, 9), slice(1, 7)), expected[2:9, 1:7])


def test_full_frame_kernels_are_cut_to_the_subarray():
    weights = np.zeros((1, 1, 20, 30), np.float32)
    weights[0, 0] = np.arange(600).reshape(20, 30)
    cut, science = ipc.prepare({"ipc": File(weights)}, header(x=11, y=6, nx=8, ny=4), IpcParams())
    assert science.shape == (4, 8)
    np.testing.assert_array_equal(cut.read()[0, 0], weights[0, 0, 5:9, 10:18])


@pytest.mark.parametrize("shape", [(2, 3), (7, 7), (3, 3, 5)])
def test_refuses_kernels_of_other_shapes(shape):
    with pytest.raises(ExposureError, match=r"a_uncal.*ipc.*ipc\.fits.*found shape"):
        ipc.prepare({"ipc": File(np.ones(shape, np.float32))}, header(), IpcParams())
