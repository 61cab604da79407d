"""The WCS of MIRI's low-resolution prism, with and without slit: detector -> alpha_beta -> v2v3 -> v2v3vacorr -> world.

=========== ======================== ======================================================================
frame       axes                     how the light gets there
=========== ======================== ======================================================================
detector    x, y                     pixels of the subarray, counted from 0
alpha_beta  alpha, beta, wavelength  arcsec along and across the slit from its reference point, micron;
                                     the trace's bend is taken out of alpha, beta is 0
v2v3        v2, v3, wavelength       arcsec: the place in the slit through the imager's distortion
v2v3vacorr  v2, v3, wavelength       the same, free from velocity aberration
world       RA, Dec, wavelength      degrees, micron
=========== ======================== ======================================================================

The ``specwcs`` reference is a table of the trace: where each wavelength falls, in pixels from the reference point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from astropy.modeling import Model
from astropy.modeling.models import (
    Const1D,
    Identity,
    Mapping,
    Polynomial2D,
    Scale,
    Shift,
    Tabular1D,
)
from gwcs import WCS
from stdatamodels.jwst.transforms.models import IdealToV2V3

from jwpipe.exposure import ExposureError, Header, header
from jwpipe.refs import References
from jwpipe.refs.files import RefFile
from jwpipe.wcs.fitswcs import polygon, s_region
from jwpipe.wcs.imaging import Box, subarray_corner
from jwpipe.wcs.modes import Solution
from jwpipe.wcs.pointing import Pointing
from jwpipe.wcs.spectra import (
    KEYWORDS,
    from_telescope,
    pixels,
    reference,
    slit,
    to_barycentre,
    tree_of,
    wavelength,
)

REFERENCE_COLUMNS = 4
"""Columns of reference pixels at the detector's left edge, which see no light."""

SMOOTHING = 0.002
"""Sum of the squared residuals, in pixels or micron, up to which splines smooth the table of the trace."""

COLUMNS = ("x_center", "y_center", "wavelength", "x0", "y0", "x1", "y2")


@dataclass(frozen=True, eq=False)
class Trace:
    """Where the wavelengths fall: at ``rows`` (increasing) and columns ``shift`` from the reference point, in pixels.

    ``point`` (x, y) is the reference point in pixels of the subarray, ``wavelength`` in micron; ``box`` holds the
    pixels that the calibration was made with.
    """

    point: tuple[float, float]
    rows: np.ndarray
    shift: np.ndarray
    wavelength: np.ndarray
    box: Box

    @classmethod
    def read(cls, file: RefFile, header: Header, shape: tuple[int, int]) -> Trace:
        """Read the trace of an exposure of ``shape`` (ny, nx).

        Raises
        ------
        ExposureError
            For a reference without the table, its columns, or the reference point.
        """
        from scipy.interpolate import UnivariateSpline

        table = file.table("WAVETABLE")
        if missing := [name for name in COLUMNS if name not in (table.dtype.names or ())]:
            raise ExposureError(
                f"{header.filename}: assign_wcs: the table of {file.path} has no {', '.join(missing)}; "
                "give the specwcs reference of MIRI's LRS with --override specwcs=FILE"
            )
        order = np.argsort(table["y_center"])
        rows = table["y_center"][order]
        shift, wave = (
            UnivariateSpline(rows, table[name][order], s=SMOOTHING)(rows)
            for name in ("x_center", "wavelength")
        )
        point = _reference_point(file, header)
        return cls(point, rows, shift, wave, _box(table, point, header, shape[1]))


def _box(table: np.recarray, point: tuple[float, float], header: Header, width: int) -> Box:
    """The slit's width by the rows of the trace; without slit all columns that see light, by the calibrated rows."""
    if _in_slit(header):
        left, right = table["x0"].min() + point[0], table["x1"].max() + point[0]
        rows = table["y_center"] + point[1]
        return _outer(left, right), (float(rows.min()), float(rows.max()))
    first = max(REFERENCE_COLUMNS - subarray_corner(header)[0], 0)
    return (first - 0.5, width - 0.5), _outer(
        table["y2"].min() + point[1], table["y0"].max() + point[1]
    )


def _outer(first: float, last: float) -> tuple[float, float]:
    """The outer edges of the pixels that hold an interval."""
    return float(np.floor(first)) - 0.5, float(np.ceil(last)) + 0.5


def build(exposure: xr.Dataset, references: References, params: object) -> Solution:
    """The WCS of an exposure with the prism, its S_REGION, and the wavelength of each pixel (micron).

    Exposures through the slit also get the position of the dithered pointing (DITH_RA, DITH_DEC).

    Raises
    ------
    ExposureError
        For pointing keywords that are missing or not finite, and references that are missing or of another mode.
    """
    keywords = header(exposure)
    shape = (exposure.sizes["y"], exposure.sizes["x"])
    file = reference(references, "specwcs", keywords)
    distortion = tree_of(references, "distortion", keywords, ["model"])["model"]
    trace = Trace.read(file, keywords, shape)
    wcs = lrs_wcs(keywords, trace, distortion)
    region = _slit_region(file, keywords) if _in_slit(keywords) else s_region(wcs)
    x, y = np.meshgrid(np.arange(shape[1], dtype=float), np.arange(shape[0], dtype=float))
    waves = xr.DataArray(np.asarray(wcs(x, y)[2], np.float32), dims=("y", "x"))
    return Solution(
        wcs,
        sci=KEYWORDS | ({} if region is None else {"S_REGION": region}),
        primary=_dithered(keywords) if _in_slit(keywords) else {},
        variables={"wavelength": waves},
    )


