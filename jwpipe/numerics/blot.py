"""Comparing exposures with a mosaic put back onto their pixels."""

from __future__ import annotations

import numpy as np

from jwpipe.numerics.jit import inline, kernel

# Rows beyond its own that a block needs: the dilation looks one row further, the derivative another.
HALO = 2


@kernel
def _bilinear(
    data: np.ndarray,
    origin: tuple[int, int],
    frame: tuple[int, int],
    pixmap: np.ndarray,
    out: np.ndarray,
) -> None:
    """Interpolate data (y, x), a cut of a mosaic of shape ``frame``, at pixmap (ny, 2 nx)."""
    ny, nx = out.shape
    my, mx = data.shape
    width, height = np.float32(frame[1]), np.float32(frame[0])
    for j in range(ny):
        for i in range(nx):
            x, y = np.float32(pixmap[j, 2 * i]), np.float32(pixmap[j, 2 * i + 1])
            out[j, i] = np.nan
            if not (x >= 0.0 and x < width and y >= 0.0 and y < height):
                continue
            column, row = int(x), int(y)
            sx, sy = x - np.float32(column), y - np.float32(row)
            c, r = column - origin[1], row - origin[0]
            # The last column and row are extended as they are.
            right = c if column == frame[1] - 1 else c + 1
            above = r if row == frame[0] - 1 else r + 1
            if c < 0 or r < 0 or right >= mx or above >= my:
                continue
            tx, ty = np.float32(1.0) - sx, np.float32(1.0) - sy
            out[j, i] = (
                tx * ty * data[r, c]
                + sx * ty * data[r, right]
                + sy * tx * data[above, c]
                + sx * sy * data[above, right]
            )


def blot(
    data: np.ndarray, pixmap: np.ndarray, *, origin: tuple[int, int], frame: tuple[int, int]
) -> np.ndarray:
    """Put a mosaic back onto the pixels of an exposure by bilinear interpolation.

    Parameters
    ----------
    data
        (y, x) float32: a cut of the mosaic, whose first pixel is ``origin``, that holds all
        pixels next to the mapped positions.
    pixmap
        (ny, nx, 2) float64: position in the mosaic of each pixel; positions are rounded to single
        precision, as the drizzle library does.
    frame
        Shape of the whole mosaic.

    Returns
    -------
    numpy.ndarray
        (ny, nx) float32; NaN outside the mosaic, without a position, and next to NaN.
    """
    flat = np.ascontiguousarray(pixmap, np.float64).reshape(pixmap.shape[0], -1)
    out = np.empty(pixmap.shape[:2], np.float32)
    _bilinear(data, origin, frame, flat, out)
    return out


@inline
def _steepest(row: np.ndarray, above: np.ndarray, below: np.ndarray, i: int, nx: int) -> np.float32:
    """Largest absolute difference to the four neighbours; 0 without any, NaN where undefined."""
    here = row[i]
    steep = np.float32(0.0) * here
    for step in (abs(here - above[i]), abs(here - below[i])):
        if step > steep:
            steep = step
    left, right = abs(here - row[max(i - 1, 0)]), abs(here - row[min(i + 1, nx - 1)])
    if left > steep:
        steep = left
    if right > steep:
        steep = right
    return steep


@kernel
def _exceed(
    sci: np.ndarray,
    err: np.ndarray,
    model: np.ndarray,
    snr: tuple[np.float32, ...],
    scale: tuple[np.float32, ...],
    background: np.float32,
    first: np.ndarray,
    second: np.ndarray,
) -> None:
    """Pixels that differ from the model by more than either threshold."""
    ny, nx = sci.shape
    for j in range(ny):
        row, above, below = model[j], model[max(j - 1, 0)], model[min(j + 1, ny - 1)]
        for i in range(nx):
            steep = _steepest(row, above, below, i, nx)
            noise = err[j, i]
            noise = np.float32(0.0) if np.isnan(noise) else noise
            difference = abs(sci[j, i] - row[i] - background)
            first[j, i] = difference > scale[0] * steep + snr[0] * noise
            second[j, i] = difference > scale[1] * steep + snr[1] * noise


@kernel
def _near(first: np.ndarray, second: np.ndarray, out: np.ndarray) -> None:
    """``second`` where any of the 3 x 3 pixels around is in ``first``."""
    ny, nx = first.shape
    for j in range(ny):
        for i in range(nx):
            near = False
            if second[j, i]:
                for r in range(max(j - 1, 0), min(j + 2, ny)):
                    for c in range(max(i - 1, 0), min(i + 2, nx)):
                        near |= first[r, c]
            out[j, i] = near


def find_outliers(
    sci: np.ndarray,
    err: np.ndarray,
    model: np.ndarray,
    *,
    snr: tuple[float, float],
    scale: tuple[float, float],
    background: float,
) -> np.ndarray:
    """Find pixels that disagree with a model of the sky, in two passes.

    A pixel disagrees when abs(sci - model - background) > scale D + snr err, with D the largest
    absolute difference of the model to its four neighbours: it allows for errors of interpolation
    and pointing where the sky is steep. A hit passes the first thresholds; its neighbours (3 x 3)
    and itself need to pass only the second. NaN in sci or model never disagrees; err NaN is 0.

    Parameters
    ----------
    sci, err, model
        (ny, nx) float32.
    snr, scale
        Thresholds of the first and the second pass.
    background
        Level by which sci lies above the model.

    Returns
    -------
    numpy.ndarray
        (ny, nx) bool. Rows within ``HALO`` of an inner edge need rows beyond it.
    """
    first, second = np.empty(sci.shape, np.bool_), np.empty(sci.shape, np.bool_)
    pair = tuple(np.float32(v) for v in snr), tuple(np.float32(v) for v in scale)
    _exceed(sci, err, model, *pair, np.float32(background), first, second)
    out = np.empty(sci.shape, np.bool_)
    _near(first, second, out)
    return out


def find_outliers_plain(
    sci: np.ndarray, err: np.ndarray, model: np.ndarray, *, snr: float
) -> np.ndarray:
    """Find pixels with abs(sci - model) > snr err; NaN never disagrees, err NaN is 0."""
    noise = np.where(np.isnan(err), np.float32(0.0), err)
    found: np.ndarray = np.abs(sci - model) > np.float32(snr) * noise
    return found
