"""Where on the detector each spectrum lies: boxes of whole pixels for slits, slices, traces and orders of grisms.

``cutouts_of`` gives them. Slitless spectra need a catalogue of the sources in the direct image and the wavelengths that
each filter lets through besides: each source is followed from the sky to the pixels where its shortest and longest
wavelengths fall. Boxes are those of jwst 3.0.0's extract_2d.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from gwcs import WCS
from gwcs.utils import to_index
from stdatamodels.jwst.transforms.models import IdealToV2V3

from jwpipe.exposure import ExposureError, Header, header
from jwpipe.wcs.catalogue import Catalogue, Source
from jwpipe.wcs.inspect import wcs_of
from jwpipe.wcs.soss import ORDERS, number, one_order

HEIGHT = 64
"""Rows of the cut-out of a grism time series."""

STAR_ROW = 34
"""Row of the cut-out, from 0, on which the star of a grism time series lies."""


@dataclass(frozen=True)
class Cutout:
    """A box of pixels (``rows``, ``columns``, counted from 0) and whose light is in it.

    ``name`` is that of the slit, the number of the slice, or that of the source; ``source_id`` the number of the source
    in a slit; ``source`` what the catalogue says of it, with its pixel in the direct image (``x``, ``y``).
    ``waverange`` (micron) is that of an order; ``partial`` where the box was cut at the detector's edge.
    """

    name: str
    rows: slice
    columns: slice
    order: int | None = None
    source_id: int | None = None
    source: Source | None = None
    x: float | None = None
    y: float | None = None
    waverange: tuple[float, float] | None = None
    partial: bool = False


def cutouts_of(
    exposure: xr.Dataset,
    catalogue: Catalogue | None = None,
    ranges: Ranges | None = None,
    wanted: Wanted | None = None,
) -> list[Cutout]:
    """The slits, slices or orders of an exposure; of slitless spectra those of the sources of a ``catalogue``.

    Raises
    ------
    ExposureError
        Without a WCS, and for slitless spectra without a catalogue and the wavelengths of their filters.
    """
    keywords = header(exposure)
    wcs = wcs_of(exposure, internal=True)
    shape = exposure.sizes["y"], exposure.sizes["x"]
    first = wcs.pipeline[0].transform
    if wcs.available_frames[0] == "grism_detector" and wcs.forward_transform.n_inputs == 5:
        if catalogue is None or ranges is None:
            raise ExposureError(
                f"{keywords.filename}: slitless spectra lie where their sources are; "
                "give the catalogue of the direct image, and a wavelengthrange reference"
            )
        return slitless_cutouts(wcs, keywords, shape, catalogue, ranges, wanted)
    if "gwa" in wcs.available_frames and wcs.forward_transform.n_inputs == 3:
        return slit_cutouts(wcs, shape)
    if keywords.get("EXP_TYPE") == "NIS_SOSS":
        return soss_cutouts(wcs, shape)
    if wcs.available_frames[0] == "grism_detector" and not hasattr(first, "label_mapper"):
        return [time_series_cutout(wcs, keywords, shape)]
    selector = wcs.pipeline[1].transform if wcs.available_frames[0] == "coordinates" else first
    if hasattr(selector, "label_mapper"):
        return slice_cutouts(selector.label_mapper.mapper, nirspec=selector is not first)
    return [Cutout("", *_whole_pixels(wcs.bounding_box, shape))]


def slit_cutouts(
    wcs: WCS,
    shape: tuple[int, int],
    names: Sequence[str | int] | None = None,
    source_ids: Sequence[str | int] | None = None,
) -> list[Cutout]:
    """The slits of NIRSpec, or those of these names and the ones that hold these sources, in this order.

    Slits that lie beside the frame, as others than its own do beside a subarray, are left out.

    Raises
    ------
    ExposureError
        Where none of those that are asked for is open.
    """
    transform = wcs.get_transform("gwa", "slit_frame")
    slits = [each if hasattr(each, "name") else None for each in transform.slits]
    boxes = [wcs.bounding_box[number] for number in transform.slit_ids]
    found = [
        Cutout(
            str(number if slit is None else slit.name),
            *_whole_pixels(box, shape),
            source_id=None if slit is None else int(slit.source_id),
        )
        for slit, number, box in zip(slits, transform.slit_ids, boxes, strict=True)
    ]
    found = [each for each in found if min(_size(each.rows), _size(each.columns)) > 0]
    if names is None and source_ids is None:
        return found
    wanted = [each for each in found if each.name in map(str, names or ())]
    ids = set(map(str, source_ids or ()))
    wanted += [each for each in found if str(each.source_id) in ids and each not in wanted]
    if not wanted:
        listed = ", ".join(f"{each.name} (source {each.source_id})" for each in found)
        raise ExposureError(f"none of the slits or sources that were asked for; open are {listed}")
    return wanted


def slice_cutouts(labels: np.ndarray, *, nirspec: bool) -> list[Cutout]:
    """The slices of a map of labels (ny, nx): NIRSpec numbers them from 1 there, and from 0 elsewhere."""
    from scipy.ndimage import find_objects

    boxes = enumerate(find_objects(labels), 0 if nirspec else 1)
    return [Cutout(str(label), *box) for label, box in boxes if box is not None]


def soss_cutouts(wcs: WCS, shape: tuple[int, int]) -> list[Cutout]:
    """The orders of SOSS: the pixels that have a wavelength in each."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    found = []
    for order in ORDERS:
        rows, columns = np.nonzero(np.isfinite(one_order(wcs, order)(x, y)[2]))
        if rows.size:
            lit = [slice(int(v.min()), int(v.max()) + 1) for v in (rows, columns)]
            found.append(Cutout(f"order {order}", lit[0], lit[1], order))
    return found


