"""The interleaved frames of NIRSpec's IRS2 readout: where each read lies in the array, and when it was made.

An IRS2 frame has 3200 rows of 2048 pixels. Along y lie five outputs of 640 rows: the reference output, which sees no
pixel, and the detector's four outputs. Of the 640 rows of an output of the detector 512 are pixels of the detector and
128 are reads of reference pixels between them: 8 pixels, then 32 times 4 reference reads and 16 pixels, of the last of
which only 8 are left (``s`` a pixel, ``r`` a reference read)::

    ssssssss rrrr ssssssssssssssss rrrr ssssssssssssssss ... rrrr ssssssss

The detector reads a line (all y of one x) at a time, in all five outputs at once. NRS1: the reference output lies in
the rows 0 to 639, lines follow one another with growing x, and the outputs 1 and 3 are read with growing y, the
reference output, 2 and 4 with falling y. NRS2 is turned by 180 degrees: its reference output lies in the rows 2560 to
3199.

Time is counted in ticks of 10 microseconds. To step out to the reference pixels and back costs a tick each, and each
line ends with 8 ticks in which nothing is read: 640 + 2 * 32 + 8 = 712 ticks. An output is thus a series of 2048 lines
of 712 samples, its pauses included. Its Fourier transform is taken in two turns (`waves`): over the lines of each tick,
then over the ticks; the frequency ``k1 + 2048 * k2`` of the series stands at (k2, k1), k1 from 0 to 1024.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from jwpipe.numerics.jit import kernel

LINES = 2048
FRAME_ROWS = 3200
OUTPUTS = 5
READS = FRAME_ROWS // OUTPUTS
PIXELS = 512
BETWEEN = 16
REFERENCE = 4
PERIOD = BETWEEN + REFERENCE
TICKS = 712
SAMPLES = LINES * TICKS
MIDDLE = (SAMPLES - 1) / 2
HALF = LINES // 2 + 1
FEW = 16
"""Gaps of a tick are bridged one by one where they are fewer than one in so many lines."""


@dataclass(frozen=True)
class Interleaving:
    """Which rows of an interleaved frame are read when; ``turned`` is true of NRS2.

    Output 0 is the reference output, 1 to 4 are those of the detector, in its own order.
    """

    turned: bool

    def rows(self, output: int) -> np.ndarray:
        """The 640 rows of an output, with growing y."""
        place = OUTPUTS - 1 - output if self.turned else output
        return place * READS + np.arange(READS)

    def ticks(self, output: int) -> np.ndarray:
        """When each of the rows of an output is read, in ticks from the start of a line."""
        read = np.arange(READS)
        times = read + 2 * ((read + BETWEEN // 2 + REFERENCE) // PERIOD) - is_reference()
        falling = (output % 2 == 0) != self.turned
        return np.ascontiguousarray(times[::-1] if falling else times)

    def science_rows(self) -> np.ndarray:
        """The 2048 rows that hold pixels of the detector, with growing y."""
        rows = [self.rows(output)[~is_reference()] for output in range(1, OUTPUTS)]
        return np.sort(np.concatenate(rows))

    def lines(self) -> np.ndarray:
        """The number of the line that each column is read in."""
        return self.in_turn(np.arange(LINES))

    def in_turn(self, columns: np.ndarray) -> np.ndarray:
        """Values (..., x) of columns in order of their lines (..., line), or the other way round."""
        return np.ascontiguousarray(columns[..., ::-1]) if self.turned else columns

    def row_of_column(self, columns: np.ndarray) -> np.ndarray:
        """The rows that are the given columns of the frame in the detector's own orientation."""
        return FRAME_ROWS - 1 - columns if self.turned else columns


