"""Exact maps of pixels at the cost of a few thousand evaluations of the WCS.

A distortion is smooth over tens of pixels: the exact transform is evaluated on a grid of nodes
some 64 pixels apart, the edges included, and cubic polynomials run between them. The error is
*measured*, against the exact transform at the middle of every cell, and the grid is refined until
it meets the tolerance.

``SparseMap`` knows no modes: any smooth transform from pixels to any number of coordinates. What an exposure's
pixels see, slit by slit, is in `jwpipe.wcs.coordinates`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from jwpipe.numerics.jit import inline, kernel

if TYPE_CHECKING:
    from gwcs import WCS

Transform = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, ...]]
Units = Callable[[np.ndarray, tuple[float, float]], np.ndarray]

NODE_SPACING = 64
FINEST_SPACING = 4
STENCIL = 4


class PixelMapError(ValueError):
    """A transform cannot be represented on a grid: not finite, or not smooth, over the frame."""


@inline
def _stencil(position: float, nodes: int) -> tuple[int, float, float, float, float]:
    """Find the four nodes around ``position`` (in nodes), one-sided at the edges.

    Returns the first of them and their cubic Lagrange weights.
    """
    first = min(max(int(position) - 1, 0), nodes - 4)
    u = position - first
    return (
        first,
        -(u - 1.0) * (u - 2.0) * (u - 3.0) / 6.0,
        u * (u - 2.0) * (u - 3.0) / 2.0,
        -u * (u - 1.0) * (u - 3.0) / 2.0,
        u * (u - 1.0) * (u - 2.0) / 6.0,
    )


@kernel
def _fill(
    nodes: np.ndarray, spacing: tuple[float, float], corner: tuple[float, float], out: np.ndarray
) -> None:
    """Interpolate ``nodes`` (gy, gx, n) at pixels from ``corner`` on, into ``out`` (ny, n nx)."""
    gy, gx, n = nodes.shape
    ny, width = out.shape
    # Along x first, for the node rows of this tile: then a row of pixels is one sum of four lines.
    top = min(max(int(corner[0] / spacing[0]) - 1, 0), gy - 4)
    bottom = min(max(int((corner[0] + ny - 1) / spacing[0]) - 1, 0), gy - 4) + 4
    lines = np.empty((bottom - top, width), np.float64)
    for column in range(width // n):
        k, w0, w1, w2, w3 = _stencil((corner[1] + column) / spacing[1], gx)
        for j in range(bottom - top):
            line = nodes[top + j]
            for c in range(n):
                lines[j, n * column + c] = (
                    w0 * line[k, c]
                    + w1 * line[k + 1, c]
                    + w2 * line[k + 2, c]
                    + w3 * line[k + 3, c]
                )
    for row in range(ny):
        k, w0, w1, w2, w3 = _stencil((corner[0] + row) / spacing[0], gy)
        k -= top
        l0, l1, l2, l3, o = lines[k], lines[k + 1], lines[k + 2], lines[k + 3], out[row]
        for i in range(width):
            o[i] = w0 * l0[i] + w1 * l1[i] + w2 * l2[i] + w3 * l3[i]


def _interpolate(
    nodes: np.ndarray,
    spacing: tuple[float, float],
    corner: tuple[float, float],
    shape: tuple[int, int],
) -> np.ndarray:
    """Interpolate ``nodes`` (gy, gx, n) at a tile (ny, nx) of pixels that begins at ``corner``."""
    n = nodes.shape[2]
    # Allocated by numpy, which asks for huge pages: first touch is half the time of a large tile.
    out = np.empty((shape[0], n * shape[1]))
    _fill(nodes, spacing, (float(corner[0]), float(corner[1])), out)
    return out.reshape(*shape, n)


def _spacing(extent: int, step: float) -> tuple[int, float]:
    """Count the nodes along ``extent`` pixels, and their distance, which is at most ``step``."""
    span = max(extent - 1, STENCIL - 1)
    nodes = max(ceil(span / step) + 1, STENCIL)
    return nodes, span / (nodes - 1)


def _evaluate(transform: Transform, *grids: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
    """Evaluate ``transform`` at all points of some grids, given by their axes (x, y), in one call.

    One call, because a gwcs costs a millisecond before it looks at its first point.
    """
    points = [np.meshgrid(x, y) for x, y in grids]
    columns, rows = (np.concatenate([grid[k].ravel() for grid in points]) for k in (0, 1))
    values = np.stack(transform(columns, rows), axis=-1).astype(np.float64, copy=False)
    if not np.isfinite(values).all():
        raise PixelMapError(
            "the transform is not finite everywhere on the frame; evaluate it without a bounding "
            "box, and only for exposures within 90 degrees of the projection's centre"
        )
    ends = np.cumsum([grid[0].size for grid in points])[:-1]
    return [
        np.ascontiguousarray(part).reshape(*grid[0].shape, -1)
        for part, grid in zip(np.split(values, ends), points, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class SparseMap:
    """A smooth transform of a frame's pixels as its values on a sparse grid; small and picklable.

    ``nodes`` (gy, gx, n) are its n values (x and y, say) on the grid, ``shape`` (ny, nx) the frame in pixels,
    ``spacing`` (y, x) the distance of nodes in pixels, and ``error`` the largest error found at the
    middle of a cell, in pixels of the target.
    """

    nodes: np.ndarray
    shape: tuple[int, int]
    spacing: tuple[float, float]
    error: float

    @classmethod
    def build(
        cls,
        transform: Transform,
        shape: tuple[int, int],
        *,
        step: tuple[float, float] = (NODE_SPACING, NODE_SPACING),
        tolerance: float = 1e-4,
        units: Units | None = None,
    ) -> SparseMap:
        """Sample ``transform(x, y) -> (x, y, ...)`` as finely as the tolerance asks for.

        ``step`` (y, x) is the distance of nodes to begin with. The tolerance and the error are in pixels:
        ``units(nodes, spacing)`` says how much each of the values changes from one pixel to the next, where they are
        not pixels themselves.

        Raises
        ------
        PixelMapError
            If values are not finite, or a grid of 4 pixels still misses the tolerance.
        """
        found = cls._sample(transform, shape, step, units)
        while found.error > tolerance and max(step) >= 2 * FINEST_SPACING:
            step = step[0] / 2, step[1] / 2
            found = cls._sample(transform, shape, step, units)
        if found.error > tolerance:
            raise PixelMapError(
                f"the transform is not smooth: interpolation between nodes {max(step):g} pixels apart "
                f"is off by {found.error:.2g} pixels, more than the tolerance of {tolerance:.2g}"
            )
        return found

    @classmethod
    def _sample(
        cls,
        transform: Transform,
        shape: tuple[int, int],
        step: tuple[float, float],
        units: Units | None,
    ) -> SparseMap:
        (gy, hy), (gx, hx) = (_spacing(side, s) for side, s in zip(shape, step, strict=True))
        x, y = np.arange(gx) * hx, np.arange(gy) * hy
        middles = x[:-1] + hx / 2, y[:-1] + hy / 2
        nodes, exact = _evaluate(transform, (x, y), middles)
        # Nodes two pixels apart put the middles of the cells on the odd pixels.
        found = _interpolate(nodes, (2.0, 2.0), (0, 0), (2 * gy - 1, 2 * gx - 1))[1::2, 1::2]
        off = np.abs(found - exact)
        if units is not None:
            off /= units(nodes, (hy, hx))
        return cls(nodes, shape, (hy, hx), float(off.max()))

    def tile(
        self,
        rows: slice = slice(None),
        columns: slice = slice(None),
        shift: tuple[float, float] = (0.0, 0.0),
    ) -> np.ndarray:
        """Map the pixels of a tile: (ny, nx, n) float64, x in ``[..., 0]``, y in ``[..., 1]``.

        ``shift`` (x, y) is the place within each pixel, from its middle: (-0.5, -0.5) is a corner.
        """
        y0, y1, _ = rows.indices(self.shape[0])
        x0, x1, _ = columns.indices(self.shape[1])
        shape = (max(y1 - y0, 0), max(x1 - x0, 0))
        return _interpolate(self.nodes, self.spacing, (y0 + shift[1], x0 + shift[0]), shape)

    def planes(
        self,
        rows: slice = slice(None),
        columns: slice = slice(None),
        shift: tuple[float, float] = (0.0, 0.0),
        *,
        only: int | None = None,
    ) -> np.ndarray:
        """The values of a tile in planes of their own: (n, ny, nx) float64; ``only`` one of them: (1, ny, nx)."""
        y0, y1, _ = rows.indices(self.shape[0])
        x0, x1, _ = columns.indices(self.shape[1])
        shape = (max(y1 - y0, 0), max(x1 - x0, 0))
        wanted = range(self.nodes.shape[2]) if only is None else (only,)
        out = np.empty((len(wanted), *shape))
        for plane, n in zip(out, wanted, strict=True):
            nodes = np.ascontiguousarray(self.nodes[..., n : n + 1])
            _fill(nodes, self.spacing, (float(y0 + shift[1]), float(x0 + shift[0])), plane)
        return out


def between(source: WCS, target: WCS) -> Transform:
    """Compose pixels of ``source`` -> sky -> pixels of ``target``; bounding boxes are ignored."""

    def transform(x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        """Pixels of the target that see what pixels of the source see."""
        sky = source(x, y, with_bounding_box=False)
        pixel: tuple[Any, Any] = target.invert(*sky, with_bounding_box=False)
        return pixel

    return transform
