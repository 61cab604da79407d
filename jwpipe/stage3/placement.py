"""Where exposures fall on a mosaic, and which of their pixels touch which tile; no pixel is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from jwpipe.stage3.grid import Grid, exposure_wcs
from jwpipe.stage3.scan import scan_limits
from jwpipe.wcs.pixelmap import SparseMap, between

if TYPE_CHECKING:
    from gwcs import WCS

TILE = 512
"""Side of a tile of a wide mosaic, in pixels: one task's output, a few MB with all its planes."""
WIDEST_BAND = 4096
"""Mosaics up to this width have tiles as wide as themselves, whose rows lie together in files."""
COARSE = 16
"""Distance in pixels of the positions from which boxes are found."""


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels: rows ``top`` to ``bottom``, columns ``left`` to ``right``, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    @property
    def corner(self) -> tuple[int, int]:
        """The first row and column."""
        return self.top, self.left

    @property
    def rows(self) -> slice:
        """The rows."""
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        """The columns."""
        return slice(self.left, self.right)

    def __and__(self, other: Box) -> Box | None:
        """The common part, None where there is none."""
        top, bottom = max(self.top, other.top), min(self.bottom, other.bottom)
        left, right = max(self.left, other.left), min(self.right, other.right)
        return Box(top, bottom, left, right) if top < bottom and left < right else None


@dataclass(frozen=True)
class Tile:
    """A tile of the mosaic: its place in the table of tiles, and its pixels."""

    index: tuple[int, int]
    box: Box


