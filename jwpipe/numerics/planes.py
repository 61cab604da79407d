"""Facts about whole groups of an exposure, and which pixels of a row are marked."""

import numpy as np

from jwpipe.numerics.jit import kernel


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
