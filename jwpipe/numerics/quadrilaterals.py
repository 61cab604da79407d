"""The exact areas that pixels, drawn as quadrilaterals on another grid, share with its pixels.

This is the ``square`` kernel of ``drizzle.py``. Work goes row by row of input pixels, with all loops
along the row: corners, the cells that each reaches over, the areas, and last the scattered sums.
"""

from __future__ import annotations

import numpy as np
from numba import uint64

from jwpipe.numerics.jit import kernel

# Shares below this fraction of a pixel are rounding residues of the clipping, not overlap.
LEAST_SHARE = 1e-10
# Cells on a side that one pass of the clipping covers: most pixels reach over two.
_SMALL, _LARGE = 2, 3


@kernel
def _corners(
    upper: np.ndarray, row: np.ndarray, lower: np.ndarray, half: float, x: np.ndarray, y: np.ndarray
) -> None:
    """Corners (4, nx) of a row of shrunken pixels, bilinear between the centres of neighbours.

    ``upper``, ``row``, ``lower`` are rows of the map, x and y interleaved, one pixel wider on
    either side; corners run (-, +), (+, +), (+, -), (-, -) in input coordinates.
    """
    rest = 1.0 - half
    for k in range(2):
        out = x if k == 0 else y
        for i in range(x.shape[1]):
            m = 2 * i + 2 + k
            left = rest * row[m] + half * row[m - 2]
            right = rest * row[m] + half * row[m + 2]
            out[0, i] = rest * left + half * (rest * upper[m] + half * upper[m - 2])
            out[1, i] = rest * right + half * (rest * upper[m] + half * upper[m + 2])
            out[2, i] = rest * right + half * (rest * lower[m] + half * lower[m + 2])
            out[3, i] = rest * left + half * (rest * lower[m] + half * lower[m - 2])


@kernel
def _place(
    x: np.ndarray, y: np.ndarray, first: np.ndarray, last: np.ndarray, area: np.ndarray
) -> None:
    """First and last output cell (row, column) under each quadrilateral, and its signed area."""
    for i in range(x.shape[1]):
        x0, x1, x2, x3 = x[0, i], x[1, i], x[2, i], x[3, i]
        y0, y1, y2, y3 = y[0, i], y[1, i], y[2, i], y[3, i]
        first[0, i] = np.floor(min(min(y0, y1), min(y2, y3)) + 0.5)
        first[1, i] = np.floor(min(min(x0, x1), min(x2, x3)) + 0.5)
        last[0, i] = np.floor(max(max(y0, y1), max(y2, y3)) + 0.5)
        last[1, i] = np.floor(max(max(x0, x1), max(x2, x3)) + 0.5)
        area[i] = 0.5 * ((x1 - x3) * (y0 - y2) - (x0 - x2) * (y1 - y3))


@kernel
def _select(
    first: np.ndarray,
    last: np.ndarray,
    area: np.ndarray,
    weights: np.ndarray,
    origin: tuple[int, int],
    shape: tuple[int, ...],
    small: np.ndarray,
    large: np.ndarray,
) -> tuple[int, int]:
    """Sort the pixels that touch the rectangle by how many cells they reach over; NaN drops out."""
    nsmall, nlarge = 0, 0
    for i in range(weights.size):
        if weights[i] == 0.0 or not (area[i] != 0.0 and np.isfinite(area[i])):
            continue
        j, k = first[0, i] - origin[0], first[1, i] - origin[1]
        high, wide = last[0, i] - first[0, i], last[1, i] - first[1, i]
        if j + high < 0 or j >= shape[0] or k + wide < 0 or k >= shape[1]:
            continue
        if max(high, wide) < _SMALL:
            small[nsmall] = i
            nsmall += 1
        else:
            large[nlarge] = i
            nlarge += 1
    return nsmall, nlarge


@kernel
def _gather(
    x: np.ndarray,
    y: np.ndarray,
    first: np.ndarray,
    chosen: np.ndarray,
    n: int,
    row: int,
    column: int,
    px: np.ndarray,
    py: np.ndarray,
) -> None:
    """Corners of the chosen pixels, relative to cell (row, column) after their first one."""
    for m in range(n):
        i = chosen[m]
        left, base = first[1, i] - 0.5 + column, first[0, i] - 0.5 + row
        for e in range(4):
            px[e, m] = x[e, i] - left
            py[e, m] = y[e, i] - base


