"""The WCS of slitless spectra: NIRCam and NIRISS grisms, wide field and time series.

A grism draws the light of every source out along a trace, so that a pixel has no place on the sky of its own: it has
one for each source and order. The source is given by its pixel in a direct image (x0, y0). Along a trace runs a
parameter t: the reference file has polynomials for the wavelength at t, and for the trace's offsets from (x0, y0) at t.

===============  ===================================  =====================================================
frame            coordinates                          the way on
===============  ===================================  =====================================================
grism_detector   x, y, x0, y0, order (wide field);    offset along the dispersion -> t -> wavelength
                 x, y, order (time series)
detector         x0, y0 (pixels), wavelength, order   distortion, with the offset of the filter
v2v3             V2, V3 (arcsec), wavelength, order   velocity aberration
v2v3vacorr       V2, V3 (arcsec), wavelength, order   pointing
world            right ascension, declination (deg),
                 wavelength (micron), order
===============  ===================================  =====================================================

Pixels are counted from 0. In a time series ``detector`` is called ``direct_image``, and the source is where the
aperture has it (XREF_SCI, YREF_SCI, taken as they are in the header, as jwst 3.0.0 does). There are no bounding boxes:
a trace is as long as the wavelength range of the filter, which is another reference file. Backwards, (right ascension,
declination, wavelength, order) gives the pixel where that light falls, and the source and order again.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from typing import Any

import numpy as np
import xarray as xr
from astropy import coordinates, units
from astropy.modeling import Model
from astropy.modeling.models import Const1D, Identity, Mapping, Shift
from gwcs import WCS
from gwcs.coordinate_frames import CelestialFrame, CompositeFrame, Frame2D
from stdatamodels.jwst.transforms.models import (
    NIRCAMBackwardGrismDispersion,
    NIRCAMForwardColumnGrismDispersion,
    NIRCAMForwardRowGrismDispersion,
    NIRISSBackwardGrismDispersion,
    NIRISSForwardColumnGrismDispersion,
    NIRISSForwardRowGrismDispersion,
)

from jwpipe.exposure import ExposureError, Header, header
from jwpipe.refs import References
from jwpipe.wcs import imaging
from jwpipe.wcs.modes import Solution
from jwpipe.wcs.soss import number
from jwpipe.wcs.spectra import beside_wavelength, reference, spectral, to_barycentre, tree_of

ROWS, COLUMNS = 1, 2
"""DISPAXIS: whether spectra lie along the detector's rows or columns, in the orientation of the sky."""

DISPERSERS = {"GRISMR": ROWS, "GRISMC": COLUMNS, "GR150C": ROWS, "GR150R": COLUMNS}
"""NIRISS names its grisms in the orientation of the raw detector, NIRCam in that of the sky."""

Tree = MappingType[str, Any]


def build(exposure: xr.Dataset, references: References, params: Any) -> Solution:
    """The WCS of a slitless exposure, with the keywords that say how its spectra lie.

    For wide fields, that of the direct image comes along: it is what the header's keywords approximate.

    Raises
    ------
    ExposureError
        For keywords that are missing or wrong (grism, module, angle of the filter wheel, reference point, pointing),
        and references that are missing, incomplete, or of another grism.
    """
    keywords = header(exposure)
    series = keywords["EXP_TYPE"] == "NRC_TSGRISM"
    axis = time_series_axis(keywords) if series else dispersion_axis(keywords)
    dispersion = _disperse(references, keywords, axis)
    if (stretch := to_barycentre(keywords)) is not None:
        dispersion = dispersion | Identity(2) & stretch & Identity(1)
    said = {"DISPAXIS": axis, "SPECSYS": "BARYCENT"}
    if series:
        return Solution(time_series(exposure, references, params, dispersion), said)
    direct = imaging.build(exposure, references, params)
    direct.bounding_box = (-0.5, exposure.sizes["x"] - 0.5), (-0.5, exposure.sizes["y"] - 0.5)
    return Solution(wide_field(direct, dispersion), said, image=direct)


