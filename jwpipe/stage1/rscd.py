"""Leave out the first groups of MIRI integrations, which the reset-switch charge decay bends.

How many depends on subarray and read pattern, and is larger after the first integration. Pixels that saturate early
keep as many of these groups as their fit needs.
"""

from typing import Any

import numpy as np

from jwpipe.dq import Group, Pixel
from jwpipe.exposure import Header
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.views import read_only
from jwpipe.refs import References
from jwpipe.step import Params, Step

DO_NOT_USE = np.uint8(Group.DO_NOT_USE)
SATURATED = np.uint8(Group.SATURATED)
ESTIMATED = np.uint32(Pixel.FLUX_ESTIMATED)
FEWEST_GROUPS = 3
# Ramps of up to so many groups lose one group only, whatever the reference says.
SHORT_RAMP = 5
# Older files and exposures have the slitless prism's subarray under its first name.
RENAMED = {"SUBPRISM": "SLITLESSPRISM"}


class RscdParams(Params):
    """Parameters of the rscd step: none of its own."""


def flag_decaying_groups(
    groupdq: np.ndarray, pixeldq: np.ndarray, skip: tuple[int, int], *, first: int
) -> tuple[np.ndarray, np.ndarray]:
    """Flag the first groups DO_NOT_USE, as far as two groups before saturation remain.

    Where group ``n + 2`` is saturated, ``n`` being the number of groups to leave out and groups counted from 1, ``n``
    falls by one for each saturated group, unless the first group is saturated as well. Such pixels get
    FLUX_ESTIMATED.

    Parameters
    ----------
    groupdq, pixeldq
        Flags (i, g, y, x) and (y, x).
    skip
        Groups to leave out in the first integration of the exposure, and in all others.
    first
        Place of the first integration at hand in the exposure, counted from 0.
    """
    flags, estimated = groupdq.copy(), pixeldq.copy()
    for i in range(groupdq.shape[0]):
        left_out = skip[0] if first + i == 0 else skip[1]
        _flag(*read_only(groupdq[i]), left_out, flags[i], estimated)
    return flags, estimated


@kernel
def _flag(given: np.ndarray, skip: int, flags: np.ndarray, pixeldq: np.ndarray) -> None:
    """Flag one integration (g, y, x) in ``flags``, and its pixels in ``pixeldq``."""
    _, rows, columns = given.shape
    for y in range(rows):
        early = np.uint8(0)
        for x in range(columns):
            early |= given[skip + 1, y, x] & SATURATED
        for g in range(skip):
            for x in range(columns):
                flags[g, y, x] |= DO_NOT_USE
        if not early or skip == 0:
            continue
        for x in range(columns):
            # With the first group saturated nothing can be saved.
            if given[0, y, x] & SATURATED or not given[skip + 1, y, x] & SATURATED:
                continue
            saturated = 1
            while saturated <= skip and given[skip + 1 - saturated, y, x] & SATURATED:
                saturated += 1
            for g in range(max(skip - saturated, 0), skip):
                flags[g, y, x] = given[g, y, x]
            pixeldq[y, x] |= ESTIMATED


def groups_to_skip(references: References, header: Header) -> tuple[int, int] | None:
    """Groups to leave out in the first and in later integrations; ``None`` where the reference does not say."""
    file = references["rscd"]
    assert file is not None, "the step runs with an rscd reference only"
    subarray, pattern = str(header["SUBARRAY"]), header["READPATT"]
    subarray = RENAMED.get(subarray.upper(), subarray)
    for row in file.table("rscd_group_skip"):
        if row["subarray"] == subarray and row["readpatt"] == pattern:
            first = int(row["group_skip1"]) if "group_skip1" in row.dtype.names else -1
            # Negative: from before the first integration had a number of its own.
            return _limited(1 if first < 0 else first, int(row["group_skip"]), header)
    return None


def _limited(first: int, later: int, header: Header) -> tuple[int, int]:
    """Leave three groups at least: lastframe takes one, a slope needs two."""
    groups = int(header["NGROUPS"])
    if groups <= SHORT_RAMP:
        first = later = 1
    return min(first, groups - FEWEST_GROUPS), min(later, groups - FEWEST_GROUPS)


def _prepare(references: References, header: Header, params: RscdParams) -> tuple[Any, ...]:
    return (groups_to_skip(references, header),)


def _keywords(header: Header, params: RscdParams) -> dict[str, Any]:
    return {"first": int(header.get("INTSTART") or 1) - 1}


def _marks(references: References, header: Header, params: RscdParams) -> dict[str, Any]:
    """Leave the numbers of groups; how many pixels keep more of them only the pixels tell."""
    skip = groups_to_skip(references, header)
    assert skip is not None, "the step runs where the reference has numbers only"
    marks = {}
    if int(header.get("INTSTART") or 1) == 1:
        marks["INT1SKIP"] = skip[0]
    if int(header["NINTS"]) > 1:
        marks["INT2SKIP"] = skip[1]
    return marks


def _applies(header: Header, params: RscdParams) -> str:
    if header["INSTRUME"] != "MIRI":
        return "only MIRI ramps decay so"
    groups = int(header["NGROUPS"])
    return "" if groups >= FEWEST_GROUPS else f"{groups} groups are too few to leave any out"


def _unsuitable(references: References, header: Header, params: RscdParams) -> str:
    if groups_to_skip(references, header) is not None:
        return ""
    return f"the reference has no numbers for SUBARRAY {header['SUBARRAY']}, READPATT {header['READPATT']}"


rscd = Step(
    "rscd",
    flag_decaying_groups,
    reads=("groupdq", "pixeldq"),
    writes=("groupdq", "pixeldq"),
    refs=("rscd.table",),
    params=RscdParams,
    keywords=_keywords,
    applies=_applies,
    unsuitable=_unsuitable,
    marks=_marks,
    prepare=_prepare,
    apart=True,
    numbered=True,
)
