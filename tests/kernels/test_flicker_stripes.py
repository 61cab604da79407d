"""Stripes of known amplitude, worked out by hand."""

import numpy as np
import pytest

from jwpipe.stage1.flicker.frame import Cleaning, fitted

NO_LIMITS = Cleaning(clip=None)


def found(image, how=NO_LIMITS):
    """The level, and the noise (y, x) that is taken off."""
    values = fitted(image, how)
    rows, columns = np.arange(image.shape[0]), np.arange(image.shape[1])
    noise = how.noise(values[1:], rows, columns, image.shape)
    return values[0, 0], np.broadcast_to(noise, image.shape)


def striped(amplitudes, width=9, level=20.0):
    """Rows that lie ``amplitudes`` above a level."""
    return np.repeat(np.float32(level) + np.array(amplitudes, np.float32)[:, None], width, axis=1)


def test_rows_above_and_below_the_level():
    # The median of as many rows at 17 as at 23, and one at 20 between them, is 20: stripes of -3 and 3.
    level, noise = found(striped([3, -3, 3, 0, -3]))
    assert level == 20
    np.testing.assert_array_equal(noise[:, 0], [3, -3, 3, 0, -3])
    assert np.ptp(noise, axis=1).max() == 0


def test_columns_where_lines_run_along_them():
    image = np.ascontiguousarray(striped([2, 0, -2, 0]).T)
    level, noise = found(image, Cleaning(clip=None, axis=0))
    assert level == 20
    np.testing.assert_array_equal(noise[0], [2, 0, -2, 0])


def test_stars_tell_nothing_of_the_stripes():
    """A pixel that is masked, or lies beyond the limits, does not move the median of its row."""
    image = striped([1, -1, 1, -1, 0])
    before = image.copy()
    image[0, :4] = np.nan
    image[1, 2:4] = 5000.0
    level, noise = found(image, Cleaning(clip=(2.0, 2.0)))
    assert level == pytest.approx(20, abs=0.1)
    np.testing.assert_allclose(noise[:, 0], [1, -1, 1, -1, 0], atol=0.1)
    np.testing.assert_array_equal(image[2:], before[2:])


def test_a_row_without_background_keeps_its_noise():
    image = striped([1, -1, 0])
    image[1] = np.nan
    # What is left is at 21 and 20: the median of as many of each is their middle.
    level, noise = found(image)
    assert level == 20.5
    assert not noise[1].any() or np.isnan(noise[1]).all()
    np.testing.assert_array_equal(noise[[0, 2], 0], [0.5, -0.5])
