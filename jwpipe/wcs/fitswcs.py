"""What FITS headers say of a WCS: the footprint on the sky and the TAN-SIP approximation."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.modeling import Model
from gwcs import WCS
from gwcs.coordinate_frames import CelestialFrame

from jwpipe.wcs.direct import Direct

HIGHEST_DEGREE = 5
"""Polynomials of a higher degree gain nothing for these detectors, and lose digits."""

NOT_WRITTEN = frozenset({"NAXIS", "NAXIS1", "NAXIS2", "WCSNAME", "MJDREF", "LONPOLE", "LATPOLE"})
"""Keywords of the approximation that say nothing: the array's size, the standard's defaults."""

LINEAR = ("CDELT1", "CDELT2", "PC1_1", "PC1_2", "PC2_1", "PC2_2")
SIP_KEYWORD = re.compile(r"[AB]P?_(ORDER|\d_\d)")


def is_image(wcs: WCS) -> bool:
    """Whether the WCS goes from pixels of a bounded frame to the sky and nothing else."""
    return isinstance(wcs.output_frame, CelestialFrame) and wcs.bounding_box is not None


def s_region(wcs: WCS) -> str | None:
    """Write the footprint as S_REGION: the corners of the bounding box, clockwise on the detector.

    ``None`` where a corner has no position on the sky.
    """
    quick = _evaluated_directly(wcs) if is_image(wcs) else wcs
    return polygon(np.array(quick.footprint(center=False, axis_type="spatial")))


class _Evaluated(Model):
    """The whole way of an image to the sky as one model, which is evaluated directly."""

    n_inputs = 2
    n_outputs = 2
    _separable = False
    # Numbers come and go: a model without parameters is given units else, and annotations are taken for units.
    uses_quantity = False
    input_units = None
    return_units = None

    def __init__(self, wcs: WCS) -> None:
        super().__init__()
        self.direct = Direct(tuple(step.transform for step in wcs.pipeline[:-1]))

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """Right ascension and declination (deg) of pixels."""
        return self.direct(x, y)


def _evaluated_directly(image: WCS) -> WCS:
    """The WCS of an image in a single step: the same numbers at a fraction of the cost."""
    quick = WCS([(image.input_frame, _Evaluated(image)), (image.output_frame, None)])
    quick.bounding_box = image.bounding_box.bounding_box(order="F")
    return quick


def polygon(corners: np.ndarray) -> str | None:
    """Write corners (n, 2) in degrees as S_REGION; ``None`` where one is not finite."""
    if not np.isfinite(corners).all():
        return None
    corners = np.column_stack([corners[:, 0] % 360, corners[:, 1]])
    return "POLYGON ICRS  " + " ".join(f"{value:.9f}" for value in corners.ravel())


def sip_keywords(
    wcs: WCS,
    crpix: tuple[float, float] | None = None,
    *,
    max_pix_error: float,
    degree: int | None,
    max_inv_pix_error: float,
    inv_degree: int | None,
    npoints: int,
) -> dict[str, Any]:
    """Approximate a celestial WCS by a tangent projection with SIP polynomials.

    ``crpix`` is the reference pixel, counted from 1 (default: the middle of the bounding box).
    ``degree`` fixes the degree, ``None`` takes the lowest one that meets the error (pixels);
    likewise for the inverse. Source: Shupe et al. 2005, ASPC 347, 491.

    Raises
    ------
    ValueError, RuntimeError
        Where the fit is not possible (bounding box too small, too few points).
    """
    degrees = range(1, HIGHEST_DEGREE + 1)
    header = _evaluated_directly(wcs).to_fits_sip(
        max_pix_error=max_pix_error,
        degree=degrees if degree is None else degree,
        max_inv_pix_error=max_inv_pix_error,
        inv_degree=degrees if inv_degree is None else inv_degree,
        npoints=npoints,
        crpix=crpix,
        projection="TAN",
    )
    return {
        card.keyword: _plain(card.value) for card in header.cards if card.keyword not in NOT_WRITTEN
    }


def with_sip(keywords: Mapping[str, Any], sip: Mapping[str, Any]) -> dict[str, Any]:
    """Put the approximation in place of the linear WCS, or of an older approximation."""
    return {name: value for name, value in keywords.items() if not _superseded(name)} | dict(sip)


def _superseded(name: str) -> bool:
    return name in LINEAR or SIP_KEYWORD.fullmatch(name) is not None


def _plain(value: Any) -> Any:
    """Turn numpy scalars into Python's, which survive pickling, JSON and FITS alike."""
    return value.item() if isinstance(value, np.generic) else value
