"""Medians over exposures, and the clipped mean of weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jwpipe.numerics.jit import kernel

# Rows are sorted in pieces of this many pixels, which stay in the first-level cache.
PIECE = 256


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
def _median_rows(stack, network, out):  # type: ignore[no-untyped-def]
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
def _moments(values, centre):  # type: ignore[no-untyped-def]
    """Mean of values (n) and their standard deviation, double precision, summed about ``centre``."""
    first, second = 0.0, 0.0
    for i in range(values.size):
        offset = np.float64(values[i]) - centre
        first += offset
        second += offset * offset
    mean = first / values.size
    return centre + mean, np.sqrt(max(second / values.size - mean * mean, 0.0))


def clipped_mean(values: Sequence[np.ndarray], *, sigma: float = 3.0, iterations: int = 5) -> float:
    """Mean of the finite, non-zero values after clipping about the median; NaN without any.

    Clipping leaves out what is more than ``sigma`` standard deviations from the median, up to
    ``iterations`` times. The values are sorted once: after that, medians and clipped ranges are
    slices.
    """
    kept = np.concatenate([v[np.isfinite(v) & (v != 0)].ravel() for v in values])
    kept.sort()
    for _ in range(iterations):
        if kept.size == 0:
            return float("nan")
        median = 0.5 * (float(kept[(kept.size - 1) // 2]) + float(kept[kept.size // 2]))
        _, deviation = _moments(kept, median)
        # Compared in double precision, as single-precision bounds would move by a rounding.
        low = np.searchsorted(kept, np.float32(median - sigma * deviation), "left")
        high = np.searchsorted(kept, np.float32(median + sigma * deviation), "right")
        if high - low == kept.size:
            break
        kept = kept[low:high]
    return float(_moments(kept, float(kept[kept.size // 2]))[0]) if kept.size else float("nan")
