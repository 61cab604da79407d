"""Sort many short columns at once: order statistics over groups for whole rows of pixels.

Values lie as (n, x): column x holds the n samples of a pixel. A sorting network compares the same two samples of
all pixels in one pass over x, without branches, which the compiler turns into vector instructions; sorting pixel by
pixel is ten to fifty times slower. Samples to leave out are set to +inf: they end up last.
"""

import numpy as np

from jwpipe.numerics.jit import inline, kernel

# Scratch that stays in a core's second-level cache.
SCRATCH_BYTES = 768 << 10
WIDEST, NARROWEST = 1024, 64
# Values up to which sorting by insertion is fastest.
FEW = 24
# Into which values are counted to find their median.
RANGES = 256


@kernel
def block_width(samples: int, columns: int) -> int:
    """How many pixels to sort together, each of ``samples`` float32 values."""
    width = SCRATCH_BYTES // (4 * max(samples, 1))
    width = width // NARROWEST * NARROWEST
    return min(max(width, NARROWEST), WIDEST, columns)


@kernel
def sort_columns(values: np.ndarray, samples: int, width: int) -> None:
    """Sort ``values[:samples, x]`` in place, ascending, for each x below ``width``; NaN must not occur.

    Batcher's odd-even merge sort (Batcher 1968, AFIPS 32, 307), cut to any number of samples.
    """
    run = 1
    while run < samples:
        reach = run
        while reach >= 1:
            for first in range(reach % run, samples - reach, 2 * reach):
                for low in range(first, first + min(reach, samples - first - reach)):
                    high = low + reach
                    if low // (2 * run) == high // (2 * run):
                        for x in range(width):
                            a, b = values[low, x], values[high, x]
                            values[low, x] = a if a < b else b
                            values[high, x] = b if a < b else a
            reach //= 2
        run *= 2


@inline
def middle(values: np.ndarray, count: int, x: int) -> float:
    """Median of the first ``count`` values of the sorted column ``x``; NaN where there are none."""
    if count < 1:
        return np.nan
    low, high = values[(count - 1) // 2, x], values[count // 2, x]
    return 0.5 * (np.float64(low) + np.float64(high))


@kernel
def select(values: np.ndarray, count: int, rank: int) -> float:
    """The ``rank``-th smallest of ``values[:count]``, which are reordered (Hoare 1961, CACM 4, 321)."""
    left, right = 0, count - 1
    while left < right:
        pivot = values[(left + right) // 2]
        i, j = left, right
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if rank <= j:
            right = j
        elif rank >= i:
            left = i
        else:
            break
    return values[rank]


@kernel
def insertion_sort(values: np.ndarray, count: int) -> None:
    """Sort ``values[:count]`` in place; the fastest way for a few."""
    for i in range(1, count):
        value, k = values[i], i
        while k > 0 and values[k - 1] > value:
            values[k] = values[k - 1]
            k -= 1
        values[k] = value


@kernel
def median(values: np.ndarray, count: int) -> float:
    """Median of ``values[:count]``, which are reordered; NaN where there are none."""
    if count < 1:
        return np.nan
    if count <= FEW:
        insertion_sort(values, count)
        return 0.5 * (np.float64(values[(count - 1) // 2]) + np.float64(values[count // 2]))
    high = select(values, count, count // 2)
    if count % 2 == 1:
        return np.float64(high)
    low = values[0]
    for i in range(1, count // 2):
        low = max(low, values[i])
    return 0.5 * (np.float64(low) + np.float64(high))


@kernel
def middle_of(values: np.ndarray, count: int, few: np.ndarray) -> float:
    """Median of the finite ``values[:count]``, which are reordered where they are few; NaN where there are none.

    Counted into ranges first, so that only those of one range are compared; ``few`` is scratch as long as
    ``values``. Faster than `median` for hundreds of values and more.
    """
    if count < RANGES:
        return median(values, count)
    lowest, highest = values[0], values[0]
    for i in range(count):
        lowest, highest = min(lowest, values[i]), max(highest, values[i])
    if lowest == highest:
        return np.float64(lowest)
    scale = np.float32(RANGES - 1) / (highest - lowest)
    counts = np.zeros(RANGES, np.int32)
    for i in range(count):
        counts[np.int32((values[i] - lowest) * scale)] += 1
    which, below = 0, 0
    while below + counts[which] <= count // 2:
        below += counts[which]
        which += 1
    found, smaller = 0, lowest
    for i in range(count):
        number = np.int32((values[i] - lowest) * scale)
        few[found] = values[i]
        found += 1 if number == which else 0
        smaller = max(smaller, values[i]) if number < which else smaller
    rank = count // 2 - below
    high = select(few, found, rank)
    if count % 2 == 1:
        return np.float64(high)
    for i in range(rank):
        smaller = max(smaller, few[i])
    return 0.5 * (np.float64(smaller) + np.float64(high))
