"""Two-point differences of ramps: find the groups that a cosmic ray lifted (Anderson & Gordon 2011, PASP 123, 1237).

All differences of a pixel are compared with their median. Rows of pixels are screened together (``screening.py``); only
the few suspects are then judged one by one, in electrons and in double precision.

A difference that touches a saturated, unusable or NaN group is left out.
"""

import numpy as np

from jwpipe.numerics.differences import JUMP, NOTHING, UNUSABLE, beside
from jwpipe.numerics.jit import inline, kernel
from jwpipe.numerics.medians import block_width, middle, sort_columns
from jwpipe.numerics.planes import list_where
from jwpipe.numerics.screening import (
    FACTS,
    allow_for_rounding,
    fill_sorted,
    from_bracket,
    from_sorted,
    screen_at_once,
    screen_one_by_one,
)

# From so many differences on, in integrations of some each, the median of several integrations is bracketed; it takes
# longer to sort them all.
MANY, SOME = 32, 4


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
def noise_row(readnoise: np.ndarray, gain: np.ndarray, nframes: int, noise: np.ndarray) -> None:
    """``noise_variance`` of a row, in single precision."""
    for x in range(readnoise.size):
        noise[x] = noise_variance(readnoise[x], gain[x], nframes)


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
def make_absolute(values: np.ndarray, width: int) -> None:
    """The absolute values of the first ``width`` columns, in place."""
    for k in range(values.shape[0]):
        row = values[k]
        for x in range(width):
            row[x] = abs(row[x])


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
def judge_at_once(
    sci: np.ndarray,
    groupdq: np.ndarray,
    windows: np.ndarray,
    gain: np.ndarray,
    readnoise: np.ndarray,
    nframes: int,
    threshold: float,
    y: int,
    start: int,
    chosen: np.ndarray,
    medians: np.ndarray,
    flags: np.ndarray,
) -> None:
    """Flag all groups of the pixels ``start + chosen`` that stray from the ``medians`` of their row (electron)."""
    for p in range(chosen.size):
        x = start + chosen[p]
        centre = medians[x]
        sigma = np.sqrt(abs(centre) + noise_variance(readnoise[y, x], gain[y, x], nframes))
        if sigma > 0:
            flag_strays(sci, groupdq, windows, gain, y, x, centre, threshold * sigma, flags)


@kernel
def judge_one_by_one(
    steps: np.ndarray,
    sizes: np.ndarray,
    usable: np.ndarray,
    windows: np.ndarray,
    gain: np.ndarray,
    readnoise: np.ndarray,
    nframes: int,
    thresholds: tuple[float, float, float],
    y: int,
    start: int,
    chosen: np.ndarray,
    flags: np.ndarray,
) -> None:
    """Take out the largest of the ``sizes``, sorted absolute ``steps``, of each of the pixels ``start + chosen``."""
    for p in range(chosen.size):
        x = start + chosen[p]
        variance = noise_variance(readnoise[y, x], gain[y, x], nframes)
        least, most = clip_largest(sizes, usable[p], p, variance, thresholds)
        if not (np.isnan(least) and np.isnan(most)):
            flag_sizes(steps, p, windows, least, most, y, x, flags)


@kernel
def detect(
    sci: np.ndarray,
    groupdq: np.ndarray,
    windows: np.ndarray,
    gain: np.ndarray,
    readnoise: np.ndarray,
    nframes: int,
    thresholds: tuple[float, float, float],
    at_once: bool,
    flags: np.ndarray,
    medians: np.ndarray,
    middles: np.ndarray,
) -> None:
    """Flag the groups whose difference strays from the median of their pixel.

    ``at_once``: all those beyond the last of ``thresholds``. Else outliers of the absolute differences are taken out
    one by one, each changing the median of those left; ``thresholds`` are those for two, three and more of them.
    ``windows`` (i, 2) hold the groups that some pixel can use. Gives the ``medians`` (y, x) of suspects, in electrons,
    and the ``middles`` (i, y, x): medians of integrations, in DN, where no difference is missing.
    """
    rows, columns = sci.shape[2:]
    lengths = np.maximum(windows[:, 1] - windows[:, 0] - 1, 0)
    samples, several = lengths.sum(), lengths.size > 1
    if samples == 0:
        return
    block = block_width(samples, columns)
    values, scratch = np.empty((samples, block), np.float32), np.empty(samples * block, np.float32)
    usable, noise = np.empty(block, np.int32), np.empty(block, np.float32)
    counts = np.empty(block, np.float32)
    facts, places = np.empty((FACTS, block), np.float32), np.empty(block + 1, np.int32)
    complete, suspect = np.empty(block, np.bool_), np.empty(block, np.bool_)
    bracketed = several and samples >= MANY and lengths.min() >= SOME
    left = samples if at_once or samples in (1, 3) else samples - 1
    threshold = thresholds[2] if at_once else thresholds[max(min(samples, 4) - 2, 0)]
    for y in range(rows):
        for start in range(0, columns, block):
            stop = min(start + block, columns)
            gains, width = gain[y, start:stop], stop - start
            whole, doubt = complete[:width], suspect[:width]
            fill_sorted(sci, groupdq, windows, y, start, values, usable, whole, middles, counts)
            if bracketed:
                from_bracket(values, windows, samples, left, facts)
            else:
                if several:
                    sort_columns(values, samples, width)
                from_sorted(values, samples, left, facts)
            allow_for_rounding(facts, counts, lengths.max())
            noise_row(readnoise[y, start:stop], gains, nframes, noise)
            if at_once:
                screen_at_once(facts, gains, noise, threshold, whole, doubt)
            else:
                screen_one_by_one(facts, gains, noise, threshold, samples > 3, whole, doubt)
            chosen = places[: list_where(doubt, True, places)]
            if at_once and not bracketed:
                for p in range(chosen.size):
                    x = chosen[p]
                    medians[y, start + x] = middle(values, usable[x], x) * gains[x]
            else:
                steps = beside(scratch, samples, chosen.size)[:, 0]
                ordered = values.reshape(-1)[: steps.size].reshape(steps.shape)
                gather_all(sci, groupdq, windows, gain, y, start, chosen, steps, usable)
                ordered[:] = steps
                sort_columns(ordered, samples, steps.shape[1])
                for p in range(chosen.size):
                    medians[y, start + chosen[p]] = middle(ordered, usable[p], p)
            noises = gain, readnoise, nframes
            if at_once:
                ramps = sci, groupdq, windows
                judge_at_once(*ramps, *noises, threshold, y, start, chosen, medians[y], flags)
            else:
                make_absolute(ordered, steps.shape[1])
                sort_columns(ordered, samples, steps.shape[1])
                found = steps, ordered, usable
                judge_one_by_one(*found, windows, *noises, thresholds, y, start, chosen, flags)
