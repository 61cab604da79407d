"""The WCS of an exposure in pieces within which coordinates are smooth: an image, a slit, a slice, an order.

=====================  ==============================================  =================================
WCS                    pieces                                          where pixels are outside
=====================  ==============================================  =================================
images                 the frame                                       bounding box
slits (NIRSpec)        each slit                                       ends of the slit, bounding box
slices (NIRSpec)       each slice by its number, or all by the map     map of slices
slices (MIRI)          all by the map                                  map of slices, range of channels
prism (MIRI LRS)       the frame; the trace is a table                 table of the trace, bounding box
SOSS                   each order; wavelengths are a table             table
slitless spectra       an order of a source: one line of pixels        nothing
stripes (DHS)          the frame; each stripe has its trace            map of stripes
=====================  ==============================================  =================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from math import ceil, floor
from typing import Any

import numpy as np
import xarray as xr
from astropy import units
from astropy.modeling import CompoundModel, Model
from astropy.modeling.models import Tabular1D
from gwcs import WCS
from gwcs.selector import LabelMapperArray, RegionsSelector

from jwpipe.exposure import Header, header
from jwpipe.wcs.direct import Direct
from jwpipe.wcs.grism import trace_map
from jwpipe.wcs.inspect import Choice, Part, part_of
from jwpipe.wcs.pixelmap import Transform

METRES = 1e-4
"""Tables of wavelengths (m) hold smaller numbers, those of places along slits larger ones."""

PLACES: Mapping[str, Mapping[str, int]] = {
    "slit_frame": {"y_slit": 1},
    "slicer": {"x_slicer": 0, "y_slicer": 1},
    "alpha_beta": {"alpha": 0, "beta": 1},
}
"""Frames that tell the place in a slit, and which of their coordinates do."""


@dataclass(frozen=True, eq=False)
class Way:
    """The way of a piece's pixels to the sky, past the frame that tells the place in the slit.

    ``names`` are the coordinates; ``origin`` (deg) is subtracted from right ascension, so that it is smooth at 0 h;
    ``microns`` is the unit of the wavelength.
    """

    to_place: Direct
    onwards: Direct
    names: tuple[str, ...]
    taken: tuple[int, ...] = ()
    origin: float = 0.0
    microns: float = 1.0

    def __call__(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """The coordinates of pixels."""
        place = self.to_place(x, y)
        end = list(self.onwards(*place))
        if self.names[0] == "ra":
            end[0] = (end[0] - self.origin + 180) % 360 - 180
        if "wavelength" in self.names:
            end[2] = end[2] * self.microns
        return (*end[: len(self.names) - len(self.taken)], *(place[n] for n in self.taken))


@dataclass(frozen=True, eq=False)
class Told:
    """A WCS that is told more than the pixel."""

    wcs: WCS
    beside: tuple[float, ...]

    def __call__(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """Position and wavelength of pixels."""
        return tuple(self.wcs(x, y, *(np.full_like(x, value) for value in self.beside))[:3])


@dataclass(frozen=True, eq=False)
class Piece:
    """Pixels (a box of whole ones) whose coordinates are smooth, if at all.

    ``smooth`` goes on a little outside, where ``exact`` is NaN; ``None`` where nothing is smooth. ``labelled`` (ny, nx)
    are the pixels of the box that belong to the piece, ``edges`` limits of coordinates beyond which there is no light.
    ``separate``: ``exact`` takes rows (ny, 1) and columns (1, nx) as well as pixels.
    """

    rows: slice
    columns: slice
    exact: Transform
    smooth: Transform | None = None
    origin: float = 0.0
    labelled: np.ndarray | None = None
    edges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    separate: bool = False

    def sees(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether the exact transform has coordinates for pixels."""
        values = self.exact(x.astype(float), y.astype(float))
        return np.isfinite(np.stack([np.broadcast_to(v, x.shape) for v in values])).all(axis=0)

    def planes(self, tile: tuple[slice, slice], shift: tuple[float, float]) -> np.ndarray:
        """The exact coordinates (n, ny, nx) of a tile of pixels."""
        y, x = (np.arange(side.start, side.stop, dtype=float) for side in tile)
        shape = y.size, x.size
        x, y = np.meshgrid(x + shift[0], y + shift[1], sparse=self.separate)
        if not self.separate:
            x, y = x.ravel(), y.ravel()
        with np.errstate(invalid="ignore"):
            values = self.exact(x, y)
        if not self.separate:
            values = tuple(np.broadcast_to(value, x.shape).reshape(shape) for value in values)
        values = (values[0] + self.origin, *values[1:])
        found = np.empty((len(values), *shape))
        for plane, value in zip(found, values, strict=True):
            plane[:] = value
        # A sum is NaN where any of its terms is.
        outside = np.broadcast_to(np.isnan(sum(values)), shape)
        if self.labelled is not None:
            outside |= ~self.labelled[
                tile[0].start - self.rows.start : tile[0].stop - self.rows.start,
                tile[1].start - self.columns.start : tile[1].stop - self.columns.start,
            ]
        np.copyto(found, np.nan, where=outside)
        return found


