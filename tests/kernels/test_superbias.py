import numpy as np

from jwpipe.stage1.superbias import subtract_bias


def test_bias_comes_off_every_group_and_nan_counts_as_zero():
    sci = np.array([[[[110.0, 50.0]], [[130.0, 60.0]]]], np.float32)
    bias = np.array([[100.0, np.nan]], np.float32)
    flags, bias_dq = np.array([[1, 0]], np.uint32), np.array([[2, 4]], np.uint32)
    given = sci.copy(), bias.copy(), flags.copy()
    corrected, pixeldq, zeroframe = subtract_bias(sci, flags, None, bias, bias_dq)
    np.testing.assert_array_equal(corrected, [[[[10.0, 50.0]], [[30.0, 60.0]]]])
    np.testing.assert_array_equal(pixeldq, [[3, 4]])
    assert zeroframe is None
    assert corrected.dtype == np.float32
    for before, after in zip(given, (sci, bias, flags), strict=True):
        np.testing.assert_array_equal(before, after)


def test_zero_frame_keeps_its_pixels_without_data():
    zeroframe = np.array([[[105.0, 0.0, 7.0]]], np.float32)
    bias = np.array([[100.0, 100.0, np.nan]], np.float32)
    zeros = np.zeros((1, 3), np.uint32)
    _, _, frame = subtract_bias(np.zeros((1, 2, 1, 3), np.float32), zeros, zeroframe, bias, zeros)
    np.testing.assert_array_equal(frame, [[[5.0, 0.0, 7.0]]])
    np.testing.assert_array_equal(zeroframe, [[[105.0, 0.0, 7.0]]])


def test_rows_that_are_wanted_are_those_of_the_whole():
    chance = np.random.default_rng(2)
    sci = chance.normal(500, 100, (2, 3, 6, 5)).astype(np.float32)
    zeroframe, bias = sci[:, 0] - 20, chance.normal(400, 30, (6, 5)).astype(np.float32)
    flags = chance.integers(0, 9, (2, 6, 5)).astype(np.uint32)
    whole = subtract_bias(sci, flags[0], zeroframe, bias, flags[1])
    some = subtract_bias(sci, flags[0], zeroframe, bias, flags[1], rows=slice(1, 4))
    for expected, found in zip(whole, some, strict=True):
        np.testing.assert_array_equal(found, expected[..., 1:4, :])
        assert found.flags.c_contiguous
