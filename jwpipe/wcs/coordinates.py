"""What each pixel of an exposure sees: right ascension, declination, wavelength, and the place in its slit.

Steps of spectroscopy need the coordinates of all pixels, which a gwcs takes seconds for. Here the WCS is cut into
pieces in which coordinates are smooth (an image, a slit, a slice); each is evaluated on a sparse grid, with cubic
polynomials in between (`jwpipe.wcs.pixelmap`). The error is measured, and at most ``TOLERANCE`` pixels; pieces that are
not smooth, such as tables of wavelengths, are evaluated exactly. Pixels outside the slits, slices and bounding boxes
are NaN, the same ones for which the WCS gives NaN: pixels near an edge are decided by the exact transform.

Maps are made once for a WCS and kept as long as it lives. ``pixel_map`` gives a tile now, ``lazy_pixel_map`` gives dask
arrays cut as the pixels are: steps that ask for the same map share its tasks. ``map_of`` gives the map itself, which is
small (kilobytes a slit) and pickles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

import numpy as np
import xarray as xr

from jwpipe.wcs.inspect import Choice
from jwpipe.wcs.pieces import Line, Piece, pieces_of
from jwpipe.wcs.pixelmap import NODE_SPACING, PixelMapError, SparseMap

TOLERANCE = 5e-4
"""Largest error allowed, in pixels: of coordinates divided by what they change from one pixel to the next."""

SMALL = 20_000
"""Boxes of fewer pixels are evaluated exactly, which takes no longer than finding a grid that serves."""

CELLS = 8
"""At least so many cells across a box."""

NEAR = 0.05
"""Pixels closer to the edge of a slit than this many pixels are decided by the exact transform."""

Tile = tuple[slice, slice]

_kept: WeakKeyDictionary[Any, dict[Any, PixelMap]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Sampled:
    """A piece on a sparse grid. ``inside`` (ny, nx) says which pixels of its box see light; ``None``: all."""

    rows: slice
    columns: slice
    grid: SparseMap
    origin: float
    inside: np.ndarray | None

    @property
    def error(self) -> float:
        """The largest error found, in pixels."""
        return self.grid.error

    def planes(self, tile: Tile, shift: tuple[float, float]) -> np.ndarray:
        """The coordinates (n, ny, nx) of a tile within the box."""
        rows, columns = (
            slice(side.start - first.start, side.stop - first.start)
            for side, first in zip(tile, (self.rows, self.columns), strict=True)
        )
        found = self.grid.planes(rows, columns, shift)
        found[0] += self.origin
        if self.inside is not None:
            np.copyto(found, np.nan, where=~self.inside[rows, columns])
        return found


@dataclass(frozen=True, eq=False)
class Exact:
    """A piece that no sparse grid represents."""

    rows: slice
    columns: slice
    piece: Piece | Line
    error: float = 0.0

    def planes(self, tile: Tile, shift: tuple[float, float]) -> np.ndarray:
        """The coordinates (n, ny, nx) of a tile within the box."""
        return self.piece.planes(tile, shift)


@dataclass(frozen=True, eq=False)
class PixelMap:
    """The coordinates of a frame's pixels: their names, in the order of planes, and the frame's shape (ny, nx)."""

    names: tuple[str, ...]
    shape: tuple[int, int]
    pieces: tuple[Sampled | Exact, ...]
    token: str = field(default_factory=lambda: uuid4().hex)

    @property
    def error(self) -> float:
        """The largest error of a coordinate, in pixels, as measured in the middle of the grid's cells."""
        return max((piece.error for piece in self.pieces), default=0.0)

    def planes(
        self, rows: slice = slice(None), columns: slice = slice(None), *,
        shift: tuple[float, float] = (0.0, 0.0),
    ) -> np.ndarray:  # fmt: skip
        """The coordinates (n, ny, nx) of a tile, float64; NaN outside slits, slices and bounding boxes.

        ``shift`` (x, y) is the place within each pixel, from its middle: (-0.5, -0.5) is a corner. The pixel decides
        what is outside, not the place within it.
        """
        tile = tuple(
            slice(*side.indices(size)[:2])
            for side, size in zip((rows, columns), self.shape, strict=True)
        )
        shape = tuple(max(side.stop - side.start, 0) for side in tile)
        parts = [(piece, seen) for piece in self.pieces if (seen := _common(piece, tile))]
        if len(parts) == 1 and parts[0][1] == tile:
            return _angles(parts[0][0].planes(tile, shift), self.names)
        found = np.full((len(self.names), *shape), np.nan)
        for piece, seen in parts:
            target = found[:, *_within(seen, tile)]
            values = piece.planes(seen, shift)
            np.copyto(target, values, where=~np.isnan(values))
        return _angles(found, self.names)