def wide_field(direct: WCS, dispersion: Model) -> WCS:
    """The WCS of a field of spectra: (x, y, x0, y0, order) -> (right ascension, declination, wavelength, order)."""
    frame = pixels("grism_detector", ("x_grism", "y_grism"))
    return WCS([(frame, dispersion), *beside_wavelength(direct)])


def time_series(
    exposure: xr.Dataset, references: References, params: Any, dispersion: Model
) -> WCS:
    """The WCS of a star's spectra over time: (x, y, order) -> (right ascension, declination, wavelength, order)."""
    keywords = header(exposure)
    column, row = imaging.subarray_corner(keywords)
    shift = [Shift(start) if start else Identity(1) for start in (column, row)]
    star = [_fixed(number(keywords, name)) for name in ("XREF_SCI", "YREF_SCI")]
    to_direct = (
        shift[0] & shift[1] & Identity(1)
        | Mapping((0, 1, 0, 1, 2))
        | Identity(2) & star[0] & star[1] & Identity(1)
        | dispersion
    )
    steps = imaging.build(full_frame(exposure), references, params).pipeline
    onwards = [None if step.transform is None else step.transform & Identity(2) for step in steps]
    frames = (pixels("grism_detector"), *time_series_frames())
    return WCS(list(zip(frames, [to_direct, *onwards], strict=True)))


def time_series_frames() -> list[CompositeFrame]:
    """The frames of a time series after the grism; names and units are those of jwst 3.0.0's products.

    V2, V3 are in arcsec throughout, although ``v2v3`` is labelled with degrees there.
    """
    deg, arcsec = (units.deg, units.deg), (units.arcsec, units.arcsec)
    return [
        spectral("direct_image", pixels("full_detector", ("dx", "dy"))),
        spectral("v2v3", _plane("v2v3_spatial", deg)),
        spectral("v2v3vacorr", _plane("v2v3vacorr_spatial", arcsec)),
        spectral("world", CelestialFrame(reference_frame=coordinates.ICRS(), name="icrs")),
    ]


def trace_map(
    wcs: WCS,
    header: Header,
    tile: tuple[slice, slice],
    *source: float,
    shift: tuple[float, float] = (0.0, 0.0),
) -> tuple[float, float, np.ndarray]:
    """The sky (deg) and the wavelengths (micron) of a tile of pixels, as seen by one source in one order.

    ``tile`` are rows and columns with both ends, ``source`` is what the WCS takes beside the pixel: x0, y0, order, or
    the order alone for a time series. All light of a source is at one place of the sky, and its wavelength depends on
    the pixel along the dispersion (DISPAXIS) only: one line of pixels is evaluated, which gives the same values as the
    whole tile. The wavelengths (ny, nx) are a read-only view of that line. ``shift`` (x, y) is the place within each
    pixel, from its middle.
    """
    along_rows = header["DISPAXIS"] == ROWS
    shape = tuple(side.stop - side.start for side in tile)
    along, off = (tile[1], shift[0]) if along_rows else (tile[0], shift[1])
    line = np.arange(along.start, along.stop, dtype=float) + off
    across = np.zeros_like(line)
    # NIRCam's transforms take one source for all pixels, those of NIRISS and MIRI one for each.
    each: Any = 1.0 if str(header["EXP_TYPE"]).startswith("NRC") else np.ones_like(line)
    x, y = (line, across) if along_rows else (across, line)
    ra, dec, wavelengths, _ = wcs(x, y, *(each * value for value in source))
    spread = np.broadcast_to(wavelengths if along_rows else wavelengths[:, None], shape)
    return float(np.ravel(ra)[0]), float(np.ravel(dec)[0]), spread


def dispersion_axis(header: Header) -> int:
    """DISPAXIS of a grism: 1 for spectra along rows, 2 along columns.

    Raises
    ------
    ExposureError
        Where no grism of the instrument is in its wheel.
    """
    prefix, wheel = ("GR150", "FILTER") if _with_niriss(header) else ("GRISM", "PUPIL")
    found = header[wheel]
    if found not in (f"{prefix}R", f"{prefix}C"):
        raise ExposureError(
            f"{header.filename}: assign_wcs: {wheel} is {found!r}, expected {prefix}R or {prefix}C "
            f"for a {header['EXP_TYPE']}; correct the keyword"
        )
    return DISPERSERS[found]


