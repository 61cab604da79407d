"""Transforms that do not pickle by themselves, made to: a WCS travels to workers as it is.

astropy wraps the numpy functions that convert a parameter's unit in closures, which do not pickle. Two transforms of
NIRSpec have such parameters; functions of a module take the closures' place.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

MODULE = "stdatamodels.jwst.transforms.models"
TAG = b":jwst_pipeline/"
"""What stands in a file with any transform of that module."""

IN_DEGREES = (("Rotation3DToGWA", "angles"), ("RefractionIndexFromPrism", "prism_angle"))
"""Parameters that are degrees outside and radians inside."""


def let_transforms_pickle() -> None:
    """Let transforms that are built from now on pickle."""
    module = import_module(MODULE)
    for transform, name in IN_DEGREES:
        parameter = getattr(getattr(module, transform), name)
        parameter._getter, parameter._setter = degrees, radians


def degrees(value: Any, raw_unit: Any = None, orig_unit: Any = None) -> Any:
    """Radians as degrees."""
    return np.rad2deg(np.float64(value))


def radians(value: Any, raw_unit: Any = None, orig_unit: Any = None) -> Any:
    """Degrees as radians."""
    return np.deg2rad(np.float64(value))
