"""Where an array lies on the detector, and how a full-frame reference is cut to a subarray."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jwpipe.exposure import ExposureError
from jwpipe.numerics.stripes import Run, Stack, Stripes, StripesError, runs, stripes_of
from jwpipe.refs.content import ReferenceRefused

GUIDE_STACK, DETECTOR_ROWS = "FGS_ID-STACK", 2048
"""Guide-star identification stacks strips of the detector with their overlaps, in more rows than it has."""

IRS2_ROWS = 3200
"""Rows of an interleaved NIRSpec IRS2 array, whose SUBSIZE2 says 2048."""


@dataclass(frozen=True)
class Placement:
    """A rectangle of detector pixels: first column and row (counted from 1), columns and rows.

    With ``stripes`` the pixels along the slow axis are not those of a rectangle, but what the stripes say.
    """

    x: int
    y: int
    nx: int
    ny: int
    stripes: Stripes | None = None

    def __str__(self) -> str:
        return f"SUBSTRT1={self.x} SUBSTRT2={self.y} SUBSIZE1={self.nx} SUBSIZE2={self.ny}"


def full_frame(instrument: str) -> Placement:
    """The whole detector."""
    return (
        Placement(1, 1, 1032, 1024) if instrument.upper() == "MIRI" else Placement(1, 1, 2048, 2048)
    )


def placement(keywords: Mapping[str, Any]) -> Placement | None:
    """The rectangle that SUBSTRT1, SUBSTRT2, SUBSIZE1, SUBSIZE2 give, ``None`` without them."""
    values = [keywords.get(key) for key in ("SUBSTRT1", "SUBSTRT2", "SUBSIZE1", "SUBSIZE2")]
    if any(value is None for value in values):
        return None
    x, y, nx, ny = (int(value) for value in values if value is not None)
    return Placement(x, y, nx, ny)


def science_placement(keywords: Mapping[str, Any]) -> Placement | None:
    """Where an exposure lies, stripes included.

    Raises
    ------
    ExposureError
        For stripes that do not fill the subarray, or reach beyond the detector.
    """
    place = placement(keywords)
    if place is not None and keywords.get("EXP_TYPE") == GUIDE_STACK and place.ny > DETECTOR_ROWS:
        return None
    try:
        stripes = stripes_of(keywords)
    except StripesError as error:
        raise ExposureError(
            f"{getattr(keywords, 'filename', 'exposure')}: {error}; "
            "correct the keywords MSTR_*, SSTR_* and SUBSIZE*, or get the file again"
        ) from error
    return place if place is None else replace(place, stripes=stripes)


def assembled(science: Placement) -> Placement:
    """Where the field of a superstripe exposure lies, all superstripes together."""
    assert science.stripes is not None
    start, size = science.stripes.span
    if science.stripes.axis == "y":
        return Placement(science.x, start + 1, science.nx, size)
    return Placement(start + 1, science.y, size, science.ny)


@dataclass(frozen=True)
class Rows:
    """Which part of a reference array covers a striped exposure.

    ``across`` are the first pixel along the fast axis and their number, ``along`` the runs of pixels along the slow
    ``axis`` ("x" or "y"), ``size`` their number in the exposure.
    """

    axis: str
    across: tuple[int, int]
    along: tuple[Run, ...]
    size: int


def striped(
    science: Placement, keywords: Mapping[str, Any], shape: tuple[int, ...], name: str
) -> Rows | None:
    """The part of a reference array that covers a striped exposure; ``None`` for the whole array.

    Superstripes are taken as they are stacked (see `jwpipe.numerics.stripes.Stack`). Raises ``ReferenceRefused`` where
    the exposure reaches outside the array.
    """
    stripes = science.stripes
    assert stripes is not None
    reference = placement(keywords)
    if not stripes.superstripes and reference == replace(science, stripes=None):
        return None
    known = Placement(1, 1, shape[-1], shape[-2]) if reference is None else reference
    rows = Stack(stripes).detector_rows() if stripes.superstripes else stripes.rows_of(0)
    if stripes.axis == "y":
        slow, fast, size = known.y, (science.x - known.x, science.nx), (shape[-2], shape[-1])
    else:
        slow, fast, size = known.x, (science.y - known.y, science.ny), (shape[-1], shape[-2])
    places = np.where(rows < 0, -1, rows - (slow - 1))
    read = places[rows >= 0]
    if read.min() < 0 or read.max() >= size[0] or fast[0] < 0 or sum(fast) > size[1]:
        raise ReferenceRefused(
            f"{name}: covers {Placement(known.x, known.y, shape[-1], shape[-2])}, the exposure needs rows "
            f"{rows[rows >= 0].min() + 1} to {rows.max() + 1} of the detector in stripes, of {science}; "
            "give a reference of the full frame"
        )
    return Rows(stripes.axis, fast, runs(places), len(rows))


def cut(
    science: Placement, keywords: Mapping[str, Any], shape: tuple[int, ...], name: str
) -> Placement:
    """The part of a reference array that covers the exposure, counted from 0 within the array.

    ``shape`` wins over SUBSIZE keywords that disagree with it. Raises ``ReferenceRefused`` where
    the place of the array on the detector is unknown or the exposure reaches outside it.
    """
    ny, nx = shape[-2:]
    reference = placement(keywords)
    if reference is None:
        reference = full_frame(str(keywords.get("INSTRUME", "")))
        if (ny, nx) != (reference.ny, reference.nx):
            raise ReferenceRefused(
                f"{name}: array of {ny} x {nx} pixels without SUBSTRT1, SUBSTRT2, SUBSIZE1, "
                "SUBSIZE2; its place on the detector is unknown; "
                "add these keywords to its primary header"
            )
    if reference.x < 1 or reference.y < 1:
        raise ReferenceRefused(
            f"{name}: SUBSTRT1={reference.x} SUBSTRT2={reference.y}, expected 1 or more"
        )
    if ny == IRS2_ROWS and science.ny in (2048, IRS2_ROWS):
        return Placement(science.x - reference.x, 0, science.nx, ny)
    x, y = science.x - reference.x, science.y - reference.y
    if x < 0 or y < 0 or x + science.nx > nx or y + science.ny > ny:
        raise ReferenceRefused(
            f"{name}: covers {Placement(reference.x, reference.y, nx, ny)}, "
            f"the exposure needs {science}; give a reference of this subarray or of the full frame"
        )
    return Placement(x, y, science.nx, science.ny)
