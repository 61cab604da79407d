"""Flag the groups that a cosmic ray lifted, by comparison with the neighbouring integrations of a time series.

In a long series the same difference of two groups is measured again and again. What it should be is known far better
from its neighbours in time than from the few differences of its own integration: the median of a window around each
integration follows the star's light, its eclipses, and drifts of the detector, but not a single hit. What is left
scatters by the noise alone, whose size the series shows as well. The step is not part of the JWST calibration pipeline
and is off by default; it goes after ``jump``, and adds to its flags.
"""

from typing import Any

import numpy as np
from pydantic import Field

from jwpipe.dq import Group
from jwpipe.exposure import Header
from jwpipe.numerics.clipped_ramps import fill_set
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.medians import block_width
from jwpipe.numerics.views import read_only
from jwpipe.step import Params, Step

JUMP = np.uint8(Group.JUMP_DET)
MAD_TO_SIGMA = 1.4826
FEWEST_WINDOWS = 2


class TimeJumpParams(Params):
    """Parameters of the time_jump step."""

    skip: bool = Field(True, description="leave the step out")
    rejection_threshold: float = Field(
        4.5, gt=0, description="standard deviations above the neighbouring integrations of a jump"
    )
    window: int = Field(
        15, ge=5, description="integrations, this one in the middle, whose median is expected"
    )


def find_time_jumps(
    sci: np.ndarray, groupdq: np.ndarray, gain: np.ndarray, *, threshold: float, window: int
) -> tuple[np.ndarray]:
    """Flag differences that lie high among those of the neighbouring integrations.

    Parameters
    ----------
    sci
        Linear counts (i, g, y, x), DN.
    groupdq
        Flags (i, g, y, x). Differences with an unusable group, or a jump in their second, do not count.
    gain
        Gain (y, x), electron/DN; pixels without one are left alone.
    threshold, window
        Standard deviations, by the median absolute deviation of all differences of the pixel from the running
        median of their neighbours among ``window`` integrations.

    Returns
    -------
    groupdq
        With JUMP_DET in the second group of such a difference.
    """
    flags = groupdq.copy()
    _flag(*read_only(sci, groupdq, gain), threshold, window // 2, flags)
    return (flags,)


@kernel
def _flag(
    sci: np.ndarray,
    groupdq: np.ndarray,
    gain: np.ndarray,
    threshold: float,
    reach: int,
    flags: np.ndarray,
) -> None:
    integrations, groups, rows, columns = sci.shape
    samples = integrations * (groups - 1)
    block = block_width(samples, columns)
    values = np.empty((samples, block), np.float32)
    usable = np.empty(block, np.int32)
    series = np.empty(integrations, np.float32)
    rest = np.empty((groups - 1, integrations), np.float32)
    for y in range(rows):
        for start in range(0, columns, block):
            stop = min(start + block, columns)
            for k in range(groups - 1):
                part = values[k * integrations : (k + 1) * integrations]
                fill_set(sci, groupdq, gain, (k, k + 1), y, start, stop, part, usable)
            for x in range(start, stop):
                for k in range(groups - 1):
                    for i in range(integrations):
                        step = values[k * integrations + i, x - start]
                        good = np.isfinite(step) & (groupdq[i, k + 1, y, x] & JUMP == 0)
                        series[i] = step if good else np.float32(np.nan)
                    _subtract_running_median(series, reach, rest[k])
                limit = threshold * MAD_TO_SIGMA * _median_size(rest.ravel())
                for k in range(groups - 1):
                    for i in range(integrations):
                        if rest[k, i] > limit:
                            flags[i, k + 1, y, x] |= JUMP


@kernel
def _subtract_running_median(series: np.ndarray, reach: int, rest: np.ndarray) -> None:
    """Values less the median of their neighbours up to ``reach`` before and after; NaN does not count.

    The value itself is not among them: it would draw the median, and what is left would look quieter than it is.

    The window keeps its length at the ends of the series, where it does not go on. With fewer than half of a window
    nothing is left: NaN.
    """
    size = series.size
    ordered = np.empty(2 * reach + 1, np.float32)
    count, first, last = 0, 0, 0
    for i in range(size):
        begin = max(0, min(i - reach, size - 2 * reach - 1))
        while first < begin:
            count = _without(ordered, count, series[first])
            first += 1
        while last < min(size, begin + 2 * reach + 1):
            count = _with(ordered, count, series[last])
            last += 1
        middle = _middle_of_others(ordered, count, series[i])
        rest[i] = series[i] - middle


@kernel
def _middle_of_others(ordered: np.ndarray, count: int, value: float) -> float:
    """The median of the first ``count`` of ``ordered`` but for one ``value``; NaN where others are too few."""
    if value != value or 2 * count < ordered.size:
        return np.nan
    at = 0
    while ordered[at] != value:
        at += 1
    low, high = (count - 2) // 2, (count - 1) // 2
    below = ordered[low if low < at else low + 1]
    above = ordered[high if high < at else high + 1]
    return 0.5 * (np.float64(below) + np.float64(above))


@kernel
def _with(ordered: np.ndarray, count: int, value: float) -> int:
    """Put ``value`` into the first ``count`` of ``ordered``; how many there are then."""
    if value != value:
        return count
    at = count
    while at > 0 and ordered[at - 1] > value:
        ordered[at] = ordered[at - 1]
        at -= 1
    ordered[at] = value
    return count + 1


@kernel
def _without(ordered: np.ndarray, count: int, value: float) -> int:
    """Take one ``value`` out of the first ``count`` of ``ordered``; how many there are then."""
    if value != value:
        return count
    at = 0
    while ordered[at] != value:
        at += 1
    for k in range(at, count - 1):
        ordered[k] = ordered[k + 1]
    return count - 1


@kernel
def _median_size(rest: np.ndarray) -> float:
    """Median of the absolute values; NaN does not count."""
    sizes = np.abs(rest[~np.isnan(rest)])
    return np.float64(np.median(sizes)) if sizes.size else 0.0


def _keywords(header: Header, params: TimeJumpParams) -> dict[str, Any]:
    return {"threshold": params.rejection_threshold, "window": params.window}


def _applies(header: Header, params: TimeJumpParams) -> str:
    if int(header["NGROUPS"]) < 2:
        return "jumps cannot be told with one group"
    first, last = int(header.get("INTSTART") or 1), header.get("INTEND") or header["NINTS"]
    number = int(last) - first + 1
    if number < FEWEST_WINDOWS * params.window:
        return f"{number} integrations are too few, {FEWEST_WINDOWS} windows at least are needed"
    return ""


time_jump = Step(
    "time_jump",
    find_time_jumps,
    reads=("sci", "groupdq"),
    writes=("groupdq",),
    refs=("gain.sci",),
    params=TimeJumpParams,
    keywords=_keywords,
    applies=_applies,
)