def is_reference() -> np.ndarray:
    """Which of the 640 rows of an output are reference reads: the same from either end."""
    read = np.arange(READS)
    return (read + BETWEEN // 2 + REFERENCE) % PERIOD < REFERENCE


@kernel
def bridge_gaps(series: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fill samples (tick, line) of zero by the weighted mean of the others around, on a circle in time.

    ``weights`` (odd number) are those of the samples around, the middle one included. Where all are zero, so is the
    result.
    """
    ticks, lines = series.shape
    reach = weights.size // 2
    filled = series.copy()
    total, weight = np.empty(lines), np.empty(lines)
    for tick in range(ticks):
        if np.sum(series[tick] == 0) * FEW < lines:
            for line in range(lines):
                if series[tick, line] == 0:
                    filled[tick, line] = _around(series, tick, line, weights)
            continue
        total[:] = 0
        weight[:] = 0
        for j in range(-reach, reach + 1):
            there = tick + j
            turn = int(there >= ticks) - int(there < 0)
            _add_weighed(total, weight, series[there % ticks], weights[reach + j], turn)
        for line in range(lines):
            if series[tick, line] == 0:
                filled[tick, line] = _ratio(total[line], weight[line])
    return filled


@kernel
def _ratio(total: float, weight: float) -> np.float32:
    """The weighted mean, rounded as jwst 3.0.0 does; 0 without weight."""
    return np.float32(total) / np.float32(weight) if weight != 0 else np.float32(0)


@kernel
def _around(series: np.ndarray, tick: int, line: int, weights: np.ndarray) -> np.float32:
    """The weighted mean of the samples around one."""
    ticks, lines = series.shape
    reach = weights.size // 2
    total, weight = 0.0, 0.0
    for j in range(-reach, reach + 1):
        there = tick + j
        turn = line + int(there >= ticks) - int(there < 0)
        value = series[there % ticks, turn % lines]
        if value != 0:
            total += weights[reach + j] * value
            weight += weights[reach + j]
    return _ratio(total, weight)


@kernel
def _add_weighed(
    total: np.ndarray, weight: np.ndarray, values: np.ndarray, factor: float, turn: int
) -> None:
    """Add samples (line), those of ``turn`` lines later, and the weights of those that are not zero."""
    lines = values.size
    first, stop = max(0, -turn), lines - max(0, turn)
    for line in range(first, stop):
        value = values[line + turn]
        total[line] += factor * value
        weight[line] += factor if value != 0 else 0.0
    for line in range(first):
        value = values[line + turn + lines]
        total[line] += factor * value
        weight[line] += factor if value != 0 else 0.0
    for line in range(stop, lines):
        value = values[line + turn - lines]
        total[line] += factor * value
        weight[line] += factor if value != 0 else 0.0


@kernel
def without_line(
    values: np.ndarray, ticks: np.ndarray, intercept: float, slope: float
) -> np.ndarray:
    """Subtract a straight line in time, its origin the middle of the frame, from reads (y, line) that are not zero."""
    rows, lines = values.shape
    level = np.empty(lines, np.float32)
    for line in range(lines):
        level[line] = intercept + (line * TICKS - MIDDLE) * slope
    straight = np.empty_like(values)
    for y in range(rows):
        step = np.float32(ticks[y] * slope)
        for line in range(lines):
            value = values[y, line]
            straight[y, line] = value - (level[line] + step) if value != 0 else value
    return straight


@cache
def _turns() -> np.ndarray:
    """Phases (tick, k1) that join the transforms over lines to one of the whole series."""
    angle = np.outer(np.arange(TICKS), np.arange(HALF)) * (-2 * np.pi / SAMPLES)
    return np.exp(1j * angle).astype(np.complex64)


def over_lines(reads: np.ndarray, ticks: np.ndarray) -> np.ndarray:
    """The transforms (tick, k1) of reads (y, line) made at ``ticks`` (y), phases included; 0 at other ticks."""
    from scipy.fft import rfft

    result = np.zeros((TICKS, HALF), np.complex64)
    result[ticks] = rfft(reads, axis=1) * _turns()[ticks]
    return result


def waves(lines: np.ndarray) -> np.ndarray:
    """The transform (k2, k1) of a series, from that over its lines."""
    from scipy.fft import fft

    return np.asarray(fft(lines, axis=0))


def lines_of(spectrum: np.ndarray) -> np.ndarray:
    """Undo ``waves``; the spectrum may be overwritten."""
    from scipy.fft import ifft

    return np.asarray(ifft(spectrum, axis=0, overwrite_x=True))


def at_ticks(lines: np.ndarray, ticks: np.ndarray) -> np.ndarray:
    """Undo ``over_lines``: the samples (y, line) at ``ticks`` (y)."""
    from scipy.fft import irfft

    return np.asarray(irfft(lines[ticks] * np.conj(_turns()[ticks]), n=LINES, axis=1))


def frequencies() -> np.ndarray:
    """The frequency (k2, k1), from 0 to 1458175, of the waves of a series."""
    return np.arange(HALF) + LINES * np.arange(TICKS)[:, np.newaxis]
