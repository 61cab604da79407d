"""Count rates of greatest likelihood, with the jumps that make the ramps more likely.

Each integration of a pixel is fitted twice: with the covariance at its median rate, leaving out one after another the
differences whose loss improves chi^2 most; then, free of bias, with the covariance at the rate found. Source: Brandt
2024, PASP 136, 045004 and 045005. The choices between them are those of the JWST calibration pipeline 3.0.0.
"""

from typing import NamedTuple

import numpy as np

from jwpipe.dq import Pixel
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.medians import median, middle, sort_columns
from jwpipe.numerics.ramp_covariance import (
    Block,
    Cadence,
    empty_block,
    solve,
    sum_variances,
)
from jwpipe.numerics.ramp_jumps import Search, count_used, empty_search, look_for_jumps
from jwpipe.numerics.segments import DO_NOT_USE, JUMP, SATURATED

PIXEL_DO_NOT_USE = np.uint32(Pixel.DO_NOT_USE)
UNUSABLE = np.uint8(DO_NOT_USE | SATURATED)
WIDTH = 256


class Likely(NamedTuple):
    """Fits of integrations (i, y, x), or of the exposure (y, x)."""

    slope: np.ndarray
    err: np.ndarray
    dq: np.ndarray
    var_poisson: np.ndarray
    var_rnoise: np.ndarray
    chi2: np.ndarray


class Readout(NamedTuple):
    """The ramps: ``sci`` and ``groupdq`` (i, g, y, x), and the first of ``nframes`` reads apart, (i, y, x) or empty."""

    sci: np.ndarray
    groupdq: np.ndarray
    zeroframe: np.ndarray
    nframes: np.float32


class Room(NamedTuple):
    """Room for the pixels that are fitted together (x), and for those among them that are looked at again (``part``).

    ``levels``, ``flags``: groups; ``ordered``: sorted differences; ``whole``: no NaN; ``rates`` found without jumps;
    ``before``: differences used before jumps were looked for; ``variances`` (2): of photons and of reads.
    """

    block: Block
    part: Block
    search: Search
    levels: np.ndarray
    flags: np.ndarray
    ordered: np.ndarray
    whole: np.ndarray
    rates: np.ndarray
    before: np.ndarray
    variances: np.ndarray


@kernel
def empty_room(differences: int, width: int) -> Room:
    """Room for ``width`` pixels."""
    return Room(
        empty_block(differences, width),
        empty_block(differences, width),
        empty_search(width),
        np.empty((differences + 1, width), np.float32),
        np.empty((differences + 1, width), np.uint8),
        np.empty((differences, width)),
        np.empty(width, np.bool_),
        np.empty(width),
        np.empty(width),
        np.empty((2, width)),
    )


@kernel
def load_levels(ramps: Readout, i: int, y: int, start: int, levels: np.ndarray) -> None:
    """The groups of pixels from ``start`` on, as (n + 1, x); the first read is taken out of the first group."""
    width = levels.shape[1]
    extra = levels.shape[0] - ramps.sci.shape[1]
    for g in range(extra, levels.shape[0]):
        levels[g] = ramps.sci[i, g - extra, y, start : start + width]
    if extra:
        number = ramps.nframes
        zero = ramps.zeroframe[i, y, start : start + width]
        for x in range(width):
            levels[0, x] = zero[x]
            levels[1, x] = (levels[1, x] * number - zero[x]) / (number - np.float32(1))


@kernel
def load_flags(groupdq: np.ndarray, i: int, y: int, start: int, flags: np.ndarray) -> None:
    """The flags of the same groups; the first read has those of the first group."""
    width = flags.shape[1]
    extra = flags.shape[0] - groupdq.shape[1]
    for g in range(flags.shape[0]):
        flags[g] = groupdq[i, max(g - extra, 0), y, start : start + width]


@kernel
def fill_steps(
    levels: np.ndarray,
    flags: np.ndarray,
    times: Cadence,
    ordered: np.ndarray,
    block: Block,
    whole: np.ndarray,
) -> None:
    """Differences a second, all of them in ``ordered`` and those between groups without flags in the block.

    Pixels with a NaN anywhere are not ``whole``, and nothing of them is used.
    """
    whole[:] = True
    width = levels.shape[1]
    for k in range(times.seconds.size):
        for x in range(width):
            step = (levels[k + 1, x] - levels[k, x]) / times.seconds[k]
            good = (flags[k, x] | flags[k + 1, x]) == 0
            known = step == step
            ordered[k, x] = step if known else 0.0
            block.steps[k, x] = step if good & known else 0.0
            block.used[k, x] = 1.0 if good else 0.0
            whole[x] &= known
    for k in range(times.seconds.size):
        for x in range(width):
            block.used[k, x] = block.used[k, x] if whole[x] else 0.0


@kernel
def prepare_pixels(
    ramps: Readout,
    times: Cadence,
    gain: np.ndarray,
    noise: np.ndarray,
    i: int,
    y: int,
    start: int,
    room: Room,
) -> None:
    """Differences of the pixels from ``start`` on, and their covariance at their median rate."""
    differences, block = times.seconds.size, room.block
    load_levels(ramps, i, y, start, room.levels)
    load_flags(ramps.groupdq, i, y, start, room.flags)
    fill_steps(room.levels, room.flags, times, room.ordered, block, room.whole)
    sort_columns(room.ordered, differences, room.whole.size)
    count_used(block.used, room.before)
    for x in range(room.whole.size):
        guess = middle(room.ordered, differences, x)
        block.rate[x] = (guess if guess > 0 else 0.0) / gain[start + x]
        block.noise[x] = noise[start + x]


