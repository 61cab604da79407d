"""What the headers of a mosaic say: keywords of the inputs combined, its own WCS, times and outline."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from jwpipe.exposure import header
from jwpipe.stage3.blend import blended, header_table
from jwpipe.stage3.grid import Grid, footprints_of
from jwpipe.stage3.groups import group_ids, members
from jwpipe.stage3.outlines import clip_to_frame, union

OWN_POINTING = ("V2_REF", "V3_REF", "RA_REF", "DEC_REF", "ROLL_REF", "V3I_YANG", "VPARITY")
BACKGROUND = ("BKGLEVEL", "BKGSUB")
DISTORTED = re.compile(r"CD[12]_[12]|[AB]P?_(\d_\d|ORDER|DMAX)")
ARCSEC2 = np.radians(1 / 3600) ** 2


def mosaic_attrs(
    exposures: Sequence[xr.Dataset],
    grid: Grid,
    keywords: Mapping[str, Any],
    blend: bool,
    filename: str,
) -> dict[str, Any]:
    """Headers, WCS and tables of a mosaic of ``exposures``.

    ``keywords`` are further ones for the primary header; with ``blend``, those of all exposures are
    combined and kept in the table HDRTAB, else they are the first exposure's.
    """
    first, combined = exposures[0].attrs, blend and len(exposures) > 1
    headers = (
        blended(exposures)
        if combined
        else {part: dict(first.get(part, {})) for part in ("primary", "sci")}
    )
    primary = {k: v for k, v in headers["primary"].items() if k not in BACKGROUND}
    primary |= {
        **_exposure_times(exposures),
        "NDRIZ": len(members(group_ids(exposures))),
        **keywords,
    }
    if filename:
        primary["FILENAME"] = filename
    stale = (*OWN_POINTING, *BACKGROUND)
    sci = {k: v for k, v in headers["sci"].items() if k not in stale and not DISTORTED.fullmatch(k)}
    return {
        **first,
        "primary": primary,
        "sci": sci | _sci_keywords(exposures, grid, primary),
        "wcs": grid.wcs,
        "product": "i2d",
        "filename": filename or first.get("filename", ""),
        "tables": {"HDRTAB": header_table(exposures)} if combined else {},
    }


def _sci_keywords(
    exposures: Sequence[xr.Dataset], grid: Grid, primary: Mapping[str, Any]
) -> dict[str, Any]:
    """Keywords of the SCI header that are the mosaic's own."""
    keywords = fits_keywords(grid) | {
        "PIXAR_A2": grid.pixel_scale**2,
        "PIXAR_SR": grid.pixel_scale**2 * ARCSEC2,
        "XPOSURE": primary["EFFEXPTM"],
        "TELAPSE": primary["DURATION"],
    }
    region = outline(exposures, grid)
    return keywords | {"S_REGION": region} if region else keywords


def _exposure_times(exposures: Sequence[xr.Dataset]) -> dict[str, Any]:
    """Times of a mosaic: those of a group's first exposure count for the group."""
    firsts = [header(exposures[own[0]]) for own in members(group_ids(exposures)).values()]

    def values(keyword: str) -> list[float]:
        """A keyword of all exposures that have it, once for detectors that were read together."""
        return [float(h[keyword]) for h in firsts if h.get(keyword) is not None]

    times: dict[str, Any] = {name: sum(values(name)) for name in ("EFFEXPTM", "DURATION")}
    if len(measured := values("TMEASURE")) == len(firsts):
        times["TMEASURE"] = sum(measured)
    if starts := values("EXPSTART"):
        times["EXPSTART"] = min(starts)
    if ends := values("EXPEND"):
        times["EXPEND"] = max(ends)
    return times


def fits_keywords(grid: Grid) -> dict[str, Any]:
    """The FITS WCS keywords of a grid; a custom WCS is approximated by a tangent projection."""
    from gwcs import FITSImagingWCSTransform

    transform = grid.wcs.forward_transform
    if not isinstance(transform, FITSImagingWCSTransform):
        from jwpipe.wcs.fitswcs import sip_keywords

        return sip_keywords(
            grid.wcs, max_pix_error=1.0, degree=1, max_inv_pix_error=1.0, inv_degree=1, npoints=12
        )
    code = transform.projection.prjprm.code
    keywords: dict[str, Any] = {
        "WCSAXES": 2,
        "CTYPE1": f"RA---{code}",
        "CTYPE2": f"DEC--{code}",
        "RADESYS": "ICRS",
    }
    for axis in range(2):
        keywords[f"CRPIX{axis + 1}"] = float(transform.crpix[axis]) + 1.0
        keywords[f"CRVAL{axis + 1}"] = float(transform.crval[axis])
        keywords[f"CDELT{axis + 1}"] = float(transform.cdelt[axis])
        keywords[f"CUNIT{axis + 1}"] = "deg"
        for other in range(2):
            keywords[f"PC{axis + 1}_{other + 1}"] = float(transform.pc[axis][other])
    return keywords


def outline(exposures: Sequence[xr.Dataset], grid: Grid) -> str | None:
    """S_REGION of a mosaic: the union of the exposures' footprints, cut at its edges."""
    ny, nx = grid.shape
    frame = (-0.5, nx - 0.5, -0.5, ny - 0.5)
    polygons = []
    for exposure in exposures:
        for corners in footprints_of(exposure):
            pixels = np.stack(grid.wcs.invert(*corners.T, with_bounding_box=False), axis=-1)
            polygons.append(clip_to_frame(pixels, frame))
    texts = []
    for loop in union(polygons):
        # Outlines run counter-clockwise here, S_REGION of the exposures the other way.
        sky = np.stack(grid.wcs(*loop[::-1].T, with_bounding_box=False), axis=-1)
        texts.append(" ".join(f"{ra % 360:.9f} {dec:.9f}" for ra, dec in sky))
    return "  ".join(f"POLYGON ICRS  {text}" for text in texts) or None
