"""Find outlying differences among many integrations by sigma clipping.

With a hundred integrations or more the scatter of each difference is measured rather than predicted: the difference
of two groups is compared with the same one of all other integrations (or with all differences of the pixel).
"""

import numpy as np

from jwpipe.numerics.differences import JUMP, NOTHING, UNUSABLE
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.medians import block_width, sort_columns
from jwpipe.numerics.two_point import difference

ROUNDS = 5
FINITE = np.float32(np.finfo(np.float32).max)
SCREEN_MARGIN = 1e-9


@kernel
def difference_row(
    low: np.ndarray,
    high: np.ndarray,
    low_dq: np.ndarray,
    high_dq: np.ndarray,
    gain: np.ndarray,
    row: np.ndarray,
    usable: np.ndarray,
) -> None:
    """Differences of one row of two groups, +inf where there is none; count those there are."""
    for x in range(row.size):
        step = high[x] * gain[x] - low[x] * gain[x]
        good = (((low_dq[x] | high_dq[x]) & UNUSABLE) == 0) & (abs(step) <= FINITE)
        row[x] = step if good else NOTHING
        usable[x] += np.int32(good)


@kernel
def clip_bounds(values: np.ndarray, count: int, x: int, threshold: float) -> tuple[float, float]:
    """Bounds median -/+ ``threshold`` standard deviations of a sorted column, after clipping beyond them."""
    first, stop = 0, count
    low, high = np.nan, np.nan
    for _ in range(ROUNDS):
        left = stop - first
        total = 0.0
        for i in range(first, stop):
            total += values[i, x]
        mean = total / left
        squares = 0.0
        for i in range(first, stop):
            squares += (values[i, x] - mean) ** 2
        reach = threshold * np.sqrt(squares / left)
        centre = 0.5 * (
            np.float64(values[first + (left - 1) // 2, x])
            + np.float64(values[first + left // 2, x])
        )
        low, high = centre - reach, centre + reach
        old = left
        while stop > first and values[stop - 1, x] > high:
            stop -= 1
        while stop > first and values[first, x] < low:
            first += 1
        if stop - first in (0, old):
            break
    return low, high


@kernel
def screen_scatter(
    values: np.ndarray,
    samples: int,
    width: int,
    usable: np.ndarray,
    threshold: float,
    moments: np.ndarray,
    suspect: np.ndarray,
) -> None:
    """Suspect each pixel whose sorted samples reach the first bounds, or that lacks samples."""
    moments[:, :width] = 0.0
    for i in range(samples):
        for x in range(width):
            moments[0, x] += values[i, x]
    for x in range(width):
        moments[0, x] /= samples
    for i in range(samples):
        for x in range(width):
            moments[1, x] += (values[i, x] - moments[0, x]) ** 2
    low, high = (samples - 1) // 2, samples // 2
    for x in range(width):
        reach = threshold * np.sqrt(moments[1, x] / samples) * (1 - SCREEN_MARGIN)
        centre = 0.5 * (np.float64(values[low, x]) + np.float64(values[high, x]))
        inside = (values[samples - 1, x] <= centre + reach) & (values[0, x] >= centre - reach)
        suspect[x] = (not inside) | (usable[x] != samples)


@kernel
def fill_set(
    sci: np.ndarray,
    groupdq: np.ndarray,
    gain: np.ndarray,
    pairs: tuple[int, int],
    y: int,
    start: int,
    stop: int,
    values: np.ndarray,
    usable: np.ndarray,
) -> None:
    """Finite differences of the groups ``pairs[0]`` to ``pairs[1] - 1`` with their next, of all integrations."""
    usable[:] = 0
    sample = 0
    for i in range(sci.shape[0]):
        for k in range(pairs[0], pairs[1]):
            difference_row(
                sci[i, k, y, start:stop],
                sci[i, k + 1, y, start:stop],
                groupdq[i, k, y, start:stop],
                groupdq[i, k + 1, y, start:stop],
                gain[y, start:stop],
                values[sample, : stop - start],
                usable,
            )
            sample += 1


@kernel
def flag_outside(
    sci: np.ndarray,
    groupdq: np.ndarray,
    gain: np.ndarray,
    pairs: tuple[int, int],
    y: int,
    x: int,
    bounds: tuple[float, float],
    flags: np.ndarray,
) -> None:
    """Flag the groups of a pixel whose finite difference lies outside ``bounds``."""
    for i in range(sci.shape[0]):
        for k in range(pairs[0], pairs[1]):
            step = difference(sci, groupdq, gain, i, k, y, x)
            if (step < bounds[0] or step > bounds[1]) and np.isfinite(step):
                flags[i, k + 1, y, x] |= JUMP


@kernel
def detect_by_scatter(
    sci: np.ndarray,
    groupdq: np.ndarray,
    gain: np.ndarray,
    threshold: float,
    group_by_group: bool,
    flags: np.ndarray,
) -> None:
    """Flag the groups whose difference lies ``threshold`` standard deviations from the median.

    ``group_by_group``: each difference is compared with the same one of the other integrations only.
    """
    integrations, groups, rows, columns = sci.shape
    pairs = 1 if group_by_group else groups - 1
    samples = integrations * pairs
    block = block_width(samples, columns)
    values = np.empty((samples, block), np.float32)
    moments = np.empty((2, block), np.float64)
    usable = np.empty(block, np.int32)
    suspect = np.empty(block, np.bool_)
    for y in range(rows):
        for start in range(0, columns, block):
            stop = min(start + block, columns)
            width = stop - start
            for k in range(0, groups - 1, pairs):
                chosen = (k, k + pairs)
                fill_set(sci, groupdq, gain, chosen, y, start, stop, values, usable)
                sort_columns(values, samples, width)
                screen_scatter(values, samples, width, usable, threshold, moments, suspect)
                for x in range(width):
                    if suspect[x] and usable[x] > 0:
                        bounds = clip_bounds(values, usable[x], x, threshold)
                        flag_outside(sci, groupdq, gain, chosen, y, start + x, bounds, flags)
