"""The wavelength of a point source that is not in the middle of its slit.

The wavelengths of a slit are those of light through its middle. A point source beside the middle, along the dispersion,
shifts its spectrum; by how many pixels is tabulated in the wavecorr reference against wavelength and place in the slit.
The corrected wavelengths are a step of the slit's WCS, between ``slit_frame`` and ``wavecorr_frame``.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from typing import Any

import numpy as np
from astropy.modeling import Model
from astropy.modeling.models import Identity, Tabular1D
from gwcs import WCS
from gwcs.wcstools import grid_from_bounding_box

from jwpipe.wcs.nirspec_optics import spectral

MICRON = 1e-6
SHUTTERS = "MOS"
"""Name of the slits of the MSA in the reference."""


def corrected(wcs: WCS, tree: MappingType[str, Any], aperture: str, source_x: float) -> WCS | None:
    """The WCS of one slit for a point source at ``source_x`` (in slit widths from the middle).

    ``tree`` is that of a wavecorr reference, ``aperture`` a fixed slit or ``SHUTTERS``. ``None`` where the reference
    has no such slit, or corrected wavelengths would not increase along the spectrum.
    """
    x, y = grid_from_bounding_box(wcs.bounding_box)
    wavelength = wcs(x, y)[2]
    dispersion = wcs(x + 0.5, y)[2] - wcs(x - 0.5, y)[2]
    correction = zero_point(wavelength * MICRON, dispersion * MICRON, tree, aperture, source_x)
    if correction is None:
        return None
    steps: list[tuple[Any, Any]] = []
    for step in wcs.pipeline:
        if step.frame.name == "slit_frame":
            steps.append((step.frame, Identity(2) & correction))
            steps.append((spectral("wavecorr_frame"), step.transform))
        else:
            steps.append((step.frame, step.transform))
    found = WCS(steps)
    found.bounding_box = wcs.bounding_box
    return found


def zero_point(
    wavelength: np.ndarray,
    dispersion: np.ndarray,
    tree: MappingType[str, Any],
    aperture: str,
    source_x: float,
) -> Model | None:
    """Correct wavelengths (m) by the shift of a point source, a table that extrapolates in straight lines.

    ``wavelength`` and ``dispersion`` (per pixel) are images (y, x) of a slit, NaN outside; their means over y are
    taken. ``None`` as ``corrected``.
    """
    offset = next(
        (
            each["zero_point_offset"]
            for each in tree["apertures"]
            if each["aperture_name"] == aperture
        ),
        None,
    )
    if offset is None:
        return None
    valid = np.isfinite(wavelength).any(axis=0) & np.isfinite(dispersion).any(axis=0)
    middle = np.nanmean(wavelength[:, valid], axis=0)
    step = np.nanmean(dispersion[:, valid], axis=0)
    shifted = middle + _pixels(offset, middle, source_x) * step
    if not np.all(np.diff(shifted) > 0):
        return None
    return Tabular1D(
        points=middle,
        lookup_table=shifted,
        bounds_error=False,
        fill_value=None,
        name="wave2wavecorr",
    )


def _pixels(offset: Model, wavelength: np.ndarray, source_x: float) -> np.ndarray:
    """Look up the shift in pixels, extrapolating the table."""
    model = offset.copy()
    model.bounds_error, model.fill_value = False, None
    found: np.ndarray = model(wavelength, np.full_like(wavelength, source_x))
    return found
