"""The pixel grid of a mosaic, from the exposures' footprints alone.

A tangent projection whose axes follow the first exposure's (or a given position angle), large enough
for the union of the footprints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, degrees, radians, sin, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from jwpipe.exposure import ExposureError, Header, header
from jwpipe.stage3.overlaps import positions, unit_vectors

if TYPE_CHECKING:
    from gwcs import WCS

REFERENCE = ("RA_REF", "DEC_REF", "ROLL_REF", "V3I_YANG", "VPARITY")
ARCSEC = 3600.0
# Border points for the mean pixel area are at most this many pixels apart.
BORDER_STEP = 15
# More than any survey tile: exposures of different fields that ended up in one association.
MOST_PIXELS = 1 << 32


@dataclass(frozen=True, eq=False)
class Grid:
    """A mosaic's pixels: ``shape`` (y, x), scale in arcsec, and its ratio to that of the first exposure."""

    wcs: WCS
    shape: tuple[int, int]
    pixel_scale: float
    ratio: float


@dataclass(frozen=True)
class GridRequest:
    """What a user may ask of a grid: scale (arcsec) or its ratio, rotation (deg), reference point, shape.

    ``crpix`` is 0-based (x, y), ``crval`` RA and Dec in degrees, ``shape`` (x, y).
    """

    pixel_scale_ratio: float = 1.0
    pixel_scale: float | None = None
    rotation: float | None = None
    crpix: tuple[float, float] | None = None
    crval: tuple[float, float] | None = None
    shape: tuple[int, int] | None = None


def output_grid(exposures: Sequence[xr.Dataset], request: GridRequest | None = None) -> Grid:
    """The grid that holds all ``exposures``, oriented as the first one unless a rotation is asked for.

    Raises
    ------
    ExposureError
        Where there is no exposure, or one has no WCS, pointing or footprint, or the grid is too small.
    """
    asked = request or GridRequest()
    if not exposures:
        raise ExposureError("resample: no exposures to combine; give at least one calibrated image")
    first = exposures[0]
    wcs, keywords = exposure_wcs(first), _pointing(first)
    footprints = [corners for exposure in exposures for corners in footprints_of(exposure)]
    if asked.pixel_scale is None:
        scale = local_scale(wcs, keywords["RA_REF"], keywords["DEC_REF"]) * asked.pixel_scale_ratio
        ratio = asked.pixel_scale_ratio
    else:
        scale = asked.pixel_scale / ARCSEC
        ratio = scale / degrees(sqrt(mean_pixel_area(wcs, _shape(first))))
    crval = asked.crval or _centre(np.vstack(footprints))
    matrix = _orientation(keywords, asked.rotation)
    projected = [_tangent(crval, scale, matrix).inverse(*corners.T) for corners in footprints]
    low, high = np.min(projected, axis=(0, 2)), np.max(projected, axis=(0, 2))
    # Without a reference pixel, the lowest corner of all footprints becomes pixel 0, 0.
    crpix = tuple(asked.crpix or (float(-low[0]), float(-low[1])))
    built, shape = _wcs(wcs, crpix, crval, scale, matrix, low + crpix, high + crpix, asked.shape)
    return Grid(built, shape, scale * ARCSEC, ratio)


def custom_grid(path: str | Path, exposures: Sequence[xr.Dataset], request: GridRequest) -> Grid:
    """The grid of an ASDF file with a gwcs ``wcs``, and optionally its scale (arcsec) and shape.

    Keys understood: ``wcs``, ``pixel_scale`` or ``pixel_area``, ``array_shape`` (y, x) or
    ``pixel_shape`` (x, y); a shape asked for comes first.

    Raises
    ------
    ExposureError
        Where the file cannot be read, has no WCS of two axes, or no shape is to be found.
    """
    tree = _asdf_tree(path)
    wcs = tree.get("wcs")
    if wcs is None or getattr(wcs.output_frame, "naxes", 0) != 2:
        raise ExposureError(
            f"{path}: resample: output_wcs: expected a gwcs with two celestial axes under the key "
            f"'wcs', found {wcs!r}; write one with asdf"
        )
    shape = _custom_shape(wcs, tree, request.shape, path)
    wcs.array_shape = shape
    scale = tree.get("pixel_scale")
    if scale is None:
        area = tree.get("pixel_area")
        scale = ARCSEC * degrees(sqrt(mean_pixel_area(wcs, shape))) if area is None else sqrt(area)
    area = header(exposures[0]).get("PIXAR_SR")
    if area is None or area <= 0:
        area = mean_pixel_area(exposure_wcs(exposures[0]), _shape(exposures[0]))
    return Grid(wcs, shape, float(scale), float(scale) / (ARCSEC * degrees(sqrt(area))))


