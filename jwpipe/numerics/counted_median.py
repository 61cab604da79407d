"""The median of more values than fit in memory, exactly, from two rounds of counting.

Non-negative single-precision numbers are in the order of their bit patterns. The first round counts the upper halves
of the patterns, which tells between which two the median lies; the second counts the lower halves there. Counts of
parts of the values add up, so that the parts can be looked at anywhere.
"""

from typing import NamedTuple

import numpy as np

HALF = 16
BINS = 1 << HALF
SIGN = np.uint32(1 << 31)
# Upper half of the first pattern after infinity that is not a number.
NOT_A_NUMBER = 0x7F81


class Ranks(NamedTuple):
    """Upper halves of the one or two middle values, and how many values of the same upper half are smaller."""

    upper: tuple[int, int]
    below: tuple[int, int]


def upper_counts(values: np.ndarray) -> np.ndarray:
    """How many of the non-negative float32 ``values`` have each upper half (65536)."""
    return np.bincount(_bits(values) >> HALF, minlength=BINS)


def ranks(counts: np.ndarray) -> Ranks | None:
    """Where the middle values are, from the ``upper_counts`` of all values; ``None`` if the median is NaN."""
    total = int(counts.sum())
    if total == 0 or counts[NOT_A_NUMBER:].any():
        return None
    ends = np.cumsum(counts)
    upper, below = [], []
    for rank in ((total - 1) // 2, total // 2):
        half = int(np.searchsorted(ends, rank, side="right"))
        upper.append(half)
        below.append(rank - int(ends[half] - counts[half]))
    return Ranks((upper[0], upper[1]), (below[0], below[1]))


def lower_counts(values: np.ndarray, found: Ranks | None) -> np.ndarray:
    """How many of ``values`` have each lower half (2, 65536), among those with the upper halves found."""
    counts = np.zeros((2, BINS), np.int64)
    if found is not None:
        bits = _bits(values)
        halves = bits >> HALF
        for k, half in enumerate(found.upper):
            counts[k] = np.bincount(bits[halves == half] & (BINS - 1), minlength=BINS)
    return counts


def median(found: Ranks | None, counts: np.ndarray) -> np.float32:
    """The median of all values, from their ``lower_counts``."""
    if found is None:
        return np.float32(np.nan)
    bits = [
        (found.upper[k] << HALF)
        | int(np.searchsorted(np.cumsum(counts[k]), found.below[k], side="right"))
        for k in (0, 1)
    ]
    low, high = np.array(bits, np.uint32).view(np.float32)
    return np.float32((low + high) / np.float32(2))


def _bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32).ravel().view(np.uint32) & ~SIGN
