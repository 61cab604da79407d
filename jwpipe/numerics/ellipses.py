"""Ellipses that stand for regions of flagged pixels: large cosmic-ray events."""

from collections.abc import Iterator
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


def ellipses(regions: Regions, least: float) -> Iterator[Ellipse]:
    """Ellipses of the regions whose area, holes filled, is ``least`` or more."""
    from skimage.measure import regionprops

    spans = (regions.box[:, 1] - regions.box[:, 0]) * (regions.box[:, 3] - regions.box[:, 2])
    holed = (regions.area >= SMALLEST_RING) & (spans >= least)
    order = np.argsort(regions.label, kind="stable")
    ends = np.cumsum(regions.area)
    for region in np.flatnonzero((regions.area >= least) | holed):
        pixels = order[ends[region] - regions.area[region] : ends[region]]
        top, bottom, left, right = (int(value) for value in regions.box[region])
        image = np.zeros((bottom - top, right - left), np.uint8)
        image[regions.y[pixels] - top, regions.x[pixels] - left] = 1
        (shape,) = regionprops(image)
        if shape.area_filled >= least:
            row, column = shape.centroid
            yield Ellipse(
                float(column) + left,
                float(row) + top,
                shape.axis_minor_length - 1,
                shape.axis_major_length - 1,
                float(np.degrees(shape.orientation)),
            )


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