def _asdf_tree(path: str | Path) -> dict[str, Any]:
    import asdf

    try:
        with asdf.open(path, lazy_load=False, memmap=False) as file:
            return dict(file.tree)
    except (OSError, ValueError) as error:
        raise ExposureError(
            f"{path}: resample: output_wcs cannot be read ({error}); give an ASDF file with a gwcs"
        ) from error


def _custom_shape(
    wcs: WCS, tree: dict[str, Any], asked: tuple[int, int] | None, path: str | Path
) -> tuple[int, int]:
    if asked is not None:
        return asked[1], asked[0]
    shape = wcs.array_shape or tree.get("array_shape")
    if shape is None and tree.get("pixel_shape") is not None:
        shape = tree["pixel_shape"][::-1]
    if shape is None and wcs.bounding_box is not None:
        (_, right), (_, top) = wcs.bounding_box.bounding_box(order="F")
        shape = (int(top + 0.5), int(right + 0.5))
    if shape is None:
        raise ExposureError(
            f"{path}: resample: output_wcs has no array_shape, pixel_shape or bounding_box; "
            "add one, or set output_shape"
        )
    return int(shape[0]), int(shape[1])


def exposure_wcs(exposure: xr.Dataset) -> WCS:
    """The WCS of an exposure.

    Raises
    ------
    ExposureError
        Where it has none.
    """
    wcs = exposure.attrs.get("wcs")
    if wcs is None:
        raise ExposureError(
            f"{header(exposure).filename}: resample: the exposure has no WCS; run assign_wcs first"
        )
    return wcs


def _shape(exposure: xr.Dataset) -> tuple[int, int]:
    return exposure.sizes["y"], exposure.sizes["x"]


def _pointing(exposure: xr.Dataset) -> Header:
    keywords = header(exposure)
    missing = [name for name in REFERENCE if keywords.get(name) is None]
    if missing:
        raise ExposureError(
            f"{keywords.filename}: resample: keywords {', '.join(missing)} are missing from the SCI "
            "header; the mosaic's orientation follows from them, take them from the archive's file"
        )
    return keywords


def footprints_of(exposure: xr.Dataset) -> list[np.ndarray]:
    """Corners (n, 2) in degrees of each polygon of S_REGION; without it, those of the WCS."""
    region = header(exposure).get("S_REGION")
    if region:
        return parse_region(str(region))
    ny, nx = _shape(exposure)
    x, y = np.array([0, 0, nx, nx]) - 0.5, np.array([0, ny, ny, 0]) - 0.5
    return [np.stack(exposure_wcs(exposure)(x, y, with_bounding_box=False), axis=-1)]


def parse_region(region: str) -> list[np.ndarray]:
    """Corners (n, 2) in degrees of the polygons of an S_REGION keyword."""
    words = [part.split() for part in region.upper().replace("ICRS", " ").split("POLYGON")]
    return [np.array(part, float).reshape(-1, 2) for part in words if part]


def _centre(corners: np.ndarray) -> tuple[float, float]:
    """The middle (RA, Dec) of the box of unit vectors around corners (n, 2)."""
    vectors = unit_vectors(*corners.T)
    ra, dec = positions((vectors.max(axis=0) + vectors.min(axis=0))[None] / 2)
    return float(ra[0]), float(dec[0])


def _orientation(keywords: Header, rotation: float | None) -> np.ndarray:
    """The matrix from pixels to the tangent plane (east, north), without scale.

    ``rotation`` is the position angle of the y axis; by default that of the detector's.
    """
    parity, ideal = keywords["VPARITY"], keywords["V3I_YANG"]
    angle = radians(keywords["ROLL_REF"] - parity * ideal if rotation is None else rotation)
    return np.array([[parity * cos(angle), sin(angle)], [-parity * sin(angle), cos(angle)]])


def _tangent(crval: Sequence[float], scale: float, matrix: np.ndarray) -> Any:
    """Pixels, counted from ``crval``, to the sky."""
    from astropy.modeling.models import (
        AffineTransformation2D,
        Pix2Sky_TAN,
        RotateNative2Celestial,
        Scale,
    )

    return (
        AffineTransformation2D(matrix=matrix)
        | Scale(scale) & Scale(scale)
        | Pix2Sky_TAN()
        | RotateNative2Celestial(crval[0], crval[1], 180)
    )


