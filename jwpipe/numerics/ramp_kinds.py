"""Ramps with flags: what can be made of each, and what its lost charge leaves of it."""

from typing import NamedTuple

import numpy as np

from jwpipe.numerics.jit import inline, kernel
from jwpipe.numerics.segments import (
    CHARGELOSS,
    DO_NOT_USE,
    SATURATED,
    find_segments,
    read_variance,
)

# Larger variances mean that there was nothing to fit.
LARGEST_VARIANCE = 1e6
# What to make of a ramp: fit it; nothing; nothing, as it has one good group; only the first group or the zero frame.
USABLE, UNFIT, SUPPRESSED, FIRST_GROUP, ZERO_FRAME = range(5)


class Ramps(NamedTuple):
    """The ramps to fit.

    ``zeroframe`` is empty where there is none; ``windows`` (i, 2) hold the first group of each integration and the
    one after the last that is not unusable throughout; ``medians`` (i, y, x), empty where they are not known, are
    the median differences, in DN, of ramps without flags.
    """

    sci: np.ndarray
    groupdq: np.ndarray
    zeroframe: np.ndarray
    windows: np.ndarray
    medians: np.ndarray


class Model(NamedTuple):
    """What the fit depends on beyond the pixels.

    Times in seconds: of a group, of the first group alone, of a frame.
    ``suppress``: leave out ramps of one good group. ``rescue``: fit a first group alone with its own time, and take
    the zero frame where no group is good. ``table``, ``starts``: weights as ``weight_table`` gives them.
    """

    group_time: float
    first_time: float
    frame_time: float
    suppress: bool
    rescue: bool
    table: np.ndarray
    starts: np.ndarray


class Row(NamedTuple):
    """What is known of a row of pixels (x) while it is fitted, and of its ramps (i, x).

    ``rate``: the rate behind the Poisson variance, DN/s, of which ``dark`` is a part. ``unit``: read variance but for
    the ramp's length. ``seen``: OR of the group flags. ``sums`` (3, x): of slope / read variance, 1 / read and
    1 / Poisson variance.
    """

    gain: np.ndarray
    noise: np.ndarray
    dark: np.ndarray
    dq: np.ndarray
    invalid: np.ndarray
    rate: np.ndarray
    unit: np.ndarray
    sums: np.ndarray
    seen: np.ndarray
    clean: np.ndarray
    kinds: np.ndarray


@inline
def first_frame(zeroframe: np.ndarray, i: int, y: int, x: int) -> np.float32:
    """The zero frame of a ramp, 0 where there is none."""
    return zeroframe[i, y, x] if zeroframe.size > 0 else np.float32(0)


@inline
def ramp_kind(
    groupdq: np.ndarray,
    frame: float,
    suppress: bool,
    rescue: bool,
    good: int,
    unusable: int,
    y: int,
    x: int,
) -> int:
    """What to make of a ramp (g, y, x) with so many ``good`` groups (but for persistence) and ``unusable`` ones.

    The zero ``frame`` stands in for the first group where no group is free of flags. ``suppress``, ``rescue``: see
    ``Model``.
    """
    if suppress and good == 1:
        return SUPPRESSED
    first = groupdq[0, y, x]
    groups = groupdq.shape[0]
    free = 0
    if rescue:
        for g in range(groups):
            free += groupdq[g, y, x] == 0
        if free == 0 and frame != 0:
            return ZERO_FRAME
    if first & SATURATED or unusable == groups:
        return UNFIT
    return FIRST_GROUP if free == 1 and first == 0 else USABLE


@inline
def load_ramp(
    sci: np.ndarray,
    groupdq: np.ndarray,
    kind: int,
    frame: float,
    y: int,
    x: int,
    ramp: np.ndarray,
    flags: np.ndarray,
) -> None:
    """Copy one ramp (g, y, x) and its flags; ``frame`` is its zero frame."""
    for g in range(ramp.size):
        flags[g] = groupdq[g, y, x]
        ramp[g] = sci[g, y, x]
    if kind == ZERO_FRAME:
        ramp[0], flags[0] = frame, 0


@inline
def single_time(kind: int, group_time: float, first_time: float, frame_time: float) -> float:
    """Seconds in which a segment of one group gathered its counts; times as those of ``Model``."""
    if kind == FIRST_GROUP:
        return first_time
    return frame_time if kind == ZERO_FRAME else group_time


@kernel
def recharged_weight(
    groupdq: np.ndarray, y: int, x: int, gain: float, noise: float, kind: int, model: Model
) -> float:
    """1 / read variance of a ramp (g, y, x) with its groups of lost charge put back: they were read like the others."""
    groups = groupdq.shape[0]
    flags = np.empty(groups, np.uint8)
    for g in range(groups):
        flag = groupdq[g, y, x]
        flags[g] = flag ^ (CHARGELOSS | DO_NOT_USE) if flag & CHARGELOSS else flag
    bounds = np.empty((groups, 2), np.int64)
    longest, weight, alone = 0, 0.0, 0.0
    for k in range(find_segments(flags, bounds)):
        length = bounds[k, 1] - bounds[k, 0]
        longest = max(longest, length)
        if length > 1:
            variance = read_variance(length, noise, gain, model.group_time)
            weight += 1.0 / variance if variance > 0 and (gain > 0 or length == 2) else 0.0
        elif alone == 0:
            time = single_time(kind, model.group_time, model.first_time, model.frame_time)
            alone = read_variance(2, noise, gain, time)
    if longest == 1 and alone > 0:
        return 1.0 / alone
    return weight


@kernel
def restore_charge(
    groupdq: np.ndarray,
    y: int,
    x: int,
    gain: float,
    noise: float,
    kinds: np.ndarray,
    model: Model,
    rate_read: np.ndarray,
    ints_read: np.ndarray,
) -> None:
    """Replace the read variances of a pixel by those it has with its groups of lost charge put back."""
    total = 0.0
    for i in range(groupdq.shape[0]):
        lost = False
        for g in range(groupdq.shape[1]):
            lost |= groupdq[i, g, y, x] & CHARGELOSS != 0
        if lost:
            weight = recharged_weight(groupdq[i], y, x, gain, noise, kinds[i], model)
            variance = 1.0 / weight
            ints_read[i, y, x] = 0.0 if variance >= LARGEST_VARIANCE else variance
            total += weight
        elif ints_read[i, y, x] > 0:
            total += 1.0 / ints_read[i, y, x]
    if total > 0:
        rate_read[y, x] = 1.0 / total
    if rate_read[y, x] >= LARGEST_VARIANCE:
        rate_read[y, x] = 0.0
