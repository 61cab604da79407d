"""Choose how an image is cleaned of flicker noise by what it looks like, as the JWST calibration pipeline does.

The rate is cleaned in the simplest way. How much of it is no background, how the background slopes, and how much the
detector's outputs differ then decide between a level and a smooth model of the background, and whether the outputs are
fitted one by one.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import numpy as np

from jwpipe.numerics.clipping import SIGMA
from jwpipe.stage1.flicker.background import inside, modelled
from jwpipe.stage1.flicker.frame import OUTPUTS, Cleaning, background_of, fitted, restored
from jwpipe.stage1.flicker.mask import without_signal

MIDDLE = (Fraction(3, 8), Fraction(5, 8))
FIRST_OUTPUT = (Fraction(10, 12), Fraction(11, 12))
LINE_SIGMA = 10.0


@dataclass(frozen=True)
class Limits:
    """From which values on a property of the image counts as high.

    ``masked``: fraction that is no background; ``offset``: between neighbouring outputs; ``slope`` and
    ``slope_with_offset``: of the background along an axis, a pixel; ``slope_ratio``: of the axes; ``scatter``: about
    the slope.
    """

    masked: float
    slope_with_offset: float
    slope_ratio: float
    offset: float = 0.07
    slope: float = 1e-5
    scatter: float = 0.02


AUTOMATIC = {
    "NIS_IMAGE": Limits(masked=0.07, slope_with_offset=1e-4, slope_ratio=5.0),
    "NRC_IMAGE": Limits(masked=0.1, slope_with_offset=1e-5, slope_ratio=3.0),
}
"""Exposure types for which it can be chosen."""


@dataclass(frozen=True)
class Looks:
    """What the limits are compared with."""

    masked: float
    offset: float
    slope: float
    slope_ratio: float
    scatter: float


def chosen(rate: np.ndarray, how: Cleaning, kind: str, full: bool) -> Cleaning:
    """How to clean an exposure of a type, by its rate (y, x), or rates (integration, y, x), divided by the flat.

    ``full``: it is a full frame, whose outputs can be told apart.
    """
    if not np.isfinite(rate).any():
        return how
    with warnings.catch_warnings():
        # Some pixels, and lines of pixels, are NaN throughout.
        warnings.simplefilter("ignore", RuntimeWarning)
        image = np.nanmean(rate, axis=0) if rate.ndim == 3 else rate
        background, by_output = decided(looks(image, how.axis, kind), AUTOMATIC[kind])
    return replace(how, background=background, by_output=by_output and full)


def decided(image: Looks, limits: Limits) -> tuple[Literal["median", "model"], bool]:
    """The method for the background, and whether to fit the outputs one by one."""
    shifted = image.offset >= limits.offset
    steep = image.slope >= limits.slope
    steeper = image.slope >= limits.slope_with_offset
    if image.masked >= limits.masked:
        return "model" if (steeper if shifted else steep) else "median", False
    if shifted:
        return "median", True
    smooth = steeper or (steep and image.slope_ratio < limits.slope_ratio)
    apart = image.offset > 0 and image.scatter >= limits.scatter
    return "model" if smooth else "median", apart


def looks(rate: np.ndarray, axis: int, kind: str) -> Looks:
    """What a rate (y, x) looks like once it is cleaned in the simplest way, sources replaced by their surroundings."""
    image, mask = quickly_cleaned(rate, axis)
    smooth, mask = modelled(image, mask)
    image = np.where(mask, image, smooth).astype(np.float32)
    over_rows = np.nanmean(_part(image, MIDDLE, 0), axis=0)
    over_columns = np.nanmean(_part(image, MIDDLE, 1), axis=1)
    slopes = [_line(each) for each in (over_columns, over_rows)]
    steepest, least = sorted((abs(slope) for slope, _ in slopes), reverse=True)
    if kind == "NIS_IMAGE":
        # Its first output may differ much from the others.
        _, scatter = _line(np.nanmean(_part(image, FIRST_OUTPUT, 0), axis=0))
        offset = _offset(over_columns)
    else:
        scatter, offset = slopes[1][1], _offset(over_rows)
    ratio = steepest / least if least else np.inf
    return Looks(float(np.mean(~mask)), offset, steepest, ratio, scatter)


def quickly_cleaned(rate: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The rate after medians along its lines, and which of its pixels are background."""
    mask = without_signal(rate, np.ones(rate.shape, bool)) & np.isfinite(rate)
    how = Cleaning(axis=axis, clip=(SIGMA, 2.0))
    frame = np.where(mask, rate, np.float32(np.nan)).astype(np.float32)
    background, found = background_of(frame, how), fitted(frame, how)
    if background is None:
        return rate, mask
    rows, columns = (np.arange(size) for size in rate.shape)
    noise = how.noise(found[1:], rows, columns, rate.shape)
    mask = mask & inside(frame, background.level, background.window)
    return restored(rate, background.level, noise, None), mask


def _part(image: np.ndarray, between: tuple[Fraction, Fraction], axis: int) -> np.ndarray:
    start, stop = (round(each * image.shape[axis]) for each in between)
    return image[start:stop] if axis == 0 else image[:, start:stop]


def _line(values: np.ndarray) -> tuple[float, float]:
    """The slope of a line through values, and their scatter about it."""
    from astropy.stats import sigma_clipped_stats

    good = np.isfinite(values)
    x = np.arange(values.size)[good]
    fit = np.polynomial.Polynomial.fit(x, values[good], deg=1)
    coefficients = fit.convert().coef
    _, _, scatter = sigma_clipped_stats(values[good] - fit(x), sigma=LINE_SIGMA)
    return float(coefficients[1]) if len(coefficients) > 1 else 0.0, float(scatter)


def _offset(values: np.ndarray) -> float:
    """The largest step between neighbouring outputs of a full frame; 0 for other sizes."""
    from astropy.stats import sigma_clipped_stats

    if values.size != 2048:
        return 0.0
    means = [sigma_clipped_stats(part, sigma=3.0)[0] for part in np.split(values, OUTPUTS)]
    return float(np.max(np.abs(np.diff(means))))
