"""Which pixels show background alone: the mask behind corrections for the detector's noise.

Made of a count rate: of the exposure, of each integration, or a draft fitted to the ramps (``ExposureStep.draft``).
Masks are True where a pixel is background. ``science_regions`` says where light is known to fall.
"""

from __future__ import annotations

from functools import partial
from math import isfinite

import dask
import dask.array as da
import numpy as np
from dask import delayed

from jwpipe.exposure import ExposureError
from jwpipe.numerics.clipping import SIGMA, Clipped, Values, clipped, grouped

BINS = 2000
HALF_WIDTH = 4.0
"""Bins of the histogram of rates, and how many sigma it reaches to each side."""


def background_mask(
    rate: np.ndarray,
    science: np.ndarray | None = None,
    *,
    n_sigma: float = 2.0,
    fit_histogram: bool = False,
) -> np.ndarray:
    """Find the pixels of a count rate (y, x) that are background.

    What is NaN or exactly 0, or where ``science`` (y, x) is True, is none. Of the others those are from 3 sigma below
    the clipped median to ``n_sigma`` above it; ``n_sigma`` = 0 leaves them all.

    Returns
    -------
    mask (y, x) bool
    """
    mask = ~(np.isnan(rate) | (rate == 0))
    if science is not None:
        mask &= ~science
    return without_signal(rate, mask, n_sigma, fit_histogram=fit_histogram) if n_sigma > 0 else mask


def without_signal(
    image: np.ndarray, mask: np.ndarray, n_sigma: float = 2.0, *, fit_histogram: bool = False
) -> np.ndarray:
    """The ``mask`` (y, x) without the pixels of ``image`` that are no background by their value.

    Center and sigma are those of the clipped distribution under the mask; with ``fit_histogram`` those of a Gaussian
    fitted to its histogram.
    """
    found = image[mask]
    values = grouped(found[np.isfinite(found)].astype(np.float32, copy=False))
    if values.ordered.size == 0:
        return mask
    stats = clipped(values)
    center, sigma = fitted(values, stats) if fit_histogram else (stats.median, stats.sigma)
    # Limits in double precision; comparisons with NaN are False: such pixels stay as they are.
    low, high = np.float64(center - SIGMA * sigma), np.float64(center + n_sigma * sigma)
    signal = (image < low) | (image > high)
    return mask & ~signal


def fitted(values: Values, stats: Clipped) -> tuple[float, float]:
    """Mean and sigma of a Gaussian fitted to the histogram of ``values``; the clipped ones where none can be fitted."""
    from scipy.optimize import curve_fit

    center, sigma = stats.mean, stats.sigma
    if not (isfinite(sigma) and sigma > 0):
        return center, sigma
    span = center - HALF_WIDTH * sigma, center + HALF_WIDTH * sigma
    counts, edges = np.histogram(values.ordered.astype(np.float64), bins=BINS, range=span)
    middles = (edges[1:] + edges[:-1]) / 2
    peak = int(np.argmax(counts))
    start = counts[peak], middles[peak], sigma
    bounds = [(0, middles[0], 0), (np.inf, middles[-1], middles[-1] - middles[0])]
    try:
        (_, mean, width), _ = curve_fit(_gaussian, middles, counts, p0=start, bounds=bounds)
    except RuntimeError:
        return center, sigma
    return float(mean), float(width)


def _gaussian(x: np.ndarray, height: float, mean: float, sigma: float) -> np.ndarray:
    return height * np.exp(-0.5 * ((x - mean) / sigma) ** 2)


def lazy_background_mask(
    rate: da.Array,
    science: da.Array | None = None,
    *,
    n_sigma: float = 2.0,
    fit_histogram: bool = False,
    single: bool = True,
) -> da.Array:
    """The ``background_mask`` of a lazy rate (y, x) or (integration, y, x), each frame in one chunk.

    ``science`` is the same for all integrations, or has as many. Each integration has a mask of its own, unless
    ``single`` asks for what is background in all of them.
    """
    find = partial(_masks, n_sigma=n_sigma, fit_histogram=fit_histogram)
    known = None if science is None else as_frames(science)
    meta = np.empty((0,) * rate.ndim, bool)
    # Fused with what takes it a mask would be made once for each of these.
    with dask.annotate(fuse=False):
        masks = da.map_blocks(find, as_frames(rate), known, dtype=bool, meta=meta)
        return masks.all(axis=0) if single and masks.ndim == 3 else masks


def as_frames(array: da.Array) -> da.Array:
    """A lazy array with one chunk for each frame (y, x)."""
    return array.rechunk((*(1,) * (array.ndim - 2), *array.shape[-2:]))


def _masks(rates: np.ndarray, science: np.ndarray | None, **options: bool | float) -> np.ndarray:
    """The masks of one frame, whatever leading axes it has."""
    frame = rates.reshape(rates.shape[-2:])
    known = None if science is None else science.reshape(frame.shape)
    return background_mask(frame, known, **options).reshape(rates.shape)  # type: ignore[arg-type]


def user_mask(path: str, shape: tuple[int, ...]) -> da.Array:
    """A mask (y, x) or (integration, y, x) from a FITS file, lazily: 1 in its SCI extension where there is background.

    ``shape`` is that of the exposure, (integration, y, x).

    Raises
    ------
    ExposureError
        Where the file cannot be read or is of another shape.
    """
    from astropy.io import fits

    try:
        with fits.open(path) as hdus:
            index = hdus.index_of("SCI") if "SCI" in hdus else 0
            found = hdus[index].shape
    except OSError as error:
        raise ExposureError(
            f"clean_flicker_noise: user_mask {path}: cannot be read: {error}; check the name"
        ) from None
    if found not in (shape[1:], shape):
        raise ExposureError(
            f"clean_flicker_noise: user_mask {path}: SCI has the shape {found}, expected {shape[1:]} or {shape}, "
            "as the exposure; give a mask of the same subarray"
        )
    mask = delayed(_read_mask, pure=True)(path, index)
    return da.from_delayed(mask, found, bool)


def _read_mask(path: str, index: int) -> np.ndarray:
    from astropy.io import fits

    mask: np.ndarray = np.nan_to_num(fits.getdata(path, index)) != 0
    return mask
