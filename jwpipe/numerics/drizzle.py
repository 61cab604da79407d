"""Variable-pixel linear reconstruction ("drizzle") of one exposure onto a rectangle of sky pixels.

Fruchter & Hook (2002, PASP 114, 144): the flux of an input pixel, shrunk by ``pixfrac``, is dropped
onto the output pixels that it overlaps. With a_i the share of input pixel i in an output pixel and
w_i its weight,

    value = sum(a_i w_i v_i) / sum(a_i w_i),    weight = sum(a_i w_i)

``spread`` returns these sums, so that any number of planes (image, errors) share the geometry of one
pass, and partial sums of exposures can be added. Output coordinates are those of the whole mosaic
and nothing depends on where a rectangle begins: a mosaic made of tiles is the whole one bit for bit.
"""

from __future__ import annotations

from math import ceil
from typing import Literal, get_args

import numpy as np
from numba import uint64

from jwpipe.numerics.jit import inline, kernel

KernelName = Literal["square", "gaussian", "point", "turbo", "lanczos2", "lanczos3"]

# Shares below this fraction of a pixel are rounding residues of the clipping, not overlap.
LEAST_SHARE = 1e-10
# Full width at half maximum of a Gaussian in sigmas, as the drizzle library rounds it.
FWHM = 2.3548
LANCZOS_STEP = 0.003
_GAUSSIAN, _POINT, _TURBO, _LANCZOS = range(4)
# Cells on a side that one pass of the clipping covers: most pixels reach over two.
_SMALL, _LARGE = 2, 3


@kernel
def _corners(upper, row, lower, half, x, y):  # type: ignore[no-untyped-def]
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
def _place(x, y, first, last, area):  # type: ignore[no-untyped-def]
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
def _select(first, last, area, weights, origin, shape, small, large):  # type: ignore[no-untyped-def]
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
def _gather(x, y, first, chosen, n, row, column, px, py):  # type: ignore[no-untyped-def]
    """Corners of the chosen pixels, relative to cell (row, column) after their first one."""
    for m in range(n):
        i = chosen[m]
        left, base = first[1, i] - 0.5 + column, first[0, i] - 0.5 + row
        for e in range(4):
            px[e, m] = x[e, i] - left
            py[e, m] = y[e, i] - base


@kernel
def _cover(px, py, n, cells, scratch, cover):  # type: ignore[no-untyped-def]
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
    cover, area, chosen, n, cells, first, shift, origin, weights, values, bits, sums, flags
):  # type: ignore[no-untyped-def]
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
def spread_square(pixmap, weights, values, bits, half, origin, sums, flags):  # type: ignore[no-untyped-def]
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


@inline
def _axis(profile, centre, low, high, reach, scale, table, out):  # type: ignore[no-untyped-def]
    """Weights of the output pixels along one axis, into ``out``; returns first pixel and count."""
    if profile == _POINT:
        begin = end = int(np.floor(centre + 0.5))
    elif profile == _LANCZOS:
        begin, end = int(np.floor(centre - reach)) + 1, int(np.floor(centre + reach))
    else:
        begin = int(np.floor(centre - reach + 0.5))
        end = int(np.floor(centre + reach + 0.5))
    begin, end = max(begin, low), min(end, high)
    for k in range(begin, end + 1):
        offset = abs(centre - k)
        if profile == _POINT:
            out[k - begin] = 1.0
        elif profile == _TURBO:
            overlap = min(centre + reach, k + 0.5) - max(centre - reach, k - 0.5)
            out[k - begin] = scale * max(overlap, 0.0)
        elif profile == _GAUSSIAN:
            out[k - begin] = np.sqrt(scale / np.pi) * np.exp(-scale * offset * offset)
        else:
            entry = int(np.floor(offset * scale + 0.5))
            out[k - begin] = table[entry] if entry < table.size else 0.0
    return begin, max(end - begin + 1, 0)