@kernel
def _cover(
    px: np.ndarray,
    py: np.ndarray,
    n: int,
    cells: int,
    scratch: tuple[np.ndarray, ...],
    cover: np.ndarray,
) -> None:
    """Signed areas that ``n`` quadrilaterals (4, n) share with ``cells`` x ``cells`` unit cells.

    The area is the sum over edges of the integral of clamp(y - row, 0, 1) along x, within the
    column. For a sloping edge that is (dx/dy) [Q(y_b) - Q(y_a)] with Q(u) = t (u - t / 2) and
    t = clamp(u, 0, 1); for a level one, where that cancels, the clamped mean height.
    """
    ya, yb, inverse, width = scratch
    for k in range(cells * cells):
        for i in range(n):
            cover[k, i] = 0.0
    for e in range(4):
        x1, y1, x2, y2 = px[e], py[e], px[(e + 1) & 3], py[(e + 1) & 3]
        for c in range(cells):
            for i in range(n):
                dx, dy = x2[i] - x1[i], y2[i] - y1[i]
                slope = dy / dx if dx != 0.0 else 0.0
                xa = min(max(x1[i] - c, 0.0), 1.0)
                xb = min(max(x2[i] - c, 0.0), 1.0)
                ya[i] = y1[i] + (xa - (x1[i] - c)) * slope
                yb[i] = y1[i] + (xb - (x1[i] - c)) * slope
                level = abs(dy) <= 1e-6 * abs(dx)
                run = dx / dy if dy != 0.0 else 0.0
                inverse[i] = 0.0 if level else run
                width[i] = xb - xa if level else 0.0
            for r in range(cells):
                out = cover[cells * r + c]
                for i in range(n):
                    ua, ub = ya[i] - r, yb[i] - r
                    ta, tb = min(max(ua, 0.0), 1.0), min(max(ub, 0.0), 1.0)
                    mean = min(max(0.5 * (ua + ub), 0.0), 1.0)
                    out[i] += inverse[i] * (tb * (ub - 0.5 * tb) - ta * (ua - 0.5 * ta))
                    out[i] += width[i] * mean


@kernel
def _deposit(
    cover: np.ndarray,
    area: np.ndarray,
    chosen: np.ndarray,
    n: int,
    cells: int,
    first: np.ndarray,
    shift: tuple[int, int],
    origin: tuple[int, int],
    weights: np.ndarray,
    values: np.ndarray,
    bits: np.ndarray,
    sums: np.ndarray,
    flags: np.ndarray,
) -> None:
    """Drop ``n`` chosen pixels of a row onto the output by their covers."""
    ny, nx = sums.shape[:2]
    planes, flagged = values.shape[1], bits.size > 0
    for m in range(n):
        # Unsigned indices spare the test for negative ones in the innermost lines.
        i = uint64(chosen[m])
        top = int(first[0, i]) + shift[0] - origin[0]
        left = int(first[1, i]) + shift[1] - origin[1]
        inverse, weight = 1.0 / area[i], weights[i]
        for r in range(cells):
            for c in range(cells):
                share = cover[cells * r + c, m] * inverse
                if share > LEAST_SHARE and 0 <= top + r < ny and 0 <= left + c < nx:
                    j, k = uint64(top + r), uint64(left + c)
                    amount = np.float32(share * weight)
                    sums[j, k, uint64(0)] += amount
                    if planes == 4:  # written out, these are one vector operation
                        sums[j, k, uint64(1)] += amount * values[i, uint64(0)]
                        sums[j, k, uint64(2)] += amount * values[i, uint64(1)]
                        sums[j, k, uint64(3)] += amount * values[i, uint64(2)]
                        sums[j, k, uint64(4)] += amount * values[i, uint64(3)]
                    else:
                        for p in range(planes):
                            sums[j, k, p + 1] += amount * values[i, p]
                    if flagged:
                        flags[j, k] |= bits[i]


@kernel
def spread_square(
    pixmap: np.ndarray,
    weights: np.ndarray,
    values: np.ndarray,
    bits: np.ndarray,
    half: float,
    origin: tuple[int, int],
    sums: np.ndarray,
    flags: np.ndarray,
) -> None:
    """Drop shrunken pixels by the exact areas of their quadrilaterals in each output pixel.

    pixmap (ny + 2, 2 nx + 4): output x and y, interleaved, with one more pixel all round;
    weights (ny, nx); values (ny, nx, p); bits (ny, nx) or (ny, 0): flags to combine;
    half: half the side of a shrunken pixel; origin: row and column of the output's first pixel.
    Adds to sums (oy, ox, p + 1), the weight first, and combines into flags (oy, ox).
    """
    ny, nx = weights.shape
    x, y = np.empty((4, nx)), np.empty((4, nx))
    px, py = np.empty((4, nx)), np.empty((4, nx))
    first, last, area = np.empty((2, nx)), np.empty((2, nx)), np.empty(nx)
    scratch = np.empty(nx), np.empty(nx), np.empty(nx), np.empty(nx)
    cover = np.empty((_LARGE * _LARGE, nx))
    small, large = np.empty(nx, np.int64), np.empty(nx, np.int64)
    for j in range(ny):
        _corners(pixmap[j + 2], pixmap[j + 1], pixmap[j], half, x, y)
        _place(x, y, first, last, area)
        n, m = _select(first, last, area, weights[j], origin, sums.shape, small, large)
        _gather(x, y, first, small, n, 0, 0, px, py)
        _cover(px, py, n, _SMALL, scratch, cover)
        _deposit(cover, area, small, n, _SMALL, first, (0, 0), origin,
                 weights[j], values[j], bits[j], sums, flags)  # fmt: skip
        high, wide = 0.0, 0.0
        for k in range(m):
            high = max(high, last[0, large[k]] - first[0, large[k]])
            wide = max(wide, last[1, large[k]] - first[1, large[k]])
        for r in range(0, int(high) + 1 if m else 0, _LARGE):
            for c in range(0, int(wide) + 1, _LARGE):
                _gather(x, y, first, large, m, r, c, px, py)
                _cover(px, py, m, _LARGE, scratch, cover)
                _deposit(cover, area, large, m, _LARGE, first, (r, c), origin,
                         weights[j], values[j], bits[j], sums, flags)  # fmt: skip