@dataclass(frozen=True)
class Ranges:
    """The wavelengths (micron) that filters let through in each order, from a ``wavelengthrange`` reference."""

    limits: Mapping[tuple[int, str], tuple[float, float]]
    extracted: Mapping[str, tuple[int, ...]]
    path: str = ""

    @classmethod
    def read(cls, tree: Mapping[str, Any], path: str = "") -> Ranges:
        """Read the tree of a reference: rows (order, filter, from, to), for time series with the field before filter.

        The first row of an order and filter counts.
        """
        limits: dict[tuple[int, str], tuple[float, float]] = {}
        for order, *_, name, low, high in tree["wavelengthrange"]:
            limits.setdefault((int(order), str(name)), (float(low), float(high)))
        orders = {str(name): tuple(map(int, given)) for name, given in tree["extract_orders"]}
        return cls(limits, orders, path)

    def of(self, name: str, orders: Sequence[int] | None = None) -> dict[int, tuple[float, float]]:
        """The range of each order of a filter; of those that are to be extracted where not given.

        Raises
        ------
        ExposureError
            Where the reference has no such filter or order.
        """
        if orders is None and name not in self.extracted:
            raise ExposureError(
                f"{self.path}: no filter {name} in this wavelengthrange reference, which has "
                f"{', '.join(self.extracted)}; give the one of this mode with --override wavelengthrange=FILE"
            )
        wanted = self.extracted[name] if orders is None else orders
        if missing := [order for order in wanted if (order, name) not in self.limits]:
            known = sorted(order for order, filter_ in self.limits if filter_ == name)
            raise ExposureError(
                f"{self.path}: no wavelengths of order {missing[0]} of {name} in this wavelengthrange reference; "
                f"it has the orders {', '.join(map(str, known))}"
            )
        return {order: self.limits[order, name] for order in wanted}


@dataclass(frozen=True)
class Wanted:
    """Which sources and orders of slitless spectra to cut out.

    ``faintest`` is an AB magnitude, ``brightest`` how many of the brightest sources, ``half_height`` half the height
    of the boxes of point sources across the dispersion; ``None`` makes no difference.
    """

    orders: Sequence[int] | None = None
    ids: Sequence[int] | None = None
    faintest: float | None = None
    brightest: int | None = 1000
    half_height: int | None = 5


def slitless_cutouts(
    wcs: WCS,
    header: Header,
    shape: tuple[int, int],
    catalogue: Catalogue,
    ranges: Ranges,
    wanted: Wanted | None = None,
) -> list[Cutout]:
    """The orders of the sources of a catalogue that fall on the detector, brightest sources first.

    The corners of a source's box on the sky, at the shortest and the longest wavelength of an order, are the corners of
    its box on the detector. All sources are followed at once.

    Raises
    ------
    ExposureError
        Where the references have no such filter or order.
    """
    wanted = wanted or Wanted()
    niriss = str(header["EXP_TYPE"]).startswith("NIS")
    waves = ranges.of(str(header["PUPIL" if niriss else "FILTER"]), wanted.orders)
    sources = catalogue.chosen(wanted.ids, wanted.faintest)
    if not sources:
        return []
    x0, y0 = _direct(wcs, sources)
    bounds = {
        order: _bounds(wcs, sources, order, limits, header["DISPAXIS"], wanted.half_height)
        for order, limits in waves.items()
    }
    seen = {order: _falls_on(box, shape, header["DISPAXIS"]) for order, box in bounds.items()}
    light = [n for n in range(len(sources)) if any(seen[order][n] for order in waves)]
    ranked = [light[k] for k in np.argsort([sources[n].abmag for n in light])][: wanted.brightest]
    found = []
    for n in ranked:
        for order in (order for order in waves if seen[order][n]):
            box = bounds[order][n]
            if (sides := _clamped(box, shape)) is not None:
                found.append(_order(sources[n], box, sides, order, waves[order], (x0[n], y0[n])))
    return found


def _order(
    source: Source,
    box: np.ndarray,
    sides: tuple[slice, slice],
    order: int,
    waverange: tuple[float, float],
    place: tuple[float, float],
) -> Cutout:
    rows, columns = sides
    inside = box[0, 1] < rows.stop and box[1, 1] < columns.stop and bool((box >= 0).all())
    return Cutout(
        str(source.label),
        rows,
        columns,
        order,
        source.label,
        source,
        float(place[0]),
        float(place[1]),
        waverange,
        not inside,
    )


