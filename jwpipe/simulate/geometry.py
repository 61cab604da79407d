"""Where pixels look: detector pixel <-> V2V3 <-> sky, exactly, and the distortion as the reference file has it.

Pixels are 0-based on the full frame. A V2V3 direction is the unit vector (cos V2 cos V3, sin V2 cos V3, sin V3), a
place on the sky likewise; the attitude is the rotation matrix between the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from jwpipe.simulate.detectors import FRAME_SIDE, Detector, Subarray
from jwpipe.simulate.instruments import Filter

_ARCSEC = math.radians(1.0 / 3600.0)
_MIDDLE = (FRAME_SIDE - 1) / 2.0
_HALF = FRAME_SIDE / 2.0
_INVERSE_DEGREE = 5


@dataclass(frozen=True)
class Pointing:
    """The sky position and V3 roll angle (degrees) at a reference point (arcsec): RA_REF ... V3_REF."""

    ra: float
    dec: float
    roll: float
    v2: float
    v3: float


def _vector(longitude: Any, latitude: Any) -> np.ndarray:
    """Unit vectors (3, ...) of angles in radians."""
    cosine = np.cos(latitude)
    return np.stack([np.cos(longitude) * cosine, np.sin(longitude) * cosine, np.sin(latitude)])


def _triad(longitude: float, latitude: float, angle: float) -> np.ndarray:
    """Columns: the direction, and the two tangents at ``angle`` (from north over east) and 90 degrees on."""
    direction = _vector(longitude, latitude)
    east = np.array([-math.sin(longitude), math.cos(longitude), 0.0])
    north = np.cross(direction, east)
    up = math.cos(angle) * north + math.sin(angle) * east
    return np.stack([direction, np.cross(up, direction), up], axis=1)


def attitude(pointing: Pointing) -> np.ndarray:
    """The matrix (3, 3) that turns V2V3 vectors into sky vectors."""
    sky = _triad(math.radians(pointing.ra), math.radians(pointing.dec), math.radians(pointing.roll))
    telescope = _triad(pointing.v2 * _ARCSEC, pointing.v3 * _ARCSEC, 0.0)
    return sky @ telescope.T


def _rotate(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.tensordot(matrix, vectors, axes=1)


def to_sky(matrix: np.ndarray, v2: Any, v3: Any) -> tuple[np.ndarray, np.ndarray]:
    """RA and Dec (degrees) of V2 and V3 (arcsec)."""
    x, y, z = _rotate(matrix, _vector(np.asarray(v2) * _ARCSEC, np.asarray(v3) * _ARCSEC))
    return np.degrees(np.arctan2(y, x)) % 360.0, np.degrees(np.arctan2(z, np.hypot(x, y)))


def to_v2v3(matrix: np.ndarray, ra: Any, dec: Any) -> tuple[np.ndarray, np.ndarray]:
    """V2 and V3 (arcsec) of RA and Dec (degrees)."""
    x, y, z = _rotate(matrix.T, _vector(np.radians(ra), np.radians(dec)))
    return np.arctan2(y, x) / _ARCSEC, np.arctan2(z, np.hypot(x, y)) / _ARCSEC


def pointing_at(matrix: np.ndarray, v2: float, v3: float) -> Pointing:
    """The pointing of an attitude, told at another reference point."""
    ra, dec = (float(value) for value in to_sky(matrix, v2, v3))
    up = _triad(v2 * _ARCSEC, v3 * _ARCSEC, 0.0)[:, 2]
    east, north = _triad(math.radians(ra), math.radians(dec), 0.0)[:, 1:].T
    on_sky = matrix @ up
    roll = math.degrees(math.atan2(float(on_sky @ east), float(on_sky @ north)))
    return Pointing(ra, dec, roll % 360.0, v2, v3)


def _terms(x: Any, y: Any) -> tuple[np.ndarray, ...]:
    u, v = (np.asarray(x) - _MIDDLE) / _HALF, (np.asarray(y) - _MIDDLE) / _HALF
    return np.ones_like(u), u, v, u * u, u * v, v * v


def _slopes(coefficients: tuple[float, ...], x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives along x and y, arcsec per pixel."""
    _, u, v, *_ = _terms(x, y)
    _, cx, cy, cxx, cxy, cyy = coefficients
    return (cx + 2 * cxx * u + cxy * v) / _HALF, (cy + cxy * u + 2 * cyy * v) / _HALF


