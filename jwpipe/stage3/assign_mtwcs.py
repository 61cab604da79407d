"""Exposures of a moving target brought together on the target: its sky, not that of the stars.

The header of each exposure has the target's place on the sky at the middle of the exposure (MT_RA, MT_DEC). The sky of
each exposure is shifted so that the target lies at the average of all places, on a last frame ``moving_target``.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from math import isfinite
from numbers import Real

import numpy as np
import xarray as xr
from astropy.modeling.models import Identity, Shift
from gwcs import WCS
from gwcs.coordinate_frames import CelestialFrame, CompositeFrame

from jwpipe.exposure import ExposureError, header
from jwpipe.exptypes import IMAGES
from jwpipe.step import CombiningStep, Params
from jwpipe.wcs.fitswcs import s_region

FRAME = "moving_target"


class AssignMtwcsParams(Params):
    """Parameters of assign_mtwcs: none of its own."""


def is_moving(exposures: Sequence[xr.Dataset]) -> bool:
    """Whether the first exposure, and so all, follow a moving target (TARGTYPE)."""
    return str(header(exposures[0]).get("TARGTYPE", "")).upper() == "MOVING"


def follow_target(exposures: Sequence[xr.Dataset]) -> tuple[list[xr.Dataset], str]:
    """The exposures on the target's sky, MT_AVRA, MT_AVDEC and S_REGION with them; or as they are, and why.

    Raises
    ------
    ExposureError
        For a WCS that does not end on the sky.
    """
    places = [_place(exposure) for exposure in exposures]
    lost = [header(e).filename for e, place in zip(exposures, places, strict=True) if place is None]
    if lost:
        return list(exposures), (
            f"MT_RA or MT_DEC missing in {', '.join(lost)}; the target is not aligned; write its place on the sky at "
            "mid-exposure into the SCI headers"
        )
    known = [place for place in places if place is not None]
    ra, dec = (float(each) for each in np.mean(known, axis=0))
    pairs = zip(exposures, known, strict=True)
    return [_followed(exposure, place, (ra, dec)) for exposure, place in pairs], ""


def _place(exposure: xr.Dataset) -> tuple[float, float] | None:
    """The target's place on the sky (deg) in an exposure; ``None`` where the header does not tell."""
    values = [header(exposure).get(key) for key in ("MT_RA", "MT_DEC")]
    numbers = [float(v) for v in values if isinstance(v, Real) and isfinite(v)]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else None


def _followed(
    exposure: xr.Dataset, place: tuple[float, float], average: tuple[float, float]
) -> xr.Dataset:
    wcs = on_target(exposure.attrs["wcs"], place, average, header(exposure).filename)
    sci = dict(exposure.attrs["sci"]) | {"MT_AVRA": average[0], "MT_AVDEC": average[1]}
    if header(exposure).get("EXP_TYPE") in IMAGES and (region := s_region(wcs)) is not None:
        sci["S_REGION"] = region
    return exposure.assign_attrs(wcs=wcs, sci=sci)


def on_target(
    wcs: WCS, place: tuple[float, float], average: tuple[float, float], filename: str = "exposure"
) -> WCS:
    """A WCS with a last step that moves ``place`` to ``average`` (right ascension, declination in deg).

    Raises
    ------
    ExposureError
        Where it does not end on the sky.
    """
    last = wcs.output_frame
    shift = Shift(average[0] - place[0]) & Shift(average[1] - place[1])
    if isinstance(last, CompositeFrame):
        shift = shift & Identity(1)
    elif not isinstance(last, CelestialFrame):
        raise ExposureError(
            f"{filename}: assign_mtwcs: the WCS ends in a frame {type(last).__name__}, expected right ascension and "
            "declination; run assign_wcs on the exposure again"
        )
    frame = deepcopy(last)
    frame.name = FRAME
    return WCS([*wcs.pipeline[:-1], (last, shift), (frame, None)])


assign_mtwcs = CombiningStep("assign_mtwcs", AssignMtwcsParams)
