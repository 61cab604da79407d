"""Light where it is dispersed: spectra side by side on the detector, known in every pixel."""

from __future__ import annotations

import numpy as np

from jwpipe.simulate.chance import generator
from jwpipe.simulate.detectors import Detector, Subarray

_FEWEST_PIXELS_APART = 14.0
_WIDTH = 1.6
_REACH = 12
_LINES = 12


def spectra(detector: Detector, region: Subarray, seed: int) -> np.ndarray:
    """Count rate of the light in DN/s, shape (ny, nx) float32: bent traces with a continuum and emission lines.

    They run along x; along y with MIRI. A trace is the same in every subarray of a detector.
    """
    if detector.mid_infrared:
        flipped = Subarray(region.name, region.y0, region.x0, region.ny, region.nx)
        return np.ascontiguousarray(_along_x(flipped, detector.columns, seed).T)
    return _along_x(region, detector.rows, seed)


def _along_x(region: Subarray, side: int, seed: int) -> np.ndarray:
    rng = generator("spectra", seed)
    count = int(side / (2 * _FEWEST_PIXELS_APART))
    middles = (np.arange(count) + rng.uniform(0.3, 0.7, count)) * side / count
    brightness = 10 ** rng.uniform(-0.3, 1.7, count)
    x = region.x0 + np.arange(region.nx, dtype=np.float32)
    light = np.full((region.ny, region.nx), 0.05, np.float32)
    for middle, level in zip(middles, brightness, strict=True):
        spectrum = level * _spectrum(rng, x)
        first, last = (int(middle) + reach - region.y0 for reach in (-_REACH, _REACH + 4))
        rows = slice(min(max(first, 0), region.ny), min(max(last, 0), region.ny))
        y = region.y0 + np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
        ridge = middle + 4.0 * ((x - 1024.0) / 1024.0) ** 2
        light[rows] += spectrum * np.exp(-0.5 * ((y - ridge) / _WIDTH) ** 2)
    return light


def _spectrum(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """A smooth continuum around 1 with lines on top."""
    slope, wave = rng.uniform(-0.4, 0.4), rng.uniform(0.0, 2 * np.pi)
    spectrum = 1.0 + slope * (x - 1024.0) / 1024.0 + 0.2 * np.sin(x / 300.0 + wave)
    for place, height in zip(
        rng.uniform(0, 2048, _LINES), rng.uniform(0.5, 6, _LINES), strict=True
    ):
        spectrum += height * np.exp(-0.5 * ((x - place) / 1.3) ** 2)
    return np.asarray(spectrum, np.float32)
