import numpy as np
import pytest

from jwpipe.dq import Pixel
from jwpipe.exposure import ExposureError, Header
from jwpipe.refs import RefArray
from jwpipe.stage1.linearity import LinearityParams, linearity, linearize


def polynomials(*orders, shape=(1, 1)):
    return np.array([np.full(shape, c) for c in orders], np.float32)


def zeros(sci):
    return np.zeros(sci.shape, np.uint8), np.zeros(sci.shape[-2:], np.uint32)


def run(sci, coefficients, *, groupdq=None, zeroframe=None, dq=None, inverse=None, nframes=1):
    groups, pixels = zeros(sci)
    groups = groups if groupdq is None else groupdq
    dq = pixels if dq is None else dq
    return linearize(sci, groups, pixels, zeroframe, coefficients, dq, inverse, nframes=nframes)


def test_polynomial_of_three_orders():
    # 2 + 10 + 10^2 / 100 = 13; 2 + 100 + 100^2 / 100 = 202.
    sci = np.array([10.0, 100.0], np.float32).reshape(1, 2, 1, 1)
    before = sci.copy()
    corrected, flags, zeroframe = run(sci, polynomials(2, 1, 0.01))
    np.testing.assert_allclose(corrected.ravel(), [13, 202], rtol=1e-6)
    assert flags[0, 0] == 0
    assert zeroframe is None
    assert corrected.dtype == np.float32
    np.testing.assert_array_equal(sci, before)


def test_saturated_groups_stay():
    sci = np.array([10.0, 100.0], np.float32).reshape(1, 2, 1, 1)
    groupdq = np.array([1, 2], np.uint8).reshape(1, 2, 1, 1)
    corrected, _, _ = run(sci, polynomials(2, 1, 0.01), groupdq=groupdq)
    np.testing.assert_allclose(corrected.ravel(), [13, 100], rtol=1e-6)


def test_pixels_without_a_polynomial_stay_and_are_flagged():
    coefficients = polynomials(5, 1, 0.01, shape=(1, 5))
    coefficients[2, 0, 0] = np.nan
    coefficients[1, 0, 1] = 0
    dq = np.zeros((1, 5), np.uint32)
    dq[0, 2], dq[0, 3] = Pixel.NO_LIN_CORR, Pixel.HOT
    sci = np.full((1, 1, 1, 5), 10, np.float32)
    corrected, flags, _ = run(sci, coefficients, dq=dq)
    np.testing.assert_allclose(corrected.ravel(), [10, 10, 10, 16, 16], rtol=1e-6)
    missing = Pixel.NO_LIN_CORR
    np.testing.assert_array_equal(flags, [[missing, missing, missing, Pixel.HOT, 0]])


def test_nan_stays_nan():
    sci = np.full((1, 1, 1, 1), np.nan, np.float32)
    assert np.isnan(run(sci, polynomials(0, 1, 0.01))[0]).all()


def test_zero_frame_keeps_its_pixels_without_data():
    sci = np.ones((1, 1, 1, 2), np.float32)
    zeroframe = np.array([[[0.0, 10.0]]], np.float32)
    _, _, frame = run(sci, polynomials(2, 1, 0.01, shape=(1, 2)), zeroframe=zeroframe)
    np.testing.assert_allclose(frame, [[[0, 13]]], rtol=1e-6)
    np.testing.assert_array_equal(zeroframe, [[[0, 10]]])


def test_long_rows_are_the_same_as_pixels_alone():
    rng = np.random.default_rng(1)
    sci = rng.uniform(0, 5e4, (1, 2, 2, 1300)).astype(np.float32)
    coefficients = rng.normal(0, 1, (4, 2, 1300)).astype(np.float32)
    coefficients *= np.array([1, 1, 1e-6, 1e-12], np.float32).reshape(4, 1, 1)
    corrected, _, _ = run(sci, coefficients)
    for x in (0, 511, 512, 1299):
        alone, _, _ = run(
            np.ascontiguousarray(sci[..., x : x + 1]),
            np.ascontiguousarray(coefficients[..., x : x + 1]),
        )
        np.testing.assert_array_equal(corrected[..., x : x + 1], alone)


