"""Differences of neighbouring groups, for many pixels at a time: one difference a row, one pixel a column.

A difference that says nothing is +inf, so that it ends up last when columns are sorted.
"""

import numpy as np

from jwpipe.dq import Group
from jwpipe.numerics.jit import kernel

UNUSABLE = np.uint8(Group.DO_NOT_USE | Group.SATURATED)
JUMP = np.uint8(Group.JUMP_DET)
NOTHING = np.float32(np.inf)
# Pixels that a loop over columns treats at once.
FULL = 64


@kernel
def step_row(
    low: np.ndarray,
    high: np.ndarray,
    low_dq: np.ndarray,
    high_dq: np.ndarray,
    void: np.uint8,
    steps: np.ndarray,
    count: np.ndarray,
) -> None:
    """Differences of two groups of a row of pixels; count those that say something.

    Those of unusable groups do not, nor those onto a group with a flag of ``void``.
    """
    for x in range(steps.size):
        step = high[x] - low[x]
        good = (((low_dq[x] | high_dq[x]) & UNUSABLE) | (high_dq[x] & void)) == 0
        good &= step == step
        steps[x] = step if good else NOTHING
        count[x] += np.uint16(good)


@kernel
def fill_steps(
    sci: np.ndarray,
    groupdq: np.ndarray,
    window: np.ndarray,
    y: int,
    start: int,
    void: np.uint8,
    steps: np.ndarray,
    count: np.ndarray,
) -> None:
    """Add the differences of an integration (g, y, x), within its window, of the pixels from column ``start`` on."""
    stop = start + count.size
    for g in range(window[0], window[1] - 1):
        step_row(
            sci[g, y, start:stop],
            sci[g + 1, y, start:stop],
            groupdq[g, y, start:stop],
            groupdq[g + 1, y, start:stop],
            void,
            steps[g - window[0], : count.size],
            count,
        )


@kernel
def beside(scratch: np.ndarray, groups: int, pixels: int) -> np.ndarray:
    """Room (g, 1, x) in ``scratch`` (flat) for so many pixels side by side, in full vectors if they fit."""
    width = pixels + -pixels % FULL
    width = width if groups * width <= scratch.size else pixels
    return scratch[: groups * width].reshape(groups, 1, width)


@kernel
def gather_ramps(array: np.ndarray, y: int, places: np.ndarray, found: np.ndarray) -> None:
    """Copy the counts or flags (g, y, x) of some pixels of a row side by side, to (g, 1, x).

    Group by group: a pixel's groups lie too far apart in memory to be fetched one after the other.
    """
    for g in range(array.shape[0]):
        for p in range(places.size):
            found[g, 0, p] = array[g, y, places[p]]
