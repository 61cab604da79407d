"""Jumps of ramps by likelihood: the differences without which a line fits them much better.

Source: Brandt 2024, PASP 136, 045005; the order of the search is that of the JWST calibration pipeline 3.0.0. To leave
out a difference is to let it be anything: how much chi^2 falls follows from the inverse covariance of all.
"""

from typing import NamedTuple

import numpy as np

from jwpipe.numerics.jit import kernel
from jwpipe.numerics.ramp_covariance import Block, Cadence, invert, solve

# Improvements of chi^2 that make one difference a jump, and two neighbouring ones (4.5 standard deviations).
ONE, TWO = 20.25, 23.8
# With so many differences left none is given up any more.
FEWEST = 3


class Search(NamedTuple):
    """Room for the pixels in which jumps are looked for (x): the best improvements and where they are."""

    one: np.ndarray
    one_at: np.ndarray
    two: np.ndarray
    two_at: np.ndarray
    below: np.ndarray
    number: np.ndarray
    slope: np.ndarray
    variance: np.ndarray


@kernel
def empty_search(width: int) -> Search:
    """Room for ``width`` pixels."""
    return Search(
        np.empty(width),
        np.empty(width, np.int64),
        np.empty(width),
        np.empty(width, np.int64),
        np.empty(width),
        np.empty(width),
        np.empty(width),
        np.empty(width),
    )


@kernel
def count_used(used: np.ndarray, count: np.ndarray) -> None:
    """How many differences of each pixel are used."""
    count[:] = 0.0
    for k in range(used.shape[0]):
        for x in range(count.size):
            count[x] += used[k, x]


@kernel
def best_single(
    slope: np.ndarray,
    variance: np.ndarray,
    used: np.ndarray,
    ones: np.ndarray,
    data: np.ndarray,
    diagonal: np.ndarray,
    k: int,
    best: np.ndarray,
    place: np.ndarray,
) -> None:
    """Improvements of chi^2 without the difference ``k``; keep the best and its place."""
    for x in range(slope.size):
        rest = data[x] - slope[x] * ones[x]
        gain = rest * rest / (diagonal[x] - ones[x] * ones[x] * variance[x])
        better = (used[x] > 0) & (gain > best[x])
        best[x] = gain if better else best[x]
        place[x] = k if better else place[x]


@kernel
def best_pair(
    slope: np.ndarray, variance: np.ndarray, block: Block, k: int, search: Search
) -> None:
    """Improvements of chi^2 without the differences ``k`` and ``k + 1``."""
    best, place = search.two, search.two_at
    for x in range(slope.size):
        first, second = block.ones[k, x], block.ones[k + 1, x]
        left, right = block.data[k, x] - slope[x] * first, block.data[k + 1, x] - slope[x] * second
        a = block.diagonal[k, x] - first * first * variance[x]
        b = block.diagonal[k + 1, x] - second * second * variance[x]
        c = block.beside[k, x] - first * second * variance[x]
        gain = (left * left * b - 2 * left * right * c + right * right * a) / (a * b - c * c)
        better = (block.used[k, x] * block.used[k + 1, x] > 0) & (gain > best[x])
        best[x] = gain if better else best[x]
        place[x] = k if better else place[x]


@kernel
def best_omissions(times: Cadence, block: Block, width: int, search: Search) -> None:
    """The largest improvements of chi^2 by leaving out one difference, and two neighbouring ones.

    Of one difference none can be left out, of two no pair.
    """
    used, ones, data, diagonal = block.used, block.ones, block.data, block.diagonal
    slope, variance = search.slope[:width], search.variance[:width]
    for x in range(width):
        slope[x], variance[x] = block.sums[1, x] / block.sums[2, x], 1.0 / block.sums[2, x]
    search.one[:] = 0.0
    search.two[:] = 0.0
    search.one_at[:] = 0
    search.two_at[:] = 0
    count_used(used, search.number[:width])
    for k in range(used.shape[0]):
        best_single(
            slope,
            variance,
            used[k, :width],
            ones[k, :width],
            data[k, :width],
            diagonal[k, :width],
            k,
            search.one,
            search.one_at,
        )
    for k in range(used.shape[0] - 1):
        if times.averaged[k]:
            best_pair(slope, variance, block, k, search)
    for x in range(width):
        search.one[x] = search.one[x] if search.number[x] > 1 else 0.0
        search.two[x] = search.two[x] if search.number[x] > 2 else 0.0


@kernel
def omit(search: Search, x: int, column: int, block: Block) -> None:
    """Give up what improves pixel ``x`` of the search most, in ``column`` of the block."""
    first, number = search.one_at[x], 1
    if search.one[x] - ONE <= search.two[x] - TWO:
        first, number = search.two_at[x], 2
    if search.number[x] == number + 1:
        first = highest(block.steps, block.used, column, number)
    for k in range(first, first + number):
        block.used[k, column] = 0.0
        block.steps[k, column] = 0.0


@kernel
def highest(steps: np.ndarray, used: np.ndarray, x: int, number: int) -> int:
    """Where the sum of ``number`` neighbouring differences is largest.

    With one other difference left chi^2 is as good without any of them; cosmic rays add charge.
    """
    found, most = 0, -np.inf
    for k in range(steps.shape[0] - number + 1):
        total, every = 0.0, True
        for j in range(k, k + number):
            total += steps[j, x]
            every &= used[j, x] > 0
        if every and total > most:
            found, most = k, total
    return found


@kernel
def omit_anywhere(block: Block, width: int, search: Search, hit: np.ndarray) -> int:
    """Give up a difference where that pays; in how many pixels, and in which (``hit``)."""
    number, one, two = 0, search.one, search.two
    for x in range(width):
        if one[x] > ONE or two[x] > TWO:
            omit(search, x, x, block)
            hit[number] = x
            number += 1
    return number


@kernel
def omit_among(
    block: Block, rates: np.ndarray, search: Search, hit: np.ndarray, number: int
) -> int:
    """The same in the pixels that were ``hit`` before, whose ``rates`` are known now."""
    left, one, two = 0, search.one, search.two
    for n in range(number):
        x = hit[n]
        rates[x] = search.slope[n]
        if search.number[n] > FEWEST and (one[n] > ONE or two[n] > TWO):
            omit(search, n, x, block)
            hit[left] = x
            left += 1
    return left


@kernel
def gather(block: Block, hit: np.ndarray, number: int, part: Block) -> None:
    """Put the pixels that were ``hit`` side by side."""
    for n in range(number):
        x = hit[n]
        part.rate[n], part.noise[n] = block.rate[x], block.noise[x]
        for k in range(block.steps.shape[0]):
            part.steps[k, n], part.used[k, n] = block.steps[k, x], block.used[k, x]


@kernel
def look(times: Cadence, block: Block, width: int, search: Search) -> None:
    """Fit ``width`` pixels, and find what they would be without a difference or two."""
    solve(times, block, width)
    invert(times, block, width, search.below)
    best_omissions(times, block, width, search)


@kernel
def look_for_jumps(
    times: Cadence, block: Block, width: int, rates: np.ndarray, part: Block, search: Search
) -> None:
    """Give up the differences of ``block`` that jump, and find the ``rates`` (x) without them.

    Pixels in which one was found are looked at once more, together, until there are none left.
    """
    hit = np.empty(width, np.int64)
    look(times, block, width, search)
    rates[:] = search.slope
    number = omit_anywhere(block, width, search, hit)
    while number > 0:
        gather(block, hit, number, part)
        look(times, part, number, search)
        number = omit_among(block, rates, search, hit, number)
