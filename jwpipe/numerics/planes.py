"""Facts about whole groups of an exposure, and which pixels of a row are marked."""

import numpy as np

from jwpipe.dq import Group
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.views import read_only

DO_NOT_USE = np.uint8(Group.DO_NOT_USE)


@kernel
def whole_planes(groupdq: np.ndarray, bits: np.uint8) -> np.ndarray:
    """Groups (i, g) of which every pixel has one of ``bits``."""
    integrations, groups, rows, columns = groupdq.shape
    whole = np.empty((integrations, groups), np.bool_)
    for i in range(integrations):
        for g in range(groups):
            y, every = 0, True
            while every and y < rows:
                for x in range(columns):
                    every &= groupdq[i, g, y, x] & bits != 0
                y += 1
            whole[i, g] = every
    return whole


@kernel
def list_where(marks: np.ndarray, wanted: bool, places: np.ndarray) -> int:
    """List the ``places`` where ``marks`` are as ``wanted``; tell how many. There must be room for one more."""
    found = 0
    for x in range(marks.size):
        places[found] = x
        found += marks[x] == wanted
    return found


def usable_windows(groupdq: np.ndarray) -> np.ndarray:
    """First group, and the one after the last, of each integration (i, 2) that some pixel can use."""
    usable = ~whole_planes(*read_only(groupdq), DO_NOT_USE)
    first, last = usable.argmax(axis=1), usable.shape[1] - usable[:, ::-1].argmax(axis=1)
    return np.where(usable.any(axis=1), np.array([first, last]), 0).T.copy()
