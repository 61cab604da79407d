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

from jwpipe.numerics.jit import inline, kernel
from jwpipe.numerics.quadrilaterals import spread_square

KernelName = Literal["square", "gaussian", "point", "turbo", "lanczos2", "lanczos3"]

# Full width at half maximum of a Gaussian in sigmas, as the drizzle library rounds it.
FWHM = 2.3548
LANCZOS_STEP = 0.003
_GAUSSIAN, _POINT, _TURBO, _LANCZOS = range(4)


@inline
def _axis(
    profile: int,
    centre: float,
    low: int,
    high: int,
    reach: float,
    scale: float,
    table: np.ndarray,
    out: np.ndarray,
) -> tuple[int, int]:
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
    pixmap: np.ndarray,
    weights: np.ndarray,
    values: np.ndarray,
    bits: np.ndarray,
    profile: int,
    reach: float,
    scale: float,
    table: np.ndarray,
    origin: tuple[int, int],
    sums: np.ndarray,
    flags: np.ndarray,
    touched: np.ndarray,
) -> None:
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
