"""Where an array lies on the detector, and how a full-frame reference is cut to a subarray."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jwpipe.refs.content import ReferenceRefused

IRS2_ROWS = 3200
"""Rows of an interleaved NIRSpec IRS2 array, whose SUBSIZE2 says 2048."""


@dataclass(frozen=True)
class Placement:
    """A rectangle of detector pixels: first column and row (counted from 1), columns and rows."""

    x: int
    y: int
    nx: int
    ny: int

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
    return Placement(*(int(value) for value in values if value is not None))


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
