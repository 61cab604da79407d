"""Spread jump flags to what a cosmic ray also disturbs: the four neighbours, and the groups that follow.

Neighbours receive charge by capacitive coupling; after a large jump the signal keeps rising for a while.
"""

import numpy as np

from jwpipe.numerics.differences import JUMP, UNUSABLE
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.medians import median
from jwpipe.numerics.planes import list_where
from jwpipe.numerics.two_point import difference, noise_variance


@kernel
def flagged_row(flags: np.ndarray, y: int, seen: np.ndarray) -> None:
    """OR of all flags of each pixel of row ``y``, the first group apart."""
    seen[:] = 0
    for i in range(flags.shape[0]):
        for g in range(1, flags.shape[1]):
            row = flags[i, g, y]
            for x in range(row.size):
                seen[x] |= row[x]


@kernel
def pixel_median(
    sci: np.ndarray, groupdq: np.ndarray, gain: np.ndarray, y: int, x: int, scratch: np.ndarray
) -> float:
    """Median of all differences of a pixel."""
    count, scale = 0, gain[y, x]
    for i in range(sci.shape[0]):
        before, usable = sci[i, 0, y, x] * scale, groupdq[i, 0, y, x] & UNUSABLE == 0
        for k in range(1, sci.shape[1]):
            now, good = sci[i, k, y, x] * scale, groupdq[i, k, y, x] & UNUSABLE == 0
            step = now - before
            if usable and good and step == step:
                scratch[count] = step
                count += 1
            before, usable = now, good
    return median(scratch, count)


@kernel
def fill_medians(
    sci: np.ndarray, groupdq: np.ndarray, gain: np.ndarray, flags: np.ndarray, medians: np.ndarray
) -> None:
    """Median difference of each pixel that has a jump and no median yet (NaN)."""
    integrations, groups, rows, columns = sci.shape
    scratch = np.empty(integrations * (groups - 1), np.float32)
    seen, places = np.empty(columns, np.uint8), np.empty(columns + 1, np.int32)
    for y in range(rows):
        flagged_row(flags, y, seen)
        for p in range(list_where(seen & JUMP, JUMP, places)):
            x = places[p]
            if np.isnan(medians[y, x]):
                medians[y, x] = pixel_median(sci, groupdq, gain, y, x, scratch)


@kernel
def flag_cross(groupdq: np.ndarray, i: int, g: int, y: int, x: int, flags: np.ndarray) -> None:
    """Flag the usable ones of the four neighbours in one group."""
    rows, columns = groupdq.shape[2:]
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        v, u = y + dy, x + dx
        if 0 <= v < rows and 0 <= u < columns and (groupdq[i, g, v, u] & UNUSABLE) == 0:
            flags[i, g, v, u] |= JUMP


@kernel
def flag_neighbours(
    sci: np.ndarray,
    groupdq: np.ndarray,
    gain: np.ndarray,
    readnoise: np.ndarray,
    nframes: int,
    medians: np.ndarray,
    detected: np.ndarray,
    ratios: tuple[float, float],
    flags: np.ndarray,
) -> None:
    """Add to ``flags`` the neighbours of ``detected`` jumps between ``ratios`` standard deviations.

    Medians (y, x) that are not known yet (NaN) are filled in.
    """
    integrations, groups, rows, columns = sci.shape
    scratch = np.empty(integrations * (groups - 1), np.float32)
    seen, places = np.empty(columns, np.uint8), np.empty(columns + 1, np.int32)
    for y in range(rows):
        flagged_row(detected, y, seen)
        for p in range(list_where(seen & JUMP, JUMP, places)):
            x = places[p]
            if np.isnan(medians[y, x]):
                medians[y, x] = pixel_median(sci, groupdq, gain, y, x, scratch)
            variance = noise_variance(readnoise[y, x], gain[y, x], nframes)
            sigma = np.sqrt(abs(medians[y, x]) + variance)
            for i in range(integrations):
                for k in range(groups - 1):
                    if detected[i, k + 1, y, x] & JUMP:
                        step = difference(sci, groupdq, gain, i, k, y, x)
                        ratio = abs(step - medians[y, x]) / sigma
                        if ratios[0] < ratio < ratios[1]:
                            flag_cross(groupdq, i, k + 1, y, x, flags)


@kernel
def flag_following(
    sci: np.ndarray,
    groupdq: np.ndarray,
    gain: np.ndarray,
    medians: np.ndarray,
    rises: tuple[float, float],
    durations: tuple[int, int],
    flags: np.ndarray,
) -> None:
    """Flag the usable groups after a jump: ``durations`` groups after one of at least ``rises`` electrons."""
    integrations, groups, rows, columns = sci.shape
    seen, places = np.empty(columns, np.uint8), np.empty(columns + 1, np.int32)
    for y in range(rows):
        flagged_row(flags, y, seen)
        for p in range(list_where(seen & JUMP, JUMP, places)):
            x = places[p]
            for i in range(integrations):
                # From the last group back: what is flagged here has had its own turn.
                for k in range(groups - 2, -1, -1):
                    if not flags[i, k + 1, y, x] & JUMP:
                        continue
                    rise = difference(sci, groupdq, gain, i, k, y, x) - medians[y, x]
                    reach = 0
                    if rise >= rises[0]:
                        reach = durations[0]
                    if rise >= rises[1]:
                        reach = max(reach, durations[1])
                    for g in range(k + 2, min(k + 2 + reach, groups)):
                        if (groupdq[i, g, y, x] & UNUSABLE) == 0:
                            flags[i, g, y, x] |= JUMP