@dataclass(frozen=True)
class Optics:
    """The geometry of one detector behind one filter."""

    detector: Detector
    filter: Filter

    def to_v2v3(self, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """V2 and V3 (arcsec) of full-frame pixels; the filter shifts the image first."""
        dx, dy = self.filter.offset
        terms = _terms(np.asarray(x) + dx, np.asarray(y) + dy)
        v2 = sum(c * t for c, t in zip(self.detector.v2, terms, strict=True))
        v3 = sum(c * t for c, t in zip(self.detector.v3, terms, strict=True))
        return np.asarray(v2), np.asarray(v3)

    def _jacobian(self, x: Any, y: Any) -> tuple[np.ndarray, ...]:
        dx, dy = self.filter.offset
        shifted = np.asarray(x) + dx, np.asarray(y) + dy
        return *_slopes(self.detector.v2, *shifted), *_slopes(self.detector.v3, *shifted)

    def to_pixel(self, v2: Any, v3: Any) -> tuple[np.ndarray, np.ndarray]:
        """Pixels of V2 and V3, by Newton's method (exact to rounding)."""
        x = np.full(np.shape(v2), _MIDDLE)
        y = np.full(np.shape(v2), _MIDDLE)
        for _ in range(6):
            now2, now3 = self.to_v2v3(x, y)
            a, b, c, d = self._jacobian(x, y)
            miss2, miss3 = v2 - now2, v3 - now3
            determinant = a * d - b * c
            x = x + (d * miss2 - b * miss3) / determinant
            y = y + (a * miss3 - c * miss2) / determinant
        return x, y

    def relative_area(self, region: Subarray) -> np.ndarray:
        """Pixel area over the nominal one, shape (ny, nx), float32."""
        y, x = np.ogrid[region.y0 : region.y0 + region.ny, region.x0 : region.x0 + region.nx]
        a, b, c, d = self._jacobian(x, y)
        nominal = self.detector.pixel_scale**2
        return (np.abs(a * d - b * c) / nominal).astype(np.float32)

    def reference_point(self, region: Subarray) -> tuple[float, float]:
        """V2 and V3 at the middle of the subarray, without the filter's shift: V2_REF and V3_REF."""
        dx, dy = self.filter.offset
        v2, v3 = self.to_v2v3(
            region.x0 + (region.nx - 1) / 2 - dx, region.y0 + (region.ny - 1) / 2 - dy
        )
        return float(v2), float(v3)

    def y_angle(self, region: Subarray) -> float:
        """Angle from V3 to the detector's y axis at the middle of the subarray, degrees: V3I_YANG."""
        x, y = region.x0 + (region.nx - 1) / 2, region.y0 + (region.ny - 1) / 2
        _, v2_along_y, _, v3_along_y = self._jacobian(x, y)
        return math.degrees(math.atan2(float(v2_along_y), float(v3_along_y)))


def aberrated(
    scale: float, pointing: Pointing, v2: np.ndarray, v3: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """V2 and V3 scaled by ``scale`` about the reference point, as the telescope's motion does."""
    return (
        pointing.v2 + scale * (v2 - pointing.v2),
        pointing.v3 + scale * (v3 - pointing.v3),
    )


def distortion_model(detector: Detector) -> Any:
    """The astropy model pixel -> V2V3 with its polynomial inverse, as DISTORTION files hold it."""
    from astropy.modeling.models import Mapping, Polynomial2D, Shift

    def polynomial(coefficients: tuple[float, ...]) -> Any:
        """A polynomial of pixels, from coefficients in halves of the detector."""
        names = ("c0_0", "c1_0", "c0_1", "c2_0", "c1_1", "c0_2")
        powers = (0, 1, 1, 2, 2, 2)
        values = {n: c / _HALF**p for n, c, p in zip(names, coefficients, powers, strict=True)}
        return Polynomial2D(2, **values)

    split = Mapping((0, 1, 0, 1))
    model = Shift(-_MIDDLE) & Shift(-_MIDDLE) | split
    model = model | polynomial(detector.v2) & polynomial(detector.v3)
    centre2, centre3 = detector.centre
    to_x, to_y = _inverse_polynomials(detector)
    inverse = Shift(-centre2) & Shift(-centre3) | Mapping((0, 1, 0, 1)) | to_x & to_y
    model.inverse = inverse | Shift(_MIDDLE) & Shift(_MIDDLE)
    return model


def _inverse_polynomials(detector: Detector) -> tuple[Any, Any]:
    """Polynomials (V2, V3 from the centre) -> (x, y from the middle), least squares over the frame."""
    from astropy.modeling.fitting import LinearLSQFitter
    from astropy.modeling.models import Polynomial2D

    edge = np.linspace(-20.0, FRAME_SIDE + 19.0, 41)
    x, y = (grid.ravel() for grid in np.meshgrid(edge, edge))
    unshifted = Optics(detector, Filter("", detector.channel, 0.0, 0.0, 0.0, 0.0, (0.0, 0.0)))
    v2, v3 = unshifted.to_v2v3(x, y)
    fit = LinearLSQFitter()
    centre2, centre3 = detector.centre
    start = Polynomial2D(_INVERSE_DEGREE)
    places = v2 - centre2, v3 - centre3
    return fit(start, *places, x - _MIDDLE), fit(start, *places, y - _MIDDLE)
