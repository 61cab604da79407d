"""Correlated noise of subarrays, fitted in frequency space: see ``nsclean.py``.

The pixels of a subarray are samples of one time series, with pauses between lines. Stretches of lines with some 512
usable pixels are fitted one by one; they overlap by half, and their models are joined with weights that fall towards
the stretches' ends.
"""

from math import pi, sqrt
from typing import NamedTuple

import numpy as np

from jwpipe.numerics.jit import kernel

OVERHEAD = 12
"""Ticks between lines."""
TICK = 1e-5
"""Seconds a pixel."""
PIXELS = 512
"""Usable pixels that are fitted together, at least."""
LEAST_USABLE = 0.05
SIGMA = 4.0
MAD = 1.4825


class Filter(NamedTuple):
    """Frequencies (Hz) pass up to ``low`` and from ``high_end``, partly up to ``low_end`` and from ``high``."""

    low: float = 1061.0
    low_end: float = 1211.0
    high: float = 49943.0
    high_end: float = 49957.0


def series_model(image: np.ndarray, mask: np.ndarray, passed: Filter) -> np.ndarray | None:
    """The noise of a subarray.

    Parameters
    ----------
    image, mask
        The subarray (line, x) without its background, and where it can be used.
    passed
        The frequencies to fit.

    Returns
    -------
    model (line, x) float64, 0 where too few pixels can be used; ``None`` where none can
    """
    mask = _without_outliers(image, mask)
    if not mask.any():
        return None
    model, weight = np.zeros(image.shape), np.zeros(image.shape)
    image = np.ascontiguousarray(image, np.float64)
    for start, stop in _stretches(mask.sum(axis=1)):
        lines = slice(start, stop)
        taper = 1.001 - np.abs(np.linspace(-1, 1, stop - start))[:, None]
        weight[lines] += taper
        if mask[lines].mean() > LEAST_USABLE:
            table = _gauss_sums(stop - start, image.shape[1], passed)
            model[lines] += taper * _fit(image[lines], mask[lines], np.array(passed), table)
    weight[model == 0] = 1
    return model / weight


