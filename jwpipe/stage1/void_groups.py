"""Which groups of a MIRI exposure no pixel can use: a fact about whole frames, found before jumps are looked for.

The first and the last groups of MIRI ramps are left out in (almost) all pixels. How jumps are told from noise depends
on how many groups remain, and ramps are fitted without leading and last groups that are left out everywhere. Neither
may depend on how the frame is cut into blocks.
"""

from functools import partial
from typing import Any

import numpy as np

from jwpipe.dq import Group
from jwpipe.exposure import Header
from jwpipe.numerics.planes import whole_planes
from jwpipe.numerics.views import read_only
from jwpipe.step import Round, Survey

DO_NOT_USE = np.uint8(Group.DO_NOT_USE)
PERSISTENCE = np.uint8(Group.PERSISTENCE)
WITHOUT = ("ipc", "reset", "linearity", "dark_current", "refpix", "jump")
"""Steps after saturation that make no group unusable."""


def void_groups(header: Header, groups: tuple[int, int] | None = None) -> Survey | None:
    """The survey of MIRI exposures, of others none; only the groups from first to last of ``groups`` are used.

    It finds (2, i, g): groups that no pixel can use, and groups that no pixel can use if ramps of one good group are
    left out.
    """
    if header["INSTRUME"] != "MIRI":
        return None
    rounds = (Round(partial(_void, groups), np.logical_and, _found),)
    return Survey(("groupdq",), rounds, without=WITHOUT)


def _void(groups: tuple[int, int] | None, found: Any, groupdq: np.ndarray) -> np.ndarray:
    flags = groupdq if groups is None else only_groups(groupdq, *groups)
    both = flags, without_one_group_ramps(flags)
    return np.stack([whole_planes(*read_only(each), DO_NOT_USE) for each in both])


def _found(found: Any, merged: np.ndarray) -> np.ndarray:
    return merged


def only_groups(groupdq: np.ndarray, first: int, last: int) -> np.ndarray:
    """Flags with DO_NOT_USE on the groups before ``first`` and after ``last``."""
    flags = groupdq.copy()
    flags[:, :first] |= DO_NOT_USE
    flags[:, last + 1 :] |= DO_NOT_USE
    return flags


def without_one_group_ramps(groupdq: np.ndarray) -> np.ndarray:
    """Flags with DO_NOT_USE on all groups of the ramps that have one good group."""
    lone = ((groupdq & ~PERSISTENCE) == 0).sum(axis=1, keepdims=True) == 1
    return groupdq | np.where(lone, DO_NOT_USE, np.uint8(0))
