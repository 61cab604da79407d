"""The fits of all segments of ramps one by one, for those who want to look into a fit."""

from typing import NamedTuple

import numpy as np

from jwpipe.numerics.jit import inline, kernel
from jwpipe.numerics.ramp_kinds import (
    SUPPRESSED,
    UNFIT,
    USABLE,
    Model,
    Ramps,
    Row,
    first_frame,
    load_ramp,
    single_time,
)
from jwpipe.numerics.ramp_rates import sum_medians
from jwpipe.numerics.segments import (
    JUMP,
    PERSISTENCE,
    POWERS,
    SATURATED,
    find_segments,
    read_variance,
    snr_class,
)

LEVELS = np.array(POWERS)


class Segments(NamedTuple):
    """Fits of segments (i, segment, y, x), steps of jumps (i, jump, y, x), and pedestals (i, y, x)."""

    slope: np.ndarray
    sigslope: np.ndarray
    var_poisson: np.ndarray
    var_rnoise: np.ndarray
    yint: np.ndarray
    sigyint: np.ndarray
    weights: np.ndarray
    crmag: np.ndarray
    pedestal: np.ndarray


@kernel
def count_segments(groupdq: np.ndarray, suppress: bool) -> tuple[int, int]:
    """The largest numbers of segments and of jumps in a ramp (i, g, y, x).

    ``suppress``: ramps of one good group have no segment.
    """
    integrations, groups, rows, columns = groupdq.shape
    flags = np.empty(groups, np.uint8)
    most, jumps = 1, 0
    for i in range(integrations):
        for y in range(rows):
            for x in range(columns):
                hits, good = 0, 0
                for g in range(groups):
                    flags[g] = groupdq[i, g, y, x]
                    hits += g > 0 and flags[g] & JUMP != 0
                    good += flags[g] & ~PERSISTENCE == 0
                jumps = max(jumps, hits)
                if not (flags[0] & SATURATED or (suppress and good == 1)):
                    most = max(most, number_of_segments(flags))
    return most, jumps


@inline
def number_of_segments(flags: np.ndarray) -> int:
    """Segments of a ramp; those of one group count only where all are such."""
    bounds, long = np.empty((flags.size, 2), np.int64), 0
    count = find_segments(flags, bounds)
    for k in range(count):
        long += bounds[k, 1] - bounds[k, 0] > 1
    return long if long > 0 else count


@inline
def fit_line(
    ramp: np.ndarray, start: int, stop: int, power: float, noise: float
) -> tuple[float, float, float, float]:
    """Slope and its sigma, intercept at group 0 and its sigma; groups weighted by |distance to the middle|^power."""
    middle = (stop - start - 1) / 2.0
    sum_w, sum_x, sum_xx, sum_y, sum_xy = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(stop - start):
        distance = np.float32(abs((k - middle) * (1.0 / middle)))
        weight = np.float64(distance ** np.float32(power)) / (noise * noise)
        value = 0.0 if np.isnan(ramp[start + k]) else ramp[start + k]
        x = float(start + k)
        sum_w += weight
        sum_x += x * weight
        sum_xx += x * x * weight
        sum_y += value * weight
        sum_xy += value * x * weight
    scale = 1.0 / (sum_w * sum_xx - sum_x * sum_x)
    return (
        (sum_w * sum_xy - sum_x * sum_y) * scale,
        np.sqrt(sum_w * scale),
        (sum_xx * sum_y - sum_x * sum_xy) * scale,
        np.sqrt(sum_xx * scale),
    )


