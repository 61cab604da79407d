"""Which pixels of an exposure lie under another one: footprints on the sphere and their intersections.

A footprint is a polygon of unit vectors whose sides are great circles. Footprints of detectors are convex, and
their intersection is found by clipping one with the sides of the other (Sutherland & Hodgman 1974, CACM 17, 32); for
borders followed in small steps, which distortion bends inwards, spherical_geometry does it, slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import xarray as xr

from jwpipe.numerics.jit import kernel
from jwpipe.stage3.groups import members

SAME_SIDE = 1e-14
"""Sine of the angle, 2e-9 arcsec, by which a point may be outside and still count as on the border."""


@dataclass(frozen=True)
class Plan:
    """``regions[i][group]``: the pixels of exposure i, as runs (n, 3), that lie under another ``group``."""

    groups: dict[str, list[int]]
    regions: tuple[dict[str, np.ndarray], ...]


def plan_overlaps(
    exposures: Sequence[xr.Dataset], groups: Sequence[str], stepsize: int | None = None
) -> Plan:
    """Which pixels of each exposure lie under exposures of other groups, from WCS and shapes alone."""
    shapes = [(exposure.sizes["y"], exposure.sizes["x"]) for exposure in exposures]
    wcs = [exposure.attrs["wcs"] for exposure in exposures]
    prints = [footprint(*item, stepsize) for item in zip(wcs, shapes, strict=True)]
    outlines: list[list[tuple[str, np.ndarray]]] = [[] for _ in exposures]
    for i, j in neighbours(prints):
        if groups[i] == groups[j]:
            continue
        for outline in intersection(prints[i], prints[j]):
            outlines[i].append((groups[j], outline))
            outlines[j].append((groups[i], outline))
    regions = [_regions(*item) for item in zip(outlines, wcs, shapes, strict=True)]
    return Plan(members(groups), tuple(regions))


def _regions(
    outlines: list[tuple[str, np.ndarray]], wcs: Any, shape: tuple[int, int]
) -> dict[str, np.ndarray]:
    """The pixels inside each group's outlines; all vertices go through the WCS together."""
    if not outlines:
        return {}
    ra, dec = positions(np.concatenate([outline for _, outline in outlines]))
    x, y = wcs.invert(ra, dec, with_bounding_box=False)
    ends = np.cumsum([len(outline) for _, outline in outlines])[:-1]
    found: dict[str, list[np.ndarray]] = {}
    corners = zip(np.split(np.asarray(x), ends), np.split(np.asarray(y), ends), strict=True)
    for (group, _), (u, v) in zip(outlines, corners, strict=True):
        found.setdefault(group, []).append(spans(u, v, shape))
    return {group: union(runs, shape) for group, runs in found.items()}


def footprint(wcs: Any, shape: tuple[int, ...], stepsize: int | None = None) -> np.ndarray:
    """The border of an image of ``shape`` (y, x) on the sky: unit vectors (n, 3), without closing point.

    The corners of the pixels' outer edges; with ``stepsize`` also points between them, at most so many pixels apart.
    """
    x, y = border(shape, stepsize)
    ra, dec = wcs(x, y, with_bounding_box=False)
    return unit_vectors(np.asarray(ra), np.asarray(dec))


