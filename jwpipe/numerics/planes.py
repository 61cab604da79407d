"""Facts about whole groups of an exposure."""

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
