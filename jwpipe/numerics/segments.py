"""Ramps in segments: straight lines through the runs of good groups between cosmic rays.

Weights grow towards the ends of a segment with its signal-to-noise ratio (Fixsen et al. 2000, PASP 112, 1350). They
depend on the segment's length and on the class of the ratio alone, so the weighted slope is a dot product with a
tabulated row: ``slope = sum_k c_k (y_(n-1-k) - y_k)``, since weights are symmetric.
"""

from functools import lru_cache

import numpy as np

from jwpipe.dq import Group
from jwpipe.numerics.jit import inline, kernel

DO_NOT_USE = np.uint8(Group.DO_NOT_USE)
SATURATED = np.uint8(Group.SATURATED)
JUMP = np.uint8(Group.JUMP_DET)
PERSISTENCE = np.uint8(Group.PERSISTENCE)
CHARGELOSS = np.uint8(Group.CHARGELOSS)

# Class c holds ratios from SNR_LIMITS[c - 1] up to SNR_LIMITS[c]; its weights go with the POWERS[c]-th power.
SNR_LIMITS = (5.0, 10.0, 20.0, 50.0, 100.0)
POWERS = (0.0, 0.4, 1.0, 3.0, 6.0, 10.0)
CLASSES = len(POWERS)
SQUARE_LIMITS = tuple(limit * limit for limit in SNR_LIMITS)


def slope_weights(length: int) -> np.ndarray:
    """Coefficients (class, length // 2) of the pair differences, outermost pair first; slope per group."""
    middle = (length - 1) / 2
    position = np.arange(length) - middle
    distance = np.abs(position / middle).astype(np.float32)
    rows = []
    for power in POWERS:
        weight = np.power(distance, np.float32(power)).astype(np.float64)
        rows.append(-weight * position / np.sum(weight * position**2))
    return np.array(rows)[:, : length // 2]


@lru_cache(maxsize=16)
def weight_table(groups: int) -> tuple[np.ndarray, np.ndarray]:
    """``slope_weights`` of all lengths up to ``groups``, end to end, and where each length starts."""
    tables = [slope_weights(length).ravel() for length in range(2, groups + 1)]
    starts = np.cumsum([0, 0, 0, *(table.size for table in tables)])[: groups + 1]
    return np.concatenate([*tables, np.zeros(0)]), starts


@inline
def snr_class(rise: float, gain: float, noise: float) -> int:
    """Class of the signal-to-noise ratio of a segment that rises by ``rise`` DN; ``noise`` in electrons."""
    signal = rise * gain
    variance = noise * noise + signal
    if variance <= 0 or gain == 0 or signal < 0:
        return 0
    square, level = signal * signal, 0
    # Written so that NaN ends in the highest class.
    while level < CLASSES - 1 and not square < SQUARE_LIMITS[level] * variance:
        level += 1
    return level


@inline
def segment_slope(
    ramp: np.ndarray, start: int, stop: int, weights: np.ndarray, first: int, nan_is_zero: bool
) -> float:
    """Slope per group of groups ``start`` to ``stop - 1``, with the coefficients from ``weights[first]`` on."""
    slope = 0.0
    for k in range((stop - start) // 2):
        low, high = ramp[start + k], ramp[stop - 1 - k]
        if nan_is_zero:
            low = 0.0 if np.isnan(low) else low
            high = 0.0 if np.isnan(high) else high
        slope += weights[first + k] * (high - low)
    return slope


@kernel
def find_segments(flags: np.ndarray, bounds: np.ndarray) -> int:
    """Put the (start, stop) of all segments into ``bounds``, with room for one a group; tell how many.

    A segment is a run of good groups; a group flagged as a jump only, and directly before, belongs to it.
    """
    count, inside, before = 0, False, np.uint8(0)
    for g in range(flags.size):
        flag = flags[g] & ~PERSISTENCE
        if flag == 0 and not inside:
            bounds[count, 0] = g - 1 if before == JUMP else g
        if inside and flag != 0:
            bounds[count, 1] = g
            count += 1
        inside, before = flag == 0, flag
    if inside:
        bounds[count, 1] = flags.size
        count += 1
    return count


@inline
def read_variance(length: int, noise: float, gain: float, time: float) -> float:
    """Variance of the slope of ``length`` groups from read noise, (DN/s)^2; ``noise`` in electrons."""
    scatter = noise / time
    return 12.0 * scatter * scatter / ((length * length * length - length) * gain * gain)


@inline
def fit_segments(
    ramp: np.ndarray,
    bounds: np.ndarray,
    count: int,
    gain: float,
    noise: float,
    unit: float,
    rate: float,
    group_time: float,
    single_time: float,
    table: np.ndarray,
    starts: np.ndarray,
) -> tuple[float, float, float, float]:
    """Combine the slopes of all segments of a ramp, weighted with their inverse read variance.

    Segments of one group count only where there is no longer one, and then only the first.

    Parameters
    ----------
    ramp
        Counts of the groups, DN.
    bounds, count
        First group of each segment and the one after its last, and how many there are.
    unit
        Read variance of a segment of n groups, times n^3 - n.
    rate
        Photon and dark rate behind the Poisson variance, DN/s.
    group_time, single_time
        Seconds of a group, and those in which a segment of one group gathered its counts.

    Returns
    -------
    tuple
        Sum of slope / read variance, of 1 / read variance, of 1 / Poisson variance and of 1 / both.
    """
    weighted, cubes, intervals, total = 0.0, 0.0, 0.0, 0.0
    photon = rate / (group_time * gain)
    longest = 0
    for k in range(count):
        start, stop = bounds[k, 0], bounds[k, 1]
        length = stop - start
        longest = max(longest, length)
        if length < 2:
            continue
        first = starts[length]
        if length > 2:
            level = snr_class(ramp[stop - 1] - ramp[start], gain, noise)
            first += level * (length // 2)
        slope = segment_slope(ramp, start, stop, table, first, False)
        if length > 2 and np.isnan(slope):
            # NaN without a flag counts as zero, but in a pair.
            slope = segment_slope(ramp, start, stop, table, first, True)
        # The variances are unit / cube and photon / (length - 1).
        square = float(length * length + length)
        cube = square * (length - 1)
        weighted += slope * cube
        cubes += cube
        intervals += length - 1
        total += cube / (photon * square + unit)
    if longest == 1:
        read_part = read_variance(2, noise, gain, single_time)
        photon_part = rate / (single_time * gain)
        poisson = 1.0 / photon_part if photon_part > 0 else 0.0
        weighted, read = ramp[bounds[0, 0]] / single_time / read_part, 1.0 / read_part
        return weighted, read, poisson, 1.0 / (photon_part + read_part)
    poisson = intervals / photon if photon > 0 else 0.0
    scale = 1.0 / unit if cubes > 0 else 0.0
    return weighted / group_time * scale, cubes * scale, poisson, total
