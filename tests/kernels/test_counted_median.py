import numpy as np
import pytest

from jwpipe.numerics.counted_median import lower_counts, median, ranks, upper_counts


def counted(values, parts):
    pieces = np.array_split(values, parts)
    found = ranks(sum(upper_counts(piece) for piece in pieces))
    return median(found, sum(lower_counts(piece, found) for piece in pieces))


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("size", [1, 2, 7, 1000, 1001])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_equals_the_median_of_all(size, scale, parts):
    values = np.random.default_rng(size).gamma(2, scale, size).astype(np.float32)
    assert counted(values, min(parts, size)) == np.median(values)


def test_middle_values_far_apart():
    # 1 and 1000 differ in the upper halves of their patterns: the median is between them.
    assert counted(np.array([0, 1, 1000, 2000], np.float32), 2) == np.float32(500.5)


def test_ties_zeros_and_infinity():
    assert counted(np.zeros(10, np.float32), 3) == 0
    assert counted(np.array([3, 3, 3, np.inf], np.float32), 1) == 3


def test_not_a_number_among_the_values():
    assert np.isnan(counted(np.array([1, np.nan, 2], np.float32), 1))
    assert ranks(np.zeros(1 << 16, np.int64)) is None