def border(shape: tuple[int, ...], stepsize: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates along the border of an image, around once."""
    ny, nx = shape
    counts = [2, 2] if stepsize is None else [max(2, ceil((n + 1) / stepsize)) for n in (nx, ny)]
    along_x = np.linspace(-0.5, nx - 0.5, counts[0])
    along_y = np.linspace(-0.5, ny - 0.5, counts[1])[1:-1]
    low, high = np.full(len(along_x), -0.5), np.full(len(along_x), ny - 0.5)
    left, right = np.full(len(along_y), -0.5), np.full(len(along_y), nx - 0.5)
    x = np.concatenate([along_x, right, along_x[::-1], left])
    y = np.concatenate([low, along_y, high, along_y[::-1]])
    return x, y


def unit_vectors(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Unit vectors (n, 3) of positions in degrees."""
    longitude, latitude = np.radians(ra), np.radians(dec)
    cosine = np.cos(latitude)
    return np.stack(
        [np.cos(longitude) * cosine, np.sin(longitude) * cosine, np.sin(latitude)], axis=-1
    )


def positions(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """RA and Dec, in degrees, of vectors (n, 3)."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arctan2(z, np.hypot(x, y)))


def neighbours(footprints: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Pairs i < j of footprints whose bounding circles touch: the only ones that can overlap."""
    centres = np.array([vectors.mean(axis=0) for vectors in footprints])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    radii = np.array(
        [
            np.arccos(np.clip(vectors @ centre, -1, 1)).max()
            for vectors, centre in zip(footprints, centres, strict=True)
        ]
    )
    near: list[tuple[int, int]] = []
    for i in range(len(footprints) - 1):
        apart = np.arccos(np.clip(centres[i + 1 :] @ centres[i], -1, 1))
        touching = np.flatnonzero(apart <= radii[i] + radii[i + 1 :])
        near += [(i, i + 1 + int(j)) for j in touching]
    return near


def intersection(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    """The polygons (n, 3) common to the footprints ``a`` and ``b``; none where they are apart."""
    if is_convex(a) and is_convex(b):
        common = clip(a, b)
        return [common] if len(common) > 2 else []
    return _general_intersection(a, b)


def sides(polygon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A point (n, 3) on each side and its inward normal (n, 3).

    All from differences of vertices: vectors of one field agree in most digits.
    """
    steps = np.roll(polygon, -1, axis=0) - polygon
    normals = np.cross(polygon, steps)
    lengths = np.linalg.norm(normals, axis=1)
    real = lengths > 0
    points, normals = polygon[real], normals[real] / lengths[real, None]
    inward = np.sign(np.einsum("ij,ij->i", polygon.mean(axis=0) - points, normals).sum())
    return points, normals * inward


def is_convex(polygon: np.ndarray) -> bool:
    """Whether every vertex lies inside every side."""
    points, normals = sides(polygon)
    heights = np.einsum("ijk,jk->ij", polygon[:, None] - points, normals)
    return bool((heights >= -SAME_SIDE).all())


def clip(subject: np.ndarray, window: np.ndarray) -> np.ndarray:
    """The part (n, 3) of the convex polygon ``subject`` inside the convex ``window``; (0, 3) where there is none.

    Vertices of ``subject`` are passed on unchanged.
    """
    inside = subject
    for point, normal in zip(*sides(window), strict=True):
        if not len(inside):
            break
        inside = _clip_side(inside, (inside - point) @ normal)
    return inside if len(inside) > 2 else np.empty((0, 3))


def _clip_side(polygon: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """The part of a polygon whose vertices are ``heights`` inside a great circle."""
    kept: list[np.ndarray] = []
    for k in range(len(polygon)):
        start, end = heights[k - 1], heights[k]
        if (start < -SAME_SIDE) != (end < -SAME_SIDE):
            cut = polygon[k - 1] + start / (start - end) * (polygon[k] - polygon[k - 1])
            kept.append(cut / np.linalg.norm(cut))
        if end >= -SAME_SIDE:
            kept.append(polygon[k])
    return np.array(kept).reshape(-1, 3)


def _general_intersection(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    """Intersect polygons that need not be convex; the whole of ``a`` where the library finds them malformed."""
    from spherical_geometry.polygon import MalformedPolygonError, SphericalPolygon

    first, second = (SphericalPolygon.from_radec(*_closed(vectors)) for vectors in (a, b))
    try:
        common = first.intersection(second)
    except MalformedPolygonError:
        return [a]
    outlines = (unit_vectors(np.asarray(ra), np.asarray(dec)) for ra, dec in common.to_radec())
    return [outline[:-1] for outline in outlines if len(outline) > 3]


def _closed(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ra, dec = positions(vectors)
    return np.append(ra, ra[0]), np.append(dec, dec[0])


def spans(x: np.ndarray, y: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Runs of pixels (n, 3) of row, first and last column inside a polygon with vertices ``x``, ``y`` (open).

    Vertices are rounded to whole pixels, and a row runs from the ceiling of one crossing to that of the next, both
    included: the convention of ``gwcs.region.Polygon``, whose lowest row is left out where the polygon begins below.
    """
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return np.empty((0, 3), np.int32)
    # Polygons that begin left of or below the frame are counted from their own corner, rounded separately.
    shift_x, shift_y = min(0.0, float(x.min())), min(0.0, float(y.min()))
    column = np.rint(x - shift_x).astype(np.int64)
    row = np.rint(y - shift_y).astype(np.int64)
    rows, crossings = _crossings(column, row)
    starts, ends = crossings[:, 0:-1:2], crossings[:, 1::2]
    where, pair = np.nonzero(np.isfinite(ends))
    first = np.maximum(0, starts[where, pair].astype(np.int64) + round(shift_x))
    last = np.minimum(shape[1] - 1, ends[where, pair].astype(np.int64) + round(shift_x))
    line = rows[where] + round(shift_y)
    inside = (line >= 0) & (line < shape[0]) & (last >= first)
    return np.stack([line, first, last], axis=1)[inside].astype(np.int32)


def _crossings(column: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a polygon with whole vertices, and where its sides cross them: sorted, padded with infinity."""
    next_column, next_row = np.roll(column, -1), np.roll(row, -1)
    slanted = row != next_row
    rows = np.arange(row.min(), row.max() + 1)
    if not slanted.any() or column.min() == column.max():
        return rows[:0], np.empty((0, 2))
    x0, y0 = column[slanted], row[slanted]
    dx, dy = next_column[slanted] - x0, next_row[slanted] - y0
    low, high = np.minimum(y0, y0 + dy), np.maximum(y0, y0 + dy)
    # The topmost row has the sides of the row below it.
    level = np.minimum(rows, rows[-1] - 1)[:, None]
    active = (low <= level) & (level < high)
    at = np.ceil((rows[:, None] - y0) / dy * dx + x0)
    found = np.sort(np.where(active, at, np.inf), axis=1)
    return rows, found if found.shape[1] > 1 else np.empty((len(rows), 2))


def union(regions: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """The pixels in any of the ``regions``, as runs (n, 3) that do not overlap, in order of rows."""
    if len(regions) == 1:
        return regions[0]
    mask = np.zeros((shape[0], shape[1] + 2), np.int8)
    for region in regions:
        for line, first, last in region.tolist():
            mask[line, first + 1 : last + 2] = 1
    edges = np.diff(mask, axis=1)
    line, first = np.nonzero(edges == 1)
    last = np.nonzero(edges == -1)[1] - 1
    return np.stack([line, first, last], axis=1).astype(np.int32)


@kernel
def gather(image, good, region):  # type: ignore[no-untyped-def]
    """The ``good`` pixels of ``image`` (y, x) in a ``region`` of runs (n, 3), in order."""
    size = 0
    for k in range(len(region)):
        size += region[k, 2] - region[k, 1] + 1
    values = np.empty(size, image.dtype)
    count = 0
    for k in range(len(region)):
        line = region[k, 0]
        for x in range(region[k, 1], region[k, 2] + 1):
            values[count] = image[line, x]
            count += good[line, x]
    return values[:count].copy()


def whole(shape: tuple[int, ...]) -> np.ndarray:
    """All pixels of an image of ``shape`` (y, x) as runs (n, 3)."""
    rows = np.arange(shape[0])
    return np.stack([rows, 0 * rows, 0 * rows + shape[1] - 1], axis=1).astype(np.int32)
