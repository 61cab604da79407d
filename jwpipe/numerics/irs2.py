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
line ends with 8 ticks in which nothing is read: 640 + 2 * 32 + 8 = 712 ticks. Without its pauses an output is thus
a series of 2048 lines of 712 samples.
"""

from __future__ import annotations

from dataclasses import dataclass

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
TILE = 16


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
        return np.ascontiguousarray(np.arange(LINES)[:: -1 if self.turned else 1])

    def row_of_column(self, columns: np.ndarray) -> np.ndarray:
        """The rows that are the given columns of the frame in the detector's own orientation."""
        return FRAME_ROWS - 1 - columns if self.turned else columns


def is_reference() -> np.ndarray:
    """Which of the 640 rows of an output are reference reads: the same from either end."""
    read = np.arange(READS)
    return (read + BETWEEN // 2 + REFERENCE) % PERIOD < REFERENCE


@kernel
def as_series(values: np.ndarray, ticks: np.ndarray, backwards: bool) -> np.ndarray:
    """Put reads (y, x) in order of time: (line, tick), zero where there is none.

    ``ticks`` (copy, y) are the ticks at which each row is put, ``backwards`` says that lines follow one another with
    falling x.
    """
    rows, lines = values.shape
    series = np.zeros((lines, TICKS), values.dtype)
    for first in range(0, lines, TILE):
        for y in range(rows):
            for copy in range(ticks.shape[0]):
                tick = ticks[copy, y]
                for x in range(first, min(first + TILE, lines)):
                    series[lines - 1 - x if backwards else x, tick] = values[y, x]
    return series


@kernel
def from_series(series: np.ndarray, ticks: np.ndarray, backwards: bool) -> np.ndarray:
    """Take the rows (y, x) that are read at ``ticks`` (y) out of a series (line, tick)."""
    rows, lines = ticks.size, series.shape[0]
    values = np.empty((rows, lines), series.dtype)
    for first in range(0, lines, TILE):
        for y in range(rows):
            tick = ticks[y]
            for x in range(first, min(first + TILE, lines)):
                values[y, x] = series[lines - 1 - x if backwards else x, tick]
    return values


@kernel
def bridge_gaps(series: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fill samples of zero by the weighted mean of the others around, on a circle; 0 where all are zero.

    ``weights`` (odd number) are those of the samples around, the middle one included.
    """
    size, reach = series.size, weights.size // 2
    filled = series.copy()
    for k in range(size):
        if series[k] != 0:
            continue
        total, weight = 0.0, 0.0
        for j in range(-reach, reach + 1):
            value = series[(k + j) % size]
            if value != 0:
                total += weights[reach + j] * value
                weight += weights[reach + j]
        if weight != 0:
            filled[k] = np.float32(total) / np.float32(weight)
    return filled


@kernel
def without_line(
    values: np.ndarray, ticks: np.ndarray, backwards: bool, intercept: float, slope: float
) -> np.ndarray:
    """Subtract a straight line in time, its origin the middle of the frame, from reads (y, x) that are not zero."""
    rows, lines = values.shape
    level = np.empty(lines, np.float32)
    for x in range(lines):
        line = lines - 1 - x if backwards else x
        level[x] = intercept + (line * TICKS - MIDDLE) * slope
    straight = np.empty_like(values)
    for y in range(rows):
        step = np.float32(ticks[y] * slope)
        for x in range(lines):
            value = values[y, x]
            straight[y, x] = value - (level[x] + step) if value != 0 else value
    return straight