@kernel
def fit_pixels(times: Cadence, gain: np.ndarray, dark: np.ndarray, start: int, room: Room) -> None:
    """Fit with the covariance at the rates found."""
    for x in range(room.whole.size):
        rate = room.rates[x] if room.rates[x] > 0 else room.rates[x] * 0.0
        room.block.rate[x] = (rate + dark[start + x]) / gain[start + x]
    solve(times, room.block, room.whole.size)


@kernel
def store_fit(times: Cadence, room: Room, start: int, y: int, out: Likely) -> None:
    """Slope, error, variances and chi^2 of the fitted pixels of row ``y``."""
    block, sums = room.block, room.block.sums
    sum_variances(times, block.ones, room.variances)
    for x in range(room.whole.size):
        norm = (1.0 if room.whole[x] else np.nan) / sums[2, x]
        slope = sums[1, x] * norm
        out.slope[y, start + x] = slope
        out.err[y, start + x] = np.sqrt(norm)
        out.var_poisson[y, start + x] = room.variances[0, x] * block.rate[x] * norm * norm
        out.var_rnoise[y, start + x] = room.variances[1, x] * block.noise[x] * norm * norm
        out.chi2[y, start + x] = sums[0, x] - sums[1, x] * slope


@kernel
def fold_group_flags(room: Room, start: int, pixeldq: np.ndarray, dq: np.ndarray) -> None:
    """Flags of an integration of a row: saturated or hit in some group, not to be used if no group can be."""
    width = room.whole.size
    seen, void, left = np.zeros(width, np.uint8), np.ones(width, np.bool_), room.rates
    for g in range(room.flags.shape[0]):
        row = room.flags[g]
        for x in range(width):
            seen[x] |= row[x]
            void[x] &= row[x] & UNUSABLE != 0
    count_used(room.block.used, left)
    for x in range(width):
        found = seen[x] | (JUMP if left[x] < room.before[x] else np.uint8(0))
        nothing = PIXEL_DO_NOT_USE if void[x] else np.uint32(0)
        dq[start + x] = pixeldq[start + x] | (found & (JUMP | SATURATED)) | nothing


@kernel
def fit_likely_rows(
    ramps: Readout,
    times: Cadence,
    pixeldq: np.ndarray,
    gain: np.ndarray,
    noise: np.ndarray,
    dark: np.ndarray,
    ints: Likely,
) -> None:
    """Fit all ramps into ``ints``; ``noise`` variance of a read, DN^2, ``dark`` adds to the rate, all (y, x)."""
    integrations, _, rows, columns = ramps.sci.shape
    for start in range(0, columns, WIDTH):
        width = min(WIDTH, columns - start)
        room = empty_room(times.seconds.size, width)
        for i in range(integrations):
            out = Likely(
                ints.slope[i],
                ints.err[i],
                ints.dq[i],
                ints.var_poisson[i],
                ints.var_rnoise[i],
                ints.chi2[i],
            )
            for y in range(rows):
                prepare_pixels(ramps, times, gain[y], noise[y], i, y, start, room)
                look_for_jumps(times, room.block, width, room.rates, room.part, room.search)
                fit_pixels(times, gain[y], dark[y], start, room)
                store_fit(times, room, start, y, out)
                fold_group_flags(room, start, pixeldq[y], out.dq[y])


@kernel
def merged_pixel(ints: Likely, y: int, x: int, slope: float) -> tuple[float, float, float]:
    """Slope and variances of the integrations together, weighted with their variances at one ``slope``."""
    total, photon, read, norm = 0.0, 0.0, 0.0, 0.0
    for i in range(ints.slope.shape[0]):
        own = np.float64(ints.slope[i, y, x])
        scale = slope / own
        likely = np.isfinite(scale) and scale >= 0
        light = (scale if likely else 0.0) * ints.var_poisson[i, y, x]
        weight = 1.0 / (light + ints.var_rnoise[i, y, x])
        if not np.isnan(weight):
            norm += weight
            photon += light * weight * weight
            read += ints.var_rnoise[i, y, x] * weight * weight
            total += own * weight
    return total / norm, photon / (norm * norm), read / (norm * norm)


@kernel
def merge_integrations(ints: Likely, rate: Likely) -> None:
    """Combine the integrations in two rounds, the first at their median slope."""
    integrations, rows, columns = ints.slope.shape
    slopes = np.empty(integrations)
    for y in range(rows):
        for x in range(columns):
            number, seen, void, chi2 = 0, np.uint32(0), True, 0.0
            for i in range(integrations):
                dq = ints.dq[i, y, x]
                seen |= dq & ~PIXEL_DO_NOT_USE
                void &= dq & PIXEL_DO_NOT_USE != 0
                chi2 += ints.chi2[i, y, x]
                if not np.isnan(ints.slope[i, y, x]):
                    slopes[number] = ints.slope[i, y, x]
                    number += 1
            slope = median(slopes, number)
            photon, read = np.nan, np.nan
            for _ in range(2):
                slope, photon, read = merged_pixel(ints, y, x, slope)
            rate.slope[y, x], rate.err[y, x] = slope, np.sqrt(photon + read)
            rate.var_poisson[y, x], rate.var_rnoise[y, x] = photon, read
            rate.chi2[y, x] = chi2
            rate.dq[y, x] = seen | (PIXEL_DO_NOT_USE if void else np.uint32(0))
