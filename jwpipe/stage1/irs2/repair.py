"""Bad reference reads of IRS2 frames: which they are, and by what they are replaced.

Each reference pixel is read twice in a row. A pair of reads is bad if it varies more than the other pairs of its output
do: in the difference of both reads, in their mean, or in their scatter; or if the mask says so (BAD_REF_PIXEL), or the
``refpix`` reference. What is bad in one integration is bad in all. A bad read is replaced by the mean of the reads one
period before and after, which saw a pixel of the same parity, as far as they are good; else by the good one of the
same group of four; else by 0, which counts as not read.

Rows are counted from 0 to 639 within their output, with growing y.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from jwpipe.numerics.irs2 import BETWEEN, OUTPUTS, PERIOD, READS, Interleaving, is_reference

CLIPPINGS = 5


@dataclass(frozen=True)
class Repair:
    """The row ``bad`` becomes the mean of two others, which may be one and the same; 0 where they are -1."""

    bad: int
    first: int
    second: int


def pair_moments(values: np.ndarray) -> np.ndarray:
    """Of reference reads (y, x) of one group the moments (pair, 3).

    Mean difference of both reads without sign, mean, and mean of the square.
    """
    pairs = values.reshape(len(values) // 2, 2, -1)
    apart = np.abs(pairs[:, 1] - pairs[:, 0]).mean(axis=1, dtype=np.float64)
    exact = pairs.reshape(len(pairs), -1).astype(np.float64)
    return np.stack([apart, exact.mean(axis=1), (exact**2).mean(axis=1)], axis=1)


def bad_pairs(moments: np.ndarray, known: np.ndarray, limit: float) -> np.ndarray:
    """Which pairs (pair) of an output are outliers in an integration, or were known to be bad.

    Parameters
    ----------
    moments
        Of the groups (g, pair, 3), as ``pair_moments`` gives them.
    known
        Pairs (pair) that are bad already; they do not count.
    limit
        In standard deviations, clipped.
    """
    apart, mean, square = moments.mean(axis=0).T
    scatter = np.sqrt(np.maximum(square - mean**2, 0.0))
    bad = known.copy()
    good = np.flatnonzero(~known)
    for values in (apart[good], mean[good], scatter[good]):
        center, width = clipped_mean(values, limit)
        bad[good[values - center > limit * width]] = True
    return bad


def clipped_mean(values: np.ndarray, limit: float) -> tuple[float, float]:
    """Mean and standard deviation of the values that stay after five clippings around the median."""
    for _ in range(CLIPPINGS):
        if not values.size:
            return 0.0, np.inf
        middle, width = np.median(values), limit * values.std()
        kept = values[(values >= middle - width) & (values <= middle + width)]
        if kept.size == values.size:
            break
        values = kept
    return float(values.mean()), float(values.std())


def listed_rows(
    table: Iterable[tuple[int, int, int]], output: int, layout: Interleaving
) -> list[np.ndarray]:
    """The bad reads of an output that the rows (output, odd_even, mask) of a reference's table list, row by row.

    Bit ``k`` of the mask stands for the ``k``-th group of four reads in the detector's own orientation; ``odd_even`` is
    1 or 2 for the first or second pair as it is read.
    """
    found = []
    first = layout.rows(output)[0]
    for number, odd_even, mask in table:
        if number != output:
            continue
        second = (odd_even == 2) != (output % 2 == 0)
        bits = np.array([k for k in range(32) if int(mask) >> k & 1], dtype=np.int64)
        starts = output * READS + BETWEEN // 2 + bits * PERIOD + 2 * second
        columns = (starts[:, np.newaxis] + [0, 1]).reshape(-1)
        found.append(layout.row_of_column(columns) - first)
    return found


def repairs(bad: np.ndarray, listed: Sequence[np.ndarray]) -> tuple[Repair, ...]:
    """What to do with the bad rows (640) of an output, then with those listed; in this order."""
    flagged = bad.copy()
    done = [_repair(int(row), flagged) for row in np.flatnonzero(flagged)]
    for rows in listed:
        new = [int(row) for row in rows if not flagged[row]]
        flagged[new] = True
        done += [_repair(row, flagged) for row in new]
    return tuple(done)


def _repair(row: int, bad: np.ndarray) -> Repair:
    reference = is_reference()
    near = [
        other for other in (row - PERIOD, row + PERIOD) if 0 <= other < READS and not bad[other]
    ]
    beside = [
        other
        for other in (row - 2, row + 2)
        if 0 <= other < READS and reference[other] and not bad[other]
    ]
    sources = near or beside[:1] or [-1]
    return Repair(row, sources[0], sources[-1])


def repaired(values: np.ndarray, rows: np.ndarray, fixes: Sequence[Repair]) -> np.ndarray:
    """Reads (y, x) of the given rows of an output, the bad ones replaced; fixes of other rows are left out."""
    place = np.full(READS, -1)
    place[rows] = np.arange(rows.size)
    fixed = values.copy()
    for fix in fixes:
        if place[fix.bad] < 0:
            continue
        if fix.first < 0:
            fixed[place[fix.bad]] = 0
        elif fix.first == fix.second:
            fixed[place[fix.bad]] = fixed[place[fix.first]]
        else:
            both = fixed[place[fix.first]] + fixed[place[fix.second]]
            fixed[place[fix.bad]] = both / np.float32(2)
    return fixed


def odd_columns() -> np.ndarray:
    """Which columns (3200) of the frame in the detector's own orientation are odd.

    Pixels alternate, the first one being odd; of four reference reads the first two are odd.
    """
    column = np.arange(OUTPUTS * READS)
    reference = np.tile(is_reference(), OUTPUTS)
    return np.where(reference, column % 4 < 2, column % 2 == 0)
