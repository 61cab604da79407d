"""Where the differences of a ramp rise over wide areas, though in each pixel by less than a jump.

Differences are in electrons. How far each lies from its median, in standard deviations, is averaged over a ring of
neighbours; pixels that are flagged anyway have no part in it.
"""

from typing import NamedTuple

import numpy as np

from jwpipe.dq import Group
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.medians import block_width, middle, sort_columns

UNUSABLE = np.uint8(Group.DO_NOT_USE | Group.SATURATED | Group.JUMP_DET)
NEVER = np.uint8(Group.DO_NOT_USE | Group.SATURATED)
JUMP = np.uint8(Group.JUMP_DET)
NOTHING = np.float32(np.inf)
CLIPPINGS = 5
CLIP = 5.0


class Ring(NamedTuple):
    """Offsets (dy, dx) of the pixels that are averaged, ``reach`` at most."""

    offsets: np.ndarray
    reach: int


def ring(inner: float, width: float) -> Ring:
    """The pixels between the radii ``inner`` and ``inner + width``."""
    largest = int(inner + width)
    across = np.arange(-largest, largest + 1)
    squares = across[:, np.newaxis] ** 2 + across**2
    found = np.argwhere((squares >= inner**2) & (squares <= (inner + width) ** 2)) - largest
    return Ring(np.ascontiguousarray(found), largest)


@kernel
def steps_of_row(
    ramp: np.ndarray, flags: np.ndarray, gain: np.ndarray, y: int, steps: np.ndarray
) -> None:
    """Differences of a row (g - 1, x) of one integration, +inf where there is none.

    A jump rules its group out unless it has other flags, of persistence or lost charge, as well.
    """
    for k in range(steps.shape[0]):
        for x in range(steps.shape[1]):
            before, after = flags[k, y, x], flags[k + 1, y, x]
            step = ramp[k + 1, y, x] * gain[y, x] - ramp[k, y, x] * gain[y, x]
            free = ((before | after) & NEVER == 0) & (before != JUMP) & (after != JUMP)
            steps[k, x] = step if free & (step == step) else NOTHING