@kernel
def store_segment(
    ramp: np.ndarray,
    start: int,
    stop: int,
    row: Row,
    times: tuple[float, float],
    place: tuple[int, int, int, int],
    out: Segments,
) -> None:
    """Fit one segment; ``times`` of a group and of a segment of one group, ``place`` (i, segment, y, x)."""
    x, length = place[3], stop - start
    gain, noise = float(row.gain[x]), float(row.noise[x])
    time = times[1] if length == 1 else times[0]
    slope, sigma, level, level_sigma = ramp[start] / time, 0.0, 0.0, 0.0
    photon = row.rate[x] / (time * gain * max(length - 1, 1))
    read = read_variance(max(length, 2), noise, gain, time)
    if length == 2:
        slope = (ramp[stop - 1] - ramp[start]) / time
        sigma = level_sigma = 1.41421356 * noise
        level = ramp[start + 1] * (1.0 - (start + 1)) + ramp[start] * (start + 1)
    elif length > 2:
        power = LEVELS[snr_class(ramp[stop - 1] - ramp[start], gain, noise)]
        slope, sigma, level, level_sigma = fit_line(ramp, start, stop, power, noise)
        slope /= time
        read = read if gain > 0 else 0.0
    out.slope[place] = slope
    out.sigslope[place] = sigma
    out.var_poisson[place] = photon
    out.var_rnoise[place] = read
    out.yint[place] = level
    out.sigyint[place] = level_sigma
    out.weights[place] = 1.0 / read


@kernel
def store_ramp(
    ramp: np.ndarray,
    flags: np.ndarray,
    row: Row,
    times: tuple[float, float],
    i: int,
    y: int,
    x: int,
    out: Segments,
) -> None:
    """Fit all segments of one ramp."""
    bounds, longest, number = np.empty((flags.size, 2), np.int64), 0, 0
    count = find_segments(flags, bounds)
    for k in range(count):
        longest = max(longest, bounds[k, 1] - bounds[k, 0])
    for k in range(count if longest > 1 else min(count, 1)):
        start, stop = bounds[k]
        if stop - start > 1 or longest == 1:
            store_segment(ramp, start, stop, row, times, (i, number, y, x), out)
            number += 1


@kernel
def store_jumps(ramps: Ramps, i: int, y: int, x: int, out: Segments) -> None:
    """The steps into groups flagged as jumps, DN; NaN where one of the groups is saturated."""
    number = 0
    for g in range(1, ramps.sci.shape[1]):
        if ramps.groupdq[i, g, y, x] & JUMP:
            saturated = (ramps.groupdq[i, g, y, x] | ramps.groupdq[i, g - 1, y, x]) & SATURATED
            step = float(ramps.sci[i, g, y, x]) - float(ramps.sci[i, g - 1, y, x])
            out.crmag[i, number, y, x] = np.nan if saturated else step
            number += 1


@kernel
def list_segments(
    ramps: Ramps,
    model: Model,
    slopes: np.ndarray,
    gain: np.ndarray,
    noise: np.ndarray,
    dark: np.ndarray,
    share: float,
    out: Segments,
) -> None:
    """Fit all segments into ``out``, which holds zeros.

    ``slopes`` (i, y, x) are those of the integrations, NaN where there is none; ``share`` is what is taken of them off
    the first group for the pedestal. ``noise`` of a group in electrons, ``dark`` adds to the rate, both (y, x).
    """
    integrations, groups, rows, columns = ramps.sci.shape
    ramp, flags = np.empty(groups, np.float64), np.empty(groups, np.uint8)
    invalid, dq = np.zeros(columns, np.bool_), np.zeros(columns, np.uint32)
    median, unit, sums = np.empty(columns), np.empty(columns), np.empty((3, columns))
    seen = np.empty((integrations, columns), np.uint8)
    kinds = np.empty((integrations, columns), np.uint8)
    clean = np.empty((integrations, columns), np.bool_)
    for y in range(rows):
        row = Row(gain[y], noise[y], dark[y], dq, invalid, median, unit, sums, seen, clean, kinds)
        sum_medians(ramps, model, y, row)
        for i in range(integrations):
            for x in range(columns):
                kind = USABLE if clean[i, x] else int(kinds[i, x])
                store_jumps(ramps, i, y, x, out)
                frame = float(first_frame(ramps.zeroframe, i, y, x))
                load_ramp(ramps.sci[i], ramps.groupdq[i], kind, frame, y, x, ramp, flags)
                if kind not in (UNFIT, SUPPRESSED):
                    single = single_time(kind, model.group_time, model.first_time, model.frame_time)
                    times = (model.group_time, single)
                    store_ramp(ramp, flags, row, times, i, y, x, out)
                pedestal = ramp[0] - slopes[i, y, x] * share
                lost = flags[0] & SATURATED != 0 or np.isnan(pedestal)
                out.pedestal[i, y, x] = 0.0 if lost else pedestal
