"""Waves of electromagnetic interference in MIRI frames: what they add to each pixel, and sums that show them.

Time is counted in clocks of 10 microseconds from the first pixel of the exposure. The four columns ``4 k`` to
``4 k + 3`` are read at the same time. Arrays of clocks (y, x) give the time of each pixel since its frame began.
"""

import numpy as np

from jwpipe.numerics.jit import inline, kernel

CLOCK_SECONDS = 10.0e-6
OUTPUTS = 4
# Columns of a reading order that carry no light but no usable reference either.
BAD_COLUMNS = (1, 2)


def period_clocks(frequency: float) -> float:
    """Period of a frequency (Hz) in clocks."""
    return (1.0 / frequency) / CLOCK_SECONDS


@inline
def wave_at(pieces: np.ndarray, phase: float) -> float:
    """A wave at a phase of 0 to 1; ``pieces`` (n + 1, 4) are the cubics between ``n`` samples and both ends."""
    place = phase * (pieces.shape[0] - 1) + 0.5
    piece = np.uint32(place)
    t = place - piece
    a, b, c, d = pieces[piece, 0], pieces[piece, 1], pieces[piece, 2], pieces[piece, 3]
    return ((a * t + b) * t + c) * t + d


def wave_pieces(samples: np.ndarray) -> np.ndarray:
    """The periodic wave through ``samples`` at the middles of equal intervals, as the cubics of ``wave_at``.

    Each is of the place within its interval, 0 to 1; the last one is there for rounding alone.
    """
    from scipy.interpolate import CubicSpline

    values = np.concatenate((samples[-1:], samples, samples[:1])).astype(np.float64)
    places = (np.arange(values.size) - 0.5) / samples.size
    cubics = CubicSpline(places, values).c.T
    return np.ascontiguousarray(cubics / float(samples.size) ** np.array([3, 2, 1, 0]))


@kernel
def subtract_waves(
    sci: np.ndarray,
    clock: np.ndarray,
    pieces: np.ndarray,
    ends: np.ndarray,
    amplitudes: np.ndarray,
    phases: np.ndarray,
    periods: np.ndarray,
    steps: np.ndarray,
) -> np.ndarray:
    """``sci`` (i, g, y, x) less waves, one after the other.

    ``pieces`` (n, 4) of all waves lie one after the other, those of each up to its entry of ``ends``; ``amplitudes``
    and ``phases`` are (wave, i), ``steps`` in phase from group to group.
    """
    integrations, groups, rows, columns = sci.shape
    corrected = np.empty_like(sci)
    at = np.empty(columns, np.int64)
    times = np.empty(columns, np.int64)
    start = np.empty((periods.size, columns))
    level = np.empty(columns)
    for y in range(rows):
        # Columns that are read at the same time have the same level.
        count = 0
        for x in range(columns):
            if x == 0 or clock[y, x] != clock[y, x - 1]:
                times[count] = clock[y, x]
                count += 1
            at[x] = count - 1
        for wave in range(periods.size):
            for k in range(count):
                start[wave, k] = (times[k] / periods[wave]) % 1
        for i in range(integrations):
            for g in range(groups):
                row, begin = corrected[i, g, y], 0
                row[:] = sci[i, g, y]
                for wave in range(periods.size):
                    shift = (steps[wave] * g + phases[wave, i]) % 1
                    own = pieces[begin : ends[wave]]
                    _levels(own, start[wave, :count], shift, amplitudes[wave, i], level)
                    for x in range(columns):
                        row[x] -= level[at[x]]
                    begin = ends[wave]
    return corrected


@kernel
def _levels(
    pieces: np.ndarray, start: np.ndarray, shift: float, amplitude: float, level: np.ndarray
) -> None:
    for k in range(start.size):
        phase = start[k] + shift
        phase = phase - 1.0 if phase >= 1.0 else phase
        level[k] = amplitude * wave_at(pieces, phase)


@kernel
def subtract_table(
    sci: np.ndarray,
    clock: np.ndarray,
    table: np.ndarray,
    period: float,
    frame: float,
    integration: float,
    first: int,
) -> np.ndarray:
    """``sci`` (i, g, y, x) of the integrations from ``first`` on, less a wave given clock by clock.

    ``frame`` and ``integration`` are the clocks from a frame or integration to the next.
    """
    integrations, groups, rows, columns = sci.shape
    corrected = np.empty_like(sci)
    for i in range(integrations):
        for g in range(groups):
            since = (first + i) * integration + g * frame
            for y in range(rows):
                level, before = 0.0, np.int64(-1)
                for x in range(columns):
                    if clock[y, x] != before:
                        before = clock[y, x]
                        level = table[int(phase_of(since + before, period) * period)]
                    corrected[i, g, y, x] = sci[i, g, y, x] - level
    return corrected


@inline
def phase_of(time: float, period: float) -> float:
    """Fraction of a period, 0 to 1, at a time in clocks."""
    cycles = time / period
    return cycles - np.floor(cycles)


@kernel
def spreads(sci: np.ndarray) -> np.ndarray:
    """Standard deviation (i, y, x) of the groups of ``sci`` (i, g, y, x), in single precision throughout."""
    integrations, groups, rows, columns = sci.shape
    found = np.empty((integrations, rows, columns), np.float32)
    mean = np.empty(columns, np.float32)
    number = np.float32(groups)
    for i in range(integrations):
        for y in range(rows):
            mean[:] = 0
            for g in range(groups):
                for x in range(columns):
                    mean[x] += sci[i, g, y, x]
            for x in range(columns):
                mean[x] /= number
            variance = found[i, y]
            variance[:] = 0
            for g in range(groups):
                for x in range(columns):
                    from_mean = sci[i, g, y, x] - mean[x]
                    variance[x] += from_mean * from_mean
            for x in range(columns):
                variance[x] = np.sqrt(variance[x] / number)
    return found


@kernel
def phase_sums(
    sci: np.ndarray, usable: np.ndarray, clock: np.ndarray, period: float, bins: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sums (i, g, bin) over the usable pixels whose phase in the first group is in each bin, and how many (i, bin).

    ``usable`` is (i, y, x).
    """
    integrations, groups, rows, columns = sci.shape
    sums = np.zeros((integrations, groups, bins))
    numbers = np.zeros((integrations, bins))
    # Neighbours in one bin are added up before they go there.
    first = np.empty(columns + 1, np.int64)
    bin_of = np.empty(columns, np.int64)
    for y in range(rows):
        count = 0
        for x in range(columns):
            k = int(((clock[y, x] / period) % 1) * bins)
            if count == 0 or k != bin_of[count - 1]:
                bin_of[count], first[count] = k, x
                count += 1
        first[count] = columns
        for i in range(integrations):
            for k in range(count):
                for x in range(first[k], first[k + 1]):
                    numbers[i, bin_of[k]] += usable[i, y, x]
            for g in range(groups):
                for k in range(count):
                    total = np.float64(0)
                    for x in range(first[k], first[k + 1]):
                        total += sci[i, g, y, x] if usable[i, y, x] else np.float32(0)
                    sums[i, g, bin_of[k]] += total
    return sums, numbers