def tile_shape(shape: tuple[int, int], side: int | None = None) -> tuple[int, int]:
    """Rows and columns of the tiles of a mosaic of ``shape``: squares of ``side`` if that is given."""
    if side is not None:
        return side, side
    if shape[1] > WIDEST_BAND:
        return TILE, TILE
    return max(1, TILE * TILE // shape[1]), shape[1]


def tile_edges(size: int, side: int) -> tuple[int, ...]:
    """Sizes of the tiles along one axis; a remainder below a quarter joins the last one."""
    full, rest = divmod(size, side)
    if full and rest * 4 < side:
        return (*(side,) * (full - 1), side + rest)
    return (*(side,) * full, *((rest,) if rest else ()))


def tiles(shape: tuple[int, int], side: int | None = None) -> Iterator[Tile]:
    """All tiles of a mosaic, row by row; ``side`` as in `tile_shape`."""
    height, width = tile_shape(shape, side)
    top = 0
    for j, high in enumerate(tile_edges(shape[0], height)):
        left = 0
        for i, wide in enumerate(tile_edges(shape[1], width)):
            yield Tile((j, i), Box(top, top + high, left, left + wide))
            left += wide
        top += high


@dataclass(frozen=True, eq=False)
class Placement:
    """One exposure on the mosaic: the map of its pixels, its shape, and the pixels inside its WCS' bounding box.

    ``scan`` holds the columns that are drizzled in each row where the mosaic's edge cuts the exposure (`scan_limits`).
    """

    pixel_map: SparseMap
    shape: tuple[int, int]
    valid: Box
    scan: np.ndarray | None = None

    def __reduce__(self) -> tuple[type[Placement], tuple[Any, ...]]:
        # What planning caches stays at home.
        return Placement, (self.pixel_map, self.shape, self.valid, self.scan)

    def scanned(self, box: Box, weights: np.ndarray) -> np.ndarray:
        """``weights`` of a box's pixels, 0 where the pixels are not drizzled."""
        if self.scan is None:
            return weights
        columns = np.arange(box.left, box.right)
        limits = self.scan[box.rows, :, np.newaxis]
        return np.where(
            (columns >= limits[:, 0]) & (columns < limits[:, 1]), weights, np.float32(0)
        )

    @cached_property
    def _cells(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Rows and columns where cells of ``COARSE`` pixels begin, and the output box of each cell.

        Boxes are (y, x, 2) of x and y: positions of the corners' pixel centres. Bilinear between
        the nodes of the map: good to a few hundredths of a pixel, which the margins cover.
        """
        ny, nx = self.shape
        rows, columns = _starts(ny), _starts(nx)
        nodes = self.pixel_map.nodes
        at = _between_nodes(nodes, 0, rows / self.pixel_map.spacing[0])
        at = _between_nodes(at, 1, columns / self.pixel_map.spacing[1])
        corners = np.stack([at[:-1, :-1], at[:-1, 1:], at[1:, :-1], at[1:, 1:]])
        return rows, columns, corners.min(axis=0), corners.max(axis=0)

    @cached_property
    def half_extent(self) -> float:
        """Half the largest side of the box around one input pixel, in output pixels."""
        nodes, (sy, sx) = self.pixel_map.nodes, self.pixel_map.spacing
        across = np.abs(np.diff(nodes, axis=1)).max(axis=(0, 1)) / sx
        along = np.abs(np.diff(nodes, axis=0)).max(axis=(0, 1)) / sy
        return float((across + along).max() / 2)

    def output_box(self, rows: slice, margin: float, frame: tuple[int, int]) -> Box | None:
        """The output pixels within ``margin`` of the centres of these rows; None if all are outside ``frame``."""
        starts, _, low, high = self._cells
        within = (starts[1:] >= rows.start) & (starts[:-1] < rows.stop)
        if not within.any():
            return None
        first = low[within].min(axis=(0, 1)) - margin
        last = high[within].max(axis=(0, 1)) + margin
        found = Box(floor(first[1]), ceil(last[1]) + 1, floor(first[0]), ceil(last[0]) + 1)
        return found & Box(0, frame[0], 0, frame[1])

    def input_box(self, output: Box, margin: float) -> Box | None:
        """The pixels whose centres may fall within ``margin`` of the output box."""
        rows, columns, low, high = self._cells
        touching = (
            (high[..., 1] >= output.top - margin)
            & (low[..., 1] <= output.bottom - 1 + margin)
            & (high[..., 0] >= output.left - margin)
            & (low[..., 0] <= output.right - 1 + margin)
        )
        j, i = np.nonzero(touching)
        if not j.size:
            return None
        top, bottom = int(rows[j.min()]), int(rows[j.max() + 1]) + 1
        left, right = int(columns[i.min()]), int(columns[i.max() + 1]) + 1
        return Box(top, bottom, left, right) & self.valid

    def padded_map(self, box: Box) -> np.ndarray:
        """Output x, y of a box's pixels and one more all round: (ny + 2, nx + 2, 2).

        Beyond the frame's edge positions are extrapolated linearly; they are NaN outside the bounding
        box of the WCS.
        """
        ny, nx = self.shape
        inner = Box(max(box.top - 1, 0), min(box.bottom + 1, ny),
                    max(box.left - 1, 0), min(box.right + 1, nx))  # fmt: skip
        found = self.pixel_map.tile(inner.rows, inner.columns)
        for axis, (before, after) in enumerate((
            (inner.top - box.top + 1, box.bottom + 1 - inner.bottom),
            (inner.left - box.left + 1, box.right + 1 - inner.right),
        )):  # fmt: skip
            found = _extrapolated(found, axis, before, after)
        if self.valid != Box(0, ny, 0, nx):
            _blank(found, box, self.valid, self.shape)
        return found

    def map(self, box: Box) -> np.ndarray:
        """Output x, y of a box's pixels (ny, nx, 2); NaN outside the bounding box of the WCS."""
        found = self.pixel_map.tile(box.rows, box.columns)
        inside = box & self.valid
        if inside != box:
            kept = np.full_like(found, np.nan)
            if inside is not None:
                at = np.s_[inside.top - box.top : inside.bottom - box.top,
                           inside.left - box.left : inside.right - box.left]  # fmt: skip
                kept[at] = found[at]
            return kept
        return found


def _starts(size: int) -> np.ndarray:
    return np.append(np.arange(0, max(size - 1, 1), COARSE), size - 1)


def _between_nodes(values: np.ndarray, axis: int, at: np.ndarray) -> np.ndarray:
    """Interpolate ``values`` along ``axis`` at fractional indices."""
    first = np.clip(at.astype(int), 0, values.shape[axis] - 2)
    share = (at - first).reshape([-1 if k == axis else 1 for k in range(values.ndim)])
    low, high = np.take(values, first, axis), np.take(values, first + 1, axis)
    mixed: np.ndarray = low + share * (high - low)
    return mixed


def _extrapolated(values: np.ndarray, axis: int, before: int, after: int) -> np.ndarray:
    """``values`` with a line more (0 or 1) at either end of ``axis``."""
    lines = np.moveaxis(values, axis, 0)
    second, last_but_one = (1, -2) if len(lines) > 1 else (0, -1)
    parts = [(2 * lines[0] - lines[second])[None]] if before else []
    parts.append(lines)
    if after:
        parts.append((2 * lines[-1] - lines[last_but_one])[None])
    return np.moveaxis(np.concatenate(parts), 0, axis) if len(parts) > 1 else values


def _blank(padded: np.ndarray, box: Box, valid: Box, shape: tuple[int, int]) -> None:
    """Set positions outside the bounding box, but on the frame, to NaN."""
    sides = (
        (valid.top, valid.bottom, box.top, shape[0]),
        (valid.left, valid.right, box.left, shape[1]),
    )
    for axis, (low, high, start, size) in enumerate(sides):
        number = np.arange(padded.shape[axis]) + start - 1
        outside = (number < low) & (low > 0) | (number >= high) & (high < size)
        np.moveaxis(padded, axis, 0)[outside] = np.nan


def valid_box(wcs: WCS, shape: tuple[int, int]) -> Box:
    """The pixels whose centres lie in the bounding box of ``wcs``."""
    ny, nx = shape
    if wcs.bounding_box is None:
        return Box(0, ny, 0, nx)
    (left, right), (bottom, top) = wcs.bounding_box.bounding_box(order="F")
    return Box(max(0, ceil(bottom)), min(ny, floor(top) + 1),
               max(0, ceil(left)), min(nx, floor(right) + 1))  # fmt: skip


def place(exposures: Sequence[xr.Dataset], grid: Grid) -> list[Placement]:
    """Find where each exposure falls on the grid."""
    placed = []
    for exposure in exposures:
        wcs, shape = exposure_wcs(exposure), (exposure.sizes["y"], exposure.sizes["x"])
        pixel_map = SparseMap.build(between(wcs, grid.wcs), shape)
        valid = valid_box(wcs, shape)
        low, high = valid.corner, (valid.bottom - 1, valid.right - 1)
        scan = scan_limits(partial(_position, pixel_map), low, high, grid.shape)
        placed.append(Placement(pixel_map, shape, valid, scan))
    return placed


def _position(pixel_map: SparseMap, point: np.ndarray) -> np.ndarray:
    """Where a point (x, y) between pixels falls on the mosaic: bilinear, extrapolated beyond the frame."""
    ny, nx = pixel_map.shape
    i, j = (int(min(max(p, 0), n - 2)) for p, n in zip(point, (nx, ny), strict=True))
    x, y = point[0] - i, point[1] - j
    cell = pixel_map.tile(slice(j, j + 2), slice(i, i + 2))
    low, high = cell[0, 0] * (1 - x) + cell[0, 1] * x, cell[1, 0] * (1 - x) + cell[1, 1] * x
    return low * (1 - y) + high * y
