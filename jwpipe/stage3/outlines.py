"""The outline of a mosaic: the union of its exposures' footprints, in the plane of its pixels.

Great circles are straight in a tangent projection, so footprints are polygons there. Every side is cut
where others cross or touch it; the pieces with nothing on their outer side make the outline.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

TOUCHING = 1e-3
"""Distance in pixels below which points and sides count as touching: S_REGION is rounded to 1e-4."""


def clip_to_frame(polygon: np.ndarray, frame: tuple[float, float, float, float]) -> np.ndarray:
    """The part (m, 2) of a convex polygon (n, 2) within left, right, bottom, top; (0, 2) for none."""
    left, right, bottom, top = frame
    for axis, bound, sign in ((0, left, 1), (0, right, -1), (1, bottom, 1), (1, top, -1)):
        heights = sign * (polygon[:, axis] - bound)
        kept: list[np.ndarray] = []
        for k in range(len(polygon)):
            if heights[k - 1] * heights[k] < 0:
                share = heights[k - 1] / (heights[k - 1] - heights[k])
                kept.append(polygon[k - 1] + share * (polygon[k] - polygon[k - 1]))
            if heights[k] >= 0:
                kept.append(polygon[k])
        polygon = np.array(kept).reshape(-1, 2)
    return polygon


def union(polygons: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outlines (n, 2) of the union of polygons (n, 2), counter-clockwise; holes are filled.

    Points closer than ``TOUCHING`` are one point.
    """
    turned = [p if _area(p) > 0 else p[::-1] for p in polygons if len(p) > 2 and _area(p) != 0]
    if not turned:
        return []
    starts = np.concatenate(turned)
    ends = np.concatenate([np.roll(p, -1, axis=0) for p in turned])
    owner = np.repeat(np.arange(len(turned)), [len(p) for p in turned])
    pieces: dict[tuple[bytes, bytes], tuple[np.ndarray, np.ndarray]] = {}
    for start, end in zip(starts, ends, strict=True):
        for a, b in _cut(start, end, starts, ends):
            if _name(a) != _name(b) and not _covered(a, b, starts, ends, owner):
                pieces.setdefault((_name(a), _name(b)), (a, b))
    loops = _chained(list(pieces.values()))
    return [
        straightened
        for loop in loops
        if len(straightened := _straight(loop)) > 2 and _area(loop) > 0
    ]


def _area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def _name(point: np.ndarray) -> bytes:
    """The same for points that are one point."""
    return np.rint(point / TOUCHING).astype(np.int64).tobytes()


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _cut(
    start: np.ndarray, end: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """A side in pieces, cut where other sides cross it and at vertices that lie on it."""
    along, length = end - start, float(np.hypot(*(end - start)))
    other = ends - starts
    turn = _cross(along, other)
    with np.errstate(divide="ignore", invalid="ignore"):
        here = _cross(starts - start, other) / turn
        there = _cross(starts - start, along) / turn
    crossing = (here > 0) & (here < 1) & (there >= 0) & (there <= 1)
    offset = starts - start
    foot = offset @ along / length**2
    on_side = (np.abs(_cross(along, offset)) < TOUCHING * length) & (foot > 0) & (foot < 1)
    points = [start, *(start + here[crossing, None] * along), *starts[on_side], end]
    order = np.argsort([(p - start) @ along for p in points], kind="stable")
    ordered = [points[k] for k in order]
    return list(pairwise(ordered))


def _covered(
    a: np.ndarray, b: np.ndarray, starts: np.ndarray, ends: np.ndarray, owner: np.ndarray
) -> bool:
    """Whether a polygon lies on the outer side of the piece from ``a`` to ``b``.

    A point is in a polygon that a ray to the right leaves an odd number of times.
    """
    along = b - a
    x, y = (a + b) / 2 + 2 * TOUCHING * np.array([along[1], -along[0]]) / np.hypot(*along)
    spans = (starts[:, 1] > y) != (ends[:, 1] > y)
    (x1, y1), (x2, y2) = starts[spans].T, ends[spans].T
    right = x1 + (y - y1) / (y2 - y1) * (x2 - x1) > x
    return bool((np.bincount(owner[spans][right]) % 2).any())


def _chained(pieces: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """Closed loops (n, 2) of pieces laid end to end; of several ways on, the one furthest to the right."""
    leaving: dict[bytes, list[tuple[np.ndarray, np.ndarray]]] = {}
    for a, b in pieces:
        leaving.setdefault(_name(a), []).append((a, b))
    loops = []
    while leaving:
        first = next(iter(leaving))
        loop: list[np.ndarray] = []
        name, heading = first, np.array([1.0, 0.0])
        while name in leaving:
            ways = leaving[name]
            turns = [np.arctan2(_cross(heading, b - a), heading @ (b - a)) for a, b in ways]
            a, b = ways.pop(int(np.argmin(turns)))
            if not ways:
                del leaving[name]
            loop.append(a)
            name, heading = _name(b), b - a
            if name == first:
                loops.append(np.array(loop))
                break
    return loops


def _straight(loop: np.ndarray) -> np.ndarray:
    """A loop without the points that lie on the line between their neighbours."""
    before, after = np.roll(loop, 1, axis=0), np.roll(loop, -1, axis=0)
    bend = np.abs(_cross(loop - before, after - loop)) / np.linalg.norm(after - before, axis=1)
    return loop[bend > TOUCHING]