def _without_outliers(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mask without pixels beyond 4 robust sigma from the median, and without their four neighbours."""
    found = image[mask]
    if found.size == 0:
        return mask
    middle = np.median(found)
    spread = MAD * np.median(np.abs(found - middle))
    outlier = mask & (np.abs(image - middle) > SIGMA * spread)
    near = outlier.copy()
    near[1:] |= outlier[:-1]
    near[:-1] |= outlier[1:]
    near[:, 1:] |= outlier[:, :-1]
    near[:, :-1] |= outlier[:, 1:]
    return np.ascontiguousarray(mask & ~near)


def _stretches(usable: np.ndarray) -> list[tuple[int, int]]:
    """First line of each stretch and the one after its last, by the number of usable pixels in each line."""
    (lines,) = np.nonzero(usable)
    before = np.concatenate([[0], np.cumsum(usable)])
    start, end = int(lines[0]), int(lines[-1]) + 1
    found = []
    while start < end:
        stop = end
        if before[-1] - before[start] > 1.5 * PIXELS:
            stop = int(np.searchsorted(before, before[start] + PIXELS, side="right"))
        found.append((start, stop))
        if stop >= end:
            break
        start += max(round((stop - start) / 2), 1)
    return found


def _gauss_sums(lines: int, nx: int, passed: Filter) -> np.ndarray:
    """Sums (n + 1) of the Gaussian by which the density of samples is found, over the n ticks of a stretch."""
    ticks = lines * (nx + OVERHEAD)
    sigma = 1 / ((passed.low + passed.low_end) / 2) / TICK / 8
    gauss = np.exp(-((np.arange(ticks) - (ticks // 2 + 1)) ** 2) / sigma**2 / 2)
    return np.concatenate([[0.0], np.cumsum(gauss / sigma / sqrt(2 * pi))])


@kernel
def _fit(image: np.ndarray, mask: np.ndarray, passed: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The model (line, x) of a stretch; 0 where its equations cannot be solved."""
    ny, nx = image.shape
    ticks = ny * (nx + OVERHEAD)
    number, gain = _passing(ticks, passed)
    at, data = _samples(image, mask)
    weight = _squared_weights(at, ticks, table)
    cosine = np.cos(2 * pi / ticks * np.arange(ticks))
    sine = np.sin(2 * pi / ticks * np.arange(ticks))
    solved = _solve(*_equations(number, at, data, weight, cosine, sine))
    model = np.zeros((ny, nx))
    for k in range(number.size):
        # Of a real signal one half of the spectrum is fitted, which stands for both but at its ends.
        twice = 1.0 if number[k] == 0 or 2 * number[k] == ticks else 2.0
        a, b = twice * gain[k] * solved[k].real, twice * gain[k] * solved[k].imag
        for y in range(ny):
            place = (y * (nx + OVERHEAD) * number[k]) % ticks
            for x in range(nx):
                model[y, x] += a * cosine[place] - b * sine[place]
                place += number[k]
                place -= ticks if place >= ticks else 0
    return model


@kernel
def _passing(ticks: int, passed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the frequencies that pass, and how much of them does."""
    half = ticks // 2 + 1
    number, gain = np.empty(half, np.int64), np.empty(half)
    low, low_end, high, high_end = passed
    count = 0
    for k in range(half):
        f = k / (ticks * TICK)
        if f < low or f >= high_end:
            g = 1.0
        elif f < low_end:
            g = 0.5 * (np.cos(pi / (low_end - low) * (f - low)) + 1)
        elif f >= high:
            g = 0.5 * (np.cos(pi / (high_end - high) * (f - high) + pi) + 1)
        else:
            g = 0.0
        if g > 0:
            number[count], gain[count] = k, g
            count += 1
    return number[:count].copy(), gain[:count].copy()


@kernel
def _samples(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ticks and values of the usable pixels, in the order of time."""
    ny, nx = image.shape
    at, data = np.empty(image.size, np.int64), np.empty(image.size)
    count = 0
    for y in range(ny):
        for x in range(nx):
            at[count], data[count] = y * (nx + OVERHEAD) + x, image[y, x]
            count += 1 if mask[y, x] else 0
    return at[:count].copy(), data[:count].copy()


@kernel
def _squared_weights(at: np.ndarray, ticks: int, table: np.ndarray) -> np.ndarray:
    """Squared reciprocals of the samples' density, each one tick late; ``table`` has the sums of its Gaussian."""
    starts, stops = np.empty(at.size, np.int64), np.empty(at.size, np.int64)
    runs = 0
    for i in range(at.size):
        if runs and at[i] == stops[runs - 1]:
            stops[runs - 1] += 1
        else:
            starts[runs], stops[runs] = at[i], at[i] + 1
            runs += 1
    centre = ticks // 2 + 1
    weights = np.empty(at.size)
    for i in range(at.size):
        density = 0.0
        for r in range(runs):
            for turn in range(-1, 2):
                shift = at[i] - 1 + centre + turn * ticks
                first, last = shift - stops[r] + 1, shift - starts[r] + 1
                if last > 0 and first < ticks:
                    density += table[min(last, ticks)] - table[max(first, 0)]
        weights[i] = 1 / (density * density) if density > 0 else 0.0
    return weights


@kernel
def _equations(
    number: np.ndarray,
    at: np.ndarray,
    data: np.ndarray,
    weight: np.ndarray,
    cosine: np.ndarray,
    sine: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Normal equations of the weighted fit; the matrix depends on differences of frequencies alone."""
    count, ticks = number.size, cosine.size
    right = np.empty(count, np.complex128)
    for k in range(count):
        re, im = 0.0, 0.0
        for i in range(at.size):
            place = (at[i] * number[k]) % ticks
            re += weight[i] * data[i] * cosine[place]
            im -= weight[i] * data[i] * sine[place]
        right[k] = complex(re, im)
    moments = np.zeros(ticks, np.complex128)
    known = np.zeros(ticks, np.bool_)
    normal = np.empty((count, count), np.complex128)
    for k in range(count):
        for j in range(k + 1):
            q = number[k] - number[j]
            if not known[q]:
                re, im = 0.0, 0.0
                for i in range(at.size):
                    place = (at[i] * q) % ticks
                    re += weight[i] * cosine[place]
                    im -= weight[i] * sine[place]
                moments[q], known[q] = complex(re, im), True
            normal[k, j] = moments[q]
            normal[j, k] = moments[q].conjugate()
    return normal, right


@kernel
def _solve(normal: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve Hermitian equations by Cholesky's decomposition; 0 where they are singular."""
    n = right.size
    lower = np.zeros((n, n), np.complex128)
    for k in range(n):
        for j in range(k + 1):
            total = normal[k, j]
            for i in range(j):
                total -= lower[k, i] * lower[j, i].conjugate()
            if j < k:
                lower[k, j] = total / lower[j, j].real
            elif total.real > 0:
                lower[k, k] = complex(np.sqrt(total.real), 0.0)
            else:
                return np.zeros(n, np.complex128)
    solved = right.copy()
    for k in range(n):
        for i in range(k):
            solved[k] -= lower[k, i] * solved[i]
        solved[k] /= lower[k, k].real
    for k in range(n - 1, -1, -1):
        for i in range(k + 1, n):
            solved[k] -= lower[i, k].conjugate() * solved[i]
        solved[k] /= lower[k, k].real
    return solved
