"""Which pixels of an exposure are drizzled where the mosaic's edge cuts it.

The drizzle library looks at the pixels inside the outline of the overlap of exposure and mosaic, row by row; a pixel
that reaches into the mosaic from beyond it is left out, but for a margin. The outermost pixels of a mosaic get less
weight for it. The same pixels are taken here, so that the same numbers come out.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

MARGIN = 0.03
"""Tolerance of the library's inversion of the pixel map, in pixels."""
GOLDEN = (np.sqrt(5) - 1) / 2

Point = np.ndarray
Locate = Callable[[Point], Point]


def scan_limits(
    locate: Locate, low: tuple[int, int], high: tuple[int, int], frame: tuple[int, int]
) -> np.ndarray | None:
    """First column, and the one after the last, that are drizzled in each row; ``None`` where no edge cuts.

    Parameters
    ----------
    locate
        Position (x, y) in the exposure to position in the mosaic.
    low, high
        First and last usable (row, column) of the exposure.
    frame
        Rows and columns of the mosaic.

    Returns
    -------
    (high row + 1, 2) int64; rows that are not scanned have none.
    """
    bottom, left, top, right = low[0] - 0.5, low[1] - 0.5, high[0] + 0.5, high[1] + 0.5
    corners = np.array([[left, bottom], [right, bottom], [right, top], [left, top]])
    outline = _counterclockwise(np.array([locate(corner) for corner in corners]))
    clipped = _clipped(outline, frame)
    if len(clipped) < 3 or (len(clipped) == 4 and np.allclose(clipped, outline)):
        return None
    polygon = _counterclockwise(
        np.array([_inverted(locate, vertex, corners[0], corners[2]) for vertex in clipped])
    )
    return _rows(polygon, low, high)


def _counterclockwise(polygon: np.ndarray) -> np.ndarray:
    x, y = polygon.T
    area = (x * np.roll(y, -1) - np.roll(x, -1) * y).sum()
    return polygon if area > 0 else polygon[::-1]


def _clipped(polygon: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
    """The part of a convex polygon inside the frame (Sutherland & Hodgman 1974)."""
    for axis, sign, bound in (
        (0, 1, -0.5),
        (0, -1, 0.5 - frame[1]),
        (1, 1, -0.5),
        (1, -1, 0.5 - frame[0]),
    ):
        inside = sign * polygon[:, axis] - bound if len(polygon) else np.zeros(0)
        kept = []
        for k, vertex in enumerate(polygon):
            before, here = inside[k - 1], inside[k]
            if (before >= 0) != (here >= 0):
                kept.append(polygon[k - 1] + (vertex - polygon[k - 1]) * before / (before - here))
            if here >= 0:
                kept.append(vertex)
        polygon = np.array(kept).reshape(-1, 2)
    return polygon


def _inverted(locate: Locate, target: Point, low: Point, high: Point) -> Point:
    """The position in the exposure, between two corners, of a position in the mosaic.

    A golden-section search in both axes at once, as the library does it: it may end a few tenths of a pixel off, and
    the pixels at the edge depend on that.
    """
    low, high = low.copy(), high.copy()
    size = high.copy()
    while (size > MARGIN).any():
        inner, outer = high - GOLDEN * size, low + GOLDEN * size
        places = [
            (inner[0], inner[1]),
            (inner[0], outer[1]),
            (outer[0], inner[1]),
            (outer[0], outer[1]),
        ]
        misses = [((locate(np.array(place)) - target) ** 2).sum() for place in places]
        nearest = [k for k, miss in enumerate(misses) if miss == min(misses)]
        k = nearest[0] if len(nearest) == 1 else 3
        for axis, far in enumerate((k >> 1, k & 1)):
            if far:
                low[axis] = inner[axis]
            else:
                high[axis] = outer[axis]
        size = high - low
    return (low + high) / 2


def _rows(polygon: np.ndarray, low: tuple[int, int], high: tuple[int, int]) -> np.ndarray:
    """The columns of whole pixels inside the polygon, row by row."""
    limits = np.zeros((high[0] + 1, 2), np.int64)
    left, right = _chains(polygon)
    first = max(low[0], int(polygon[:, 1].min() + 0.5 + 2 * MARGIN))
    last = min(high[0], int(polygon[:, 1].max() + 2 * MARGIN))
    for y in range(first, last + 1):
        starts, ends = _crossings(left, y, 1), _crossings(right, y, -1)
        if starts is None or ends is None:
            break
        starts = [max(x - MARGIN, low[1]) for x in starts]
        ends = [min(x + MARGIN, high[1]) for x in ends]
        usable = [k for k in (0, 1) if starts[k] < ends[k]]
        if usable:
            start, end = max(starts[k] for k in usable), min(ends[k] for k in usable)
            limits[y] = _rounded(start), _rounded(end) + 1
    return limits


def _rounded(value: float) -> int:
    """The nearest integer, halves away from zero."""
    return int(np.copysign(np.floor(abs(value) + 0.5), value))


def _chains(polygon: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The vertices of a counterclockwise polygon from bottom to top, along its left and its right side."""
    order = np.lexsort((polygon[:, 0], polygon[:, 1]))
    count, bottom, top = len(polygon), polygon[order[0], 1], polygon[order[-1], 1]
    lowest = [int(k) for k in order if polygon[k, 1] == bottom]
    highest = [int(k) for k in order if polygon[k, 1] == top]

    def walk(start: int, stop: int, step: int) -> list[np.ndarray]:
        """The chain of corners from one to another."""
        chain = [polygon[start]]
        while start != stop:
            start = (start + step) % count
            chain.append(polygon[start])
        return chain

    return walk(lowest[0], highest[0], -1), walk(lowest[-1], highest[-1], 1)


def _crossings(chain: list[np.ndarray], y: int, inward: int) -> list[float] | None:
    """Where the edges at the bottom and the top of row ``y`` leave room for whole pixels; ``None`` above the chain."""
    found = []
    for level in (y - 0.5, y - MARGIN):
        edge = next((pair for pair in pairwise(chain) if pair[1][1] >= level), None)
        if edge is None:
            return None
        (x0, y0), (x1, y1) = edge
        slope = (x1 - x0) / (y1 - y0)
        found.append(x0 + slope * (y - y0) + inward * (0.5 + 0.5 * abs(slope)))
    return found
