"""Flags that the search for jumps begins with, and those that it takes back."""

import numpy as np

from jwpipe.dq import Group, Pixel
from jwpipe.numerics.differences import JUMP, UNUSABLE
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.planes import whole_planes
from jwpipe.numerics.views import read_only

DO_NOT_USE = np.uint8(Group.DO_NOT_USE)
NO_GAIN = np.uint32(Pixel.NO_GAIN_VALUE | Pixel.DO_NOT_USE)


@kernel
def without_gain(pixeldq: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """The flags (y, x), with those of pixels whose gain is NaN or not positive."""
    flags = np.empty_like(pixeldq)
    for y in range(gain.shape[0]):
        for x in range(gain.shape[1]):
            flags[y, x] = pixeldq[y, x] | (np.uint32(0) if gain[y, x] > 0 else NO_GAIN)
    return flags


@kernel
def without_void_jumps(groupdq: np.ndarray) -> np.ndarray:
    """A copy without jump flags on groups that are not usable anyway."""
    flags = np.empty_like(groupdq)
    given, kept = groupdq.ravel(), flags.ravel()
    for p in range(given.size):
        kept[p] = given[p] & ~JUMP if given[p] & UNUSABLE else given[p]
    return flags


def clear_flagged_planes(flags: np.ndarray) -> None:
    """Take the jumps back where all pixels of a group jump: the light changed, not the detector.

    What is true of a frame is true of each of its strips, which are looked at one by one. The other way round it is
    not: where a group is of no use but to a few pixels (the first ones of MIRI, but to bright pixels), all of these
    may be struck in one strip. They keep their flags, since most pixels of a strip must jump.
    """
    for i, g in np.argwhere(whole_planes(*read_only(flags), JUMP | DO_NOT_USE)):
        plane = flags[i, g]
        jumped = plane == JUMP
        if 2 * np.count_nonzero(jumped) >= plane.size:
            plane[jumped] = 0
