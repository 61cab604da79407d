"""How far apart two catalogues are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable

# Their scale is a pixel or a degree, whatever their value.
ABSOLUTE = ("xcentroid", "ycentroid", "nn_dist", "semimajor_sigma", "semiminor_sigma", "roundness", "sharpness",
            "ellipticity")  # fmt: skip
SKY_SCALE_MAS = 30.0


def catalogue(path: Path) -> QTable:
    """The catalogue in an ECSV file."""
    return QTable.read(path)


def far_sources(ours: QTable, theirs: QTable, relative: float) -> dict[str, np.ndarray]:
    """The labels of sources that differ by more than ``relative``, for each column that has any.

    Numbers are compared with themselves or with their error, whichever is larger; positions and shapes with one pixel,
    angles with one degree, or more in what is nearly round.
    """
    far = {
        name: np.asarray(theirs["label"])[_far(ours, theirs, name, relative)]
        for name in theirs.colnames
    }
    return {name: labels for name, labels in far.items() if labels.size}


def _far(ours: QTable, theirs: QTable, name: str, relative: float) -> np.ndarray:
    a, b = ours[name], theirs[name]
    if isinstance(b, SkyCoord):
        return np.asarray(a.separation(b).mas > relative * SKY_SCALE_MAS)
    assert getattr(a, "unit", None) == getattr(b, "unit", None), name
    a, b = (np.asarray(getattr(column, "value", column), float) for column in (a, b))
    allowed = relative * np.abs(b)
    if f"{name}_err" in theirs.colnames:
        allowed = np.maximum(allowed, relative * np.asarray(theirs[f"{name}_err"].value))
    if name in ABSOLUTE:
        allowed = np.full(b.shape, relative)
    if "orientation" in name:
        # What is nearly round has hardly a direction.
        allowed = relative / np.asarray(theirs["ellipticity"].value)
    apart = np.abs((a - b + 180.0) % 360.0 - 180.0) if "orientation" in name else np.abs(a - b)
    return (apart > allowed) | (np.isnan(a) != np.isnan(b))
