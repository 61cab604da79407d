"""Sigma clipping of millions of values: medians and moments within limits, exactly, without sorting them all.

One counting pass groups the values into narrow ranges. A limit falls into one group, of which alone the values are
looked at; the groups between limits count as a whole. A round of clipping then costs microseconds.
"""

from math import inf, nan
from typing import NamedTuple

import numpy as np

from jwpipe.numerics.jit import kernel
from jwpipe.numerics.medians import select

GROUPS = 4096
SAMPLE = 4096
# How far the groups reach, in robust standard deviations; what is beyond lies in the first or last group.
REACH = 8.0
SIGMA = 3.0
ROUNDS = 5


class Values(NamedTuple):
    """Finite values in the order of their groups.

    ``starts`` (GROUPS + 1) is where each group begins, ``tops`` (GROUPS) the largest value up to the group's end;
    ``sums`` and ``squares`` (GROUPS + 1) are those of ``value - pivot`` over all groups before.
    """

    ordered: np.ndarray
    starts: np.ndarray
    tops: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    pivot: float


class Clipped(NamedTuple):
    """Statistics of what clipping left."""

    mean: float
    median: float
    sigma: float


def grouped(values: np.ndarray) -> Values:
    """The float32 ``values`` (n), all of them finite, ready for the functions below."""
    low, high = _reach(values)
    ordered, starts = _ordered(values, low, high)
    return _summed(ordered, starts, 0.5 * (low + high))


def shifted(values: Values, by: np.float32) -> Values:
    """All values less ``by``, rounded to float32 as images are."""
    return _summed(values.ordered - np.float32(by), values.starts, values.pivot - float(by))


def _summed(ordered: np.ndarray, starts: np.ndarray, pivot: float) -> Values:
    tops, sums, squares = _moments(ordered, starts, pivot)
    return Values(ordered, starts, tops, sums, squares, pivot)


