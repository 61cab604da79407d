"""Two-point differences of ramps: find the groups that a cosmic ray lifted (Anderson & Gordon 2011, PASP 123, 1237).

All differences of a pixel are compared with their median. Rows of pixels are screened together with sorting networks
in single precision, in DN; only the few suspects are then judged one by one, in electrons and in double precision.

A difference that touches a saturated, unusable or NaN group is left out.
"""

import numpy as np

from jwpipe.numerics.differences import (
    JUMP,
    NOTHING,
    UNUSABLE,
    beside,
    fill_steps,
    number_of_steps,
)
from jwpipe.numerics.jit import inline, kernel
from jwpipe.numerics.medians import block_width, middle, sort_columns
from jwpipe.numerics.planes import list_where

NO_FLAG = np.uint8(0)
# The screen errs on the side of suspicion, by more than the rounding of single precision.
SCREEN_MARGIN = 1 - 1e-4
# What it may lose at most in differences of counts up to 2^17 DN, in DN.
ROUNDING = np.float32(2**-5)


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
def fill_all(
    sci: np.ndarray,
    groupdq: np.ndarray,
    windows: np.ndarray,
    y: int,
    start: int,
    steps: np.ndarray,
    usable: np.ndarray,
) -> None:
    """All differences (DN) of pixels of row ``y`` from column ``start`` on, and how many each pixel has."""
    usable[:] = 0
    row = 0
    for i in range(windows.shape[0]):
        fill_steps(sci[i], groupdq[i], windows[i], y, start, NO_FLAG, steps[row:], usable)
        row += max(windows[i, 1] - windows[i, 0] - 1, 0)


@kernel
def gather_all(
    sci: np.ndarray,
    groupdq: np.ndarray,
    windows: np.ndarray,
    gain: np.ndarray,
    y: int,
    start: int,
    places: np.ndarray,
    steps: np.ndarray,
    usable: np.ndarray,
) -> None:
    """All differences (electron) of the pixels ``start + places`` of row ``y``, and how many each has."""
    usable[:] = 0
    k = 0
    for i in range(windows.shape[0]):
        for g in range(windows[i, 0] + 1, windows[i, 1]):
            for p in range(places.size):
                step = difference(sci, groupdq, gain, i, g - 1, y, start + places[p])
                good = step == step
                steps[k, p] = step if good else NOTHING
                usable[p] += np.int32(good)
            k += 1


@kernel
def screen(
    values: np.ndarray,
    samples: int,
    low: int,
    high: int,
    usable: np.ndarray,
    gain: np.ndarray,
    noise: np.ndarray,
    threshold: float,
    suspect: np.ndarray,
) -> None:
    """Suspect each pixel whose sorted samples (DN) stray from the mean of samples ``low`` and ``high``.

    Pixels that lack samples are suspects too, since their median lies elsewhere.
    """
    limit = np.float32(threshold * threshold * SCREEN_MARGIN)
    half = np.float32(0.5)
    for x in range(suspect.size):
        centre = half * (values[low, x] + values[high, x])
        above, below = values[samples - 1, x] - centre, centre - values[0, x]
        far = ((above if above > below else below) + ROUNDING) * gain[x]
        calm = far * far <= limit * ((abs(centre) - ROUNDING) * gain[x] + noise[x])
        suspect[x] = (not calm) | (usable[x] != samples)


@kernel
def suspect_ties(values: np.ndarray, samples: int, suspect: np.ndarray) -> None:
    """Suspect each pixel whose largest sample is not alone: all of them are then left out of its median."""
    for x in range(suspect.size):
        suspect[x] |= not values[samples - 1, x] - values[samples - 2, x] > ROUNDING


@kernel
def store_middles(
    values: np.ndarray, samples: int, usable: np.ndarray, middles: np.ndarray
) -> None:
    """The median of the sorted samples of each pixel that lacks none, NaN of the others."""
    low, high = (samples - 1) // 2, samples // 2
    for x in range(middles.size):
        centre = 0.5 * (np.float64(values[low, x]) + np.float64(values[high, x]))
        middles[x] = centre if usable[x] == samples else np.nan


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
    steps: np.ndarray,
    p: int,
    windows: np.ndarray,
    low: np.float32,
    high: np.float32,
    y: int,
    x: int,
    flags: np.ndarray,
) -> None:
    """Flag the groups of a pixel, column ``p`` of ``steps``, whose size is ``low`` at most or ``high`` at least."""
    k = 0
    for i in range(windows.shape[0]):
        for g in range(windows[i, 0] + 1, windows[i, 1]):
            size = abs(steps[k, p])
            k += 1
            if (size <= low or size >= high) and size < NOTHING:
                flags[i, g, y, x] |= JUMP


@inline
def flag_strays(
    sci: np.ndarray,
    groupdq: np.ndarray,
    windows: np.ndarray,
    gain: np.ndarray,
    y: int,
    x: int,
    centre: float,
    reach: float,
    flags: np.ndarray,
) -> None:
    """Flag the groups of a pixel whose finite difference lies more than ``reach`` from ``centre``."""
    for i in range(windows.shape[0]):
        for g in range(windows[i, 0] + 1, windows[i, 1]):
            step = difference(sci, groupdq, gain, i, g - 1, y, x)
            if abs(step - centre) > reach and np.isfinite(step):
                flags[i, g, y, x] |= JUMP


