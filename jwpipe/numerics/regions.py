"""Connected regions of flagged pixels, found from the flagged pixels alone."""

from typing import NamedTuple

import numpy as np

from jwpipe.numerics.jit import kernel


class Regions(NamedTuple):
    """Flagged pixels in raster order and the regions they form.

    ``y``, ``x`` and ``label`` are those of the pixels; ``area`` (region) counts them; ``box`` (region, 4) holds the
    first row, the row after the last, the first column and the column after the last.
    """

    y: np.ndarray
    x: np.ndarray
    label: np.ndarray
    area: np.ndarray
    box: np.ndarray


@kernel
def _flagged_pixels(flags: np.ndarray, veto: np.ndarray, bit: np.uint8) -> np.ndarray:
    """Rows and columns (2, pixel) of the pixels with ``bit`` in ``flags`` and not in ``veto``."""
    rows, columns = flags.shape
    count = 0
    for y in range(rows):
        for x in range(columns):
            count += (flags[y, x] & ~veto[y, x] & bit) != 0
    pixels = np.empty((2, count), np.int64)
    count = 0
    for y in range(rows):
        for x in range(columns):
            if flags[y, x] & ~veto[y, x] & bit:
                pixels[0, count], pixels[1, count] = y, x
                count += 1
    return pixels


@kernel
def _root(parent: np.ndarray, pixel: int) -> int:
    while parent[pixel] != pixel:
        parent[pixel] = parent[parent[pixel]]
        pixel = parent[pixel]
    return pixel


@kernel
def _joined(pixels: np.ndarray, columns: int) -> np.ndarray:
    """For each pixel the first one, in raster order, of its region (8-connected)."""
    count = pixels.shape[1]
    parent = np.arange(count)
    # Index of the last flagged pixel seen in each column, with a margin on both sides.
    latest = np.full(columns + 2, -1)
    for pixel in range(count):
        y, x = pixels[0, pixel], pixels[1, pixel] + 1
        for column in (x - 1, x, x + 1):
            near = latest[column]
            if near < 0 or pixels[0, near] < y - 1:
                continue
            # To the upper right the row above is hidden only by a pixel of this row, which is not yet seen.
            a, b = _root(parent, near), _root(parent, pixel)
            if a != b:
                parent[max(a, b)] = min(a, b)
        latest[x] = pixel
    for pixel in range(count):
        parent[pixel] = _root(parent, pixel)
    return parent


@kernel
def find_regions(flags: np.ndarray, veto: np.ndarray, bit: np.uint8) -> Regions:
    """8-connected regions of the pixels (y, x) that have ``bit`` in ``flags`` and not in ``veto``."""
    pixels = _flagged_pixels(flags, veto, bit)
    parent = _joined(pixels, flags.shape[1])
    label = np.empty(parent.size, np.int64)
    regions = 0
    for pixel in range(parent.size):
        if parent[pixel] == pixel:
            label[pixel] = regions
            regions += 1
        else:
            label[pixel] = label[parent[pixel]]
    area = np.zeros(regions, np.int64)
    box = np.zeros((regions, 4), np.int64)
    for pixel in range(parent.size):
        region, y, x = label[pixel], pixels[0, pixel], pixels[1, pixel]
        if area[region] == 0:
            box[region, 0], box[region, 2], box[region, 3] = y, x, x + 1
        area[region] += 1
        box[region, 1] = y + 1
        box[region, 2] = min(box[region, 2], x)
        box[region, 3] = max(box[region, 3], x + 1)
    return Regions(pixels[0], pixels[1], label, area, box)
