"""Simple Improved Reference Subtraction: the noise of each output from the reference columns, by optimal kernels.

A ``sirskernel`` reference holds for each detector the Fourier coefficients ``gamma`` (left columns) and ``zeta``
(right columns) of each output, (output, frequency). In time they are kernels, cut to ``2 * halfwidth + 1`` rows and
smoothed by a Gaussian. The noise of an output in a row is the convolution of the mean of the left columns with its
left kernel, plus that of the right columns with its right one. Pixels further from the median of all than
``sigreject`` standard deviations do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

WIDTH = 4
DEVIATIONS = 1.48
"""Standard deviation of a normal distribution in median absolute deviations."""


def sirs_kernels(
    tree: Mapping[str, Any], detector: str, gaussmooth: float, halfwidth: int
) -> np.ndarray | None:
    """The kernels (side, output, row) of a detector, left side first; ``None`` where the reference has none."""
    found = next((tree[name] for name in tree if name.lower() == detector.lower()), None)
    if not isinstance(found, Mapping) or not {"gamma", "zeta"} <= set(found):
        return None
    rows = np.arange(-halfwidth, halfwidth + 1)
    window = np.exp(-(rows**2) / (2 * gaussmooth**2))
    window /= window.sum()
    sides = [_in_time(np.asarray(found[name]), halfwidth) for name in ("gamma", "zeta")]
    return np.array(
        [[np.convolve(kernel, window, mode="same") for kernel in side] for side in sides]
    )


def _in_time(coefficients: np.ndarray, halfwidth: int) -> np.ndarray:
    middle = coefficients.shape[-1] - 1
    whole = np.fft.fftshift(np.fft.irfft(coefficients, axis=-1), axes=-1)
    return np.asarray(whole[:, middle - halfwidth : middle + halfwidth + 1])


def sirs_levels(
    left: np.ndarray, right: np.ndarray, kernels: np.ndarray, sigreject: float
) -> np.ndarray:
    """The noise (i, g, output, row), DN, from the reference columns (i, g, row, column) at either end."""
    integrations, groups, rows = left.shape[:3]
    levels = np.empty((integrations, groups, kernels.shape[1], rows))
    for place in np.ndindex(integrations, groups):
        sides = [_mean_and_share(side[place], sigreject) for side in (left, right)]
        for output in range(kernels.shape[1]):
            levels[(*place, output)] = sum(
                _convolved(*side, kernel)
                for side, kernel in zip(sides, kernels[:, output], strict=True)
            )
    return levels


def _mean_and_share(columns: np.ndarray, sigreject: float) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the good pixels of each row over the number of all, and the share of good ones."""
    values = columns.astype(np.float64)
    apart = np.abs(values - np.median(values))
    good = apart <= sigreject * DEVIATIONS * np.median(apart)
    return (values * good).sum(axis=1) / WIDTH, good.sum(axis=1) / WIDTH


def _convolved(mean: np.ndarray, share: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The convolution, as large as if all pixels were good; 0 where none is, or the kernel is 0."""
    whole = np.convolve(np.ones_like(share), kernel, mode="same")
    good = np.convolve(share, kernel, mode="same")
    norm = np.divide(whole, good, out=np.zeros_like(good), where=good != 0)
    return np.asarray(np.convolve(mean, kernel, mode="same") * norm)
