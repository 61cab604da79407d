"""Flag groups of bright pixels whose charge wanders off to their neighbours (brighter-fatter effect).

From the first group with more counts than a threshold on, a pixel loses charge to the pixels around it: these groups
must not be fitted, in the pixel itself nor in its four neighbours. They were read like all others, so that ``ramp_fit``
counts them for the read noise (Goudfrooij et al. 2024, PASP 136, 014503).
"""

from typing import Any

import numpy as np
from pydantic import Field

from jwpipe.dq import Group
from jwpipe.exposure import Header
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.views import read_only
from jwpipe.step import Params, Step

DO_NOT_USE = np.uint8(Group.DO_NOT_USE)
LOST = np.uint8(Group.CHARGELOSS | Group.DO_NOT_USE)
FEWEST_GROUPS = 3


class ChargeMigrationParams(Params):
    """Parameters of the charge_migration step."""

    skip: bool = Field(True, description="leave the step out")
    signal_threshold: float = Field(
        25000.0, description="counts (DN) above which charge migrates to the neighbours"
    )


def flag_migrated(
    sci: np.ndarray, groupdq: np.ndarray, *, signal_threshold: float
) -> tuple[np.ndarray]:
    """Flag a pixel and its four neighbours from its first group above the threshold on.

    Groups that carry DO_NOT_USE and no other flag do not count as such.

    Parameters
    ----------
    sci
        Linear counts (i, g, y, x), DN.
    groupdq
        Flags (i, g, y, x).
    signal_threshold
        In DN.

    Returns
    -------
    groupdq
        With CHARGELOSS and DO_NOT_USE added.
    """
    return (_flag(*read_only(sci, groupdq), np.float32(signal_threshold)),)


@kernel
def _flag(sci: np.ndarray, groupdq: np.ndarray, threshold: np.float32) -> np.ndarray:
    integrations, groups, rows, columns = sci.shape
    flags = groupdq.copy()
    bright = np.empty(columns, np.uint8)
    for i in range(integrations):
        lost = np.zeros((rows, columns), np.uint8)
        touched = np.zeros(rows, np.bool_)
        for g in range(groups):
            for y in range(rows):
                if _find_bright(sci[i, g, y], groupdq[i, g, y], threshold, bright):
                    _spread(bright, y, lost)
                    touched[max(y - 1, 0) : y + 2] = True
            for y in range(rows):
                if touched[y]:
                    row = flags[i, g, y]
                    for x in range(columns):
                        row[x] |= lost[y, x]
    return flags


@kernel
def _find_bright(
    values: np.ndarray, given: np.ndarray, threshold: np.float32, bright: np.ndarray
) -> bool:
    """Mark the pixels of a row above the threshold; tell whether there is any."""
    some = np.uint8(0)
    for x in range(values.size):
        found = (values[x] > threshold) & (given[x] != DO_NOT_USE)
        bright[x] = LOST if found else np.uint8(0)
        some |= bright[x]
    return some != 0


@kernel
def _spread(bright: np.ndarray, y: int, lost: np.ndarray) -> None:
    """Add the marks of row ``y`` to it and to the neighbours of each pixel."""
    rows, columns = lost.shape
    for near in range(max(y - 1, 0), min(y + 2, rows)):
        for x in range(columns):
            lost[near, x] |= bright[x]
    for x in range(1, columns):
        lost[y, x] |= bright[x - 1]
    for x in range(columns - 1):
        lost[y, x] |= bright[x + 1]


def _keywords(header: Header, params: ChargeMigrationParams) -> dict[str, Any]:
    return {"signal_threshold": params.signal_threshold}


def _applies(header: Header, params: ChargeMigrationParams) -> str:
    groups = int(header["NGROUPS"])
    return "" if groups >= FEWEST_GROUPS else f"{groups} groups are too few to leave any out"


def _halo(params: ChargeMigrationParams) -> int:
    return 1


charge_migration = Step(
    "charge_migration",
    flag_migrated,
    reads=("sci", "groupdq"),
    writes=("groupdq",),
    params=ChargeMigrationParams,
    keywords=_keywords,
    applies=_applies,
    halo=_halo,
    apart=True,
)
