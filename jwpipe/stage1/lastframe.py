"""Leave out the last group of MIRI ramps, during which the reset of other rows has already begun."""

import numpy as np

from jwpipe.dq import Group
from jwpipe.exposure import Header
from jwpipe.step import Params, Step

DO_NOT_USE = np.uint8(Group.DO_NOT_USE)
FEWEST_GROUPS = 3


class LastFrameParams(Params):
    """Parameters of the lastframe step: none of its own."""


def flag_last_group(groupdq: np.ndarray) -> tuple[np.ndarray]:
    """Flag the last group of all integrations DO_NOT_USE; ``groupdq`` (i, g, y, x)."""
    flags = groupdq.copy()
    flags[:, -1] |= DO_NOT_USE
    return (flags,)


def _applies(header: Header, params: LastFrameParams) -> str:
    if header["INSTRUME"] != "MIRI":
        return "only MIRI ramps end with such a group"
    groups = int(header["NGROUPS"])
    return "" if groups >= FEWEST_GROUPS else f"{groups} groups are too few to leave one out"


lastframe = Step(
    "lastframe",
    flag_last_group,
    reads=("groupdq",),
    writes=("groupdq",),
    params=LastFrameParams,
    applies=_applies,
    apart=True,
)
