"""The character of every pixel of a detector: bias, gain, noise, dark current, response, nonlinearity, defects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jwpipe.dq import Pixel
from jwpipe.simulate.chance import key, normal_field, uniform_field
from jwpipe.simulate.detectors import FRAME_SIDE, REFERENCE_BORDER, Detector, Subarray
from jwpipe.simulate.geometry import Optics
from jwpipe.simulate.instruments import Instrument

NONLINEARITY = (9.0e-7, 2.5e-12, 5.0e-17)
"""Coefficients of M^2, M^3, M^4 that turn measured DN into linear DN, for a pixel of factor 1."""

_DO_NOT_USE_DARK = 5.0


@dataclass(frozen=True, eq=False)
class Pixels:
    """Maps (ny, nx) over a subarray, float32: what is true of the pixels, not what a reference file says.

    ``bias`` DN; ``gain`` e-/DN; ``read_noise`` DN of one frame; ``dark`` DN/s; ``anomaly`` DN that fade after the
    reset; ``response`` to uniform light, the pixel's area on the sky included; ``area`` that area alone over the
    nominal one; ``curvature`` times ``NONLINEARITY``; ``well`` DN above the bias where the pixel is full; ``dq``
    flags (uint32).
    """

    bias: np.ndarray
    gain: np.ndarray
    read_noise: np.ndarray
    dark: np.ndarray
    anomaly: np.ndarray
    response: np.ndarray
    area: np.ndarray
    curvature: np.ndarray
    well: np.ndarray
    dq: np.ndarray

    @property
    def sensitive(self) -> np.ndarray:
        """True where a pixel sees light: all but the reference pixels."""
        return (self.dq & np.uint32(Pixel.REFERENCE_PIXEL)) == 0

    def coefficients(self) -> np.ndarray:
        """The linearity polynomial (5, ny, nx) float32: constant, linear, quadratic ..."""
        ones = np.ones_like(self.curvature)
        return np.stack([0 * ones, ones, *(c * self.curvature for c in NONLINEARITY)])

    def inverse_coefficients(self) -> np.ndarray:
        """The polynomial (6, ny, nx) float32 back from linear to measured counts, fitted up to the full well.

        Residuals from a straight line are fitted at counts that are the same for all pixels.
        """
        linear = np.linspace(0.0, 1.1 * float(self.well.max()), 12)
        residual = measured_counts(linear[:, None, None], self.curvature) - linear[:, None, None]
        share = linear / linear[-1]
        fit = np.linalg.pinv(np.stack([share**k for k in range(2, 6)], axis=1))
        powers = linear[-1] ** np.arange(2.0, 6.0)[:, None, None]
        higher = np.tensordot(fit, residual, axes=1) / powers
        ones = np.ones((1, *self.curvature.shape))
        return np.concatenate([0 * ones, ones, higher]).astype(np.float32)


def measured_counts(linear: np.ndarray, curvature: np.ndarray) -> np.ndarray:
    """Counts with nonlinearity of ``linear`` ones: the polynomial of ``NONLINEARITY`` inverted by Newton's method."""
    a2, a3, a4 = (factor * curvature.astype(np.float64) for factor in NONLINEARITY)
    found = linear * np.ones_like(a2)
    for _ in range(4):
        value = found * (1.0 + found * (a2 + found * (a3 + found * a4))) - linear
        slope = 1.0 + found * (2.0 * a2 + found * (3.0 * a3 + found * 4.0 * a4))
        found = found - value / slope
    return np.asarray(found)


class _Fields:
    """Random maps of one detector, cut to a subarray."""

    def __init__(self, detector: str, region: Subarray) -> None:
        self._detector = detector
        self._cut = (region.y0, region.x0, region.ny, region.nx, FRAME_SIDE)

    def normal(self, name: str) -> np.ndarray:
        """Normal deviates (y, x), the same for each name."""
        return normal_field(key(self._detector, name), *self._cut)

    def uniform(self, name: str) -> np.ndarray:
        """Uniform deviates from 0 to 1 (y, x), the same for each name."""
        return uniform_field(key(self._detector, name), *self._cut)


def fields(detector: str, region: Subarray) -> _Fields:
    """The source of random maps for ``detector``; the same pixel always gets the same number."""
    return _Fields(detector, region)


