"""The sky level of a set of pixels: clipped mean, median, or mode of their histogram, as IRAF's gstatistics.

The arithmetic follows stsci.imagestats, single precision included, for the same numbers.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from jwpipe.numerics.jit import kernel

Statistic = Literal["median", "midpt", "mean", "mode"]
LANES = 16
NARROWEST = 10.0 * float(np.finfo(np.float32).eps)


@kernel
def clipped_moments(values, low, high):  # type: ignore[no-untyped-def]
    """Number, mean, standard deviation, least and greatest of ``values`` (n) float32 in ``low`` .. ``high``.

    The range starts from the first value, clipped, as in stsci.imagestats: where that one is left out, the range
    reaches the limit. Sums run in ``LANES`` separate lanes so that they vectorise.
    """
    zero = np.float32(0)
    sums = np.zeros(LANES, np.float64)
    counts = np.zeros(LANES, np.int64)
    first = min(max(values[0], low), high)
    least = np.full(LANES, first, np.float32)
    most = np.full(LANES, first, np.float32)
    whole = len(values) - len(values) % LANES
    for start in range(0, whole, LANES):
        for lane in range(LANES):
            value = values[start + lane]
            inside = (value >= low) & (value <= high)
            sums[lane] += np.float64(value if inside else zero)
            counts[lane] += inside
            least[lane] = value if inside & (value < least[lane]) else least[lane]
            most[lane] = value if inside & (value > most[lane]) else most[lane]
    for i in range(whole, len(values)):
        value = values[i]
        if value >= low and value <= high:
            sums[0] += value
            counts[0] += 1
            least[0] = min(value, least[0])
            most[0] = max(value, most[0])
    count = counts.sum()
    mean = np.float32(sums.sum() / count)
    sums[:] = 0
    for start in range(0, whole, LANES):
        for lane in range(LANES):
            value = values[start + lane]
            inside = (value >= low) & (value <= high)
            deviation = value - mean if inside else zero
            sums[lane] += np.float64(deviation * deviation)
    for i in range(whole, len(values)):
        value = values[i]
        if value >= low and value <= high:
            sums[0] += np.float64((value - mean) * (value - mean))
    deviation = np.float32(np.sqrt(sums.sum() / (count - 1)))
    return count, mean, deviation, least.min(), most.max()


@kernel
def histogram(values, bins, width, low):  # type: ignore[no-untyped-def]
    """Counts (bins) of ``values`` (n) float32 in bins of ``width`` from ``low`` on; others are left out."""
    counts = np.zeros(bins, np.int64)
    high = np.float32(low + width * np.float32(bins))
    per_unit = np.float32(1) / width
    for value in values:
        if value >= low and value < high:
            counts[min(int((value - low) * per_unit), bins - 1)] += 1
    return counts


def sky_level(
    values: np.ndarray,
    *,
    skystat: Statistic,
    lower: float | None,
    upper: float | None,
    nclip: int,
    lsigma: float,
    usigma: float,
    binwidth: float,
) -> tuple[float, int]:
    """The sky level of finite ``values`` (n), and the number of pixels it rests on; NaN and 0 where there is none.

    Values outside ``lower`` .. ``upper`` are not used; ``nclip`` times those more than ``lsigma`` below or ``usigma``
    above the mean are left out. ``binwidth`` is that of the histogram for ``mode`` and ``midpt``, in sigma.
    """
    values = np.ascontiguousarray(values, np.float32)
    if not len(values):
        return np.nan, 0
    floor = np.float32(values.min() if lower is None else lower)
    ceiling = np.float32(values.max() if upper is None else upper)
    low, high = floor, ceiling
    count, mean, sigma, least, most = clipped_moments(values, low, high)
    for _ in range(nclip):
        limits = low, high
        low = np.float32(max(float(floor), float(mean) - lsigma * float(sigma)))
        high = np.float32(min(float(ceiling), float(mean) + usigma * float(sigma)))
        if (low, high) == limits or not count:
            break
        count, mean, sigma, least, most = clipped_moments(values, low, high)
    if not count:
        return np.nan, 0
    if skystat == "mean":
        return float(mean), int(count)
    if skystat == "median":
        return float(np.median(values[(values >= low) & (values <= high)])), int(count)
    level = _from_histogram(values, float(sigma), float(least), float(most), binwidth, skystat)
    return (level, int(count)) if np.isfinite(level) else (np.nan, 0)


def _from_histogram(
    values: np.ndarray, sigma: float, least: float, most: float, binwidth: float, skystat: Statistic
) -> float:
    """Mode or middle from a histogram; the middle of the only bin where the values are all alike.

    Positions are counted in bins of ``binwidth`` sigma although the histogram's bins are a little different, filling
    the range exactly: the convention of stsci.imagestats, which shifts the level by less than a bin.
    """
    width = binwidth * sigma
    spread = most - least
    if not width >= NARROWEST or spread < NARROWEST or width > spread:
        return least + 0.5 * width
    bins = int(spread / width) + 1
    counts = histogram(values, bins, np.float32(spread / (bins - 1)), np.float32(least))
    if skystat == "mode":
        return least + _mode(counts) * width
    bin_, fraction = _middle(counts)
    return least + bin_ * width + float(fraction * np.float32(width))


def _mode(counts: np.ndarray) -> float:
    """The place of the peak, in bins, from a parabola through it and its neighbours."""
    if len(counts) == 2:
        return float(np.array([0.5, 1.0, 1.5])[1 + int(np.sign(counts[1] - counts[0]))])
    peak = int(np.argmax(counts))
    if peak in (0, len(counts) - 1):
        return peak + 0.5
    before, after = counts[peak] - counts[peak - 1], counts[peak] - counts[peak + 1]
    if before + after == 0:
        return peak + 0.5
    return float(peak + 0.5 + 0.5 * (before - after) / (before + after))


def _middle(counts: np.ndarray) -> tuple[int, np.float32]:
    """The bin, and the place in it, that half of the values lie below."""
    running = np.cumsum(counts).astype(np.float32)
    fractions = running / running[-1]
    half = int(np.argmax(fractions >= 0.5))
    below = fractions[half - 1] if half else np.float32(0)
    return half, np.float32((np.float32(0.5) - below) / (fractions[half] - below))