def _wcs(
    like: WCS,
    crpix: Sequence[float],
    crval: Sequence[float],
    scale: float,
    matrix: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    asked: tuple[int, int] | None,
) -> tuple[WCS, tuple[int, int]]:
    """Build the WCS, with frames as ``like``, for footprints from pixel ``low`` to ``high`` (x, y)."""
    import gwcs
    from astropy.modeling.models import Pix2Sky_TAN

    size = asked or (int(high[0] + 0.5), int(high[1] + 0.5))
    if min(size) < 2 or size[0] * size[1] > MOST_PIXELS:
        raise ExposureError(
            f"resample: the mosaic would have {size[0]} x {size[1]} pixels; expected at least 2 x 2 and "
            f"at most {MOST_PIXELS} in all: check pixel_scale, crpix, crval and output_shape, and that "
            "the exposures show the same part of the sky"
        )
    box = tuple((-0.5, n - 0.5) for n in size)
    if asked is not None:
        box = tuple(
            (max(0, int(a + 0.5)) - 0.5, min(int(b + 0.5), n) - 0.5)
            for a, b, n in zip(low, high, size, strict=True)
        )
    if any(first >= last for first, last in box):
        raise ExposureError(
            f"resample: none of the exposures overlaps the mosaic: they lie at x {low[0]:.0f} to "
            f"{high[0]:.0f}, y {low[1]:.0f} to {high[1]:.0f} of its {size[0]} x {size[1]} pixels; check "
            "crval, crpix and output_shape"
        )
    transform = gwcs.FITSImagingWCSTransform(
        Pix2Sky_TAN(), crpix=crpix, crval=crval, cdelt=(scale, scale), pc=matrix
    )
    wcs = gwcs.WCS([gwcs.Step(like.input_frame, transform), gwcs.Step(like.output_frame, None)])
    wcs.bounding_box = box
    wcs.pixel_shape = size
    return wcs, (size[1], size[0])


def local_scale(wcs: WCS, ra: float, dec: float) -> float:
    """The pixel scale, in degrees, at a position: the geometric mean along x and y."""
    x, y = wcs.invert(ra, dec, with_bounding_box=False)
    sky = wcs(np.array([x, x + 1, x]), np.array([y, y, y + 1]), with_bounding_box=False)
    vectors = unit_vectors(*(np.asarray(axis) for axis in sky))
    steps = np.linalg.norm(vectors[1:] - vectors[0], axis=1)
    return float(degrees(sqrt(np.prod(2 * np.arcsin(steps / 2)))))


def mean_pixel_area(wcs: WCS, shape: tuple[int, int]) -> float:
    """The mean area of the pixels within the bounding box, in steradians.

    The area of the outline through the centres of the outermost pixels, projected on the tangent
    plane at its middle, over the number of pixels that it encloses.
    """
    ny, nx = shape
    box = ((-0.5, nx - 0.5), (-0.5, ny - 0.5))
    if wcs.bounding_box is not None:
        box = wcs.bounding_box.bounding_box(order="F")
    left, right = max(0, int(box[0][0] + 0.5)), min(nx - 1, int(box[0][1] - 0.5))
    bottom, top = max(0, int(box[1][0] + 0.5)), min(ny - 1, int(box[1][1] - 0.5))
    x, y = _outline(left, right, bottom, top)
    vectors = unit_vectors(*(np.asarray(axis) for axis in wcs(x, y, with_bounding_box=False)))
    centre = vectors.mean(axis=0)
    centre /= np.linalg.norm(centre)
    east = np.cross([0.0, 0.0, 1.0], centre)
    east /= np.linalg.norm(east)
    offsets = vectors - centre
    u, v = offsets @ east, offsets @ np.cross(centre, east)
    area = 0.5 * abs(np.sum(u * np.roll(v, -1) - np.roll(u, -1) * v))
    return float(area / ((right - left) * (top - bottom)))


def _outline(left: int, right: int, bottom: int, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel positions around a rectangle, once."""
    nx, ny = (max(4, -(-(b - a) // BORDER_STEP)) for a, b in ((left, right), (bottom, top)))
    along_x, along_y = (
        np.linspace(a, b, n, endpoint=False) for a, b, n in ((left, right, nx), (bottom, top, ny))
    )
    x = np.concatenate([along_x, np.full(ny, right), (left + right) - along_x, np.full(ny, left)])
    y = np.concatenate([np.full(nx, bottom), along_y, np.full(nx, top), (bottom + top) - along_y])
    return x, y
