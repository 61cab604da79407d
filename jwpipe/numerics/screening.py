"""Tell the pixels whose differences are all near their median from the suspects, a row of pixels at a time.

In DN and in single precision, without branches; it errs on the side of suspicion. Of the median it takes bounds: the
median itself and the next larger difference where all of a pixel are sorted. Differences of many integrations are
sorted by integration only, and bounds guessed from these are checked by counting the differences below them.
"""

import numpy as np

from jwpipe.numerics.differences import fill_steps
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.medians import sort_columns

NO_FLAG = np.uint8(0)
# By more than the rounding of single precision.
MARGIN = 1 - 1e-4
# What two differences may lose together, of the largest counts.
ROUNDING = np.float32(2**-22)
# What is found of the differences of each pixel: bounds of the median, the extremes, and the two largest sizes; and
# what rounding may have cost. All in DN.
FACTS = 7
LOW, HIGH, LEAST, MOST, LARGEST, SECOND, LOST = range(FACTS)
INFINITE = np.float32(np.inf)


@kernel
def fill_sorted(
    sci: np.ndarray,
    groupdq: np.ndarray,
    windows: np.ndarray,
    y: int,
    start: int,
    values: np.ndarray,
    usable: np.ndarray,
    complete: np.ndarray,
    medians: np.ndarray,
    counts: np.ndarray,
) -> None:
    """The differences of pixels of row ``y`` from column ``start`` on, sorted by integration, one below the other.

    Tells how many are ``usable``, whether all are (``complete``), the ``medians`` (i, y, x) of integrations without a
    gap, NaN of others, and the largest ``counts`` at the end of an integration.
    """
    width, first, stop = complete.size, 0, start + complete.size
    count = np.empty(width, np.int32)
    usable[:] = 0
    complete[:] = True
    counts[:] = 0.0
    for i in range(windows.shape[0]):
        length = windows[i, 1] - windows[i, 0] - 1
        if length < 1:
            continue
        part = values[first : first + length]
        first += length
        count[:] = 0
        fill_steps(sci[i], groupdq[i], windows[i], y, start, NO_FLAG, part, count)
        sort_columns(part, length, width)
        low, high = part[(length - 1) // 2], part[length // 2]
        median, last = medians[i, y, start:stop], sci[i, windows[i, 1] - 1, y, start:stop]
        for x in range(width):
            middle = 0.5 * (np.float64(low[x]) + np.float64(high[x]))
            median[x] = middle if count[x] == length else np.nan
            complete[x] &= count[x] == length
            usable[x] += count[x]
            size = abs(last[x])
            counts[x] = size if size > counts[x] else counts[x]


@kernel
def add_sizes(row: np.ndarray, sign: np.float32, largest: np.ndarray, second: np.ndarray) -> None:
    """Take ``sign`` times a row into account for the two largest."""
    for x in range(row.size):
        size, most, next_most = sign * row[x], largest[x], second[x]
        less = most if most < size else size
        largest[x] = size if size > most else most
        second[x] = less if less > next_most else next_most


@kernel
def add_extremes(part: np.ndarray, length: int, facts: np.ndarray) -> None:
    """Take the smallest and the largest two of sorted differences into account."""
    least, most = facts[LEAST], facts[MOST]
    first, last = part[0], part[length - 1]
    for x in range(least.size):
        least[x] = first[x] if first[x] < least[x] else least[x]
        most[x] = last[x] if last[x] > most[x] else most[x]
    for k in range(min(length, 2)):
        add_sizes(part[k], np.float32(-1), facts[LARGEST], facts[SECOND])
        add_sizes(part[length - 1 - k], np.float32(1), facts[LARGEST], facts[SECOND])


@kernel
def start_facts(facts: np.ndarray) -> None:
    """Facts of no differences."""
    facts[LEAST] = INFINITE
    for fact in (MOST, LARGEST, SECOND):
        facts[fact] = -INFINITE


@kernel
def from_sorted(values: np.ndarray, samples: int, left: int, facts: np.ndarray) -> None:
    """Facts of pixels whose ``samples`` are sorted; the median is that of the ``left`` smallest."""
    start_facts(facts)
    add_extremes(values, samples, facts)
    low, high = values[(left - 1) // 2], values[left // 2]
    for x in range(facts.shape[1]):
        facts[LOW, x] = np.float32(0.5) * (low[x] + high[x])
        facts[HIGH, x] = high[x]


@kernel
def add_guess(
    low: np.ndarray,
    high: np.ndarray,
    least: np.ndarray,
    most: np.ndarray,
    centre: np.ndarray,
    spread: np.ndarray,
) -> None:
    """Add the median and the range of an integration."""
    for x in range(centre.size):
        centre[x] += np.float32(0.5) * (low[x] + high[x])
        spread[x] += most[x] - least[x]


@kernel
def guess_bounds(values: np.ndarray, windows: np.ndarray, samples: int, facts: np.ndarray) -> None:
    """Extremes, and bounds of the median guessed from the medians and ranges of sorted integrations."""
    width = facts.shape[1]
    centre, spread = np.zeros(width, np.float32), np.zeros(width, np.float32)
    start_facts(facts)
    first = 0
    for i in range(windows.shape[0]):
        length = windows[i, 1] - windows[i, 0] - 1
        part = values[first : first + length]
        first += length
        add_extremes(part, length, facts)
        low, high = part[(length - 1) // 2], part[length // 2]
        least, most = part[0], part[length - 1]
        add_guess(low, high, least, most, centre, spread)
    # The range of a handful of differences is some three standard deviations.
    share, reach = np.float32(1 / windows.shape[0]), np.float32(1 / np.sqrt(samples))
    for x in range(width):
        facts[LOW, x] = share * (centre[x] - spread[x] * reach)
        facts[HIGH, x] = share * (centre[x] + spread[x] * reach)


@kernel
def count_below(
    row: np.ndarray, low: np.ndarray, high: np.ndarray, below: np.ndarray, upto: np.ndarray
) -> None:
    """Count differences that are below ``low``, and those that are not above ``high``."""
    for x in range(row.size):
        below[x] += np.int32(row[x] < low[x])
        upto[x] += np.int32(row[x] <= high[x])


@kernel
def from_bracket(
    values: np.ndarray, windows: np.ndarray, samples: int, left: int, facts: np.ndarray
) -> None:
    """Facts of pixels whose samples are sorted by integration, none of which may be empty."""
    width = facts.shape[1]
    guess_bounds(values, windows, samples, facts)
    below, upto = np.zeros(width, np.int32), np.zeros(width, np.int32)
    lowest, highest = facts[LOW], facts[HIGH]
    for k in range(samples):
        count_below(values[k], lowest, highest, below, upto)
    low, high = (left - 1) // 2, left // 2
    for x in range(width):
        between = (below[x] <= low) & (upto[x] > high)
        lowest[x] = lowest[x] if between else -INFINITE
        highest[x] = highest[x] if between else INFINITE


@kernel
def allow_for_rounding(facts: np.ndarray, counts: np.ndarray, length: int) -> None:
    """Bound what rounding may cost: counts are nowhere larger than at the end and all differences together."""
    lost, largest = facts[LOST], facts[LARGEST]
    for x in range(lost.size):
        lost[x] = ROUNDING * (counts[x] + np.float32(length) * largest[x])


@kernel
def screen_at_once(
    facts: np.ndarray,
    gain: np.ndarray,
    noise: np.ndarray,
    threshold: float,
    complete: np.ndarray,
    suspect: np.ndarray,
) -> None:
    """Suspect each pixel whose differences may stray from the median, or that lacks one; ``noise`` in electron^2."""
    limit, nothing = np.float32(threshold * threshold * MARGIN), np.float32(0)
    lows, highs, leasts, mosts = facts[LOW], facts[HIGH], facts[LEAST], facts[MOST]
    lost = facts[LOST]
    for x in range(suspect.size):
        low, high = lows[x], highs[x]
        above, below = mosts[x] - low, high - leasts[x]
        far = ((above if above > below else below) + lost[x]) * gain[x]
        level = low if low > nothing else (-high if high < nothing else nothing)
        level -= lost[x]
        calm = far * far <= limit * (level * gain[x] + noise[x])
        suspect[x] = (not calm) | (not complete[x])


@kernel
def screen_one_by_one(
    facts: np.ndarray,
    gain: np.ndarray,
    noise: np.ndarray,
    threshold: float,
    ties: bool,
    complete: np.ndarray,
    suspect: np.ndarray,
) -> None:
    """Suspect each pixel whose absolute differences may stray from their median, or that lacks one.

    Sorted sizes are nowhere below the sorted differences, nor above these and the size of the least one: so bounds of
    the median difference give bounds of the median size. With ``ties`` the largest size must be alone: all of its
    size are left out of the median.
    """
    limit, nothing = np.float32(threshold * threshold * MARGIN), np.float32(0)
    lows, highs, leasts = facts[LOW], facts[HIGH], facts[LEAST]
    sizes, seconds, lost = facts[LARGEST], facts[SECOND], facts[LOST]
    none = np.float32(0 if ties else INFINITE)
    for x in range(suspect.size):
        low = lows[x] if lows[x] > nothing else nothing
        least = leasts[x] if leasts[x] > nothing else nothing
        high = highs[x] if highs[x] > -leasts[x] else -leasts[x]
        above, below = sizes[x] - low, high - least
        far = ((above if above > below else below) + lost[x]) * gain[x]
        level = low - lost[x] if low > lost[x] else nothing
        calm = far * far <= limit * (level * gain[x] + noise[x])
        alone = sizes[x] - seconds[x] > lost[x] - none
        suspect[x] = (not calm) | (not alone) | (not complete[x])
