"""Two-point differences of ramps: find the groups that a cosmic ray lifted (Anderson & Gordon 2011, PASP 123, 1237).

All differences of a pixel are compared with their median. Rows of pixels are screened together with sorting networks
in single precision; only the few suspects are then judged one by one, in double precision.

Differences are in electrons. One that touches a saturated, unusable or NaN group is left out.
"""

import numpy as np

from jwpipe.dq import Group
from jwpipe.numerics.jit import inline, kernel
from jwpipe.numerics.medians import block_width, middle, sort_columns
from jwpipe.numerics.planes import list_where

UNUSABLE = np.uint8(Group.DO_NOT_USE | Group.SATURATED)
JUMP = np.uint8(Group.JUMP_DET)
NOTHING = np.float32(np.inf)
ANY_SIZE = np.float32(np.inf)
FINITE = np.float32(np.finfo(np.float32).max)
# The screen errs on the side of suspicion, by more than the rounding of single precision.
SCREEN_MARGIN = 1 - 1e-4


@kernel
def difference_row(
    low: np.ndarray,
    high: np.ndarray,
    low_dq: np.ndarray,
    high_dq: np.ndarray,
    gain: np.ndarray,
    largest: np.float32,
    row: np.ndarray,
    usable: np.ndarray,
) -> None:
    """Differences of one row of two groups, +inf where there is none; count those there are."""
    for x in range(row.size):
        step = high[x] * gain[x] - low[x] * gain[x]
        good = (((low_dq[x] | high_dq[x]) & UNUSABLE) == 0) & (abs(step) <= largest)
        row[x] = step if good else NOTHING
        usable[x] += np.int32(good)


@inline
def difference(
    sci: np.ndarray, groupdq: np.ndarray, gain: np.ndarray, i: int, k: int, y: int, x: int
) -> np.float32:
    """The difference of groups ``k + 1`` and ``k`` of one pixel, NaN where there is none."""
    if (groupdq[i, k, y, x] | groupdq[i, k + 1, y, x]) & UNUSABLE:
        return np.float32(np.nan)
    return sci[i, k + 1, y, x] * gain[y, x] - sci[i, k, y, x] * gain[y, x]


@inline
def noise_variance(readnoise: np.float32, gain: np.float32, nframes: int) -> float:
    """Variance of a difference from read noise, electron^2, from the noise of one pair of frames in DN."""
    noise = readnoise * gain
    return np.float64(noise * noise) / nframes


@kernel
def fill_differences(
    sci: np.ndarray,
    groupdq: np.ndarray,
    gain: np.ndarray,
    y: int,
    start: int,
    width: int,
    values: np.ndarray,
    usable: np.ndarray,
) -> None:
    """All differences of ``width`` pixels of row ``y``, one sample a row of ``values``."""
    integrations, groups = sci.shape[:2]
    stop = start + width
    usable[:] = 0
    for i in range(integrations):
        for k in range(groups - 1):
            difference_row(
                sci[i, k, y, start:stop],
                sci[i, k + 1, y, start:stop],
                groupdq[i, k, y, start:stop],
                groupdq[i, k + 1, y, start:stop],
                gain[y, start:stop],
                ANY_SIZE,
                values[i * (groups - 1) + k, :width],
                usable,
            )


@kernel
def screen(
    values: np.ndarray,
    samples: int,
    low: int,
    high: int,
    width: int,
    usable: np.ndarray,
    noise: np.ndarray,
    threshold: float,
    suspect: np.ndarray,
) -> None:
    """Suspect each pixel whose sorted samples stray from the mean of samples ``low`` and ``high``.

    Pixels that lack samples are suspects too, since their median lies elsewhere.
    """
    limit = np.float32(threshold * threshold * SCREEN_MARGIN)
    half = np.float32(0.5)
    for x in range(width):
        centre = half * (values[low, x] + values[high, x])
        above, below = values[samples - 1, x] - centre, centre - values[0, x]
        far = above if above > below else below
        calm = far * far <= limit * (abs(centre) + noise[x])
        suspect[x] = (not calm) | (usable[x] != samples)


@kernel
def suspect_ties(values: np.ndarray, samples: int, width: int, suspect: np.ndarray) -> None:
    """Suspect each pixel whose largest sample is not alone: all of them are then left out of its median."""
    for x in range(width):
        suspect[x] |= values[samples - 1, x] == values[samples - 2, x]


