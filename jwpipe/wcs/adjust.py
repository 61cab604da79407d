"""Moving, turning and scaling the WCS of an image by hand, where the pointing in its header is known to be off.

The angles are added to those that turn the telescope to the sky: right ascension and declination of its reference
point, and the roll there. The scale acts in the plane tangent at that point.
"""

from __future__ import annotations

import warnings
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from astropy.modeling.rotations import RotationSequence3D

from jwpipe.exposure import ExposureError, header
from jwpipe.wcs.fitswcs import s_region, sip_keywords, with_sip
from jwpipe.wcs.pointing import Pointing

if TYPE_CHECKING:
    from gwcs import WCS

SIP: dict[str, Any] = {"max_pix_error": 0.001, "max_inv_pix_error": 0.01, "npoints": 64}


@dataclass(frozen=True)
class Adjustment:
    """What to add to right ascension, declination and roll (deg), and what to multiply the scale by."""

    ra: float = 0.0
    dec: float = 0.0
    roll: float = 0.0
    scale: float = 1.0


def adjusted(exposure: xr.Dataset, by: Adjustment) -> xr.Dataset:
    """An image with its WCS adjusted, and S_REGION and the TAN-SIP keywords after it; pixels stay untouched.

    Raises
    ------
    ExposureError
        Without the WCS of an image before resampling.
    """
    keywords = header(exposure)
    wcs = exposure.attrs.get("wcs")
    if wcs is None:
        raise ExposureError(
            f"{keywords.filename}: no WCS to adjust; expected an image after assign_wcs, such as cal: run image2 on it"
        )
    wcs = adjusted_wcs(wcs, by, keywords.filename)
    sci = dict(exposure.attrs.get("sci", {}))
    if (region := s_region(wcs)) is not None:
        sci["S_REGION"] = region
    crpix = keywords.get("CRPIX1"), keywords.get("CRPIX2")
    try:
        fitted = sip_keywords(
            wcs, None if None in crpix else crpix, degree=None, inv_degree=None, **SIP
        )
        sci = with_sip(sci, fitted)
    except (ValueError, RuntimeError) as error:
        warnings.warn(
            f"{keywords.filename}: the SIP keywords are not updated: {error}", stacklevel=2
        )
    return exposure.assign_attrs(wcs=wcs, sci=sci)


def adjusted_wcs(wcs: WCS, by: Adjustment, filename: str = "WCS in memory") -> WCS:
    """Adjust a WCS; the one given stays as it is.

    Raises
    ------
    ExposureError
        Where no step goes from V2, V3 to the sky alone, as in spectra and mosaics.
    """
    from gwcs import WCS

    pipeline = deepcopy(wcs.pipeline)
    places = [
        n
        for n, step in enumerate(pipeline)
        if step.frame.name.startswith("v2v3") and getattr(step.transform, "name", "") == "v23tosky"
    ]
    if not places:
        raise ExposureError(
            f"{filename}: its WCS has the frames {', '.join(wcs.available_frames)}, expected an image's, with a step "
            "from V2, V3 to the sky; adjust the exposures before they are resampled (cal)"
        )
    step = pipeline[places[-1]]
    v2, minus_v3, roll, dec, minus_ra = _angles(step.transform)
    pointing = Pointing(v2 * 3600, -minus_v3 * 3600, by.ra - minus_ra, dec + by.dec, roll + by.roll)
    step.transform = pointing.to_sky()
    turned = WCS(pipeline)
    return turned if by.scale == 1.0 else _scaled(turned, pointing, by.scale)


def _angles(transform: Any) -> list[float]:
    """The angles (deg) by which the telescope is turned to the sky."""
    [rotation] = [
        each for each in transform.traverse_postorder() if isinstance(each, RotationSequence3D)
    ]
    return [float(angle) for angle in rotation.angles.value]


def _scaled(wcs: WCS, pointing: Pointing, scale: float) -> WCS:
    from tweakwcs.correctors import JWSTWCSCorrector

    plane = {"v2_ref": pointing.v2, "v3_ref": pointing.v3, "roll_ref": 0.0}
    corrector = JWSTWCSCorrector(wcs, plane)
    corrector.set_correction(matrix=scale * np.eye(2))
    return corrector.wcs