def time_series_cutout(
    wcs: WCS, header: Header, shape: tuple[int, int], *, height: int = HEIGHT, order: int = 1
) -> Cutout:
    """The rows around the star of a grism time series, over the whole width; the star lies on row 34 of them.

    ``x`` is the star's column in the direct image, where the offset of the pointing (XOFFSET, YOFFSET) puts it.
    """
    ideal = [number(header, name) for name in ("V3I_YANG", "V2_REF", "V3_REF", "VPARITY")]
    offset = [number(header, name) for name in ("XOFFSET", "YOFFSET")]
    v2, v3 = IdealToV2V3(*ideal)(*offset)
    x = wcs.get_transform("v2v3", "direct_image")(v2, v3, np.nan, order)[0]
    # Without two rows there is no middle: the box ends at the star then.
    last = STAR_ROW if height < 2 else height - 1
    rows = slice(0, min(last, shape[0] - 1) + 1)
    return Cutout("1", rows, slice(0, shape[1]), order, 1, x=float(x), y=float(STAR_ROW))


def _whole_pixels(box: Any, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a bounding box; the frame where there is none."""
    if box is None:
        return slice(0, shape[0]), slice(0, shape[1])
    sides = [box.intervals[axis] for axis in (1, 0)]
    rows, columns = (
        slice(max(int(to_index(low)), 0), min(int(to_index(high)), size))
        for (low, high), size in zip(sides, shape, strict=True)
    )
    return rows, columns


def _size(pixels: slice) -> int:
    return int(pixels.stop - pixels.start)


def _direct(wcs: WCS, sources: Sequence[Source]) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of sources in the direct image."""
    to_direct = wcs.get_transform("world", "detector")
    ra, dec = (np.array([each.sky[axis] for each in sources]) for axis in (0, 1))
    x, y, *_ = to_direct(ra, dec, 1.0, 1.0)
    return x, y


def _bounds(
    wcs: WCS,
    sources: Sequence[Source],
    order: int,
    limits: tuple[float, float],
    axis: int,
    half_height: int | None,
) -> np.ndarray:
    """The boxes of all sources in an order: (n, 2, 2) whole pixels, y first, each from and to (inclusive)."""
    ra, dec = (np.array([each.corners[k] for each in sources]).ravel() for k in (0, 1))
    ends = [dispersed(wcs, ra, dec, wavelength, order) for wavelength in limits]
    places = np.concatenate([end.reshape(2, len(sources), 4) for end in ends], axis=2)[::-1]
    empty = np.isnan(places).all(axis=2)
    with np.errstate(invalid="ignore"):
        low, high = (pick(places, axis=2) for pick in (np.fmin.reduce, np.fmax.reduce))
    if half_height is not None:
        ra, dec = (np.array([each.sky[k] for each in sources]) for k in (0, 1))
        across = 0 if axis == 1 else 1
        middle = dispersed(wcs, ra, dec, sum(limits) / 2, order)[1 - across]
        point = np.array([not each.extended for each in sources])
        low[across] = np.where(point, middle - half_height, low[across])
        high[across] = np.where(point, middle + half_height, high[across])
    low, high = (np.where(empty, -9.0, side) for side in (low, high))
    return np.stack([to_index(low), to_index(high)], axis=-1).transpose(1, 0, 2)


def dispersed(
    wcs: WCS, ra: np.ndarray, dec: np.ndarray, wavelength: float | np.ndarray, order: int
) -> np.ndarray:
    """Where light falls: pixels (2, n), x first, of places on the sky (deg) and wavelengths (micron)."""
    x, y, *_ = wcs.backward_transform(ra, dec, wavelength, order)
    return np.stack([np.broadcast_to(values, ra.shape) for values in (x, y)])


def _falls_on(boxes: np.ndarray, shape: tuple[int, int], axis: int) -> np.ndarray:
    """Which boxes have two pixels of the detector along the dispersion and one across."""
    along, across = (1, 0) if axis == 1 else (0, 1)
    low, high = boxes[..., 0], boxes[..., 1]
    found: np.ndarray = (
        (high[:, along] > 0)
        & (low[:, along] < shape[along] - 1)
        & (high[:, across] >= 0)
        & (low[:, across] <= shape[across] - 1)
    )
    return found


def _clamped(box: np.ndarray, shape: tuple[int, int]) -> tuple[slice, slice] | None:
    """Rows and columns of a box on the detector; ``None`` where one row or column is all that is left."""
    sides = [tuple(np.clip(side, 0, size)) for side, size in zip(box, shape, strict=True)]
    if any(low >= high for low, high in sides):
        return None
    rows, columns = (
        slice(int(low), min(int(high) + 1, size))
        for (low, high), size in zip(sides, shape, strict=True)
    )
    return rows, columns