def pixels(optics: Optics, region: Subarray, instrument: Instrument) -> Pixels:
    """The pixels of a detector behind a filter, over ``region``."""
    detector = optics.detector
    draw = fields(detector.name, region)
    y, x = np.ogrid[region.y0 : region.y0 + region.ny, region.x0 : region.x0 + region.nx]
    sensitive = _sensitive(detector, x, y)
    area = optics.relative_area(region)
    dark, dq = _dark_and_defects(draw, instrument, sensitive)
    response = area * _quantum_efficiency(draw, x, y, instrument.flat_rms)
    response[(dq & np.uint32(Pixel.DEAD)) > 0] = 0.0
    curvature = instrument.nonlinearity * (1.0 + 0.05 * draw.normal("curvature"))
    return Pixels(
        bias=_bias(draw, detector, x, y, instrument.bias),
        gain=(detector.gain * (1.0 + 0.01 * draw.normal("gain"))).astype(np.float32),
        read_noise=(instrument.read_noise * np.exp(0.12 * draw.normal("read noise"))).astype(
            np.float32
        ),
        dark=dark,
        anomaly=(
            instrument.reset_anomaly * (1.0 + 0.3 * draw.normal("anomaly")) * sensitive
        ).astype(np.float32),
        response=(response * sensitive).astype(np.float32),
        area=area,
        curvature=np.where(sensitive, curvature, 0.0).astype(np.float32),
        well=(instrument.full_well * (1.0 + 0.03 * draw.normal("well"))).astype(np.float32),
        dq=dq,
    )


def _sensitive(detector: Detector, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pixels that see light: not those of the border, which MIRI has at the ends of its rows alone."""
    columns = (x >= REFERENCE_BORDER) & (x < detector.columns - REFERENCE_BORDER)
    rows = (y >= REFERENCE_BORDER) & (y < detector.rows - REFERENCE_BORDER)
    return columns & (rows | detector.mid_infrared)


def _bias(
    draw: _Fields, detector: Detector, x: np.ndarray, y: np.ndarray, level: float
) -> np.ndarray:
    """Amplifiers apart by hundreds of DN, odd and even columns by tens, rows settling after the reset.

    Columns and rows are those of reading. MIRI's amplifiers take turns along a row, and its rows do not settle.
    """
    fast, slow = (x, y) if abs(detector.fast_axis) == 1 else (y, x)
    amplifiers = np.array([-160.0, 90.0, 210.0, -60.0])
    if detector.mid_infrared:
        level = level + amplifiers[fast % 4] + 18.0 * np.where(slow % 2 == 0, 1.0, -1.0)
        return np.asarray(level + 35.0 * draw.normal("bias"), np.float32)
    amplifier = amplifiers[fast // (FRAME_SIDE // 4)]
    columns = 18.0 * np.where(fast % 2 == 0, 1.0, -1.0)
    settling = 120.0 * np.exp(-slow / 250.0)
    return (level + amplifier + columns + settling + 35.0 * draw.normal("bias")).astype(np.float32)


def _quantum_efficiency(draw: _Fields, x: np.ndarray, y: np.ndarray, scatter: float) -> np.ndarray:
    """Response of the pixels: a smooth slope over the detector, two rings, and pixel-to-pixel scatter."""
    u, v = x / FRAME_SIDE - 0.5, y / FRAME_SIDE - 0.5
    smooth = 1.0 + 0.03 * u - 0.02 * v - 0.05 * (u * u + v * v)
    rings = 0.006 * np.cos(40.0 * np.hypot(u - 0.2, v + 0.1))
    pixel = np.maximum(1.0 + scatter * draw.normal("response"), 0.2)
    return np.asarray((smooth + rings) * pixel)


def _dark_and_defects(
    draw: _Fields, instrument: Instrument, sensitive: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    dark = instrument.dark_current * np.exp(0.3 * draw.normal("dark"))
    lot = draw.uniform("defect")
    hot = sensitive & (lot < instrument.hot_fraction)
    dead = sensitive & (lot > 1.0 - instrument.dead_fraction)
    dark[hot] = 10 ** (2.5 * draw.uniform("heat")[hot] - 1.0)
    dq = np.zeros(dark.shape, np.uint32)
    dq[hot] |= np.where(dark[hot] < 1.0, Pixel.WARM, Pixel.HOT).astype(np.uint32)
    dq[dark > _DO_NOT_USE_DARK] |= np.uint32(Pixel.DO_NOT_USE)
    dq[dead] |= np.uint32(Pixel.DEAD | Pixel.DO_NOT_USE)
    dq[~sensitive] |= np.uint32(Pixel.REFERENCE_PIXEL)
    return (dark * sensitive).astype(np.float32), dq
