"""How far apart two catalogues are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable

LENGTHS = ("xcentroid", "ycentroid", "nn_dist", "semimajor_sigma", "semiminor_sigma")
ANGLES = ("orientation", "sky_orientation")


def catalogue(path: Path) -> QTable:
    """The catalogue in an ECSV file."""
    return QTable.read(path)


def far_values(ours: QTable, theirs: QTable, relative: float = 1e-4) -> dict[str, float]:
    """The columns that differ by more than ``relative``, with the largest difference in units of what is allowed.

    Numbers are compared with themselves or their error, whichever is larger; angles, on their own scale, with one
    degree; lengths with one pixel.
    """
    found = {}
    for name in theirs.colnames:
        excess = _excess(ours, theirs, name, relative)
        if excess > 1.0:
            found[name] = excess
    return found


def _excess(ours: QTable, theirs: QTable, name: str, relative: float) -> float:
    a, b = ours[name], theirs[name]
    if isinstance(b, SkyCoord):
        return float(a.separation(b).mas.max() / 0.1)
    if getattr(a, "unit", None) != getattr(b, "unit", None) or not np.array_equal(
        np.isnan(a), np.isnan(b)
    ):
        return np.inf
    a, b = (np.asarray(getattr(column, "value", column), float) for column in (a, b))
    allowed = relative * np.abs(b)
    if f"{name}_err" in theirs.colnames:
        allowed = np.maximum(allowed, relative * np.asarray(theirs[f"{name}_err"].value))
    if name in LENGTHS or name in ANGLES:
        allowed = np.full(len(b), relative)
    apart = np.abs((a - b + 180.0) % 360.0 - 180.0) if name in ANGLES else np.abs(a - b)
    return max((d / limit for d, limit in zip(apart, allowed, strict=True) if d > 0), default=0.0)
