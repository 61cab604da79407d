"""Medians over exposures, and the clipped mean of weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jwpipe.numerics.jit import kernel

# Rows are sorted in pieces of this many pixels, which stay in the first-level cache.
PIECE = 256
BINS = 1 << 16


def sorting_network(n: int) -> np.ndarray:
    """Comparators (m, 2) that sort ``n`` numbers: Batcher's merge exchange (Knuth 5.2.2 M)."""
    pairs = []
    top = 1 << max(n - 1, 0).bit_length() >> 1
    p = top
    while p:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(n - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return np.array(pairs, np.int64).reshape(-1, 2)


@kernel
def _median_rows(stack: np.ndarray, network: np.ndarray, out: np.ndarray) -> None:
    """Median of stack (n, y, x) over its first axis, NaN left out, into out (y, x)."""
    n, ny, nx = stack.shape
    infinity = np.float32(np.inf)
    planes = np.empty((n, PIECE), np.float32)
    count = np.empty(PIECE, np.int64)
    for j in range(ny):
        for start in range(0, nx, PIECE):
            size = min(PIECE, nx - start)
            count[:size] = 0
            for k in range(n):
                source, line = stack[k, j], planes[k]
                for i in range(size):
                    value = source[start + i]
                    valid = value == value
                    line[i] = value if valid else infinity
                    count[i] += 1 if valid else 0
            for m in range(network.shape[0]):
                low, high = planes[network[m, 0]], planes[network[m, 1]]
                for i in range(size):
                    a, b = low[i], high[i]
                    low[i] = a if a < b else b
                    high[i] = b if a < b else a
            for i in range(size):
                valid = count[i]
                if valid == 0:
                    out[j, start + i] = np.nan
                else:
                    a, b = planes[(valid - 1) // 2, i], planes[valid // 2, i]
                    out[j, start + i] = a if valid & 1 else (a + b) * np.float32(0.5)


def nanmedian(stack: np.ndarray) -> np.ndarray:
    """Median of stack (n, y, x) float32 over its first axis, NaN left out; NaN where all are.

    The mean of the middle two is taken in single precision, as ``numpy.nanmedian`` does.
    """
    out = np.empty(stack.shape[1:], np.float32)
    if len(stack) == 0:
        out[:] = np.nan
    else:
        _median_rows(stack, sorting_network(len(stack)), out)
    return out


@kernel
def _range(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Widen ``low`` to ``high`` by the finite, non-zero values (n)."""
    for i in range(values.size):
        value = np.float64(values[i])
        if np.isfinite(value) and value != 0.0:
            low, high = min(low, value), max(high, value)
    return low, high


@kernel
def _count(values: np.ndarray, low: float, scale: float, bins: np.ndarray) -> None:
    """Count the finite, non-zero values (n) and add up their offsets from ``low``, and squares, in bins (m, 3)."""
    last = bins.shape[0] - 1
    for i in range(values.size):
        value = np.float64(values[i])
        if np.isfinite(value) and value != 0.0:
            offset = value - low
            k = min(int(offset * scale), last)
            bins[k, 0] += 1.0
            bins[k, 1] += offset
            bins[k, 2] += offset * offset


def clipped_mean(values: Sequence[np.ndarray], *, sigma: float = 3.0, iterations: int = 5) -> float:
    """Mean of the finite, non-zero values after clipping about the median; NaN without any.

    Clipping leaves out what is more than ``sigma`` standard deviations from the median, up to
    ``iterations`` times. Values are counted in ``BINS`` bins between the least and the largest; a bin
    is kept or left out as a whole, by its mean, which moves the result by some 1e-7 of itself.
    """
    low, high = np.inf, -np.inf
    for part in values:
        low, high = _range(part.ravel(), low, high)
    if not low <= high:
        return float("nan")
    bins = np.zeros((BINS, 3))
    for part in values:
        _count(part.ravel(), low, BINS / (high - low) if high > low else 0.0, bins)
    kept = bins[bins[:, 0] > 0]
    for _ in range(iterations):
        count, first, second = kept.sum(axis=0)
        centres = kept[:, 1] / kept[:, 0]
        median = centres[np.searchsorted(np.cumsum(kept[:, 0]), count / 2)]
        deviation = np.sqrt(max(second / count - (first / count) ** 2, 0.0))
        within = np.abs(centres - median) <= sigma * deviation
        if within.all():
            break
        kept = kept[within]
    return float(low + kept[:, 1].sum() / kept[:, 0].sum())
