"""Median rates of ramps, a row at a time: the rates behind the Poisson variance.

Differences of all pixels are sorted together; where a flag makes one useless it counts as +inf and ends up last, so
that the median of those left still lies in the same sorted column.
"""

import numpy as np

from jwpipe.dq import Pixel
from jwpipe.numerics.differences import UNUSABLE, beside, fill_steps, gather_ramps
from jwpipe.numerics.jit import inline, kernel
from jwpipe.numerics.medians import middle, sort_columns
from jwpipe.numerics.planes import list_where
from jwpipe.numerics.ramp_kinds import (
    FIRST_GROUP,
    SUPPRESSED,
    USABLE,
    ZERO_FRAME,
    Model,
    Ramps,
    Row,
    first_frame,
    ramp_kind,
    single_time,
)
from jwpipe.numerics.segments import CHARGELOSS, DO_NOT_USE, JUMP, PERSISTENCE, SATURATED

PIXEL_DO_NOT_USE = np.uint32(Pixel.DO_NOT_USE)
# Pixels of a row that are treated together, so that what is known of them stays in the innermost cache.
SEGMENT = 512


@kernel
def add_flags(row: np.ndarray, seen: np.ndarray, good: np.ndarray, unusable: np.ndarray) -> None:
    """OR the flags of one group to ``seen``; count it as good (but for persistence) or unusable."""
    for x in range(row.size):
        seen[x] |= row[x]
        good[x] += np.uint16(row[x] & ~PERSISTENCE == 0)
        unusable[x] += np.uint16(row[x] & UNUSABLE != 0)


@kernel
def gather_flags(
    groupdq: np.ndarray,
    window: np.ndarray,
    y: int,
    seen: np.ndarray,
    clean: np.ndarray,
    good: np.ndarray,
    unusable: np.ndarray,
) -> None:
    """OR and count the flags of all groups (g, y, x); clean are ramps with none but DO_NOT_USE outside the window."""
    inside = np.zeros(seen.size, np.uint8)
    seen[:] = 0
    good[:] = 0
    unusable[:] = 0
    for g in range(window[0], window[1]):
        add_flags(groupdq[g, y], inside, good, unusable)
    for g in range(window[0]):
        add_flags(groupdq[g, y], seen, good, unusable)
    for g in range(window[1], groupdq.shape[0]):
        add_flags(groupdq[g, y], seen, good, unusable)
    some = window[1] - window[0] > 1
    for x in range(seen.size):
        clean[x] = some & (inside[x] == 0) & ((seen[x] & ~DO_NOT_USE) == 0)
        seen[x] |= inside[x]


@kernel
def sort_steps(
    sci: np.ndarray,
    groupdq: np.ndarray,
    window: np.ndarray,
    y: int,
    start: int,
    steps: np.ndarray,
    count: np.ndarray,
) -> None:
    """Sorted differences of one integration (g, y, x) from column ``start`` on, and how many there are."""
    count[:] = 0
    fill_steps(sci, groupdq, window, y, start, JUMP, steps, count)
    sort_columns(steps, window[1] - window[0] - 1, count.size)


@kernel
def add_known(medians: np.ndarray, group_time: float, clean: np.ndarray, total: np.ndarray) -> None:
    """Add the known median rates of the clean ramps; those without (NaN) are not clean."""
    per_second = 1.0 / group_time
    for x in range(clean.size):
        clean[x] &= medians[x] == medians[x]
        total[x] += medians[x] * per_second if clean[x] else 0.0


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


