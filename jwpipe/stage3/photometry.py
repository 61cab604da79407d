"""Measurements at given positions of an image: apertures, local background, concentration, shape, neighbours.

Positions are 0-based pixels, (n, 2) as x, y. A position that is not finite gives NaN or zero, as in the JWST
calibration pipeline, whose formulae these are.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from jwpipe.numerics.jit import kernel

CLIP_SIGMA = 3.0
CLIP_ROUNDS = 5
AB_ZERO_POINT = 8.9
"""AB magnitude of 1 Jy."""
FAR_OUTSIDE = -1000.0
LEAST_RADIUS = 2.0
KERNEL_RADIUS = 1.5
"""Radius of the DAOFIND kernel in its sigma."""


@dataclass(frozen=True)
class Apertures:
    """Radii (pixels), encircled energies (percent) and corrections of the apertures, and the background's annulus."""

    energies: np.ndarray
    radii: np.ndarray
    corrections: np.ndarray
    inner: float
    outer: float


def reachable(positions: np.ndarray) -> np.ndarray:
    """Positions (n, 2) with those that are not finite put far outside the image."""
    return np.where(np.isfinite(positions), positions, FAR_OUTSIDE)


def aperture_sums(
    data: np.ndarray, error: np.ndarray, positions: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Sums (n) of ``data`` (y, x) in circles, their errors (n), and the circles' area in pixels."""
    from photutils.aperture import CircularAperture

    aperture = CircularAperture(reachable(positions), radius)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        sums, errors = aperture.do_photometry(data, error=error)
    return np.asarray(sums), np.asarray(errors), float(aperture.area)


@kernel
def annulus_levels(data, x, y, inner, outer, sigma, rounds):  # type: ignore[no-untyped-def]
    """Clipped median (n), deviation (n) and number (n) of the pixels of ``data`` (y, x) in annuli around ``x``, ``y``.

    A pixel belongs to an annulus where its centre does. Clipping: at most ``rounds`` times, ``sigma`` deviations from
    the median.
    """
    ny, nx = data.shape
    medians, deviations = np.full(len(x), np.nan), np.full(len(x), np.nan)
    counts = np.zeros(len(x), np.int64)
    values = np.empty((2 * int(outer) + 3) ** 2)
    for k in range(len(x)):
        size = 0
        for v in range(max(0, int(y[k] - outer)), min(ny, int(y[k] + outer) + 2)):
            for u in range(max(0, int(x[k] - outer)), min(nx, int(x[k] + outer) + 2)):
                distance = (u - x[k]) ** 2 + (v - y[k]) ** 2
                inside = distance < outer * outer and not distance < inner * inner
                if inside and np.isfinite(data[v, u]):
                    values[size] = data[v, u]
                    size += 1
        for _ in range(rounds):
            if size == 0:
                break
            median, deviation = np.median(values[:size]), np.std(values[:size])
            low, high = median - sigma * deviation, median + sigma * deviation
            kept = 0
            for i in range(size):
                if values[i] >= low and values[i] <= high:
                    values[kept] = values[i]
                    kept += 1
            if kept == size:
                break
            size = kept
        counts[k] = size
        if size:
            medians[k], deviations[k] = np.median(values[:size]), np.std(values[:size])
    return medians, deviations, counts


def local_background(
    data: np.ndarray, positions: np.ndarray, inner: float, outer: float
) -> tuple[np.ndarray, np.ndarray]:
    """Background (n) per pixel in the annulus around each position, and the standard error (n) of this median."""
    x, y = np.ascontiguousarray(reachable(positions).T, np.float64)
    medians, deviations, counts = annulus_levels(
        np.ascontiguousarray(data), x, y, float(inner), float(outer), CLIP_SIGMA, CLIP_ROUNDS
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return medians, np.sqrt(np.pi / (2.0 * counts)) * deviations


def ab_magnitude(flux: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AB magnitudes (n) of fluxes in Jy and their errors (n); NaN where the flux is negative."""
    with np.errstate(divide="ignore", invalid="ignore"):
        magnitude = -2.5 * np.log10(flux) + AB_ZERO_POINT
        uncertainty = 2.5 * np.log10(1.0 + error / flux)
    negative = flux < 0
    return np.where(negative, np.nan, magnitude), np.where(negative, np.nan, uncertainty)


def nearest_neighbours(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index (n) of the nearest other position, -1 for none, and the distance (n) to it in pixels."""
    from scipy.spatial import KDTree

    count = len(positions)
    if count < 2:
        return np.full(count, -1), np.full(count, np.nan)
    places = reachable(positions)
    distance, index = KDTree(places).query(places, k=[2])
    lost = ~np.isfinite(positions).all(axis=1)
    return np.where(lost, -1, index[:, 0]), np.where(lost, np.nan, distance[:, 0])


def daofind_kernel(fwhm: float) -> tuple[np.ndarray, np.ndarray]:
    """The DAOFIND kernel (k, k), a Gaussian cut to a circle that sums to zero, and the circle (k, k) bool.

    Source: Stetson 1987, PASP 99, 191.
    """
    sigma = fwhm / np.sqrt(8 * np.log(2))
    radius = max(LEAST_RADIUS, KERNEL_RADIUS * sigma)
    offsets = np.arange(-int(radius), int(radius) + 1)
    squares = offsets[:, None] ** 2 + offsets**2
    circle = np.sqrt(squares) <= radius
    gauss = np.exp(-squares / (2 * sigma**2)) * circle
    mean = gauss.sum() / circle.sum()
    return (gauss - mean) / (np.sum(gauss**2) - gauss.sum() * mean) * circle, circle


def daofind_shape(
    data: np.ndarray, positions: np.ndarray, fwhm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Sharpness (n) and roundness (n) as DAOFIND defines them, for a kernel of ``fwhm`` pixels.

    Sharpness: the central pixel's height above the mean of the others, over that of the fitted Gaussian. Roundness:
    how much the filtered source lacks fourfold symmetry. Only the surroundings of the sources are filtered.
    """
    filter_, circle = daofind_kernel(fwhm)
    half = len(filter_) // 2
    corners = np.ceil(reachable(positions)[:, ::-1] - len(filter_) / 2).astype(np.int64)
    raw = _cutouts(data, corners, len(filter_))
    filtered = _filtered_cutouts(data, corners, filter_)
    peak, response = raw[:, half, half], filtered[:, half, half]
    with np.errstate(divide="ignore", invalid="ignore"):
        others = (np.sum(raw * circle.astype(np.float64), axis=(1, 2)) - peak) / (circle.sum() - 1)
        return (peak - others) / response, _roundness(filtered, half)


def _cutouts(image: np.ndarray, corners: np.ndarray, size: int) -> np.ndarray:
    """Squares (n, size, size) of ``image`` from ``corners`` (n, 2) row, column on; zero outside."""
    rows = corners[:, 0, None, None] + np.arange(size)[:, None]
    columns = corners[:, 1, None, None] + np.arange(size)
    inside = (rows >= 0) & (rows < image.shape[0]) & (columns >= 0) & (columns < image.shape[1])
    clipped = np.clip(rows, 0, image.shape[0] - 1), np.clip(columns, 0, image.shape[1] - 1)
    return np.where(inside, image[clipped], image.dtype.type(0))


def _filtered_cutouts(data: np.ndarray, corners: np.ndarray, filter_: np.ndarray) -> np.ndarray:
    """Squares of ``data`` convolved with ``filter_``, as ``_cutouts`` of the whole convolved image."""
    size, half = len(filter_), len(filter_) // 2
    wide = _cutouts(data, corners - half, size + 2 * half)
    total = np.zeros((len(corners), size, size))
    for dy in range(size):
        for dx in range(size):
            if filter_[dy, dx]:
                window = wide[:, dy : dy + size, dx : dx + size]
                total += filter_[dy, dx] * window.astype(np.float64)
    inside = _cutouts(np.ones(data.shape, bool), corners, size)
    return np.where(inside, total.astype(data.dtype), data.dtype.type(0))


def _roundness(filtered: np.ndarray, half: int) -> np.ndarray:
    around = filtered.copy()
    around[:, half, half] = 0
    axes = (1, 2)
    first = around[:, : half + 1, half + 1 :].sum(axis=axes)
    second = around[:, :half, : half + 1].sum(axis=axes)
    third = around[:, half:, :half].sum(axis=axes)
    fourth = around[:, half + 1 :, half:].sum(axis=axes)
    total = np.abs(around).sum(axis=axes)
    rounded: np.ndarray = 2.0 * (second - first - third + fourth) / np.where(total, total, np.nan)
    return rounded
