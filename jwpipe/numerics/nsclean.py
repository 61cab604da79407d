"""Correlated noise of the near-infrared detectors, fitted in frequency space to the pixels that show background.

Rauscher 2024, PASP 136, 015001 (NSClean), with the constants of the JWST calibration pipeline 3.0.0. Images are in the
detector's frame: the fast readout direction runs along x, one line after another.

Frames of 2048 x 2048 pixels are fitted here, line by line, with the lowest frequencies; ``nsclean_series.py`` is for
subarrays. The density of the samples, whose reciprocal is their weight, is taken one line and one sample earlier, and
the smoothed model moves on as far: so they do in the JWST calibration pipeline.
"""

from functools import cache
from math import pi, sqrt

import numpy as np

from jwpipe.numerics.jit import kernel
from jwpipe.numerics.medians import middle_of

WEIGHTS_SIGMA = 32.0
BUFFER_SIGMA = 1.5
CRITICAL_FREQUENCY = 1 / 256
ROLL_OFF = 1 / 1024
# Lines of reference pixels at both ends of a frame.
EDGE = 4
SIGMA = 3.0
MAD = 1.4826
# Below lies what the transforms leave where there are no samples.
LEAST_DENSITY = 1e-6
BLOCK = 256


def frame_model(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The noise of a full frame as Fourier coefficients of its lines.

    Parameters
    ----------
    image, mask
        The frame (line, x) without its background, and where it can be used.

    Returns
    -------
    coefficients (2 K, line) float64
        For each line those of cos(2 pi k x / nx), then those of sin: ``waves`` evaluates them.
    """
    nx = image.shape[1]
    spectrum = np.zeros((image.shape[0], _filter(nx).size), np.complex128)
    before = np.roll(mask, 1, axis=0)
    # After a line that cannot be used its own samples tell their density.
    before = np.where(before.any(axis=1, keepdims=True), before, mask)
    for start in range(0, image.shape[0], BLOCK):
        lines = slice(start, start + BLOCK)
        spectrum[lines] = _fitted_lines(image[lines], mask[lines], before[lines])
    spectrum[:EDGE] = spectrum[-EDGE:] = 0
    return _real(_smoothed(spectrum) * _one_later(nx))


def waves(size: int) -> np.ndarray:
    """What the coefficients of `frame_model` belong to (2 K, x)."""
    phases = 2 * pi / size * np.outer(np.arange(_filter(size).size), np.arange(size))
    return np.concatenate([np.cos(phases), np.sin(phases)])


@cache
def _filter(size: int) -> np.ndarray:
    """The gain of the frequencies that are fitted: 1, towards the end falling to 0 as half a cosine does."""
    frequencies = np.fft.rfftfreq(size)
    fall = (1 + np.cos(pi * (frequencies - CRITICAL_FREQUENCY) / ROLL_OFF + pi / 2)) / 2
    gain = np.where(frequencies <= CRITICAL_FREQUENCY - ROLL_OFF / 2, 1.0, fall)
    return gain[(frequencies <= CRITICAL_FREQUENCY + ROLL_OFF / 2) & (gain > 0)]


def _fitted_lines(image: np.ndarray, mask: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The filtered spectra (line, K) of some lines; ``before`` is the mask of the line before each."""
    nx, count = image.shape[1], _filter(image.shape[1]).size
    weights = _weights(mask, before)
    data = _without_outliers(np.ascontiguousarray(image, np.float32), np.ascontiguousarray(mask))
    phases = -2j * pi / nx * np.outer(np.arange(nx), np.arange(count))
    transform = np.exp(phases)
    moments = weights @ transform
    right = (weights * data) @ transform
    rank = np.arange(count)
    lag = rank[:, None] - rank[None, :]
    normal = moments[:, np.abs(lag)]
    normal = np.where(lag < 0, normal.conj(), normal)
    # A line of fewer samples than unknowns tells nothing.
    telling = mask.sum(axis=1) >= count
    normal[~telling] = np.eye(count)
    right[~telling] = 0
    solved = _solved(normal, right)
    return solved * _filter(nx)


def _solved(normal: np.ndarray, right: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.solve(normal, right[..., None])[..., 0]
    except np.linalg.LinAlgError:
        return (np.linalg.pinv(normal, hermitian=True) @ right[..., None])[..., 0]


def _weights(mask: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Squared weights of the samples (line, x): where they are dense each weighs less."""
    nx = mask.shape[1]
    spectrum = np.fft.rfft(before.astype(np.float32), axis=1) * _density_kernel(nx)
    density = np.fft.irfft(spectrum, nx, axis=1)
    usable = mask & (density > LEAST_DENSITY)
    return np.divide(1, density, out=np.zeros(mask.shape), where=usable) ** 2


@cache
def _density_kernel(nx: int) -> np.ndarray:
    """The transform of the Gaussian by which the density of samples is found, one sample late."""
    x = np.arange(nx) - (nx // 2 + 1)
    gauss = np.exp(-(x**2) / WEIGHTS_SIGMA**2 / 2) / WEIGHTS_SIGMA / sqrt(2 * pi)
    return np.fft.rfft(np.fft.ifftshift(gauss)).astype(np.complex64)


@kernel
def _without_outliers(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The samples of each line, those beyond 3 robust sigma from its median replaced by it; 0 where unused."""
    ny, nx = image.shape
    result = np.zeros((ny, nx))
    values, few = np.empty(nx, np.float32), np.empty(nx, np.float32)
    for y in range(ny):
        count = 0
        for x in range(nx):
            if mask[y, x]:
                values[count] = image[y, x]
                count += 1
        if count == 0:
            continue
        middle = np.float32(middle_of(values, count, few))
        for i in range(count):
            values[i] = abs(values[i] - middle)
        reach = SIGMA * MAD * middle_of(values, count, few)
        for x in range(nx):
            if mask[y, x]:
                inside = middle - reach <= image[y, x] <= middle + reach
                result[y, x] = image[y, x] if inside else middle
    return result


def _smoothed(spectrum: np.ndarray) -> np.ndarray:
    """Spectra smoothed over the lines by a Gaussian, circularly, one line late."""
    reach = 12
    result = np.zeros_like(spectrum)
    for d in range(-reach, reach + 1):
        weight = np.exp(-((d / BUFFER_SIGMA) ** 2) / 2) / BUFFER_SIGMA / sqrt(2 * pi)
        result += weight * np.roll(spectrum, d + 1, axis=0)
    return result


def _one_later(nx: int) -> np.ndarray:
    """The phases (K) that move a line on by one sample."""
    return np.exp(-2j * pi / nx * np.arange(_filter(nx).size))


def _real(spectrum: np.ndarray) -> np.ndarray:
    """The coefficients (2 K, line) of cosines and sines in the inverse transform of one-sided spectra (line, K)."""
    twice = np.where(np.arange(spectrum.shape[1]) > 0, 2.0, 1.0)
    return np.concatenate([(twice * spectrum.real).T, (-twice * spectrum.imag).T])
