"""Which pixels show background alone: the mask behind corrections for the detector's noise.

Made of a count rate: of the exposure, of each integration, or a draft fitted to the ramps (``ExposureStep.draft``).
Masks are True where a pixel is background. ``science_regions`` says where light is known to fall.
"""

from __future__ import annotations

from functools import partial
from math import isfinite

import dask.array as da
import numpy as np
import xarray as xr

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
    # Comparisons with NaN are False: such pixels stay as they are.
    signal = (image < center - SIGMA * sigma) | (image > center + n_sigma * sigma)
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
    rate: xr.DataArray,
    science: np.ndarray | None = None,
    *,
    n_sigma: float = 2.0,
    fit_histogram: bool = False,
    single: bool = True,
) -> da.Array:
    """The ``background_mask`` of a lazy rate (y, x) or (integration, y, x), each frame in one chunk.

    Of integrations each has a mask of its own, unless ``single`` asks for what is background in all of them.
    """
    frames = as_frames(rate)
    find = partial(_masks, n_sigma=n_sigma, fit_histogram=fit_histogram)
    masks = da.map_blocks(find, frames, science, dtype=bool, meta=np.empty((0,) * rate.ndim, bool))
    return masks.all(axis=0) if single and masks.ndim == 3 else masks


def as_frames(array: xr.DataArray) -> da.Array:
    """A lazy array with one chunk for each frame (y, x)."""
    data = da.asarray(array.data)
    return data.rechunk((*(1,) * (data.ndim - 2), *data.shape[-2:]))


def _masks(rates: np.ndarray, science: np.ndarray | None, **options: bool | float) -> np.ndarray:
    """The masks of one frame, whatever leading axes it has."""
    frame = rates.reshape(rates.shape[-2:])
    return background_mask(frame, science, **options).reshape(rates.shape)  # type: ignore[arg-type]