@kernel
def spread_separable(
    pixmap, weights, values, bits, profile, reach, scale, table, origin, sums, flags, touched
):  # type: ignore[no-untyped-def]
    """Drop pixels by a product of two profiles along the output axes, around their centres.

    As ``spread_square``. Marks in ``touched`` (oy, ox) where any pixel has a positive share, since
    Lanczos weights may cancel.
    """
    ny, nx = weights.shape
    oy, ox = sums.shape[:2]
    wx, wy = np.empty(int(2 * reach) + 3), np.empty(int(2 * reach) + 3)
    for j in range(ny):
        for i in range(nx):
            x, y = pixmap[j + 1, 2 * i + 2], pixmap[j + 1, 2 * i + 3]
            if weights[j, i] == 0.0 or not (np.isfinite(x) and np.isfinite(y)):
                continue
            top, high = _axis(profile, y, origin[0], origin[0] + oy - 1, reach, scale, table, wy)
            left, wide = _axis(profile, x, origin[1], origin[1] + ox - 1, reach, scale, table, wx)
            for r in range(high):
                for c in range(wide):
                    share = wy[r] * wx[c]
                    if share == 0.0:
                        continue
                    m, k = top + r - origin[0], left + c - origin[1]
                    amount = np.float32(share * weights[j, i])
                    sums[m, k, 0] += amount
                    for p in range(values.shape[2]):
                        sums[m, k, p + 1] += amount * values[j, i, p]
                    if bits.size > 0:
                        flags[m, k] |= bits[j, i]
                    if amount > 0.0:
                        touched[m, k] = True


def _profile(name: str, pixfrac: float, ratio: float) -> tuple[int, float, float, np.ndarray]:
    """Code, half-width in output pixels, scale and table of a separable kernel."""
    none = np.zeros(0)
    if name == "point":
        return _POINT, 0.0, 1.0, none
    if name == "turbo":
        return _TURBO, pixfrac / ratio / 2.0, ratio / pixfrac, none
    if name == "gaussian":
        reach = max(2.5 * pixfrac / FWHM, 1.2) / ratio
        return _GAUSSIAN, reach, (FWHM * ratio / pixfrac) ** 2 / 2.0, none
    order = int(name.removeprefix("lanczos"))
    offsets = LANCZOS_STEP * np.arange(ceil(order / LANCZOS_STEP) + 1)
    table = np.where(offsets < order, np.sinc(offsets) * np.sinc(offsets / order), 0.0)
    return _LANCZOS, order / ratio, ratio / LANCZOS_STEP, table


def reach(name: KernelName, pixfrac: float, ratio: float) -> float:
    """How far from its centre a kernel drops flux, in output pixels; 0 for ``square``."""
    return 0.0 if name == "square" else _profile(name, pixfrac, ratio)[1]


def spread(
    pixmap: np.ndarray,
    weights: np.ndarray,
    values: np.ndarray,
    *,
    name: KernelName = "square",
    pixfrac: float = 1.0,
    ratio: float = 1.0,
    origin: tuple[int, int] = (0, 0),
    shape: tuple[int, int],
    bits: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum an exposure's pixels, by kernel and weight, over a rectangle of output pixels.

    Parameters
    ----------
    pixmap
        (ny + 2, nx + 2, 2) float64: output x and y of the pixels' centres, with one more pixel all
        round; NaN where there is no mapping.
    weights, values
        (ny, nx) and (ny, nx, planes) float32. Pixels of weight 0 are left out.
    name, pixfrac, ratio
        Kernel, fraction to which pixels shrink (Lanczos kernels ignore it), and the ratio of
        output to input pixel scale, which sizes all kernels but ``square`` and ``point``.
    origin, shape
        First row and column, and shape, of the rectangle.
    bits
        (ny, nx) uint32 flags to combine.

    Returns
    -------
    sums, touched, flags
        (oy, ox, 1 + planes) float32, the weight first; where anything was added (bool); the
        flags combined (uint32; (0, 0) without ``bits``).
    """
    if name not in get_args(KernelName):
        raise ValueError(f"kernel {name!r} is none of {', '.join(get_args(KernelName))}")
    sums = np.zeros((*shape, 1 + values.shape[2]), np.float32)
    flags = np.zeros(shape if bits is not None else (0, 0), np.uint32)
    flat = np.ascontiguousarray(pixmap, np.float64).reshape(pixmap.shape[0], -1)
    given = np.zeros((len(weights), 0), np.uint32) if bits is None else bits
    if name == "square":
        spread_square(flat, weights, values, given, pixfrac / 2.0, origin, sums, flags)
        return sums, sums[..., 0] > 0.0, flags
    touched = np.zeros(shape, np.bool_)
    profile = _profile(name, pixfrac, ratio)
    spread_separable(flat, weights, values, given, *profile, origin, sums, flags, touched)
    return sums, touched, flags
