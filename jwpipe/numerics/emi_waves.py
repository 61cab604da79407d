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
    """A wave at a phase of 0 to 1; ``pieces`` (4, n + 1) are the cubics between ``n`` samples and both ends."""
    samples = pieces.shape[1] - 1
    place = phase * samples + 0.5
    piece = min(int(place), samples)
    t = (place - piece) / samples
    return ((pieces[0, piece] * t + pieces[1, piece]) * t + pieces[2, piece]) * t + pieces[3, piece]


def wave_pieces(samples: np.ndarray) -> np.ndarray:
    """The periodic wave through ``samples`` at the middles of equal intervals, as the cubics of ``wave_at``."""
    from scipy.interpolate import CubicSpline

    values = np.concatenate((samples[-1:], samples, samples[:1])).astype(np.float64)
    places = (np.arange(values.size) - 0.5) / samples.size
    return np.ascontiguousarray(CubicSpline(places, values).c)


@kernel
def subtract_wave(
    sci: np.ndarray,
    clock: np.ndarray,
    pieces: np.ndarray,
    amplitudes: np.ndarray,
    phases: np.ndarray,
    period: float,
    step: float,
) -> np.ndarray:
    """``sci`` (i, g, y, x) less a wave; ``amplitudes`` and ``phases`` (i), ``step`` in phase from group to group."""
    integrations, groups, rows, columns = sci.shape
    corrected = np.empty_like(sci)
    start = (clock / period) % 1
    for i in range(integrations):
        for g in range(groups):
            shift = step * g
            for y in range(rows):
                level, before = 0.0, np.int64(-1)
                for x in range(columns):
                    if clock[y, x] != before:
                        before = clock[y, x]
                        phase = start[y, x] + shift + phases[i]
                        level = amplitudes[i] * wave_at(pieces, phase - np.floor(phase))
                    corrected[i, g, y, x] = sci[i, g, y, x] - level
    return corrected


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
    at = np.empty(columns, np.int64)
    for y in range(rows):
        for x in range(columns):
            at[x] = int(((clock[y, x] / period) % 1) * bins)
        for i in range(integrations):
            for x in range(columns):
                numbers[i, at[x]] += usable[i, y, x]
            for g in range(groups):
                total = sums[i, g]
                for x in range(columns):
                    if usable[i, y, x]:
                        total[at[x]] += sci[i, g, y, x]
    return sums, numbers