@dataclass(frozen=True, eq=False)
class Line:
    """Pixels whose coordinates are those of one line along the dispersion, for a source in an order."""

    rows: slice
    columns: slice
    part: Part
    header: Header
    smooth: None = None

    def planes(self, tile: tuple[slice, slice], shift: tuple[float, float]) -> np.ndarray:
        """The exact coordinates (3, ny, nx) of a tile of pixels."""
        ra, dec, wavelengths = trace_map(
            self.part.wcs, self.header, tile, *self.part.beside, shift=shift
        )
        return np.stack(
            [np.full(wavelengths.shape, ra), np.full(wavelengths.shape, dec), wavelengths]
        )


Pieces = tuple[tuple[str, ...], list[Piece | Line]]


def pieces_of(exposure: xr.Dataset, choice: Choice) -> Pieces:
    """The names of the coordinates, and the pieces of the part of an exposure that is chosen.

    Raises
    ------
    ExposureError
        Where there is no WCS or no such part, or a choice is needed.
    """
    part = part_of(exposure, choice, internal=True)
    shape = exposure.sizes["y"], exposure.sizes["x"]
    selector = _selector(part.wcs)
    if part.beside and selector is None:
        return _line(part, header(exposure), shape)
    if part.beside:
        return _stripes(part, shape)
    if selector is not None:
        return _by_label(part.wcs, selector, shape)
    return _whole(part, shape)


def _whole(part: Part, shape: tuple[int, int]) -> Pieces:
    """A frame, slit or order: the pixels within its bounding box."""
    rows, columns = _boxed(part.wcs, shape)
    way = _way(part.wcs, 0)
    tables = [leaf for leaf in _leaves(way.to_place) if hasattr(leaf, "lookup_table")]
    middle = tuple(np.array([0.5 * (side.start + side.stop)]) for side in (columns, rows))
    if tables and "y_slit" not in way.names:
        return way.names, [Piece(rows, columns, way, separate=True)]
    smooth = _going_on(way) if tables else way
    smooth = replace(smooth, origin=_origin(smooth, middle))
    exact = replace(way, origin=smooth.origin)
    edges = {"y_slit": _ends(tables)} if tables else {}
    return way.names, [Piece(rows, columns, exact, smooth, smooth.origin, edges=edges)]


def _by_label(wcs: WCS, place: int, shape: tuple[int, int]) -> Pieces:
    """Slices by the map of pixels: each label is a piece, of those pixels."""
    from scipy.ndimage import find_objects

    selector = wcs.pipeline[place].transform
    labels = selector.label_mapper.mapper
    way = _way(wcs, place)
    onwards = wcs.pipeline[place + 1].transform
    by_range = _Ranges(onwards) if isinstance(onwards, RegionsSelector) else None
    pieces: list[Piece | Line] = []
    origin: float | None = None
    for label, box in enumerate(find_objects(labels), 1):
        if box is None or label not in selector.selector:
            continue
        labelled = labels[box] == label
        exact = replace(way, to_place=Direct((selector.selector[label],)))
        smooth, edges = _going_on(exact), {}
        if by_range is not None:
            limits, model = by_range.of(label, smooth.to_place, _middle(box, labelled))
            edges = {"wavelength": limits}
            smooth = replace(smooth, onwards=Direct((model, *way.onwards.models[1:])))
        if origin is None:
            origin = _origin(smooth, _middle(box, labelled))
        exact, smooth = (replace(each, origin=origin) for each in (exact, smooth))
        pieces.append(Piece(box[0], box[1], exact, smooth, origin, labelled, edges))
    return way.names, pieces


