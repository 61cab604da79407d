"""Tie pixels to the sky: the WCS of an exposure from its pointing and the distortion reference."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import xarray as xr
from pydantic import Field

from jwpipe.exposure import Header, MissingKeyword, header
from jwpipe.refs import References
from jwpipe.step import ExposureStep, Params
from jwpipe.wcs.modes import REFERENCE_TYPES, family_of

if TYPE_CHECKING:
    from gwcs import WCS


INVERSE_ERRORS = {"MIR_WFSS": 0.02}
"""Errors of the inverse SIP fit, in pixels, below which an exposure type cannot be approximated."""


class AssignWcsParams(Params):
    """Parameters of ``assign_wcs``."""

    sip_approx: bool = Field(
        True, description="write a FITS approximation (TAN-SIP) of the WCS of images to the header"
    )
    sip_max_pix_error: float = Field(
        0.01, gt=0, description="largest error of the forward SIP fit, in pixels"
    )
    sip_degree: int | None = Field(
        None, ge=1, le=6, description="degree of the forward SIP fit; none: the lowest that serves"
    )
    sip_max_inv_pix_error: float = Field(
        0.01, ge=0, description="largest error of the inverse SIP fit, in pixels; 0: no inverse"
    )
    sip_inv_degree: int | None = Field(
        None, ge=1, le=6, description="degree of the inverse SIP fit; none: the lowest that serves"
    )
    sip_npoints: int = Field(
        12, ge=8, description="points along each axis at which the SIP fit samples the WCS"
    )
    slit_y_low: float = Field(-0.55, description="lower edge of a slit (NIRSpec only)")
    slit_y_high: float = Field(0.55, description="upper edge of a slit (NIRSpec only)")
    nrs_ifu_slice_wcs: bool = Field(
        False, description="make a WCS of each slice instead of one for all (NIRSpec IFU only)"
    )

    def sip(self) -> dict[str, Any]:
        """Give the parameters of the SIP fit."""
        return {
            name.removeprefix("sip_"): value
            for name, value in self.own().items()
            if name.startswith("sip_") and name != "sip_approx"
        }


def tie_to_sky(exposure: xr.Dataset, references: References, params: AssignWcsParams) -> xr.Dataset:
    """Give the exposure its ``wcs`` (gwcs), S_REGION and TAN-SIP keywords; pixels stay untouched.

    Spectra get the keywords and arrays of their ``Solution``; TAN-SIP approximates images, and the direct images of
    slitless spectra.

    Raises
    ------
    ExposureError
        For exposure types that have no WCS, and pointing keywords that are missing or not
        finite.
    """
    from jwpipe.wcs.fitswcs import is_image, s_region

    keywords = header(exposure)
    family = family_of(keywords)
    try:
        solution = family.build(exposure, references, params)
    except MissingKeyword as error:
        raise MissingKeyword(error.filename, error.keyword, "assign_wcs") from None
    wcs = solution.wcs
    sci = dict(exposure.attrs.get("sci", {})) | dict(solution.sci)
    sci = {name: value for name, value in sci.items() if solution.sci.get(name, value) is not None}
    if (region := s_region(wcs) if family.on_sky else None) is not None:
        sci["S_REGION"] = region
    image = wcs if is_image(wcs) else solution.image
    if params.sip_approx and image is not None:
        sci = _approximated(sci, image, keywords, params)
    primary = dict(exposure.attrs.get("primary", {})) | dict(solution.primary)
    return exposure.assign(solution.variables).assign_attrs(wcs=wcs, sci=sci, primary=primary)


def _approximated(
    sci: dict[str, Any], wcs: WCS, keywords: Header, params: AssignWcsParams
) -> dict[str, Any]:
    """Add the SIP approximation to the SCI keywords; leave them where no fit is possible."""
    from jwpipe.wcs.fitswcs import sip_keywords, with_sip

    crpix = keywords.get("CRPIX1"), keywords.get("CRPIX2")
    options = params.sip()
    if options["max_inv_pix_error"]:
        least = INVERSE_ERRORS.get(keywords["EXP_TYPE"], 0.0)
        options["max_inv_pix_error"] = max(options["max_inv_pix_error"], least)
    try:
        sip = sip_keywords(wcs, None if None in crpix else crpix, **options)
    except (ValueError, RuntimeError) as error:
        warnings.warn(
            f"{keywords.filename}: assign_wcs: no SIP approximation of the WCS: {error}",
            stacklevel=2,
        )
        return sci
    return with_sip(sci, sip)


assign_wcs = ExposureStep(
    "assign_wcs",
    tie_to_sky,
    refs=REFERENCE_TYPES,
    params=AssignWcsParams,
    optional_types=frozenset({"filteroffset"}),
    needs=lambda keywords, params: family_of(keywords).refs,
)