def lrs_wcs(header: Header, trace: Trace, distortion: Model) -> WCS:
    """The WCS of a trace, through the imager's ``distortion`` (pixels of the full frame to V2, V3)."""
    corner = subarray_corner(header)
    place = tuple(at + first for at, first in zip(trace.point, corner, strict=True))
    # The scale along the slit, in arcsec a pixel, at its reference point.
    here, next_ = distortion(*place), distortion(place[0] + 1, place[1])
    scale = float(np.hypot(here[0] - next_[0], here[1] - next_[1]))
    spectral = wavelength("spec")
    wcs = WCS(
        [
            (pixels(), _to_slit(trace, scale, to_barycentre(header))),
            (slit(), _to_telescope(place, scale, distortion)),
            *from_telescope(header, spectral),
        ]
    )
    wcs.bounding_box = trace.box
    return wcs


def _to_slit(trace: Trace, scale: float, velocity: Model | None) -> Model:
    """(x, y) -> (alpha, beta, wavelength), and back; NaN in rows without trace."""
    x, y = trace.point
    shift, waves = (
        Tabular1D(points=trace.rows, lookup_table=table, name=name, bounds_error=False)
        for table, name in ((trace.shift, "xshiftref"), (trace.wavelength, "waveref"))
    )
    if velocity is not None:
        waves = waves | velocity
    # The reference point is in the second and third model of the chain, where the path loss of the JWST calibration
    # pipeline looks for it (as offset_1 and offset_2).
    model = (
        Mapping((0, 1))
        | Shift(-x) & Shift(-y)
        | Mapping((0, 1, 1))
        | Identity(1) & shift & waves
        | Mapping((0, 1, 0, 2))
        | Polynomial2D(1, c1_0=scale, c0_1=-scale) & Const1D(0) & Identity(1)
    )
    model.inverse = (
        Mapping((0, 2), n_inputs=3)
        | Identity(1) & waves.inverse
        | Mapping((0, 1, 1))
        | Identity(1) & shift & Identity(1)
        | Polynomial2D(1, c1_0=1 / scale, c0_1=1) & Identity(1)
        | Shift(x) & Shift(y)
    )
    return model


def _to_telescope(place: tuple[float, ...], scale: float, distortion: Model) -> Model:
    """(alpha, beta, wavelength) -> (v2, v3, wavelength): ``place`` is the reference point on the full frame."""
    pixels_off = Scale(1 / scale) & Scale(1 / scale)
    return (pixels_off | Shift(place[0]) & Shift(place[1]) | distortion) & Identity(1)


def _in_slit(header: Header) -> bool:
    return bool(header["EXP_TYPE"] == "MIR_LRS-FIXEDSLIT")


def _reference_point(file: RefFile, header: Header) -> tuple[float, float]:
    """The reference point of the slit or of the slitless region, in pixels of the subarray from 0."""
    names = ("IMX", "IMY") if _in_slit(header) else ("IMXSLTL", "IMYSLTL")
    x, y = (file.header.get(name) for name in names)
    if not (isinstance(x, int | float) and isinstance(y, int | float)):
        raise ExposureError(
            f"{header.filename}: assign_wcs: {file.path} has {names[0]} = {x!r}, {names[1]} = {y!r}; "
            "expected the reference point in pixels; give another file with --override specwcs=FILE"
        )
    column, row = subarray_corner(header)
    return x - 1.0 - column, y - 1.0 - row


def _slit_region(file: RefFile, header: Header) -> str | None:
    """S_REGION of the slit: its corners in V2, V3 from the reference; ``None`` where it does not tell."""
    corners = [[file.header.get(f"{axis}VERT{k}") for k in (1, 2, 3, 4)] for axis in ("V2", "V3")]
    if None in corners[0] + corners[1]:
        return None
    pointing = Pointing.from_header(header)
    return polygon(np.transpose((pointing.aberration() | pointing.to_sky())(*corners)))


def _dithered(header: Header) -> dict[str, float]:
    """Where on the sky the dither put the aperture's reference point."""
    names = ("V3I_YANG", "VPARITY", "XOFFSET", "YOFFSET")
    if missing := [name for name in names if header.get(name) is None]:
        raise ExposureError(
            f"{header.filename}: assign_wcs: {', '.join(missing)} missing; the position of the dithered source needs "
            "the aperture's orientation and the offsets of the dither (arcsec), as the archive's files have them"
        )
    angle, parity, x, y = (header[name] for name in names)
    pointing = Pointing.from_header(header)
    to_telescope = IdealToV2V3(angle, pointing.v2, pointing.v3, parity)
    ra, dec = (to_telescope | pointing.aberration() | pointing.to_sky())(x, y)
    return {"DITH_RA": float(ra), "DITH_DEC": float(dec)}