def time_series_axis(header: Header) -> int:
    """DISPAXIS of a NIRCam grism time series, which is taken with GRISMR in module A only.

    Raises
    ------
    ExposureError
        For other grisms, and the other module.
    """
    module, pupil = header["MODULE"], header["PUPIL"]
    if (module, pupil) != ("A", "GRISMR"):
        raise ExposureError(
            f"{header.filename}: assign_wcs: MODULE {module}, PUPIL {pupil}; expected module A and GRISMR for a "
            "NRC_TSGRISM, or the stripes of a subarray with DHS in its name; correct the keywords, or skip assign_wcs"
        )
    return ROWS


def _disperse(references: References, header: Header, axis: int) -> Model:
    """Go from (x, y, x0, y0, order) to (x0, y0, wavelength, order)."""
    disperse = _niriss if _with_niriss(header) else _nircam
    return disperse(_specwcs(references, header), header, axis)


def _with_niriss(header: Header) -> bool:
    return str(header["EXP_TYPE"]).startswith("NIS")


def _nircam(tree: Tree, header: Header, axis: int) -> Model:
    forward = {ROWS: NIRCAMForwardRowGrismDispersion, COLUMNS: NIRCAMForwardColumnGrismDispersion}
    models = {f"{name}models": tree[f"disp{name}"] for name in "lxy"}
    models |= {f"inv_{name}models": tree.get(f"invdisp{name}") for name in "lxy"}
    model = forward[axis](tree["orders"], **models)
    model.inverse = NIRCAMBackwardGrismDispersion(tree["orders"], **models)
    return model


def _niriss(tree: Tree, header: Header, axis: int) -> Model:
    """Turn the traces by the angle (degrees) of the filter wheel from where they were measured."""
    forward = {ROWS: NIRISSForwardRowGrismDispersion, COLUMNS: NIRISSForwardColumnGrismDispersion}
    turn = number(header, "FWCPOS") - tree["fwcpos_ref"]
    traces = {"xmodels": tree["dispx"], "ymodels": tree["dispy"]}
    model = forward[axis](tree["orders"], lmodels=tree["displ"], theta=turn, **traces)
    model.inverse = NIRISSBackwardGrismDispersion(
        tree["orders"], lmodels=tree["invdispl"], theta=-turn, **traces
    )
    return model


def _specwcs(references: References, header: Header) -> Tree:
    """The dispersion of the grism, checked to be complete, and of this grism."""
    niriss = _with_niriss(header)
    wanted = ("orders", "displ", "dispx", "dispy", *(("invdispl", "fwcpos_ref") if niriss else ()))
    tree = tree_of(references, "specwcs", header, wanted)
    file = reference(references, "specwcs", header)
    for wheel in ("FILTER",) if niriss else ("PUPIL", "MODULE"):
        if file.header.get(wheel) not in (None, "N/A", "ANY", header[wheel]):
            raise ExposureError(
                f"{header.filename}: assign_wcs: {file.path} is for {wheel} {file.header[wheel]}, "
                f"the exposure has {header[wheel]}; give its own with --override specwcs=FILE"
            )
    return tree


def _fixed(value: float) -> Model:
    """Put a constant in the place of a coordinate, both ways."""
    model = Const1D(value)
    model.inverse = Const1D(value)
    return model


def full_frame(exposure: xr.Dataset) -> xr.Dataset:
    """The exposure as if it began at the corner of the detector, where direct images are counted from."""
    return exposure.assign_attrs(sci=exposure.attrs["sci"] | {"SUBSTRT1": 1, "SUBSTRT2": 1})


def pixels(name: str, axes: tuple[str, str] = ("x", "y")) -> Frame2D:
    """A frame of pixels."""
    return Frame2D(name=name, axes_order=(0, 1), axes_names=axes, unit=(units.pix, units.pix))


def _plane(name: str, unit: tuple[units.Unit, units.Unit]) -> Frame2D:
    return Frame2D(name=name, axes_order=(0, 1), axes_names=("v2", "v3"), unit=unit)
