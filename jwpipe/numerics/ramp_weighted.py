"""Segments and integrations combined with the full covariance of their differences.

All differences of a pixel, of all segments and integrations, are estimates of one count rate whose covariance is known
but for that rate. Their best combination, by generalised least squares, weights photon and read noise as they are; its
variance follows from the weights. The covariance is that of the rate found before, so that no sample bears on its own
weight more than on the others'. Method: Brandt 2024, PASP 136, 045004, section 4.
"""

from typing import NamedTuple

import numpy as np

from jwpipe.numerics.jit import kernel
from jwpipe.numerics.ramp_covariance import Block, Cadence, empty_block, solve, sum_variances
from jwpipe.numerics.ramp_slopes import Fit
from jwpipe.numerics.segments import JUMP, PERSISTENCE

WIDTH = 256
ROUNDS = 2


class Total(NamedTuple):
    """Sums over the integrations of pixels (x): data and ones through the inverse covariance, variances (2)."""

    data: np.ndarray
    ones: np.ndarray
    variances: np.ndarray
    own: np.ndarray


@kernel
def fill_row(
    low: np.ndarray,
    high: np.ndarray,
    low_dq: np.ndarray,
    high_dq: np.ndarray,
    fitted: np.ndarray,
    seconds: float,
    steps: np.ndarray,
    used: np.ndarray,
) -> None:
    """Differences of two groups of one segment, DN/s; 0 and not used where they are not of one."""
    for x in range(steps.size):
        step = (np.float64(high[x]) - np.float64(low[x])) / seconds
        before, after = low_dq[x] & ~PERSISTENCE, high_dq[x] & ~PERSISTENCE
        good = (
            (after == 0)
            & ((before == 0) | (before == JUMP))
            & (step == step)
            & (fitted[x] == fitted[x])
        )
        steps[x] = step if good else 0.0
        used[x] = 1.0 if good else 0.0


@kernel
def fill_block(
    sci: np.ndarray,
    groupdq: np.ndarray,
    times: Cadence,
    fitted: np.ndarray,
    y: int,
    start: int,
    block: Block,
) -> None:
    """The differences of one integration (g, y, x) of pixels that are ``fitted``, not NaN."""
    stop = start + fitted.size
    for k in range(times.seconds.size):
        fill_row(
            sci[k, y, start:stop],
            sci[k + 1, y, start:stop],
            groupdq[k, y, start:stop],
            groupdq[k + 1, y, start:stop],
            fitted,
            times.seconds[k],
            block.steps[k],
            block.used[k],
        )


@kernel
def add_lone_groups(ints: Fit, i: int, y: int, start: int, block: Block, total: Total) -> None:
    """Add the integrations of which one group alone is fitted, with its own variances."""
    for x in range(total.data.size):
        photon, read = ints.var_poisson[i, y, start + x], ints.var_rnoise[i, y, start + x]
        slope, variance = ints.slope[i, y, start + x], np.float64(photon) + read
        if block.sums[2, x] == 0 and slope == slope and variance > 0:
            total.data[x] += slope / variance
            total.ones[x] += 1.0 / variance
            total.variances[0, x] += photon / (variance * variance)
            total.variances[1, x] += read / (variance * variance)


@kernel
def add_integration(
    times: Cadence, ints: Fit, i: int, y: int, start: int, block: Block, total: Total, last: bool
) -> None:
    """Add one integration to the sums; in the ``last`` round its own slope and variances are stored."""
    sums, own = block.sums, total.own
    sum_variances(times, block.ones, own)
    for x in range(total.data.size):
        own[0, x] *= block.rate[x]
        own[1, x] *= block.noise[x]
        total.data[x] += sums[1, x]
        total.ones[x] += sums[2, x]
        total.variances[0, x] += own[0, x]
        total.variances[1, x] += own[1, x]
    add_lone_groups(ints, i, y, start, block, total)
    if last:
        for x in range(total.data.size):
            if sums[2, x] > 0:
                norm = 1.0 / sums[2, x]
                ints.slope[i, y, start + x] = sums[1, x] * norm
                ints.err[i, y, start + x] = np.sqrt(norm)
                ints.var_poisson[i, y, start + x] = own[0, x] * norm * norm
                ints.var_rnoise[i, y, start + x] = own[1, x] * norm * norm


@kernel
def store_total(total: Total, y: int, start: int, rate: Fit) -> None:
    """Slope, error and variances of the exposure."""
    for x in range(total.data.size):
        if total.ones[x] > 0:
            norm = 1.0 / total.ones[x]
            photon, read = total.variances[0, x] * norm * norm, total.variances[1, x] * norm * norm
            rate.slope[y, start + x] = total.data[x] * norm
            rate.err[y, start + x] = np.sqrt(photon + read)
            rate.var_poisson[y, start + x] = photon
            rate.var_rnoise[y, start + x] = read


@kernel
def weight_by_covariance(
    sci: np.ndarray,
    groupdq: np.ndarray,
    times: Cadence,
    gain: np.ndarray,
    noise: np.ndarray,
    dark: np.ndarray,
    rate: Fit,
    ints: Fit,
) -> None:
    """Replace fits by those with the full covariance, where there is one that is not NaN.

    ``noise``: variance of the noise of a single read, DN^2; ``dark`` adds to the rate; both (y, x).
    """
    integrations, _, rows, columns = sci.shape
    for start in range(0, columns, WIDTH):
        width = min(WIDTH, columns - start)
        stop = start + width
        block = empty_block(times.seconds.size, width)
        total = Total(np.empty(width), np.empty(width), np.empty((2, width)), np.empty((2, width)))
        for y in range(rows):
            for x in range(width):
                total.data[x], total.ones[x] = rate.slope[y, start + x], 1.0
                block.noise[x] = noise[y, start + x]
            for number in range(ROUNDS):
                for x in range(width):
                    slope = total.data[x] / total.ones[x]
                    slope = slope if slope > 0 else 0.0
                    block.rate[x] = (slope + dark[y, start + x]) / gain[y, start + x]
                total.data[:] = 0.0
                total.ones[:] = 0.0
                total.variances[:] = 0.0
                for i in range(integrations):
                    fitted = ints.slope[i, y, start:stop]
                    fill_block(sci[i], groupdq[i], times, fitted, y, start, block)
                    solve(times, block, width)
                    last = number == ROUNDS - 1
                    add_integration(times, ints, i, y, start, block, total, last)
            store_total(total, y, start, rate)
