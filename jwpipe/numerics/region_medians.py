"""Medians of the pixels of regions, frame by frame, exactly, of frames that are never in memory as a whole.

Bit patterns of single-precision numbers, with the sign taken care of, are in the order of the numbers. The upper
halves of the patterns are counted first, which tells between which two the median lies, then the lower halves there.
Counts of parts of a frame add up. Few patterns occur in a frame: those are kept that do, with their counts.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jwpipe.numerics.jit import inline, kernel
from jwpipe.numerics.views import read_only

HALF = 16
BINS = 1 << HALF
SIGN = np.uint32(1 << 31)

Tally = list[tuple[np.ndarray, np.ndarray]]
"""For each frame and region, in turn: the patterns that occur, and how often."""


class Ranks(NamedTuple):
    """Upper halves of the one or two middle values, and how many values of the same upper half are smaller."""

    upper: tuple[int, int]
    below: tuple[int, int]


def upper_tally(frames: Iterable[np.ndarray], regions: np.ndarray, number: int) -> Tally:
    """Count the upper halves.

    Parameters
    ----------
    frames
        Values (y, x) float32 of each frame; NaN do not count.
    regions
        Region of each pixel (y, x), uint8, counted from 1; 0 for pixels of none.
    number
        How many regions there are.
    """
    tally: Tally = []
    for frame in frames:
        counts = np.zeros((number, BINS), np.int64)
        _count_upper(*read_only(frame, regions), counts)
        tally += [_sparse(each) for each in counts]
    return tally


def lower_tally(
    frames: Iterable[np.ndarray], regions: np.ndarray, number: int, found: Sequence[Ranks | None]
) -> Tally:
    """Count the lower halves of the values with the upper halves ``found``: of the larger one behind the others."""
    tally: Tally = []
    for n, frame in enumerate(frames):
        here = found[n * number : (n + 1) * number]
        upper = np.array([(-1, -1) if each is None else each.upper for each in here], np.int64)
        counts = np.zeros((number, 2 * BINS), np.int64)
        _count_lower(*read_only(frame, regions, upper), counts)
        tally += [_sparse(each) for each in counts]
    return tally


def merged(one: Tally, other: Tally) -> Tally:
    """The counts of two parts together."""
    return [_added(*each) for each in zip(one, other, strict=True)]


def _added(
    one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    keys, places = np.unique(np.concatenate([one[0], other[0]]), return_inverse=True)
    counts = np.zeros(keys.size, np.int64)
    np.add.at(counts, places, np.concatenate([one[1], other[1]]))
    return keys, counts


def _sparse(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keys = np.flatnonzero(counts)
    return keys.astype(np.int32), counts[keys]


def ranks(tally: Tally) -> list[Ranks | None]:
    """Where the middle values are, from all upper halves; ``None`` for a frame and region without values."""
    return [_ranks(*each) for each in tally]


def _ranks(keys: np.ndarray, counts: np.ndarray) -> Ranks | None:
    total = int(counts.sum())
    if total == 0:
        return None
    ends, middle = np.cumsum(counts), ((total - 1) // 2, total // 2)
    places = [int(np.searchsorted(ends, r, side="right")) for r in middle]
    below = [r - int(ends[p] - counts[p]) for r, p in zip(middle, places, strict=True)]
    return Ranks((int(keys[places[0]]), int(keys[places[1]])), (below[0], below[1]))


def medians(found: Sequence[Ranks | None], tally: Tally) -> np.ndarray:
    """The medians of each frame and region in turn, float32, NaN where there are no values, from all lower halves."""
    return np.array([_median(*each) for each in zip(found, tally, strict=True)], np.float32)


def _median(found: Ranks | None, counted: tuple[np.ndarray, np.ndarray]) -> np.float32:
    if found is None:
        return np.float32(np.nan)
    keys, counts = counted
    bits = []
    for k in (0, 1):
        # Both middle values are looked for among the first half of the keys where they have the same upper half.
        second = k == 1 and found.upper[1] != found.upper[0]
        mine = keys >= BINS if second else keys < BINS
        place = np.searchsorted(np.cumsum(counts[mine]), found.below[k], side="right")
        bits.append((found.upper[k] << HALF) | int(keys[mine][place] & (BINS - 1)))
    ordered = np.array(bits, np.uint32)
    low, high = (
        np.where(ordered & SIGN, ordered ^ SIGN, ~ordered).astype(np.uint32).view(np.float32)
    )
    return np.float32((low + high) / np.float32(2))


@inline
def _order(bits: np.uint32) -> np.uint32:
    """The bit pattern of a number, as numbers are ordered."""
    return ~bits if bits & SIGN else bits | SIGN


@kernel
def _count_upper(frame: np.ndarray, regions: np.ndarray, counts: np.ndarray) -> None:
    for y in range(frame.shape[0]):
        bits = frame[y].view(np.uint32)
        for x in range(frame.shape[1]):
            region = regions[y, x]
            if region and frame[y, x] == frame[y, x]:
                counts[region - 1, _order(bits[x]) >> np.uint32(HALF)] += 1


@kernel
def _count_lower(
    frame: np.ndarray, regions: np.ndarray, upper: np.ndarray, counts: np.ndarray
) -> None:
    low = np.uint32(BINS - 1)
    for y in range(frame.shape[0]):
        bits = frame[y].view(np.uint32)
        for x in range(frame.shape[1]):
            region = regions[y, x]
            if region and frame[y, x] == frame[y, x]:
                key = _order(bits[x])
                half = np.int64(key >> np.uint32(HALF))
                if half == upper[region - 1, 0]:
                    counts[region - 1, key & low] += 1
                elif half == upper[region - 1, 1]:
                    counts[region - 1, BINS + np.int64(key & low)] += 1