# A detector that measures m = L - k L^2 of L counts; its inverse, in orders of k (Catalan numbers).
K = 2e-7
RESPONSE = (0, 1, -K)
CORRECTION = (0, 1, K, 2 * K**2, 5 * K**3, 14 * K**4)


def averaged_ramp(rate, ngroups, nframes):
    frames = rate * np.arange(1, ngroups * nframes + 1)
    true = frames.reshape(ngroups, nframes).mean(axis=1)
    measured = (frames - K * frames**2).reshape(ngroups, nframes).mean(axis=1)
    return true, measured.astype(np.float32).reshape(1, ngroups, 1, 1)


def test_frames_inside_a_group_are_corrected_one_by_one():
    true, sci = averaged_ramp(1500, 4, 8)
    plain, _, _ = run(sci, polynomials(*CORRECTION))
    exact, _, _ = run(sci, polynomials(*CORRECTION), inverse=polynomials(*RESPONSE), nframes=8)
    # The average of squares exceeds the square of the average by the variance of the frames,
    # rate^2 (n^2 - 1) / 12 = 1.18e7: whole groups come out lower by k times that, 2.4 DN.
    np.testing.assert_allclose(true - plain.ravel(), K * 1500**2 * 63 / 12, rtol=0.1)
    np.testing.assert_allclose(exact.ravel(), true, rtol=3e-6)


def test_correction_by_frames_respects_saturation_and_missing_inverses():
    _, sci = averaged_ramp(1500, 4, 4)
    sci = np.repeat(sci, 2, axis=-1)
    groupdq, _ = zeros(sci)
    groupdq[:, 3] = 2
    inverse = polynomials(*RESPONSE, shape=(1, 2))
    inverse[0, 0, 1] = np.nan
    corrected, flags, _ = run(
        sci, polynomials(*CORRECTION, shape=(1, 2)), groupdq=groupdq, inverse=inverse, nframes=4
    )
    np.testing.assert_array_equal(corrected[:, 3], sci[:, 3])
    assert (corrected[:, :3] > sci[:, :3]).all()
    np.testing.assert_array_equal(flags, [[0, Pixel.NO_LIN_CORR]])


def test_one_group_is_corrected_whole():
    sci = np.full((1, 1, 1, 1), 10, np.float32)
    corrected, _, _ = run(sci, polynomials(2, 1, 0.01), inverse=polynomials(0, 1, -0.01), nframes=4)
    np.testing.assert_allclose(corrected, 13, rtol=1e-6)


class File:
    path = "linearity.fits"

    def __init__(self, **arrays):
        self.arrays = {name: RefArray.from_numpy(a) for name, a in arrays.items()}

    def array(self, name):
        return self.arrays.get(name)


def test_inverse_is_for_averaged_groups_alone():
    coefficients = polynomials(0, 1, 0, shape=(2, 2))
    refs = {"linearity": File(coeffs=coefficients, inv_coeffs=coefficients)}
    for nframes in (1, 4):
        header = Header({"primary": {"NFRAMES": nframes}})
        inverse = linearity.prepare(refs, header, LinearityParams())[2]
        assert (inverse is not None) == (nframes > 1)
        assert linearity.keywords(header, LinearityParams()) == {"nframes": nframes}


@pytest.mark.parametrize("arrays", [{}, {"coeffs": np.ones((1, 2, 2), np.float32)}])
def test_refuses_references_without_polynomials(arrays):
    header = Header({"primary": {"NFRAMES": 1}, "filename": "a_uncal.fits"})
    with pytest.raises(ExposureError, match=r"a_uncal.*linearity.*linearity\.fits.*COEFFS"):
        linearity.prepare({"linearity": File(**arrays)}, header, LinearityParams())