@dataclass(frozen=True, eq=False)
class _Ranges:
    """The step of MIRI's spectrometer that depends on the channel, told by the range of wavelengths."""

    selector: RegionsSelector
    known: dict[int, tuple[tuple[float, float], Model]] = field(default_factory=dict)

    def of(
        self, label: int, to_place: Direct, pixel: tuple[np.ndarray, np.ndarray]
    ) -> tuple[tuple[float, float], Model]:
        """The range that a slice belongs to, and its transform: slices are numbered by channel, 100 each."""
        channel = label // 100
        if channel not in self.known:
            wavelength = float(to_place(*pixel)[2][0])
            mapper = self.selector.label_mapper.mapper
            nearest = min(mapper, key=lambda limits: abs(wavelength - sum(limits) / 2))
            (found,) = np.ravel(mapper[nearest](0.0, 0.0, wavelength))
            self.known[channel] = nearest, self.selector.selector[found]
        return self.known[channel]


def _line(part: Part, header: Header, shape: tuple[int, int]) -> Pieces:
    """A source's light in an order of a grism: a line of pixels tells all."""
    rows, columns = (slice(0, size) for size in shape)
    return ("ra", "dec", "wavelength"), [Line(rows, columns, part, header)]


def _stripes(part: Part, shape: tuple[int, int]) -> Pieces:
    """Stripes of a time series, told apart by the WCS itself."""
    rows, columns = (slice(0, size) for size in shape)
    return ("ra", "dec", "wavelength"), [Piece(rows, columns, Told(part.wcs, part.beside))]


def _way(wcs: WCS, start: int) -> Way:
    """The way from a step on, in two: before and after the frame that tells the place in the slit, if there is one."""
    frames = wcs.available_frames
    names = ["x_msa", "y_msa"] if frames[-1].startswith("msa") else ["ra", "dec"]
    microns = 1.0
    if len(wcs.output_frame.unit) > 2:
        names.append("wavelength")
        microns = float(units.Unit(wcs.output_frame.unit[2]).to(units.micron))
    place = next((frame for frame in PLACES if frame in frames), None)
    middle = len(frames) - 1 if place is None else frames.index(place)
    taken = {} if place is None else PLACES[place]
    steps = [step.transform for step in wcs.pipeline[:-1]]
    before, after = (Direct(tuple(part)) for part in (steps[start:middle], steps[middle:]))
    return Way(before, after, (*names, *taken), tuple(taken.values()), microns=microns)


def _going_on(way: Way) -> Way:
    """The way with tables that go on beyond their ends."""
    return replace(way, to_place=Direct(tuple(map(_extrapolating, way.to_place.models))))


def _extrapolating(model: Model) -> Model:
    """A transform with other tables, which go on in straight lines; all else is shared."""
    if isinstance(model, Tabular1D):
        table = copy(model)
        table.fill_value = None
        return table
    if not isinstance(model, CompoundModel) or not isinstance(model.right, Model):
        return model
    left, right = (_extrapolating(side) for side in (model.left, model.right))
    if left is model.left and right is model.right:
        return model
    changed = copy(model)
    changed.left, changed.right = left, right
    return changed


def _ends(tables: list[Any]) -> tuple[float, float]:
    """The ends of a slit, which the table of places along it has; others are of wavelengths in metres."""
    places = next(
        table.lookup_table for table in tables if np.abs(table.lookup_table).max() > METRES
    )
    return float(places.min()), float(places.max())


def _origin(way: Way, pixel: tuple[np.ndarray, ...]) -> float:
    """The right ascension of a pixel; 0 where it has none."""
    if way.names[0] != "ra":
        return 0.0
    ra = float(way(*pixel)[0][0])
    return ra % 360 if np.isfinite(ra) else 0.0


def _middle(box: tuple[slice, slice], labelled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A pixel in the middle of a slice."""
    y, x = np.nonzero(labelled)
    k = len(y) // 2
    return np.array([x[k] + float(box[1].start)]), np.array([y[k] + float(box[0].start)])


def _selector(wcs: WCS) -> int | None:
    """The place in the pipeline of the step that finds a pixel's slice by a map, if there is one."""
    for n, step in enumerate(wcs.pipeline):
        if isinstance(step.transform, RegionsSelector):
            return n if isinstance(step.transform.label_mapper, LabelMapperArray) else None
    return None


def _leaves(transform: Direct) -> Iterator[Model]:
    """All simple models in a transform."""
    for model in transform.models:
        yield from (each for each in model.traverse_postorder() if each.n_submodels == 1)


def _boxed(wcs: WCS, shape: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns of pixels whose middle is in the bounding box."""
    box = wcs.bounding_box
    if box is None:
        return slice(0, shape[0]), slice(0, shape[1])
    sides = [box.intervals[axis] for axis in (1, 0)]
    rows, columns = (
        slice(max(ceil(low), 0), min(floor(high) + 1, size))
        for (low, high), size in zip(sides, shape, strict=True)
    )
    return rows, columns
