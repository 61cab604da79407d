"""The background of a frame, which is left out while correlated noise is fitted."""

from __future__ import annotations

import warnings
from math import inf

import numpy as np

from jwpipe.numerics.clipping import (
    SIGMA,
    Values,
    extremes,
    grouped,
    limits,
    median_within,
    shifted,
)

Clip = tuple[float, float]
"""Sigma below and above the median at which is clipped."""

Window = tuple[float, float, float, float]
"""Limits of values, and limits of the same less the level of the background."""

EVERYTHING: Window = (-inf, inf, -inf, inf)

LARGEST_BOX = 32
FILTER = 5
ROUNDS = 5


def kept(found: np.ndarray) -> tuple[Values, float, float]:
    """The values, and between which of them are background: 3 sigma of the lower half about the clipped median."""
    values = grouped(found)
    low, high = limits(values, -inf, inf, SIGMA, SIGMA)
    return values, low, high


def level_and_window(found: np.ndarray, clip: Clip | None) -> tuple[np.float32, Window]:
    """The median of the float32 values ``found`` that are background, and the window of those that tell the noise.

    Of the values less the median those are left that are within ``clip`` sigma below and above their median.
    """
    values, low, high = kept(found)
    level = np.float32(median_within(values, low, high))
    if clip is None:
        return level, (low, high, -inf, inf)
    least, most = (float(np.float32(each) - level) for each in extremes(values, low, high))
    return level, (low, high, *limits(shifted(values, level), least, most, *clip))


def inside(image: np.ndarray, level: np.float32, window: Window) -> np.ndarray:
    """Which pixels of an image are in a window; NaN are not."""
    low, high, lowest, highest = np.array(window)
    rest = image - level
    mask: np.ndarray = (image >= low) & (image <= high) & (rest >= lowest) & (rest <= highest)
    return mask


def modelled(
    image: np.ndarray, mask: np.ndarray, box: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A smooth background of an image (y, x), and which pixels of ``mask`` it was made of.

    Clipped medians of boxes, 32 x 32 pixels or the next smaller size that divides the image, median-filtered 5 x 5 and
    interpolated (photutils ``Background2D``). One value all over where too few boxes have pixels.
    """
    from astropy.stats import SigmaClip
    from astropy.utils.exceptions import AstropyUserWarning
    from photutils.background import Background2D, MedianBackground

    finite = mask & np.isfinite(image)
    values, low, high = kept(image[finite])
    finite &= (image >= np.float64(low)) & (image <= np.float64(high))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyUserWarning)
            found = Background2D(
                image,
                box_size=box or tuple(_box(size) for size in image.shape),
                filter_size=(FILTER, FILTER),
                mask=~finite,
                sigma_clip=SigmaClip(sigma=SIGMA, maxiters=ROUNDS),
                bkg_estimator=MedianBackground(),
            )
        return found.background, finite
    except ValueError:
        level = np.float32(median_within(values, low, high))
        return np.full(image.shape, level), finite


def _box(size: int) -> int:
    return max(box for box in range(1, LARGEST_BOX + 1) if size % box == 0)


def filled_flat(flat: np.ndarray) -> np.ndarray:
    """The flat (y, x) with its smooth background where it is 0, NaN or infinite."""
    bad = (flat == 0) | ~np.isfinite(flat)
    if not bad.any():
        return flat
    return np.where(bad, modelled(flat, ~bad)[0], flat).astype(np.float32)
