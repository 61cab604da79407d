"""Median rates of ramps, a row at a time: the rates behind the Poisson variance.

Differences of all pixels are sorted together; where a flag makes one useless it counts as +inf and ends up last, so
that the median of those left still lies in the same sorted column.
"""

import numpy as np

from jwpipe.dq import Pixel
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.medians import middle, sort_columns
from jwpipe.numerics.ramp_kinds import (
    FIRST_GROUP,
    SUPPRESSED,
    UNUSABLE,
    USABLE,
    ZERO_FRAME,
    Model,
    Ramps,
    Row,
    ramp_kind,
    single_time,
)
from jwpipe.numerics.segments import CHARGELOSS, DO_NOT_USE, JUMP, PERSISTENCE, SATURATED

PIXEL_DO_NOT_USE = np.uint32(Pixel.DO_NOT_USE)
NOTHING = np.float32(np.inf)


@kernel
def gather_flags(
    groupdq: np.ndarray,
    window: np.ndarray,
    y: int,
    seen: np.ndarray,
    clean: np.ndarray,
    tally: np.ndarray,
) -> None:
    """OR of the flags of all groups (g, y, x); clean are ramps with none but DO_NOT_USE outside the window.

    ``tally`` counts good groups (but for persistence) in its lower and unusable ones in its upper 16 bits.
    """
    inside = np.zeros(seen.size, np.uint8)
    seen[:] = 0
    tally[:] = 0
    for g in range(groupdq.shape[0]):
        row = groupdq[g, y]
        for x in range(seen.size):
            seen[x] |= row[x]
            good, unusable = row[x] & ~PERSISTENCE == 0, row[x] & UNUSABLE != 0
            tally[x] += np.uint32(good) | (np.uint32(unusable) << np.uint32(16))
        if window[0] <= g < window[1]:
            for x in range(seen.size):
                inside[x] |= row[x]
    some = window[1] - window[0] > 1
    for x in range(seen.size):
        clean[x] = some & (inside[x] == 0) & ((seen[x] & ~DO_NOT_USE) == 0)


@kernel
def step_row(
    low: np.ndarray,
    high: np.ndarray,
    low_dq: np.ndarray,
    high_dq: np.ndarray,
    steps: np.ndarray,
    count: np.ndarray,
) -> None:
    """Differences of two groups, +inf where they say nothing about the rate; count those that do."""
    for x in range(steps.size):
        step = high[x] - low[x]
        good = (((low_dq[x] | high_dq[x]) & UNUSABLE) | (high_dq[x] & JUMP)) == 0
        good &= step == step
        steps[x] = step if good else NOTHING
        count[x] += np.int32(good)


@kernel
def sort_steps(
    sci: np.ndarray,
    groupdq: np.ndarray,
    window: np.ndarray,
    y: int,
    steps: np.ndarray,
    count: np.ndarray,
) -> None:
    """Sorted differences of one integration (g, y, x), and how many there are."""
    count[:] = 0
    for g in range(window[0], window[1] - 1):
        row = steps[g - window[0]]
        step_row(sci[g, y], sci[g + 1, y], groupdq[g, y], groupdq[g + 1, y], row, count)
    sort_columns(steps, window[1] - window[0] - 1, steps.shape[1])


@kernel
def add_medians(
    steps: np.ndarray,
    samples: int,
    count: np.ndarray,
    group_time: float,
    clean: np.ndarray,
    total: np.ndarray,
) -> None:
    """Add the median rates of the clean ramps; those that lack a difference (NaN) are not clean."""
    low, high = (samples - 1) // 2, samples // 2
    half = 0.5 / group_time
    for x in range(clean.size):
        clean[x] &= count[x] == samples
        rate = (np.float64(steps[low, x]) + np.float64(steps[high, x])) * half
        total[x] += rate if clean[x] else 0.0


@kernel
def flagged_median(
    ramps: Ramps,
    model: Model,
    kind: int,
    i: int,
    y: int,
    x: int,
    steps: np.ndarray,
    count: int,
) -> float:
    """Median rate of a flagged ramp, DN/s, from its sorted ``steps``; a single value stands for itself."""
    first, flag = float(ramps.sci[i, 0, y, x]), ramps.groupdq[i, 0, y, x]
    if kind == ZERO_FRAME:
        first = float(ramps.zeroframe[i, y, x])
    elif flag & SATURATED:
        first = np.nan
    if ramps.sci.shape[1] == 1:
        return first / model.first_time
    if kind in (FIRST_GROUP, ZERO_FRAME):
        rate = first / single_time(kind, model)
    elif kind == SUPPRESSED:
        rate = 0.0
    else:
        rate = middle(steps, count, x) / model.group_time
        if count == 0 and flag & DO_NOT_USE == 0:
            rate = first / model.group_time
    return 0.0 if np.isnan(rate) else rate


@kernel
def sum_medians(ramps: Ramps, model: Model, y: int, row: Row, steps: np.ndarray) -> None:
    """Sort out the ramps of a row and average the median rates of their integrations."""
    integrations, groups = ramps.sci.shape[:2]
    tally, count = np.empty(row.rate.size, np.uint32), np.zeros(row.rate.size, np.int32)
    row.rate[:] = 0.0
    for i in range(integrations):
        window, seen, clean, kinds = ramps.windows[i], row.seen[i], row.clean[i], row.kinds[i]
        gather_flags(ramps.groupdq[i], window, y, seen, clean, tally)
        if window[1] - window[0] > 1:
            sort_steps(ramps.sci[i], ramps.groupdq[i], window, y, steps, count)
            add_medians(steps, window[1] - window[0] - 1, count, model.group_time, clean, row.rate)
        for x in range(clean.size):
            if clean[x]:
                continue
            # Lost charge is put back even where the pixel is not fitted.
            if row.dq[x] & PIXEL_DO_NOT_USE and groups > 1 and seen[x] & CHARGELOSS == 0:
                kinds[x] = USABLE
                continue
            good, unusable = tally[x] & 0xFFFF, tally[x] >> 16
            kinds[x] = ramp_kind(ramps, model, good, unusable, i, y, x)
            row.rate[x] += flagged_median(ramps, model, kinds[x], i, y, x, steps, count[x])
            if kinds[x] == ZERO_FRAME and groups == 1:
                seen[x] &= ~SATURATED
    for x in range(row.rate.size):
        median = row.rate[x] / integrations
        row.rate[x] = (median if median > 0 else 0.0) + model.dark
