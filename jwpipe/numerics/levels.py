"""Robust levels of reference pixels: clipped means, and running medians along the detector's rows."""

import numpy as np

from jwpipe.numerics.jit import kernel


@kernel
def clipped_means(samples: np.ndarray, limit: float) -> np.ndarray:
    """Give the means (i, g) of ``samples`` (i, g, n), clipped until nothing more falls out.

    Values further than ``limit`` standard deviations from the mean are rejected, values that are
    not finite left out. No value at all gives NaN.
    """
    integrations, groups, count = samples.shape
    means = np.empty((integrations, groups))
    values = np.empty(count)
    for i in range(integrations):
        for g in range(groups):
            size = 0
            for k in range(count):
                if np.isfinite(samples[i, g, k]):
                    values[size] = samples[i, g, k]
                    size += 1
            before = size + 1
            mean = np.nan
            while 0 < size < before:
                before = size
                mean = values[:size].mean()
                width = limit * values[:size].std()
                size = 0
                for k in range(before):
                    if mean - width <= values[k] <= mean + width:
                        values[size] = values[k]
                        size += 1
            means[i, g] = mean
    return means


@kernel
def running_medians(
    values: np.ndarray, usable: np.ndarray, first: int, length: int, detector: int
) -> np.ndarray:
    """Give the medians (i, g, row) of all usable values of ``length`` rows around each row.

    ``values`` (i, g, row, column) start at row ``first`` of a detector of ``detector`` rows, at
    whose ends the rows are reflected; ``usable`` is (row, column). Rows without values in their
    window have NaN. The sorted window slides along, so that a row costs what enters and leaves.
    """
    integrations, groups, rows, columns = values.shape
    medians = np.empty((integrations, groups, rows))
    lowest = first - length // 2
    for i in range(integrations):
        for g in range(groups):
            window = np.empty(length * columns)
            size = 0
            for row in range(lowest, lowest + length):
                y = _reflected(row, first, rows, detector)
                size = _insert(window, size, values[i, g], usable, y)
            for row in range(lowest, lowest + rows):
                medians[i, g, row - lowest] = _median(window, size)
                leaving = _reflected(row, first, rows, detector)
                size = _remove(window, size, values[i, g], usable, leaving)
                entering = _reflected(row + length, first, rows, detector)
                size = _insert(window, size, values[i, g], usable, entering)
    return medians


@kernel
def _reflected(row: int, first: int, rows: int, detector: int) -> int:
    """Give the index of a detector row, reflected at the detector's ends; -1 where data are none."""
    inside = abs(row)
    inside = 2 * (detector - 1) - inside if inside >= detector else inside
    index = inside - first
    return index if 0 <= index < rows else -1


@kernel
def _insert(window: np.ndarray, size: int, values: np.ndarray, usable: np.ndarray, y: int) -> int:
    """Put the values of row ``y`` into the sorted ``window``; give its new size."""
    if y < 0:
        return size
    for x in range(values.shape[1]):
        value = values[y, x]
        if usable[y, x] and np.isfinite(value):
            k = size
            while k > 0 and window[k - 1] > value:
                window[k] = window[k - 1]
                k -= 1
            window[k] = value
            size += 1
    return size


@kernel
def _remove(window: np.ndarray, size: int, values: np.ndarray, usable: np.ndarray, y: int) -> int:
    """Take the values of row ``y`` out of the sorted ``window``; give its new size."""
    if y < 0:
        return size
    for x in range(values.shape[1]):
        value = values[y, x]
        if usable[y, x] and np.isfinite(value):
            k = 0
            while window[k] != value:
                k += 1
            size -= 1
            while k < size:
                window[k] = window[k + 1]
                k += 1
    return size


@kernel
def _median(window: np.ndarray, size: int) -> float:
    if size == 0:
        return np.nan
    return 0.5 * (window[(size - 1) // 2] + window[size // 2])


@kernel
def subtract_levels(
    sci: np.ndarray,
    along_x: np.ndarray,
    along_y: np.ndarray,
    part_of_x: np.ndarray,
    part_of_y: np.ndarray,
) -> np.ndarray:
    """Subtract levels of columns (i, g, part, x) and rows (i, g, part, y) from counts (i, g, y, x).

    ``part_of_x`` (x) is the part of ``along_y`` that a column has, ``part_of_y`` (y) that of ``along_x`` of a row.
    """
    integrations, groups, rows, columns = sci.shape
    corrected = np.empty_like(sci)
    apart = along_y.shape[2] > 1
    for i in range(integrations):
        for g in range(groups):
            for y in range(rows):
                part, level = part_of_y[y], along_y[i, g, 0, y]
                for x in range(columns):
                    level = along_y[i, g, part_of_x[x], y] if apart else level
                    corrected[i, g, y, x] = sci[i, g, y, x] - along_x[i, g, part, x] - level
    return corrected
