"""Keywords of the pointing, made anew from what the header or the WCS says: velocity aberration, S_REGION.

The telescope's velocity moves the stars ahead of it towards each other: positions shift towards the direction of
motion, and the scale of the image changes. The WCS of all modes takes the scale from VA_SCALE.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import asin, atan2, cos, degrees, isfinite, radians, sin, sqrt

import numpy as np
import xarray as xr
from astropy.constants import c

from jwpipe.exposure import ExposureError, Header, header
from jwpipe.wcs.coordinates import map_of
from jwpipe.wcs.cutouts import cutouts_of
from jwpipe.wcs.fitswcs import is_image, polygon, s_region
from jwpipe.wcs.inspect import Choice, wcs_of

VELOCITY = ("JWST_DX", "JWST_DY", "JWST_DZ")
LIGHT = float(c.to_value("km/s"))


@dataclass(frozen=True)
class Aberration:
    """The apparent scale over the true one, and the apparent place (deg) of what is at a place of the sky."""

    scale: float
    ra: float
    dec: float


def aberration(velocity: tuple[float, float, float], ra: float, dec: float) -> Aberration:
    """The aberration at a place (deg) for a telescope with a velocity (km/s, towards RA 0 h, RA 6 h, the north pole).

    With the direction u, beta = v / c and 1 / gamma = sqrt(1 - beta^2), light comes from
    (u / gamma + beta (1 + (1 - 1 / gamma) u.beta / beta^2)) / (1 + u.beta), and the scale is gamma (1 + u.beta).
    Source: Cox 1997, STScI report OSG-CAL-97-06.
    """
    beta = np.array(velocity) / LIGHT
    square = float(beta @ beta)
    if square == 0.0:
        return Aberration(1.0, ra, dec)
    a, d = radians(ra), radians(dec)
    place = np.array([cos(d) * cos(a), cos(d) * sin(a), sin(d)])
    along = float(place @ beta)
    shrink = sqrt(1 - square)
    seen = (shrink * place + beta * (1 + (1 - shrink) * along / square)) / (1 + along)
    x, y, z = (float(value) for value in seen / np.linalg.norm(seen))
    return Aberration((1 + along) / shrink, degrees(atan2(y, x)) % 360, degrees(asin(z)))


def with_velocity_aberration(exposure: xr.Dataset) -> xr.Dataset:
    """An exposure with VA_SCALE, VA_RA and VA_DEC from the telescope's velocity and its pointing.

    A WCS that the exposure has already stays: assign_wcs makes a new one with the scale.

    Raises
    ------
    ExposureError
        Where the velocity (JWST_DX, JWST_DY, JWST_DZ) or the pointing (RA_REF, DEC_REF) is not in the header.
    """
    keywords = header(exposure)
    x, y, z = (_number(keywords, name) for name in VELOCITY)
    found = aberration((x, y, z), _number(keywords, "RA_REF"), _number(keywords, "DEC_REF"))
    primary = dict(exposure.attrs.get("primary", {})) | {"VA_RA": found.ra, "VA_DEC": found.dec}
    sci = dict(exposure.attrs.get("sci", {})) | {"VA_SCALE": found.scale}
    return exposure.assign_attrs(primary=primary, sci=sci)


def _number(keywords: Header, name: str) -> float:
    value = keywords[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ExposureError(
            f"{keywords.filename}: {name} is {value!r}, expected a number; write it into the header, as the archive's "
            "files have it"
        )
    return float(value)


def with_s_region(exposure: xr.Dataset) -> xr.Dataset:
    """An exposure with S_REGION from its WCS: the frame's corners, for spectra the limits of all that sees light.

    Raises
    ------
    ExposureError
        Without a WCS, and for slitless spectra, which see the sky where their direct image does.
    """
    wcs = wcs_of(exposure)
    if wcs.available_frames[0] == "grism_detector":
        raise ExposureError(
            f"{header(exposure).filename}: slitless spectra have no outline of their own, expected an image, slits "
            "or slices; copy S_REGION from the direct image"
        )
    region = s_region(wcs) if is_image(wcs) else _limits(exposure)
    if region is None:
        raise ExposureError(
            f"{header(exposure).filename}: no pixel of its WCS sees the sky; S_REGION stays as it is"
        )
    return exposure.assign_attrs(sci=dict(exposure.attrs.get("sci", {})) | {"S_REGION": region})


def _limits(exposure: xr.Dataset) -> str | None:
    """The box in right ascension and declination of all slits or slices."""
    places = []
    for choice in _parts(exposure):
        planes = map_of(exposure, choice).planes()[:2]
        places.append(planes[:, np.isfinite(planes).all(axis=0)])
    ra, dec = np.concatenate(places, axis=1)
    if not ra.size:
        return None
    # All are brought to the same side of 0 h.
    ra = ra - 360 * np.round((ra - ra[0]) / 360)
    west, east, south, north = ra.min(), ra.max(), dec.min(), dec.max()
    return polygon(np.array([[west, south], [east, south], [east, north], [west, north]]))


def _parts(exposure: xr.Dataset) -> list[Choice]:
    frames = exposure.attrs["wcs"].available_frames
    if "gwa" in frames and exposure.attrs["wcs"].forward_transform.n_inputs == 3:
        by_slice = "slicer" in frames
        names = [each.name for each in cutouts_of(exposure)]
        return [Choice(slice=int(name)) if by_slice else Choice(slit=name) for name in names]
    return [Choice()]
