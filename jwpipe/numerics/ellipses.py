"""Ellipses that stand for regions of flagged pixels: large cosmic-ray events."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from jwpipe.numerics.regions import Regions

# A hole is closed by eight pixels at least.
SMALLEST_RING = 8


class Ellipse(NamedTuple):
    """Centre (pixels), full axes (pixels) and angle of the major axis from the row direction (degree)."""

    x: float
    y: float
    minor: float
    major: float
    angle: float

    def holds(self, x: float, y: float) -> bool:
        """Tell whether a point lies inside, the angle mirrored as in the JWST calibration pipeline."""
        angle = np.radians(180 - self.angle)
        along = (x - self.x) * np.cos(angle) - (y - self.y) * np.sin(angle)
        across = (x - self.x) * np.sin(angle) + (y - self.y) * np.cos(angle)
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = (
                along**2 / (0.5 * self.major) ** 2 + across**2 / np.float64(0.5 * self.minor) ** 2
            )
        return bool(distance <= 1)

    def enlarged(self, factor: float, largest: float) -> "Ellipse":
        """Both axes longer by what the minor axis gains, ``largest`` at most, in whole radii."""
        gain = (factor - 1.0) * self.minor
        axes = self.minor * factor, self.major + gain
        minor, major = (2 * round(min(axis, largest) / 2) for axis in axes)
        return self._replace(minor=minor, major=major)


def holding(candidates: Sequence[Ellipse], points: Sequence[Ellipse]) -> np.ndarray:
    """Which of the ``candidates`` hold the centre of any of the ``points``."""
    held = np.zeros(len(candidates), np.bool_)
    if not candidates:
        return held
    x, y, minor, major, _ = np.array(candidates).T
    reach = 0.5 * np.maximum(abs(minor), abs(major)) + 1
    for point in points:
        near = (x - point.x) ** 2 + (y - point.y) ** 2 <= reach**2
        for k in np.flatnonzero(near & ~held).tolist():
            held[k] = candidates[k].holds(point.x, point.y)
    return held


def ellipses(regions: Regions, least: float) -> Iterator[Ellipse]:
    """Ellipses of the regions whose area, holes filled, is ``least`` or more.

    Centre, axes and angle are those of an ellipse with the same second moments as the pixels, axes a pixel shorter.
    """
    order = np.argsort(regions.label, kind="stable")
    ends = np.cumsum(regions.area)
    spans = (regions.box[:, 1] - regions.box[:, 0]) * (regions.box[:, 3] - regions.box[:, 2])
    holed = (regions.area >= SMALLEST_RING) & (spans >= least)
    for region in np.flatnonzero((regions.area >= least) | holed):
        pixels = order[ends[region] - regions.area[region] : ends[region]]
        top, bottom, left, right = (int(value) for value in regions.box[region])
        image = np.zeros((bottom - top, right - left), np.uint8)
        image[regions.y[pixels] - top, regions.x[pixels] - left] = 1
        if pixels.size >= least or _filled_area(image) >= least:
            yield _ellipse(image, top, left)


def _filled_area(image: np.ndarray) -> int:
    from scipy.ndimage import binary_fill_holes

    return int(binary_fill_holes(image, np.ones((3, 3))).sum())


def _ellipse(image: np.ndarray, top: int, left: int) -> Ellipse:
    """The ellipse of the pixels that are set in ``image``, whose corner lies at ``top`` and ``left``."""
    n, x, y, minor, major, angle = _moments(image.tobytes(), *image.shape)
    return Ellipse((x + n * left) / n, (y + n * top) / n, minor, major, angle)


@lru_cache(maxsize=1 << 14)
def _moments(pixels: bytes, height: int, width: int) -> tuple[int, int, int, float, float, float]:
    """Pixels that are set in an image, sums of their places along x and y, axes and angle of their ellipse.

    Most jumps have one of few shapes. Moments are rounded as the library rounds them: pixels on the rim of a circle
    hang on the last digit.
    """
    from skimage.measure import inertia_tensor, inertia_tensor_eigvals, moments_central

    image = np.frombuffer(pixels, np.uint8).reshape(height, width)
    n = int(image.sum(dtype=np.int64))
    y = int((image.sum(axis=1, dtype=np.int64) * np.arange(image.shape[0])).sum())
    x = int((image.sum(axis=0, dtype=np.int64) * np.arange(image.shape[1])).sum())
    tensor = inertia_tensor(image, moments_central(image, (y / n, x / n), order=3))
    major, minor = inertia_tensor_eigvals(image, T=tensor)
    (across, mixed), (_, down) = tensor
    angle = 0.5 * np.arctan2(-2 * mixed, down - across)
    if across == down:
        angle = np.copysign(np.pi / 4, -mixed) if mixed else -np.pi / 4
    axes = 4 * float(np.sqrt(minor)) - 1, 4 * float(np.sqrt(major)) - 1
    return n, x, y, *axes, float(np.degrees(angle))


def pixels_inside(ellipse: Ellipse, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels inside an ellipse whose centre and semi-axes are rounded to pixels."""
    from skimage.draw import ellipse as draw

    minor, major = round(ellipse.minor / 2), round(ellipse.major / 2)
    if minor == 0 or major == 0:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    rows, columns = draw(
        round(ellipse.y), round(ellipse.x), major, minor, shape, np.radians(ellipse.angle)
    )
    return rows, columns