def pixel_map(
    exposure: xr.Dataset, tile: Tile | None = None, of: Choice | None = None
) -> xr.Dataset:
    """The coordinates of an exposure's pixels, or those of a tile (rows, columns).

    Parameters
    ----------
    exposure
        With its WCS (see ``assign_wcs``).
    tile
        Slices of rows and columns; the whole frame where not given.
    of
        Whose light: the slit, slice, order or source (see `Choice`). Slices of an IFU need none: all have their place.

    Returns
    -------
    xarray.Dataset
        ``ra`` and ``dec`` (deg), ``wavelength`` (micron) of spectra, and the place in the slit or slice where the WCS
        has such a frame: ``y_slit`` (NIRSpec, edges at -0.5 and 0.5), ``x_slicer`` and ``y_slicer`` (m), ``alpha`` and
        ``beta`` (MIRI, arcsec). Dims (y, x), float64, NaN outside; ``attrs["error"]`` is the largest error in pixels.

    Raises
    ------
    ExposureError
        Without a WCS, or where ``of`` names no part of it.
    """
    found = map_of(exposure, of)
    rows, columns = tile or (slice(None), slice(None))
    return _dataset(found, found.planes(rows, columns))


def lazy_pixel_map(exposure: xr.Dataset, of: Choice | None = None) -> xr.Dataset:
    """As ``pixel_map``, with dask arrays in blocks of the same rows and columns as the exposure's pixels."""
    import dask.array as da

    found = map_of(exposure, of)
    sizes = [exposure["sci"].chunksizes.get(dim, (exposure.sizes[dim],)) for dim in ("y", "x")]
    planes = da.from_array(
        _Handle(found),
        chunks=((len(found.names),), *sizes),
        name=f"pixel-map-{found.token}",
        asarray=False,
        meta=np.empty((0, 0, 0)),
    )
    return _dataset(found, planes)


def map_of(exposure: xr.Dataset, of: Choice | None = None) -> PixelMap:
    """The map of an exposure's pixels, made where there is none yet of its WCS."""
    wcs = exposure.attrs.get("wcs")
    shape = exposure.sizes["y"], exposure.sizes["x"]
    key = (of, shape)
    known = {} if wcs is None else _kept.setdefault(wcs, {})
    if key not in known:
        names, pieces = pieces_of(exposure, of or Choice())
        known[key] = PixelMap(names, shape, tuple(_mapped(piece, names) for piece in pieces))
    return known[key]