@kernel
def noise_row(readnoise: np.ndarray, gain: np.ndarray, nframes: int, noise: np.ndarray) -> None:
    """``noise_variance`` of a row, in single precision."""
    for x in range(readnoise.size):
        noise[x] = noise_variance(readnoise[x], gain[x], nframes)


@kernel
def detect_at_once(
    sci: np.ndarray,
    groupdq: np.ndarray,
    windows: np.ndarray,
    gain: np.ndarray,
    readnoise: np.ndarray,
    nframes: int,
    threshold: float,
    flags: np.ndarray,
    medians: np.ndarray,
    middles: np.ndarray,
) -> None:
    """Flag every group that strays from the median difference of its pixel.

    ``windows`` (i, 2) hold the groups that some pixel can use. Gives the medians (y, x) of suspects in electrons and
    of all pixels without flags in DN (``middles``).
    """
    rows, columns = sci.shape[2:]
    samples = number_of_steps(windows)
    if samples == 0:
        return
    block = block_width(samples, columns)
    values = np.empty((samples, block), np.float32)
    usable, noise = np.empty(block, np.int32), np.empty(block, np.float32)
    suspect, places = np.empty(block, np.bool_), np.empty(block + 1, np.int32)
    low, high = (samples - 1) // 2, samples // 2
    for y in range(rows):
        noises, gains = readnoise[y], gain[y]
        for start in range(0, columns, block):
            stop = min(start + block, columns)
            width = stop - start
            fill_all(sci, groupdq, windows, y, start, values, usable[:width])
            sort_columns(values, samples, width)
            store_middles(values, samples, usable, middles[y, start:stop])
            noise_row(noises[start:stop], gains[start:stop], nframes, noise)
            screen(
                values,
                samples,
                low,
                high,
                usable,
                gains[start:stop],
                noise,
                threshold,
                suspect[:width],
            )
            for p in range(list_where(suspect[:width], True, places)):
                x = start + places[p]
                centre = middle(values, usable[places[p]], places[p]) * gains[x]
                medians[y, x] = centre
                sigma = np.sqrt(abs(centre) + noise_variance(noises[x], gains[x], nframes))
                if sigma > 0:
                    flag_strays(sci, groupdq, windows, gain, y, x, centre, threshold * sigma, flags)


@kernel
def detect_one_by_one(
    sci: np.ndarray,
    groupdq: np.ndarray,
    windows: np.ndarray,
    gain: np.ndarray,
    readnoise: np.ndarray,
    nframes: int,
    thresholds: tuple[float, float, float],
    flags: np.ndarray,
    medians: np.ndarray,
) -> None:
    """Flag outliers of the absolute differences, each changing the median of those left; else as ``detect_at_once``."""
    rows, columns = sci.shape[2:]
    samples = number_of_steps(windows)
    if samples == 0:
        return
    block = block_width(samples, columns)
    values, scratch = np.empty((samples, block), np.float32), np.empty(samples * block, np.float32)
    usable, noise = np.empty(block, np.int32), np.empty(block, np.float32)
    suspect, places = np.empty(block, np.bool_), np.empty(block + 1, np.int32)
    left = samples - 1 if samples >= 4 or samples == 2 else samples
    low, high = (left - 1) // 2, left // 2
    threshold = thresholds[max(min(samples, 4) - 2, 0)]
    for y in range(rows):
        noises, gains = readnoise[y], gain[y]
        for start in range(0, columns, block):
            stop = min(start + block, columns)
            width = stop - start
            fill_all(sci, groupdq, windows, y, start, values, usable[:width])
            make_absolute(values, width)
            sort_columns(values, samples, width)
            noise_row(noises[start:stop], gains[start:stop], nframes, noise)
            screen(
                values,
                samples,
                low,
                high,
                usable,
                gains[start:stop],
                noise,
                threshold,
                suspect[:width],
            )
            if samples >= 4:
                suspect_ties(values, samples, suspect[:width])
            chosen = places[: list_where(suspect[:width], True, places)]
            steps = beside(scratch, samples, chosen.size)[:, 0]
            sorted_steps = values.reshape(-1)[: steps.size].reshape(steps.shape)
            gather_all(sci, groupdq, windows, gain, y, start, chosen, steps, usable)
            sorted_steps[:] = steps
            sort_columns(sorted_steps, samples, steps.shape[1])
            for p in range(chosen.size):
                medians[y, start + chosen[p]] = middle(sorted_steps, usable[p], p)
            make_absolute(sorted_steps, steps.shape[1])
            sort_columns(sorted_steps, samples, steps.shape[1])
            for p in range(chosen.size):
                x = start + chosen[p]
                variance = noise_variance(noises[x], gains[x], nframes)
                least, most = clip_largest(sorted_steps, usable[p], p, variance, thresholds)
                if not (np.isnan(least) and np.isnan(most)):
                    flag_sizes(steps, p, windows, least, most, y, x, flags)


@kernel
def make_absolute(values: np.ndarray, width: int) -> None:
    """The absolute values of the first ``width`` columns, in place."""
    for k in range(values.shape[0]):
        row = values[k]
        for x in range(width):
            row[x] = abs(row[x])