@inline
def clip_largest(
    sizes: np.ndarray, count: int, x: int, noise: float, thresholds: tuple[float, float, float]
) -> tuple[np.float32, np.float32]:
    """Take out the sample that strays most until none does; ``sizes`` are sorted absolute differences.

    The median is that of all samples but the largest; of two samples it is the smaller. ``thresholds`` hold for two,
    three and more samples. Samples up to the first result or from the second on are outliers; NaN: none.
    """
    low, high = np.float32(np.nan), np.float32(np.nan)
    first, stop = 0, count
    again = False
    while stop - first >= 2:
        threshold = thresholds[min(stop - first, 4) - 2]
        below = stop
        if stop - first == 2:
            below = first + 1
        elif stop - first >= 4:
            while below > first and sizes[below - 1, x] == sizes[stop - 1, x]:
                below -= 1
        left = below - first
        if left == 0:
            break
        centre = 0.5 * (
            np.float64(sizes[first + (left - 1) // 2, x]) + np.float64(sizes[first + left // 2, x])
        )
        if again:
            centre = np.float64(np.float32(centre))
        sigma = np.sqrt(abs(centre) + noise)
        over = abs(np.float64(np.float32(sizes[stop - 1, x] - centre)))
        under = abs(np.float64(np.float32(sizes[first, x] - centre)))
        worst = max(over, under)
        if not (sigma > 0 and worst / sigma > threshold):
            break
        while stop > first and abs(np.float64(np.float32(sizes[stop - 1, x] - centre))) == worst:
            stop -= 1
            high = sizes[stop, x]
        while stop > first and abs(np.float64(np.float32(sizes[first, x] - centre))) == worst:
            low = sizes[first, x]
            first += 1
        again = True
    return low, high


@inline
def flag_sizes(
    sci: np.ndarray,
    groupdq: np.ndarray,
    gain: np.ndarray,
    y: int,
    x: int,
    low: np.float32,
    high: np.float32,
    flags: np.ndarray,
) -> None:
    """Flag the groups of a pixel whose absolute difference is ``low`` at most or ``high`` at least."""
    for i in range(sci.shape[0]):
        for k in range(sci.shape[1] - 1):
            size = abs(difference(sci, groupdq, gain, i, k, y, x))
            if size <= low or size >= high:
                flags[i, k + 1, y, x] |= JUMP


@inline
def flag_strays(
    sci: np.ndarray,
    groupdq: np.ndarray,
    gain: np.ndarray,
    y: int,
    x: int,
    centre: float,
    reach: float,
    flags: np.ndarray,
) -> None:
    """Flag the groups of a pixel whose finite difference lies more than ``reach`` from ``centre``."""
    for i in range(sci.shape[0]):
        for k in range(sci.shape[1] - 1):
            step = difference(sci, groupdq, gain, i, k, y, x)
            if abs(step - centre) > reach and np.isfinite(step):
                flags[i, k + 1, y, x] |= JUMP


@kernel
def noise_row(readnoise: np.ndarray, gain: np.ndarray, nframes: int, noise: np.ndarray) -> None:
    """``noise_variance`` of a row, in single precision."""
    for x in range(readnoise.size):
        noise[x] = noise_variance(readnoise[x], gain[x], nframes)


@kernel
def detect_at_once(
    sci: np.ndarray,
    groupdq: np.ndarray,
    gain: np.ndarray,
    readnoise: np.ndarray,
    nframes: int,
    threshold: float,
    flags: np.ndarray,
    medians: np.ndarray,
) -> None:
    """Flag every group that strays from the median difference of its pixel; give the medians (y, x) of suspects."""
    integrations, groups, rows, columns = sci.shape
    samples = integrations * (groups - 1)
    block = block_width(samples, columns)
    values = np.empty((samples, block), np.float32)
    usable = np.empty(block, np.int32)
    noise = np.empty(block, np.float32)
    suspect = np.empty(block, np.bool_)
    places = np.empty(block + 1, np.int32)
    low, high = (samples - 1) // 2, samples // 2
    for y in range(rows):
        for start in range(0, columns, block):
            stop = min(start + block, columns)
            width = stop - start
            fill_differences(sci, groupdq, gain, y, start, width, values, usable)
            noise_row(readnoise[y, start:stop], gain[y, start:stop], nframes, noise)
            sort_columns(values, samples, width)
            screen(values, samples, low, high, width, usable, noise, threshold, suspect)
            for p in range(list_where(suspect[:width], True, places)):
                x = places[p]
                centre = middle(values, usable[x], x)
                medians[y, start + x] = centre
                variance = noise_variance(readnoise[y, start + x], gain[y, start + x], nframes)
                sigma = np.sqrt(abs(centre) + variance)
                if sigma > 0:
                    reach = threshold * sigma
                    flag_strays(sci, groupdq, gain, y, start + x, centre, reach, flags)


@kernel
def detect_one_by_one(
    sci: np.ndarray,
    groupdq: np.ndarray,
    gain: np.ndarray,
    readnoise: np.ndarray,
    nframes: int,
    thresholds: tuple[float, float, float],
    flags: np.ndarray,
) -> None:
    """Flag outliers of the absolute differences, each changing the median of those left."""
    integrations, groups, rows, columns = sci.shape
    samples = integrations * (groups - 1)
    block = block_width(samples, columns)
    sizes = np.empty((samples, block), np.float32)
    usable = np.empty(block, np.int32)
    noise = np.empty(block, np.float32)
    suspect = np.empty(block, np.bool_)
    places = np.empty(block + 1, np.int32)
    left = samples - 1 if samples >= 4 or samples == 2 else samples
    low, high = (left - 1) // 2, left // 2
    threshold = thresholds[max(min(samples, 4) - 2, 0)]
    for y in range(rows):
        for start in range(0, columns, block):
            stop = min(start + block, columns)
            width = stop - start
            fill_differences(sci, groupdq, gain, y, start, width, sizes, usable)
            noise_row(readnoise[y, start:stop], gain[y, start:stop], nframes, noise)
            for k in range(samples):
                row = sizes[k]
                for x in range(width):
                    row[x] = abs(row[x])
            sort_columns(sizes, samples, width)
            screen(sizes, samples, low, high, width, usable, noise, threshold, suspect)
            if samples >= 4:
                suspect_ties(sizes, samples, width, suspect)
            for p in range(list_where(suspect[:width], True, places)):
                x = places[p]
                variance = noise_variance(readnoise[y, start + x], gain[y, start + x], nframes)
                least, most = clip_largest(sizes, usable[x], x, variance, thresholds)
                if not (np.isnan(least) and np.isnan(most)):
                    flag_sizes(sci, groupdq, gain, y, start + x, least, most, flags)