@kernel
def medians_of_all(sci: np.ndarray, flags: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Median (y, x) of all differences of each pixel, NaN where there is none."""
    integrations, groups, rows, columns = sci.shape
    samples = integrations * (groups - 1)
    steps = np.empty((samples, columns), np.float32)
    count = np.empty(columns, np.int64)
    medians = np.empty((rows, columns), np.float32)
    for y in range(rows):
        for i in range(integrations):
            first = i * (groups - 1)
            steps_of_row(sci[i], flags[i], gain, y, steps[first : first + groups - 1])
        count[:] = 0
        for k in range(samples):
            for x in range(columns):
                count[x] += steps[k, x] != NOTHING
        sort_columns(steps, samples, columns)
        for x in range(columns):
            medians[y, x] = middle(steps, count[x], x)
    return medians


@kernel
def clipped_scatter(values: np.ndarray, count: int, x: int) -> tuple[float, float]:
    """Median and standard deviation of a sorted column without outliers; NaN of none."""
    first, stop = 0, count
    for _ in range(CLIPPINGS):
        centre, width = moments(values, first, stop, x)
        low, high = first, stop
        while low < high and values[low, x] < centre - CLIP * width:
            low += 1
        while high > low and values[high - 1, x] > centre + CLIP * width:
            high -= 1
        if low == first and high == stop:
            break
        first, stop = low, high
    return moments(values, first, stop, x)


@kernel
def moments(values: np.ndarray, first: int, stop: int, x: int) -> tuple[float, float]:
    """Median and standard deviation of a part of a sorted column."""
    left = stop - first
    if left == 0:
        return np.nan, np.nan
    total, squares = 0.0, 0.0
    for i in range(first, stop):
        total += values[i, x]
    for i in range(first, stop):
        squares += (values[i, x] - total / left) ** 2
    centre = values[first + (left - 1) // 2, x] + np.float64(values[first + left // 2, x])
    return 0.5 * centre, np.sqrt(squares / left)


@kernel
def scatter_of_integrations(
    sci: np.ndarray, flags: np.ndarray, gain: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Median and standard deviation (g - 1, y, x) of each difference among the integrations, clipped."""
    integrations, groups, rows, columns = sci.shape
    medians = np.empty((groups - 1, rows, columns), np.float32)
    widths = np.empty((groups - 1, rows, columns), np.float32)
    block = block_width(integrations, columns)
    steps = np.empty((1, columns), np.float32)
    values = np.empty((integrations, block), np.float32)
    for y in range(rows):
        for k in range(groups - 1):
            for start in range(0, columns, block):
                width = min(block, columns - start)
                for i in range(integrations):
                    pair = sci[i, k : k + 2], flags[i, k : k + 2]
                    steps_of_row(pair[0], pair[1], gain, y, steps)
                    values[i, :width] = steps[0, start : start + width]
                sort_columns(values, integrations, width)
                for x in range(width):
                    count = 0
                    while count < integrations and values[count, x] != NOTHING:
                        count += 1
                    found = clipped_scatter(values, count, x)
                    medians[k, y, start + x], widths[k, y, start + x] = found
    return medians, widths


@kernel
def flag_raised(
    sci: np.ndarray,
    flags: np.ndarray,
    excluded: np.ndarray,
    gain: np.ndarray,
    medians: np.ndarray,
    widths: np.ndarray,
    first: np.ndarray,
    ring_offsets: np.ndarray,
    reach: int,
    threshold: float,
    bit: np.uint8,
    marked: np.ndarray,
) -> None:
    """Set ``bit`` in ``marked`` (i, g, y, x) where the average over the ring exceeds ``threshold``.

    ``excluded`` (y, x) have no part in it. ``medians`` and ``widths`` are (k, y, x) with one plane for all differences
    or one each; integrations are looked at from the group after ``first`` (i) on.
    """
    integrations, groups, rows, columns = sci.shape
    # Beyond the frame's edges there is light, and none of it raised.
    values = np.zeros((rows + 2 * reach, columns + 2 * reach), np.float32)
    good = np.ones((rows + 2 * reach, columns + 2 * reach), np.float32)
    total, number = np.empty(columns, np.float64), np.empty(columns, np.float32)
    steps = np.empty((1, columns), np.float32)
    for i in range(integrations):
        for g in range(first[i] + 1, groups):
            k = min(g - 1, medians.shape[0] - 1)
            for y in range(rows):
                steps_of_row(sci[i, g - 1 : g + 1], flags[i, g - 1 : g + 1], gain, y, steps)
                inner = values[y + reach, reach : reach + columns]
                usable = good[y + reach, reach : reach + columns]
                for x in range(columns):
                    ratio = abs(steps[0, x] - medians[k, y, x]) / widths[k, y, x]
                    fine = (flags[i, g, y, x] & UNUSABLE == 0) & (ratio < NOTHING)
                    fine &= not excluded[y, x]
                    inner[x] = ratio if fine else np.float32(0)
                    usable[x] = np.float32(fine)
            for y in range(rows):
                total[:], number[:] = 0, 0
                for n in range(ring_offsets.shape[0]):
                    row, start = y + reach + ring_offsets[n, 0], reach + ring_offsets[n, 1]
                    _add(values[row, start : start + columns], total)
                    _add(good[row, start : start + columns], number)
                here = good[y + reach, reach : reach + columns]
                _mark(here, total, number, threshold, bit, marked[i, g, y])


@kernel
def _add(values: np.ndarray, total: np.ndarray) -> None:
    for x in range(total.size):
        total[x] += values[x]


@kernel
def _mark(
    good: np.ndarray,
    total: np.ndarray,
    number: np.ndarray,
    threshold: float,
    bit: np.uint8,
    marked: np.ndarray,
) -> None:
    for x in range(marked.size):
        raised = (good[x] > 0) & (number[x] > 0) & (total[x] > threshold * number[x])
        marked[x] |= bit if raised else np.uint8(0)


@kernel
def settle_flags(
    sci: np.ndarray,
    flags: np.ndarray,
    excluded: np.ndarray,
    gain: np.ndarray,
    limit: np.ndarray,
    bit: np.uint8,
    jump: np.uint8,
) -> np.ndarray:
    """Flags with ``jump`` for ``bit`` where the mean difference changes little without the groups so marked.

    It may change by ``limit`` (y, x) electrons; elsewhere, and of pixels ``excluded``, the marks are dropped.
    """
    settled = np.empty_like(flags)
    integrations, groups, rows, columns = flags.shape
    for i in range(integrations):
        for y in range(rows):
            for x in range(columns):
                seen = np.uint8(0)
                for g in range(groups):
                    seen |= flags[i, g, y, x]
                add = np.uint8(0)
                if seen & bit and not excluded[y, x]:
                    before = mean_step(sci, flags, gain, i, y, x, UNUSABLE)
                    after = mean_step(sci, flags, gain, i, y, x, UNUSABLE | bit)
                    # Without a difference left the rate is not known, and the groups are needed.
                    add = jump if abs(before - after) <= limit[y, x] else np.uint8(0)
                for g in range(groups):
                    flag = flags[i, g, y, x]
                    settled[i, g, y, x] = (flag & ~bit) | (add if flag & bit else np.uint8(0))
    return settled


@kernel
def mean_step(
    sci: np.ndarray, flags: np.ndarray, gain: np.ndarray, i: int, y: int, x: int, bits: np.uint8
) -> float:
    """Mean difference of a pixel, between groups with none of ``bits``; NaN where there is none."""
    total, count = np.float32(0), 0
    for g in range(1, sci.shape[1]):
        if (flags[i, g - 1, y, x] | flags[i, g, y, x]) & bits == 0:
            step = sci[i, g, y, x] * gain[y, x] - sci[i, g - 1, y, x] * gain[y, x]
            if step == step:
                total += step
                count += 1
    return float(total / np.float32(count)) if count else np.nan