def _reach(values: np.ndarray) -> tuple[float, float]:
    """Between which limits nearly all values lie, by a sample of them."""
    if values.size == 0:
        return 0.0, 0.0
    sample = values[:: max(1, values.size // SAMPLE)].astype(np.float64)
    middle = float(np.median(sample))
    spread = 1.4826 * float(np.median(np.abs(sample - middle))) or float(np.std(sample))
    return middle - REACH * spread, middle + REACH * spread


@kernel
def _ordered(values: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Put values into the order of their groups: a counting sort by the group's number."""
    scale = (GROUPS - 2) / (high - low) if high > low else 0.0
    numbers = np.empty(values.size, np.int16)
    starts = np.zeros(GROUPS + 1, np.int64)
    for i in range(values.size):
        place = (np.float64(values[i]) - low) * scale
        number = np.int16(min(max(place, -1.0), GROUPS - 2.0) + 1.0)
        numbers[i] = number
        starts[number + 1] += 1
    for k in range(GROUPS):
        starts[k + 1] += starts[k]
    ends = starts[:-1].copy()
    ordered = np.empty(values.size, np.float32)
    for i in range(values.size):
        ordered[ends[numbers[i]]] = values[i]
        ends[numbers[i]] += 1
    return ordered, starts


@kernel
def _moments(
    ordered: np.ndarray, starts: np.ndarray, pivot: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Largest values, sums and sums of squares up to each group."""
    tops = np.empty(GROUPS)
    sums, squares = np.zeros(GROUPS + 1), np.zeros(GROUPS + 1)
    top = -np.inf
    for k in range(GROUPS):
        total, square = 0.0, 0.0
        for i in range(starts[k], starts[k + 1]):
            v = np.float64(ordered[i])
            top = max(top, v)
            total += v - pivot
            square += (v - pivot) * (v - pivot)
        tops[k] = top
        sums[k + 1], squares[k + 1] = sums[k] + total, squares[k] + square
    return tops, sums, squares


@kernel
def _below(values: Values, limit: float, including: bool) -> tuple[int, float, float]:
    """Number, sum and sum of squares (about the pivot) of the values below ``limit``, or up to it."""
    if including:
        group = np.searchsorted(values.tops, limit, side="right")
    else:
        group = np.searchsorted(values.tops, limit, side="left")
    count, total, square = values.starts[group], values.sums[group], values.squares[group]
    if group < GROUPS:
        for i in range(values.starts[group], values.starts[group + 1]):
            v = np.float64(values.ordered[i])
            if v < limit or (including and v == limit):
                count += 1
                total += v - values.pivot
                square += (v - values.pivot) * (v - values.pivot)
    return count, total, square


@kernel
def _ranked(values: Values, rank: int) -> float:
    """The value of a rank among all."""
    group = np.searchsorted(values.starts, rank, side="right") - 1
    start, stop = values.starts[group], values.starts[group + 1]
    return select(values.ordered[start:stop].copy(), stop - start, rank - start)


@kernel
def _within(values: Values, low: float, high: float) -> tuple[int, int, float, float]:
    """How many values are below ``low``, how many from there to ``high``, and the sums of these."""
    below, sum_below, square_below = _below(values, low, False)
    upto, total, square = _below(values, high, True)
    return below, upto - below, total - sum_below, square - square_below


@kernel
def median_within(values: Values, low: float, high: float) -> float:
    """Median of the values from ``low`` to ``high``; NaN where there are none."""
    below, count, _, _ = _within(values, low, high)
    if count < 1:
        return np.nan
    lower = _ranked(values, below + (count - 1) // 2)
    upper = lower if count % 2 else _ranked(values, below + count // 2)
    return 0.5 * (np.float64(lower) + np.float64(upper))


@kernel
def _clip(values: Values, low: float, high: float) -> tuple[float, float, float]:
    before = -1
    mean, middle, sigma = np.nan, np.nan, np.nan
    for done in range(ROUNDS + 1):
        _, count, total, square = _within(values, low, high)
        if count < 1:
            return np.nan, np.nan, np.nan
        offset = total / count
        mean = values.pivot + offset
        sigma = np.sqrt(max(square / count - offset * offset, 0.0))
        middle = median_within(values, low, high)
        if count == before or done == ROUNDS:
            break
        before = count
        low = max(low, middle - SIGMA * sigma)
        high = min(high, middle + SIGMA * sigma)
    return mean, middle, sigma


def clipped(values: Values, low: float = -inf, high: float = inf) -> Clipped:
    """Statistics of the values from ``low`` to ``high`` after five rounds of clipping at 3 sigma, or fewer.

    Each round keeps what is within 3 standard deviations of the median, as astropy's ``sigma_clipped_stats`` does.
    """
    return Clipped(*_clip(values, low, high))


@kernel
def _lower_sigma(values: Values, low: float, center: float) -> float:
    sigma, before = np.nan, -1
    for done in range(ROUNDS + 1):
        _, count, total, square = _within(values, low, center)
        if count < 1:
            return np.nan
        offset = center - values.pivot
        spread = square - 2.0 * offset * total + count * offset * offset
        sigma = np.sqrt(max(spread / count, 0.0))
        if count == before or done == ROUNDS:
            break
        before = count
        low = max(low, center - SIGMA * sigma)
    return sigma


def lower_sigma(values: Values, center: float, low: float = -inf) -> float:
    """The standard deviation, clipped as by `clipped`, of the values from ``low`` to ``center`` and their mirror image.

    Sources add to the upper half of a distribution alone; the lower half tells of the noise.
    """
    return float(_lower_sigma(values, low, center))


def limits(
    values: Values, low: float, high: float, below: float, above: float
) -> tuple[float, float]:
    """``low`` and ``high``, narrowed to ``below`` and ``above`` sigma of the lower half about the clipped median."""
    center = clipped(values, low, high).median
    sigma = lower_sigma(values, center, low)
    return max(low, center - below * sigma), min(high, center + above * sigma)


def extremes(values: Values, low: float, high: float) -> tuple[float, float]:
    """The smallest and the largest value from ``low`` to ``high``; NaN where there is none."""
    below, count, _, _ = _within(values, low, high)
    if count < 1:
        return nan, nan
    return float(_ranked(values, below)), float(_ranked(values, below + count - 1))
