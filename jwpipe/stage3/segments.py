"""Sources as runs of connected pixels above a threshold, touching ones split.

photutils splits a source where, at one of many levels between its faintest and its brightest pixel, it falls apart
into pieces of at least so many pixels. Most sources never do. One compiled pass over the levels finds those that do,
and only they go through the splitting itself; the result is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jwpipe.numerics.jit import kernel

if TYPE_CHECKING:
    from photutils.segmentation import SegmentationImage

SINH_SCALE = 0.25


def segmented(
    image: np.ndarray,
    threshold: np.ndarray,
    mask: np.ndarray,
    *,
    npixels: int,
    connectivity: int,
    deblend: bool,
    nlevels: int,
    contrast: float,
    mode: str,
) -> SegmentationImage | None:
    """Segments of ``image`` (y, x) above ``threshold`` (y, x) outside ``mask`` (y, x); ``None`` where there is none.

    The other parameters are those of the segmentation finder.
    """
    from photutils.segmentation import deblend_sources, detect_sources

    found = detect_sources(image, threshold, npixels, mask=mask, connectivity=connectivity)
    if found is None or not deblend:
        return found
    labels = _falling_apart(image, found, npixels, nlevels, mode, connectivity)
    if not labels.size:
        return found
    return deblend_sources(
        image,
        found,
        npixels,
        labels=labels,
        n_levels=nlevels,
        contrast=contrast,
        mode=mode,
        connectivity=connectivity,
        progress_bar=False,
    )


def _falling_apart(
    image: np.ndarray,
    found: SegmentationImage,
    npixels: int,
    nlevels: int,
    mode: str,
    connectivity: int,
) -> np.ndarray:
    """Labels of the segments that fall apart at one of the levels, in order."""
    boxes = np.array([[y.start, y.stop, x.start, x.stop] for y, x in found.slices], np.int64)
    labels = np.asarray(found.labels)
    pixels, segments = np.ascontiguousarray(image, np.float64), np.ascontiguousarray(found.data)
    lows, highs = _ranges(pixels, segments, labels, boxes)
    tables = levels(lows.astype(image.dtype), highs.astype(image.dtype), nlevels, mode)
    diagonal = connectivity == 8
    splits = _splits(pixels, segments, labels, boxes, tables, npixels, diagonal)
    return np.asarray(labels[splits & (lows < highs)])


def levels(lows: np.ndarray, highs: np.ndarray, count: int, mode: str) -> np.ndarray:
    """Levels (source, count) between the faintest and the brightest pixel of each source, these left out.

    Where a source has pixels that are not positive its ``exponential`` levels become linear ones.
    """
    linear = np.linspace(lows, highs, count + 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        fractions = (linear - lows) / (highs - lows)
        if mode == "sinh":
            rising = np.sinh(fractions / SINH_SCALE) / np.sinh(1.0 / SINH_SCALE)
            linear = rising * (highs - lows) + lows
        elif mode == "exponential":
            linear = np.where(lows > 0, lows * (highs / lows) ** fractions, linear)
    return np.ascontiguousarray(linear[1:-1].T, np.float64)


@kernel
def _ranges(
    image: np.ndarray, segments: np.ndarray, labels: np.ndarray, boxes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The faintest and the brightest pixel of each segment, NaN apart."""
    lows, highs = np.full(labels.size, np.inf), np.full(labels.size, -np.inf)
    for n in range(labels.size):
        top, bottom, left, right = boxes[n]
        for y in range(top, bottom):
            for x in range(left, right):
                value = image[y, x]
                if segments[y, x] == labels[n] and value == value:
                    lows[n], highs[n] = min(lows[n], value), max(highs[n], value)
    return lows, highs


@kernel
def _splits(
    image: np.ndarray,
    segments: np.ndarray,
    labels: np.ndarray,
    boxes: np.ndarray,
    tables: np.ndarray,
    npixels: int,
    diagonal: bool,
) -> np.ndarray:
    """Whether each segment has two pieces of ``npixels`` pixels or more above one of its levels."""
    splits = np.zeros(labels.size, np.bool_)
    areas = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])
    stack = np.empty((areas.max(), 2), np.int64)
    visited = np.zeros(image.shape, np.int16)
    for n in range(labels.size):
        for k in range(tables.shape[1]):
            found = _pieces(
                image, segments, labels[n], boxes[n], tables[n, k], k, npixels, diagonal,
                visited, stack
            )  # fmt: skip
            if found > 1:
                splits[n] = True
                break
    return splits


@kernel
def _pieces(
    image: np.ndarray,
    segments: np.ndarray,
    label: int,
    box: np.ndarray,
    level: float,
    number: int,
    npixels: int,
    diagonal: bool,
    visited: np.ndarray,
    stack: np.ndarray,
) -> int:
    """Count pieces of a segment above a level, up to two; ``visited`` holds the last level that saw a pixel."""
    top, bottom, left, right = box
    found = 0
    for y in range(top, bottom):
        for x in range(left, right):
            inside = segments[y, x] == label and image[y, x] > level
            if not inside or visited[y, x] == number + 1:
                continue
            size, depth = 0, 1
            stack[0, 0], stack[0, 1] = y, x
            visited[y, x] = number + 1
            while depth > 0:
                depth -= 1
                size += 1
                v, u = stack[depth]
                for j in range(max(v - 1, top), min(v + 2, bottom)):
                    for i in range(max(u - 1, left), min(u + 2, right)):
                        near = diagonal or j == v or i == u
                        if (
                            near
                            and visited[j, i] != number + 1
                            and segments[j, i] == label
                            and image[j, i] > level
                        ):
                            visited[j, i] = number + 1
                            stack[depth, 0], stack[depth, 1] = j, i
                            depth += 1
            found += size >= npixels
            if found > 1:
                return found
    return found
