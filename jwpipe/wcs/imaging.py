"""The WCS of an image: detector -> v2v3 -> v2v3vacorr -> world.

The same chain serves NIRCam, NIRISS, MIRI and FGS: only their reference files differ.

===========  ==================================  ==========================================================
frame        coordinates                         how the light gets there
===========  ==================================  ==========================================================
detector     x, y                                pixels of the exposure; the centre of the first is (0, 0)
v2v3         V2, V3 (arcsec)                     place of the subarray, the filter's offset, distortion
v2v3vacorr   V2, V3 (arcsec)                     the same, free from velocity aberration
world        right ascension, declination (deg)  the telescope's pointing and roll
===========  ==================================  ==========================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any

import xarray as xr
from astropy import coordinates, units
from astropy.modeling import Model
from astropy.modeling.models import Identity, Shift
from gwcs import WCS
from gwcs.coordinate_frames import CelestialFrame, Frame2D

from jwpipe.exposure import ExposureError, Header, header
from jwpipe.refs import References
from jwpipe.wcs.pointing import Pointing

Box = tuple[tuple[float, float], tuple[float, float]]


def build(exposure: xr.Dataset, references: References, params: Any) -> WCS:
    """The WCS of an image.

    Raises
    ------
    ExposureError
        For pointing keywords that are missing or not finite, and references without their transform.
    """
    keywords = header(exposure)
    shape = (exposure.sizes["y"], exposure.sizes["x"])
    return imaging_wcs(keywords, shape, _distortion(references, keywords), _filters(references))


def _distortion(references: References, keywords: Header) -> Any:
    file = references["distortion"]
    model = None if file is None else file.tree().get("model")
    if model is None:
        found = "no distortion reference" if file is None else f"no 'model' in {file.path}"
        raise ExposureError(
            f"{keywords.filename}: assign_wcs: {found}; expected an ASDF file with the transform "
            "from pixels to V2, V3; give one with --override distortion=FILE"
        )
    return model


def _filters(references: References) -> Any:
    file = references["filteroffset"]
    return () if file is None else file.tree().get("filters", ())


def imaging_wcs(
    header: Header,
    shape: tuple[int, int],
    distortion: Model,
    filters: Iterable[Mapping[str, Any]] = (),
) -> WCS:
    """Build the WCS of an image of ``shape`` (ny, nx) from its keywords and reference transforms.

    ``distortion`` goes from pixels of the full frame to V2, V3 (arcsec); ``filters`` are the rows
    of a filter-offset reference. The bounding box holds the pixels' outer edges.

    Raises
    ------
    ExposureError
        Where pointing keywords are missing or not finite, or several filter offsets match.
    """
    pointing = Pointing.from_header(header)
    corner = subarray_corner(header)
    model = copy(distortion)
    to_v2v3 = _chain(_shift(*corner), _shift(*filter_offset(header, filters)), model)
    wcs = WCS(
        [
            (_pixels("detector"), to_v2v3),
            (_telescope("v2v3"), pointing.aberration()),
            (_telescope("v2v3vacorr"), pointing.to_sky()),
            (CelestialFrame(reference_frame=coordinates.ICRS(), name="world"), None),
        ]
    )
    wcs.bounding_box = _frame_box(shape) if any(corner) else _valid_box(model, shape)
    return wcs


def subarray_corner(header: Header) -> tuple[float, float]:
    """Find the first column and row of the exposure on the full frame, counted from 0."""
    first = (header.get(keyword) for keyword in ("SUBSTRT1", "SUBSTRT2"))
    column, row = (0.0 if value is None else float(value) - 1.0 for value in first)
    return column, row


def filter_offset(header: Header, filters: Iterable[Mapping[str, Any]]) -> tuple[float, float]:
    """Find by how many columns and rows the filter shifts the image; 0 where no row says so.

    NIRCam and NIRISS are matched by filter and pupil, MIRI (which has no pupil wheel) by filter,
    first match.

    Raises
    ------
    ExposureError
        Where several rows match.
    """
    wheels = ("FILTER",) if header.get("INSTRUME") == "MIRI" else ("FILTER", "PUPIL")
    found = [
        row
        for row in filters
        if all(row.get(wheel.lower()) == header.get(wheel) for wheel in wheels)
    ]
    if len(found) > 1 and len(wheels) > 1:
        raise ExposureError(
            f"{header.filename}: assign_wcs: the filteroffset reference has {len(found)} rows for "
            f"{' '.join(str(header.get(wheel)) for wheel in wheels)}, expected one; "
            "correct the reference"
        )
    row = found[0] if found else {}
    shift = row.get("column_offset", "N/A"), row.get("row_offset", "N/A")
    return (0.0, 0.0) if None in shift or "N/A" in shift else shift


def _shift(x: float, y: float) -> Model | None:
    """Shift the axes that need it; ``None`` where neither does."""
    if x == 0 and y == 0:
        return None
    return (Shift(x) if x else Identity(1)) & (Shift(y) if y else Identity(1))


def _chain(*models: Model | None) -> Model:
    """Apply the models that there are, one after the other."""
    first, *rest = (model for model in models if model is not None)
    for model in rest:
        first = first | model
    return first


def _frame_box(shape: tuple[int, int]) -> Box:
    """Outer edges of the first and last pixels: (x, x), (y, y)."""
    return (-0.5, shape[1] - 0.5), (-0.5, shape[0] - 0.5)


def _valid_box(model: Model, shape: tuple[int, int]) -> Box:
    """Limit the frame to where the distortion reference says that it holds."""
    frame = _frame_box(shape)
    try:
        limits = model.bounding_box.bounding_box(order="F")
    except NotImplementedError:
        return frame
    (x, y), (left, bottom) = frame, limits
    return (max(x[0], left[0]), min(x[1], left[1])), (max(y[0], bottom[0]), min(y[1], bottom[1]))


def _pixels(name: str) -> Frame2D:
    return Frame2D(name=name, axes_order=(0, 1), unit=(units.pix, units.pix))


def _telescope(name: str) -> Frame2D:
    return Frame2D(
        name=name, axes_order=(0, 1), axes_names=("v2", "v3"), unit=(units.arcsec, units.arcsec)
    )
