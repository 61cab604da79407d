"""Slopes by generalised least squares on the differences of groups, many pixels at a time.

The differences of neighbouring groups, divided by the time between them, scatter around one count rate. Photon noise
gives each its variance and, where several reads are averaged, ties it to its neighbours; read noise ties neighbours
negatively, since they share a group. The covariance matrix is tridiagonal, and what a fit needs of its inverse takes
one elimination forward and one backward.

Source: Brandt 2024, PASP 136, 045004 (papers I and II: 045005), whose determinants are here the pivots of an
elimination, which neither overflow nor need scaling.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jwpipe.numerics.jit import kernel


class Cadence(NamedTuple):
    """What the times of the reads make of the covariance of differences.

    ``seconds`` between the mean times of neighbouring groups (n). ``photon``, ``read``: variances of the differences
    for a photon rate, and for a read variance, of one (n); ``photon_pair``, ``read_pair`` covariances of neighbours
    (n - 1). ``averaged`` (n - 1): whether the group that two differences share is an average of several reads.
    """

    seconds: np.ndarray
    photon: np.ndarray
    read: np.ndarray
    photon_pair: np.ndarray
    read_pair: np.ndarray
    averaged: np.ndarray


def cadence(times: Sequence[np.ndarray]) -> Cadence:
    """The cadence of groups that average reads at ``times``, in seconds.

    Equations 4, 11, 28 and 29 of Brandt 2024, paper I.
    """
    counts = np.array([len(group) for group in times])
    means = np.array([np.mean(group) for group in times])
    spreads = np.array([_weighted_time(group) for group in times])
    seconds = np.diff(means)
    pairs = seconds[1:] * seconds[:-1]
    return Cadence(
        seconds,
        (spreads[:-1] + spreads[1:] - 2 * means[:-1]) / seconds**2,
        (1 / counts[:-1] + 1 / counts[1:]) / seconds**2,
        (means[1:-1] - spreads[1:-1]) / pairs,
        -1 / (counts[1:-1] * pairs),
        counts[1:-1] > 1,
    )


def _weighted_time(times: np.ndarray) -> float:
    """The variance of an average of reads, for a photon rate of one: earlier photons are in more of them."""
    number = times.size
    return float(np.sum((2 * number - 1 - 2 * np.arange(number)) * times) / number**2)


def even_times(groups: int, nframes: int, gap: int, frame_time: float) -> list[np.ndarray]:
    """Times of the reads of evenly spaced groups, in seconds; ``gap`` frames are dropped between groups."""
    first = np.arange(1, nframes + 1)
    return [(first + group * (nframes + gap)) * frame_time for group in range(groups)]


class Block(NamedTuple):
    """Pixels that are fitted together: rows are differences (n), columns pixels.

    ``steps``: differences, DN/s, 0 where not used; ``used``: 1 or 0. ``rate``: photons behind the variance, DN/s, over
    the gain; ``noise``: read variance of a single read, DN^2. Results: ``ones`` and ``data``, the inverse covariance
    times a vector of ones, and times the differences; ``diagonal`` and ``beside`` of the inverse, where asked for;
    ``inverse`` pivots and ``ties`` to the next row are between.
    ``sums`` (3): data times data, data times ones, ones times ones, all through the inverse covariance.
    """

    steps: np.ndarray
    used: np.ndarray
    rate: np.ndarray
    noise: np.ndarray
    ones: np.ndarray
    data: np.ndarray
    diagonal: np.ndarray
    beside: np.ndarray
    inverse: np.ndarray
    ties: np.ndarray
    sums: np.ndarray


@kernel
def empty_block(differences: int, width: int) -> Block:
    """Room for ``width`` pixels."""
    shape = (differences, width)
    return Block(
        np.empty(shape),
        np.empty(shape),
        np.empty(width),
        np.empty(width),
        np.empty(shape),
        np.empty(shape),
        np.empty(shape),
        np.empty(shape),
        np.empty(shape),
        np.empty(shape),
        np.empty((3, width)),
    )


@kernel
def eliminate_row(
    rate: np.ndarray,
    noise: np.ndarray,
    used_before: np.ndarray,
    used: np.ndarray,
    inverse_before: np.ndarray,
    inverse: np.ndarray,
    ties: np.ndarray,
    own: tuple[float, float],
    pair: tuple[float, float],
) -> None:
    """Pivots of one row, and its ties to the one before; ``own`` and ``pair`` variances of photons and reads."""
    for x in range(ties.size):
        both = (rate[x] * pair[0] + noise[x] * pair[1]) * used_before[x] * used[x]
        tie = both * inverse_before[x]
        ties[x] = tie
        inverse[x] = 1.0 / (rate[x] * own[0] + noise[x] * own[1] - tie * both)


@kernel
def subtract_row(
    ties: np.ndarray,
    ones_before: np.ndarray,
    data_before: np.ndarray,
    steps: np.ndarray,
    ones: np.ndarray,
    data: np.ndarray,
) -> None:
    """The right-hand sides of one row without the one before."""
    for x in range(ties.size):
        ones[x] = 1.0 - ties[x] * ones_before[x]
        data[x] = steps[x] - ties[x] * data_before[x]


@kernel
def eliminate(times: Cadence, block: Block, width: int) -> None:
    """Forward elimination of the covariance, with ones and data on the right-hand side."""
    rate, noise, steps, used = block.rate[:width], block.noise[:width], block.steps, block.used
    inverse, ties, ones, data = block.inverse, block.ties, block.ones, block.data
    for x in range(width):
        inverse[0, x] = 1.0 / (rate[x] * times.photon[0] + noise[x] * times.read[0])
        ones[0, x] = 1.0
        data[0, x] = steps[0, x]
    for k in range(1, steps.shape[0]):
        eliminate_row(
            rate,
            noise,
            used[k - 1, :width],
            used[k, :width],
            inverse[k - 1, :width],
            inverse[k, :width],
            ties[k - 1, :width],
            (times.photon[k], times.read[k]),
            (times.photon_pair[k - 1], times.read_pair[k - 1]),
        )
        subtract_row(
            ties[k - 1, :width],
            ones[k - 1, :width],
            data[k - 1, :width],
            steps[k, :width],
            ones[k, :width],
            data[k, :width],
        )


@kernel
def substitute_row(
    inverse: np.ndarray,
    ties: np.ndarray,
    ones_after: np.ndarray,
    data_after: np.ndarray,
    used: np.ndarray,
    ones: np.ndarray,
    data: np.ndarray,
) -> None:
    """The solutions of one row, from those of the row after."""
    for x in range(ties.size):
        ones[x] = (ones[x] * inverse[x] - ties[x] * ones_after[x]) * used[x]
        data[x] = data[x] * inverse[x] - ties[x] * data_after[x]


@kernel
def add_row(steps: np.ndarray, ones: np.ndarray, data: np.ndarray, sums: np.ndarray) -> None:
    """Add one row to the sums (3, x)."""
    squares, mixed, plain = sums[0], sums[1], sums[2]
    for x in range(steps.size):
        squares[x] += steps[x] * data[x]
        mixed[x] += steps[x] * ones[x]
        plain[x] += ones[x]


@kernel
def substitute(block: Block, width: int) -> None:
    """Backward substitution, and the sums."""
    steps, used, inverse = block.steps, block.used, block.inverse
    ties, ones, data = block.ties, block.ones, block.data
    last = steps.shape[0] - 1
    block.sums[:] = 0.0
    for x in range(width):
        ones[last, x] *= inverse[last, x] * used[last, x]
        data[last, x] *= inverse[last, x]
    add_row(steps[last, :width], ones[last, :width], data[last, :width], block.sums)
    for k in range(last - 1, -1, -1):
        substitute_row(
            inverse[k, :width],
            ties[k, :width],
            ones[k + 1, :width],
            data[k + 1, :width],
            used[k, :width],
            ones[k, :width],
            data[k, :width],
        )
        add_row(steps[k, :width], ones[k, :width], data[k, :width], block.sums)


@kernel
def solve(times: Cadence, block: Block, width: int) -> None:
    """Fit ``width`` pixels: slope ``sums[1] / sums[2]``, its variance ``1 / sums[2]``, weights ``ones / sums[2]``.

    Differences that are not used are as if they were not there.
    """
    eliminate(times, block, width)
    substitute(block, width)


@kernel
def invert_row(
    rate: np.ndarray,
    noise: np.ndarray,
    used: np.ndarray,
    used_after: np.ndarray,
    inverse: np.ndarray,
    below: np.ndarray,
    diagonal: np.ndarray,
    beside: np.ndarray,
    own: tuple[float, float],
    pair: tuple[float, float],
) -> None:
    """The inverse of one row; ``below`` are the inverse pivots of an elimination from the last row up."""
    for x in range(rate.size):
        both = (rate[x] * pair[0] + noise[x] * pair[1]) * used[x] * used_after[x]
        drop = both * both * below[x]
        diagonal[x] = inverse[x] / (1.0 - drop * inverse[x])
        beside[x] = -both * below[x] * diagonal[x]
        below[x] = 1.0 / (rate[x] * own[0] + noise[x] * own[1] - drop)


@kernel
def invert(times: Cadence, block: Block, width: int, below: np.ndarray) -> None:
    """The diagonal of the inverse covariance and what lies beside it, after ``solve``; ``below`` is scratch (x)."""
    rate, noise, used = block.rate[:width], block.noise[:width], block.used
    last = used.shape[0] - 1
    for x in range(width):
        block.diagonal[last, x] = block.inverse[last, x]
        below[x] = 1.0 / (rate[x] * times.photon[last] + noise[x] * times.read[last])
    for k in range(last - 1, -1, -1):
        invert_row(
            rate,
            noise,
            used[k, :width],
            used[k + 1, :width],
            block.inverse[k, :width],
            below[:width],
            block.diagonal[k, :width],
            block.beside[k, :width],
            (times.photon[k], times.read[k]),
            (times.photon_pair[k], times.read_pair[k]),
        )


@kernel
def add_variances(weights: np.ndarray, own: tuple[float, float], sums: np.ndarray) -> None:
    """Add one row's share of the photon and the read variance to ``sums`` (2, x)."""
    for x in range(weights.size):
        sums[0, x] += weights[x] * weights[x] * own[0]
        sums[1, x] += weights[x] * weights[x] * own[1]


@kernel
def add_covariances(
    weights: np.ndarray, after: np.ndarray, pair: tuple[float, float], sums: np.ndarray
) -> None:
    """Add the shares of one row and the next together."""
    for x in range(weights.size):
        sums[0, x] += 2 * weights[x] * after[x] * pair[0]
        sums[1, x] += 2 * weights[x] * after[x] * pair[1]


@kernel
def sum_variances(times: Cadence, ones: np.ndarray, sums: np.ndarray) -> None:
    """Photon and read variance (2, x) of the slopes with weights ``ones``, for a rate and a read variance of one."""
    sums[:] = 0.0
    for k in range(ones.shape[0]):
        add_variances(ones[k], (times.photon[k], times.read[k]), sums)
    for k in range(ones.shape[0] - 1):
        add_covariances(ones[k], ones[k + 1], (times.photon_pair[k], times.read_pair[k]), sums)