@inline
def flagged_median(
    kind: int,
    groups: int,
    first: float,
    flag: np.uint8,
    frame: float,
    times: tuple[float, float, float],
    steps: np.ndarray,
    sample: int,
    count: int,
) -> float:
    """Median rate of a flagged ramp, DN/s, from its sorted steps, column ``sample``; a lone value stands for itself.

    ``first`` are the counts of the first group, ``flag`` its flags, ``frame`` the zero frame; ``times`` as for
    ``single_time``.
    """
    if kind == ZERO_FRAME:
        first = frame
    elif flag & SATURATED:
        first = np.nan
    if groups == 1:
        return first / times[1]
    if kind in (FIRST_GROUP, ZERO_FRAME):
        rate = first / single_time(kind, times[0], times[1], times[2])
    elif kind == SUPPRESSED:
        rate = 0.0
    else:
        rate = middle(steps, count, sample) / times[0]
        if count == 0 and flag & DO_NOT_USE == 0:
            rate = first / times[0]
    return 0.0 if np.isnan(rate) else rate


@kernel
def sum_medians(ramps: Ramps, model: Model, y: int, row: Row) -> None:
    """Sort out the ramps of a row and average the median rates of their integrations.

    Where medians are known only the differences of the other pixels are sorted, those side by side.
    """
    integrations, groups, _, columns = ramps.sci.shape
    # Fields are taken out of their tuples before any loop: each time costs more than a pixel.
    times = model.group_time, model.first_time, model.frame_time
    suppress, rescue, dq, rates, zeroframe = (
        model.suppress,
        model.rescue,
        row.dq,
        row.rate,
        ramps.zeroframe,
    )
    known = ramps.medians.size > 0
    span = columns if known else min(SEGMENT, columns)
    good = np.empty(columns, np.uint16)
    unusable = np.empty(columns, np.uint16)
    places = np.empty(span + 1, np.int32)
    samples, values, bits = (
        np.empty(groups * span, np.float32),
        np.empty(groups * span * known, np.float32),
        np.empty(groups * span * known, np.uint8),
    )
    counts = np.zeros(span, np.uint16)
    rates[:] = 0.0
    for i in range(integrations):
        sci, groupdq = ramps.sci[i], ramps.groupdq[i]
        window, seen, kinds = ramps.windows[i], row.seen[i], row.kinds[i]
        length = window[1] - window[0] - 1
        gather_flags(groupdq, window, y, seen, row.clean[i], good, unusable)
        for start in range(0, columns, span):
            stop = min(start + span, columns)
            clean, count = row.clean[i, start:stop], counts[: stop - start]
            steps = samples.reshape(groups, span)
            if length > 0 and not known:
                sort_steps(sci, groupdq, window, y, start, steps, count)
                add_medians(steps, length, count, times[0], clean, rates[start:stop])
            elif length > 0:
                add_known(ramps.medians[i, y], times[0], clean, rates)
            chosen = places[: list_where(clean, False, places)]
            if length > 0 and known:
                some, flags = beside(values, groups, chosen.size), beside(bits, groups, chosen.size)
                gather_ramps(sci, y, chosen, some)
                gather_ramps(groupdq, y, chosen, flags)
                steps = samples[: some.size].reshape(groups, some.shape[2])
                sort_steps(some, flags, window, 0, 0, steps, counts[: some.shape[2]])
            for k in range(chosen.size):
                sample = chosen[k]
                x = start + sample
                column = k if known else sample
                # Lost charge is put back even where the pixel is not fitted.
                if dq[x] & PIXEL_DO_NOT_USE and groups > 1 and seen[x] & CHARGELOSS == 0:
                    kinds[x] = USABLE
                    continue
                frame = float(first_frame(zeroframe, i, y, x))
                kind = ramp_kind(groupdq, frame, suppress, rescue, good[x], unusable[x], y, x)
                first, flag = float(sci[0, y, x]), groupdq[0, y, x]
                rates[x] += flagged_median(
                    kind, groups, first, flag, frame, times, steps, column, count[column]
                )
                kinds[x] = kind
                if kind == ZERO_FRAME and groups == 1:
                    seen[x] &= ~SATURATED
    dark = row.dark
    for x in range(rates.size):
        median = rates[x] / integrations
        rates[x] = (median if median > 0 else 0.0) + dark[x]
