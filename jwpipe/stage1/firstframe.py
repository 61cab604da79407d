"""Leave out the first group of MIRI ramps, which the reset before it still disturbs.

Deprecated and off by default, as in the JWST calibration pipeline 3.0.0: the rscd step leaves out the first group.
"""

from typing import Any

import numpy as np
from pydantic import Field

from jwpipe.dq import Group, Pixel
from jwpipe.exposure import Header
from jwpipe.step import Params, Step

DO_NOT_USE = np.uint8(Group.DO_NOT_USE)
SATURATED = np.uint8(Group.SATURATED)
ESTIMATED = np.uint32(Pixel.FLUX_ESTIMATED)
FEWEST_GROUPS = 4


class FirstFrameParams(Params):
    """Parameters of the firstframe step."""

    bright_use_group1: bool = Field(
        True, description="keep the first group of ramps that saturate by the third group"
    )
    skip: bool = Field(True, description="leave the step out")


def flag_first_group(
    groupdq: np.ndarray, pixeldq: np.ndarray, *, bright_use_group1: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Flag the first group of all integrations DO_NOT_USE.

    Parameters
    ----------
    groupdq, pixeldq
        Flags (i, g, y, x) of three groups at least, and (y, x).
    bright_use_group1
        Keep the group where the third one is saturated: beside so much light the disturbance is small. Such pixels
        get FLUX_ESTIMATED.
    """
    flags = groupdq.copy()
    if not bright_use_group1:
        flags[:, 0] |= DO_NOT_USE
        return flags, pixeldq
    bright = (groupdq[:, 2] & SATURATED) != 0
    flags[:, 0] |= np.where(bright, np.uint8(0), DO_NOT_USE)
    return flags, pixeldq | np.where(bright.any(axis=0), ESTIMATED, np.uint32(0))


def _applies(header: Header, params: FirstFrameParams) -> str:
    if header["INSTRUME"] != "MIRI":
        return "only MIRI ramps begin with such a group"
    groups = int(header["NGROUPS"])
    return "" if groups >= FEWEST_GROUPS else f"{groups} groups are too few to leave one out"


def _keywords(header: Header, params: FirstFrameParams) -> dict[str, Any]:
    return params.own()


firstframe = Step(
    "firstframe",
    flag_first_group,
    reads=("groupdq", "pixeldq"),
    writes=("groupdq", "pixeldq"),
    params=FirstFrameParams,
    keywords=_keywords,
    applies=_applies,
    apart=True,
)
