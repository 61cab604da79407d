"""The point spread function of a segmented mirror, and what an aperture on a mosaic catches of it.

The pupil is that of an 18-segment hexagonal mirror with three struts; the image is its Fourier transform at a few
wavelengths of the band (a matrix transform, Soummer et al. 2007, Opt. Express 15, 15935), hence six bright spikes
and a faint horizontal pair. Images are sampled ``OVERSAMPLE`` times finer than the detector's pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from jwpipe.numerics.jit import kernel
from jwpipe.simulate.chance import generator

OVERSAMPLE = 4
PSF_PIXELS = 240
_PUPIL_SAMPLES = 320
_PUPIL_WIDTH = 6.64
_SEGMENT = 1.32
_GAP = 0.018
_STRUT = 0.14
_WAVELENGTHS = 5
_PISTON_NM = 20.0


def _segment_centres() -> list[tuple[float, float]]:
    """Centres (m) of the two rings of hexagons, flat side up."""
    pitch = _SEGMENT + _GAP
    return [
        (pitch * math.sqrt(3) / 2 * q, pitch * (r + q / 2))
        for q in range(-2, 3)
        for r in range(-2, 3)
        if 0 < max(abs(q), abs(r), abs(q + r)) <= 2
    ]


def _in_hexagon(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    half = _SEGMENT / 2
    slanted = np.maximum(np.abs(math.sqrt(3) * x + y), np.abs(math.sqrt(3) * x - y)) / 2
    return (np.abs(y) <= half) & (slanted <= half)


@lru_cache(maxsize=1)
def pupil() -> tuple[np.ndarray, np.ndarray]:
    """Transmission and wavefront error (nm) of the mirror, shape (n, n)."""
    edge = (np.arange(_PUPIL_SAMPLES) + 0.5) / _PUPIL_SAMPLES - 0.5
    x, y = np.meshgrid(edge * _PUPIL_WIDTH, edge * _PUPIL_WIDTH)
    open_to_light = np.zeros(x.shape)
    error = np.zeros(x.shape)
    rng = generator("mirror")
    for cx, cy in _segment_centres():
        inside = _in_hexagon(x - cx, y - cy)
        open_to_light[inside] = 1.0
        piston, tip, tilt = rng.normal(0.0, _PISTON_NM, 3)
        error[inside] = (piston + tip * (x - cx) + tilt * (y - cy))[inside]
    for angle in (90.0, 240.0, 300.0):
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        along, across = x * cosine + y * sine, y * cosine - x * sine
        open_to_light[(along > 0) & (np.abs(across) < _STRUT / 2)] = 0.0
    return open_to_light, error


def _monochromatic(wavelength: float, pixel_scale: float) -> np.ndarray:
    """Intensity on the fine grid at ``wavelength`` (micron)."""
    light, error = pupil()
    field = (light * np.exp(2j * math.pi * error / (wavelength * 1e3))).astype(np.complex64)
    count = PSF_PIXELS * OVERSAMPLE
    angle = (np.arange(count) - count // 2) * math.radians(pixel_scale / OVERSAMPLE / 3600.0)
    place = ((np.arange(_PUPIL_SAMPLES) + 0.5) / _PUPIL_SAMPLES - 0.5) * _PUPIL_WIDTH
    waves = np.exp(-2j * math.pi / (wavelength * 1e-6) * np.outer(angle, place))
    transform = waves.astype(np.complex64)
    amplitude = transform @ field @ transform.T
    return amplitude.real**2 + amplitude.imag**2


@lru_cache(maxsize=8)
def point_spread(wavelength: float, bandwidth: float, pixel_scale: float) -> np.ndarray:
    """The fine-sampled image of a star, sum 1, centred on sample (n // 2, n // 2).

    It fades to nothing at the edge of a disc ``PSF_PIXELS`` wide, so that no square shows around bright stars.
    """
    steps = (np.arange(_WAVELENGTHS) + 0.5) / _WAVELENGTHS - 0.5
    image = sum(_monochromatic(wavelength + bandwidth * step, pixel_scale) for step in steps)
    count = PSF_PIXELS * OVERSAMPLE
    edge = (np.arange(count) - count // 2) / (count / 2)
    radius = np.hypot(edge[:, None], edge)
    fade = np.clip((1.0 - radius) / 0.25, 0.0, 1.0)
    image = _centred(np.asarray(image)) * (fade * fade * (3 - 2 * fade))
    return (image / image.sum()).astype(np.float32)


def _centred(image: np.ndarray) -> np.ndarray:
    """The image shifted so that the weighted centre of its core is at sample (n // 2, n // 2)."""
    from scipy import fft

    middle, reach = image.shape[0] // 2, 4 * OVERSAMPLE
    window = slice(middle - reach, middle + reach + 1)
    place = np.arange(-reach, reach + 1)
    weight = np.exp(-(place[:, None] ** 2 + place**2) / (2.0 * OVERSAMPLE) ** 2)
    spectrum = fft.rfft2(image)
    along_y, along_x = np.fft.fftfreq(image.shape[0]), np.fft.rfftfreq(image.shape[1])
    # the window hides part of the offset, so that it takes a few rounds
    for _ in range(3):
        core = image[window, window] * weight
        dy, dx = (float(core.sum(axis=axis) @ place / core.sum()) for axis in (1, 0))
        spectrum *= np.exp(2j * math.pi * (along_y[:, None] * dy + along_x * dx))
        image = np.asarray(fft.irfft2(spectrum, s=image.shape))
    return image


def blurred(image: np.ndarray, boxes: int, psf: np.ndarray | None = None) -> np.ndarray:
    """A fine-sampled image convolved ``boxes`` times with the square of a detector pixel, in Fourier space.

    It is convolved with ``psf`` too where that is given: of the same shape, centred on sample (n // 2, n // 2).
    """
    from scipy import fft

    ny, nx = image.shape
    along_y = np.sinc(np.fft.fftfreq(ny) * OVERSAMPLE) ** boxes
    along_x = np.sinc(np.fft.rfftfreq(nx) * OVERSAMPLE) ** boxes
    spectrum = fft.rfft2(image) * (along_y[:, None] * along_x).astype(np.float32)
    if psf is not None:
        spectrum *= fft.rfft2(fft.ifftshift(psf))
    return np.asarray(fft.irfft2(spectrum, s=image.shape))


@dataclass(frozen=True, eq=False)
class Stamp:
    """A source of unit flux as the pixels see it: samples of (source convolved with a pixel), times OVERSAMPLE^2."""

    samples: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray, psf: np.ndarray | None = None) -> Stamp:
        """The stamp of a fine-sampled image with sum 1, convolved with ``psf`` where given."""
        samples = blurred(image, 1, psf) * OVERSAMPLE**2
        return cls(np.ascontiguousarray(samples, dtype=np.float32))

    @classmethod
    def of_extended(cls, image: np.ndarray, psf: np.ndarray, reach: int) -> Stamp:
        """The stamp of an unblurred square image with sum 1; ``psf`` is used out to ``reach`` pixels."""
        from scipy import fft

        middle, margin = psf.shape[0] // 2, reach * OVERSAMPLE
        core = psf[middle - margin : middle + margin, middle - margin : middle + margin]
        half = fft.next_fast_len(image.shape[0] // 2 + margin)
        padded = np.pad(image, half - image.shape[0] // 2)
        return cls.of(padded, np.pad(core / core.sum(), half - margin))


@lru_cache(maxsize=8)
def star_stamp(wavelength: float, bandwidth: float, pixel_scale: float) -> Stamp:
    """The stamp of a star."""
    return Stamp.of(point_spread(wavelength, bandwidth, pixel_scale))


@kernel
def add_stamp(image, samples, x, y, flux):  # type: ignore[no-untyped-def]
    """Add a source at pixel (x, y) to ``image`` (ny, nx) in place, by cubic convolution of its samples.

    All pixels have the same phase on the fine grid, therefore sixteen weights serve the whole stamp.
    """
    ny, nx = image.shape
    height, width = samples.shape
    reach_y, reach_x = height / 2 / OVERSAMPLE - 1.0, width / 2 / OVERSAMPLE - 1.0
    first_y, first_x = max(math.ceil(y - reach_y), 0), max(math.ceil(x - reach_x), 0)
    last_y, last_x = (
        min(math.floor(y + reach_y), ny - 1),
        min(math.floor(x + reach_x), nx - 1),
    )
    base_y = (first_y - y) * OVERSAMPLE + height // 2
    base_x = (first_x - x) * OVERSAMPLE + width // 2
    start_y, start_x = math.floor(base_y), math.floor(base_x)
    weight_y, weight_x = _cubic(base_y - start_y), _cubic(base_x - start_x)
    for j in range(first_y, last_y + 1):
        row = start_y + (j - first_y) * OVERSAMPLE - 1
        for i in range(first_x, last_x + 1):
            column = start_x + (i - first_x) * OVERSAMPLE - 1
            total = 0.0
            for a in range(4):
                for b in range(4):
                    total += weight_y[a] * weight_x[b] * samples[row + a, column + b]
            image[j, i] += np.float32(flux * total)


@kernel
def _cubic(t):  # type: ignore[no-untyped-def]
    """Weights of four neighbouring samples at fraction ``t`` (Keys 1981, IEEE Trans. ASSP 29, 1153)."""
    weights = np.empty(4)
    for k in range(4):
        d = abs(t + 1.0 - k)
        if d <= 1.0:
            weights[k] = (1.5 * d - 2.5) * d * d + 1.0
        else:
            weights[k] = ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0
    return weights


@dataclass(frozen=True)
class Apertures:
    """Circular apertures for photometry on a mosaic: radii in its pixels, and the factor to the total flux."""

    fractions: tuple[float, ...]
    radii: np.ndarray
    corrections: np.ndarray
    sky_inner: float
    sky_outer: float


@lru_cache(maxsize=8)
def mosaic_apertures(wavelength: float, bandwidth: float, pixel_scale: float) -> Apertures:
    """Apertures and corrections for stars on a drizzled mosaic (square kernel, no shrinking, detector's pixel size).

    Averaged over dither phases a star is the optical image convolved with four pixel squares: the detector's pixel,
    the drop it is spread over, the mosaic's pixel collecting it, and the same pixel taken as constant by the
    aperture sum. The correction undoes the light outside the radius and what the sky annulus takes away.
    """
    image = blurred(point_spread(wavelength, bandwidth, pixel_scale), 4)
    fractions = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    radii = _enclosing_radii(image, fractions)
    inner = math.ceil(radii[-1]) + 6.0
    outer = inner + 6.0
    edge = (np.arange(image.shape[0]) - image.shape[0] // 2) / OVERSAMPLE
    radius = np.hypot(edge[:, None], edge)
    ring = image[(radius >= inner) & (radius < outer)]
    sky = _clipped_median(ring) * OVERSAMPLE**2
    corrections = 1.0 / (np.asarray(fractions) - sky * math.pi * radii**2)
    return Apertures(fractions, radii, corrections, inner, outer)


def _enclosing_radii(image: np.ndarray, fractions: tuple[float, ...]) -> np.ndarray:
    """Radii (pixels) of the circles that hold ``fractions`` of the light, by integrating the mean profile."""
    from scipy.ndimage import map_coordinates

    step = 0.05
    radius = np.arange(step / 2, 25.0, step)
    angle = np.linspace(0.0, 2 * math.pi, 72, endpoint=False)
    middle = image.shape[0] // 2
    y = middle + OVERSAMPLE * radius[:, None] * np.sin(angle)
    x = middle + OVERSAMPLE * radius[:, None] * np.cos(angle)
    profile = map_coordinates(image, [y, x], order=3).mean(axis=1) * OVERSAMPLE**2
    enclosed = np.cumsum(2 * math.pi * radius * profile * step)
    return np.interp(fractions, enclosed, radius + step / 2)


def _clipped_median(values: np.ndarray, sigma: float = 3.0, rounds: int = 10) -> float:
    """Median of values after throwing out those more than ``sigma`` away, repeatedly."""
    for _ in range(rounds):
        middle = np.median(values)
        kept = values[np.abs(values - middle) <= sigma * values.std()]
        if kept.size == values.size:
            break
        values = kept
    return float(np.median(values))