def _mapped(piece: Piece | Line, names: tuple[str, ...]) -> Sampled | Exact:
    """Sample a piece, or leave it exact where that does not meet the tolerance."""
    rows, columns = piece.rows, piece.columns
    shape = rows.stop - rows.start, columns.stop - columns.start
    if isinstance(piece, Line) or piece.smooth is None or shape[0] * shape[1] < SMALL:
        return Exact(rows, columns, piece)
    x0, y0, smooth = columns.start, rows.start, piece.smooth

    def transform(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """The coordinates of pixels counted from the corner of the piece."""
        return smooth(x + x0, y + y0)

    try:
        grid = SparseMap.build(
            transform,
            shape,
            step=tuple(min(NODE_SPACING, side / CELLS) for side in shape),
            tolerance=TOLERANCE,
            units=lambda nodes, spacing: _units(nodes, spacing, names)
        )  # fmt: skip
    except PixelMapError:
        return Exact(rows, columns, piece)
    return Sampled(rows, columns, grid, piece.origin, _inside(piece, grid, names))


def _units(nodes: np.ndarray, spacing: tuple[float, float], names: tuple[str, ...]) -> np.ndarray:
    """By how much each coordinate changes from one pixel to the next, in the middle of all; 1 where it does not.

    Right ascension and declination count as one place on the sky.
    """
    steps = [np.diff(nodes, axis=axis) / spacing[axis] for axis in (0, 1)]
    if names[:2] == ("ra", "dec"):
        shrink = np.cos(np.radians(np.median(nodes[..., 1])))
        for step in steps:
            step[..., 0] *= shrink
            step[..., :2] = np.hypot(step[..., 0], step[..., 1])[..., np.newaxis]
    else:
        shrink = 1.0
    found = np.hypot(*(np.median(np.abs(step), axis=(0, 1)) for step in steps))
    found[found == 0] = 1.0
    found[0] /= shrink
    return found


def _inside(piece: Piece, grid: SparseMap, names: tuple[str, ...]) -> np.ndarray | None:
    """Which pixels of the box see light; those near an edge are decided by the exact transform."""
    inside, near = piece.labelled, None
    for name, limits in piece.edges.items():
        index = names.index(name)
        values = grid.planes(only=index)[0]
        margin = NEAR * _units(grid.nodes, grid.spacing, names)[index]
        within = (values >= limits[0]) & (values <= limits[1])
        close = (np.abs(values - limits[0]) < margin) | (np.abs(values - limits[1]) < margin)
        inside = within if inside is None else inside & within
        near = close if near is None else near | close
    if near is None or inside is None or not near.any():
        return inside
    y, x = np.nonzero(near)
    inside = inside.copy()
    inside[y, x] = piece.sees(x + piece.columns.start, y + piece.rows.start)
    if piece.labelled is not None:
        inside &= piece.labelled
    return None if inside.all() else inside


def _angles(planes: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Right ascension from 0 to 360."""
    if names[0] == "ra":
        ra = planes[0]
        ra[ra < 0] += 360
        ra[ra >= 360] -= 360
    return planes


def _common(piece: Sampled | Exact, tile: tuple[slice, ...]) -> Tile | None:
    """The pixels of a tile that are in a piece's box."""
    rows, columns = (
        slice(max(a.start, b.start), min(a.stop, b.stop))
        for a, b in zip((piece.rows, piece.columns), tile, strict=True)
    )
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def _within(seen: Tile, tile: tuple[slice, ...]) -> Tile:
    rows, columns = (
        slice(a.start - b.start, a.stop - b.start) for a, b in zip(seen, tile, strict=True)
    )
    return rows, columns


def _dataset(found: PixelMap, planes: Any) -> xr.Dataset:
    variables = {
        name: (("y", "x"), planes[n], {"units": UNITS[name]}) for n, name in enumerate(found.names)
    }
    return xr.Dataset(variables, attrs={"error": found.error})


UNITS: Mapping[str, str] = {
    "ra": "deg",
    "dec": "deg",
    "wavelength": "micron",
    "y_slit": "",
    "x_slicer": "m",
    "y_slicer": "m",
    "x_msa": "m",
    "y_msa": "m",
    "alpha": "arcsec",
    "beta": "arcsec",
}


@dataclass(frozen=True, eq=False)
class _Handle:
    """A map as an array (n, ny, nx) of which dask takes blocks."""

    map: PixelMap
    ndim: int = 3

    @property
    def shape(self) -> tuple[int, ...]:
        """Coordinates, rows and columns."""
        return (len(self.map.names), *self.map.shape)

    @property
    def dtype(self) -> np.dtype:
        """Coordinates are in double precision."""
        return np.dtype(float)

    def __getitem__(self, region: tuple[slice, ...]) -> np.ndarray:
        return self.map.planes(*region[1:])[region[0]]
