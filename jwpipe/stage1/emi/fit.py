"""Fit waves of interference and straight ramps to a MIRI exposure together.

The usable pixels are added up by their phase. Without the right wave their sums are no straight lines over the
groups: for a trial phase the sum of squares that a line fit leaves is quadratic in the wave's amplitude, and has its
smallest value at a known one. The smallest of all, interpolated between the trials, gives the phase.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jwpipe.numerics.counted_median import lower_counts, median, ranks, upper_counts
from jwpipe.numerics.emi_waves import (
    BAD_COLUMNS,
    OUTPUTS,
    period_clocks,
    phase_sums,
    spreads,
    subtract_waves,
    wave_at,
    wave_pieces,
)
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.views import read_only
from jwpipe.stage1.emi.readout import Readout
from jwpipe.step import Round

TRIALS = 500
# Pixels that scatter over the groups by so many times the median are not used: stars, bad pixels.
QUIET = np.float32(2.0)
# Bytes of sums that are held, and of spreads whose median is not found by counting.
SUMS_BYTES = 16 << 20
SPREADS_BYTES = 32 << 20
FLAT = 1e-8

Found = tuple["Fit", ...]


@dataclass(frozen=True, eq=False)
class Fit:
    """A wave fitted to an exposure: ``amplitudes`` (i) and ``phases`` (i) at the first pixel of each integration.

    ``period`` in clocks, ``step`` in phase from group to group, ``pieces`` as ``wave_pieces`` gives them.
    """

    period: float
    step: float
    pieces: np.ndarray
    amplitudes: np.ndarray
    phases: np.ndarray


@dataclass(frozen=True, eq=False)
class Wave:
    """A wave to fit: frequency (Hz) and samples over one period."""

    frequency: float
    samples: np.ndarray


class Terms(NamedTuple):
    """Of the sum of squares ``a c^2 + b c`` for amplitude ``c``: ``a`` and ``b`` (i, trial)."""

    a: np.ndarray
    b: np.ndarray


def rounds_of_fits(
    readout: Readout, waves: tuple[Wave, ...], separately: bool
) -> tuple[Round, ...]:
    """The rounds that fit one wave after the other, each to what the waves before it left."""
    return tuple(each for wave in waves for each in _rounds(readout, wave, separately))


def _rounds(readout: Readout, wave: Wave, separately: bool) -> list[Round]:
    """The median spread; then the sums, so many integrations at a time as memory allows."""
    size = 8 * readout.groups * wave.samples.size
    number = max(1, SUMS_BYTES // size)
    batches = [
        (first, min(first + number, readout.integrations))
        for first in range(0, readout.integrations, number)
    ]
    rounds = [
        Round(_count_upper, np.add, _place_median),
        Round(_count_lower, np.add, _take_median),
    ]
    if 4 * readout.integrations * readout.rows * readout.columns <= SPREADS_BYTES:
        rounds = [Round(_list_spreads, list.__add__, _median_of_list)]
    for batch in batches:
        last = partial(_solve, readout, wave, separately) if batch == batches[-1] else _keep_terms
        finish = partial(_finish_batch, readout, wave, last)
        rounds.append(Round(partial(_sum_batch, wave, batch[0]), _add_sums, finish, batch))
    return rounds


def _list_spreads(found: Any, sci: np.ndarray, pixeldq: np.ndarray, clock: np.ndarray) -> Any:
    return [_spreads(found, sci, clock).ravel()]


def _spreads(found: Any, sci: np.ndarray, clock: np.ndarray) -> np.ndarray:
    return spreads(*read_only(corrected(found, sci, clock)))


def _median_of_list(found: Any, merged: Any) -> Any:
    return (*found, np.median(np.concatenate(merged)), ())


def _count_upper(found: Any, sci: np.ndarray, pixeldq: np.ndarray, clock: np.ndarray) -> Any:
    return upper_counts(_spreads(found, sci, clock))


def _place_median(found: Any, counts: np.ndarray) -> Any:
    return (*found, ranks(counts))


def _count_lower(found: Any, sci: np.ndarray, pixeldq: np.ndarray, clock: np.ndarray) -> Any:
    return lower_counts(_spreads(found, sci, clock), found[-1])


def _take_median(found: Any, counts: np.ndarray) -> Any:
    return (*found[:-1], median(found[-1], counts), ())


def corrected(found: Any, sci: np.ndarray, clock: np.ndarray, first: int = 0) -> np.ndarray:
    """Ramps (i, g, y, x) of the integrations from ``first`` on, less the waves found so far."""
    return subtracted([fit for fit in found if isinstance(fit, Fit)], sci, clock, first)


def subtracted(
    fits: Sequence[Fit], sci: np.ndarray, clock: np.ndarray, first: int = 0
) -> np.ndarray:
    """Ramps (i, g, y, x) of the integrations from ``first`` on, less all ``fits``; ``clock`` (y, x)."""
    if not fits:
        return sci
    these = slice(first, first + sci.shape[0])
    pieces = np.concatenate([fit.pieces for fit in fits])
    ends = np.cumsum([len(fit.pieces) for fit in fits])
    amplitudes, phases = (
        np.array([getattr(fit, name)[these] for fit in fits]) for name in ("amplitudes", "phases")
    )
    periods, steps = (np.array([getattr(fit, name) for fit in fits]) for name in ("period", "step"))
    arrays = read_only(sci, clock, pieces, ends, amplitudes, phases, periods, steps)
    return subtract_waves(*arrays)


def _sum_batch(
    wave: Wave, first: int, found: Any, sci: np.ndarray, pixeldq: np.ndarray, clock: np.ndarray
) -> Any:
    """Sums by phase over the quiet pixels without flags."""
    limit = QUIET * found[-2]
    (quiet,) = read_only(corrected(found, sci, clock, first))
    usable = (spreads(quiet) < limit) & (pixeldq == 0)
    for column in BAD_COLUMNS:
        usable[..., OUTPUTS * column : OUTPUTS * (column + 1)] = False
    period, bins = period_clocks(wave.frequency), wave.samples.size
    return phase_sums(quiet, *read_only(usable, clock), period, bins)


def _add_sums(one: Any, other: Any) -> Any:
    return one[0] + other[0], one[1] + other[1]


def _finish_batch(readout: Readout, wave: Wave, last: Any, found: Any, merged: Any) -> Any:
    terms = squares(readout, wave, *merged)
    return last((*found[:-1], (*found[-1], terms)))


def _keep_terms(found: Any) -> Any:
    return found


def _solve(readout: Readout, wave: Wave, separately: bool, found: Any) -> Any:
    """Replace what the rounds of a wave left by its fit."""
    *fits, _, parts = found
    terms = Terms(*(np.concatenate(each) for each in zip(*parts, strict=True)))
    return (*fits, fit_wave(readout, wave, terms, separately))


def squares(readout: Readout, wave: Wave, sums: np.ndarray, numbers: np.ndarray) -> Terms:
    """The sums of squares that line fits leave, for each trial phase.

    Parameters
    ----------
    sums, numbers
        As ``phase_sums`` gives them: (i, g, bin), (i, bin).
    """
    groups, bins = sums.shape[1:]
    pieces, step = wave_pieces(wave.samples), readout.step(wave.frequency)
    if TRIALS % bins == 0:
        return _squares_of_shifts(pieces, step, sums, numbers)
    groups_on = np.arange(groups)[:, np.newaxis] * step
    start = ((np.arange(bins) + 0.5) / bins + groups_on) % 1
    return Terms(*_squares(pieces, start, sums, numbers))


def _squares_of_shifts(
    pieces: np.ndarray, step: float, sums: np.ndarray, numbers: np.ndarray
) -> Terms:
    """Both terms where bins lie on the grid of trials: a bin further on sees the wave of so many trials later.

    Sums over bins are then correlations around the circle, products of Fourier transforms.
    """
    integrations, groups, bins = sums.shape
    left, residual = _first_bin(pieces, step, groups, bins)
    every = TRIALS // bins
    spread = np.zeros((integrations, groups, TRIALS))
    spread[..., ::every] = sums
    counts = np.zeros((integrations, TRIALS))
    counts[:, ::every] = numbers
    a = np.fft.rfft(counts).conj() * np.fft.rfft(left)
    b = (np.fft.rfft(spread).conj() * np.fft.rfft(residual)).sum(axis=1)
    return Terms(np.fft.irfft(a, TRIALS), -2 * np.fft.irfft(b, TRIALS))


@kernel
def _first_bin(
    pieces: np.ndarray, step: float, groups: int, bins: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of the first bin, for each trial: the squares that a line leaves of the wave, and the wave less that line (g)."""
    z, left = np.empty((groups, TRIALS)), np.zeros(TRIALS)
    for g in range(groups):
        for k in range(TRIALS):
            phase = 0.5 / bins + g * step + k / TRIALS
            z[g, k] = wave_at(pieces, phase - np.floor(phase))
    _take_line(z, left)
    return left, z


@kernel
def _take_line(z: np.ndarray, left: np.ndarray) -> None:
    """Subtract from waves (g, trial) the line through each; ``left`` gets the squares that remain of it."""
    groups, trials = z.shape
    s_t = groups * (groups - 1) / 2
    s_tt = s_t * (2 * groups - 1) / 3
    delta = groups * s_tt - s_t * s_t
    s_z, s_tz = np.zeros(trials), np.zeros(trials)
    left[:] = 0
    for g in range(groups):
        for k in range(trials):
            s_z[k] += z[g, k]
            s_tz[k] += g * z[g, k]
            left[k] += z[g, k] * z[g, k]
    for k in range(trials):
        level = (s_tt * s_z[k] - s_t * s_tz[k]) / delta
        slope = (groups * s_tz[k] - s_t * s_z[k]) / delta
        left[k] -= level * s_z[k] + slope * s_tz[k]
        s_z[k], s_tz[k] = level, slope
    for g in range(groups):
        for k in range(trials):
            z[g, k] -= s_z[k] + g * s_tz[k]


@kernel
def _squares(
    pieces: np.ndarray, start: np.ndarray, sums: np.ndarray, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both terms, bin by bin; ``start`` (g, bin) is the phase of each group and bin in the first trial."""
    integrations, groups, bins = sums.shape
    a, b = np.zeros((integrations, TRIALS)), np.zeros((integrations, TRIALS))
    z, left = np.empty((groups, TRIALS)), np.empty(TRIALS)
    for p in range(bins):
        for g in range(groups):
            for k in range(TRIALS):
                phase = start[g, p] + k / TRIALS
                z[g, k] = wave_at(pieces, phase - np.floor(phase))
        # The wave less the line through it: sums of straight ramps have no part in it.
        _take_line(z, left)
        for i in range(integrations):
            _add_scaled(numbers[i, p], left, a[i])
            for g in range(groups):
                _add_scaled(-2 * sums[i, g, p], z[g], b[i])
    return a, b


@kernel
def _add_scaled(factor: float, values: np.ndarray, total: np.ndarray) -> None:
    for k in range(values.size):
        total[k] += factor * values[k]


def fit_wave(readout: Readout, wave: Wave, terms: Terms, separately: bool) -> Fit:
    """Amplitude and phase for the exposure, or for each integration."""
    integrations = terms.a.shape[0]
    lag = readout.lag(wave.frequency) * np.arange(integrations)
    if separately:
        solved = [_best(terms, lag, np.array([i])) for i in range(integrations)]
    else:
        solved = [_best(terms, lag, np.arange(integrations))] * integrations
    amplitudes, phases = np.array(solved).T
    return Fit(
        period_clocks(wave.frequency),
        readout.step(wave.frequency),
        wave_pieces(wave.samples),
        np.ascontiguousarray(amplitudes),
        (phases + lag) % 1,
    )


def _best(terms: Terms, lag: np.ndarray, these: np.ndarray) -> tuple[float, float]:
    """Amplitude, and phase at the start of the exposure, that fit ``these`` integrations best."""
    trials = np.arange(TRIALS) / TRIALS
    a, b = _totals(terms.a, terms.b, lag, these, trials)
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(_determined(a, b), -(b**2) / (4 * a), np.nan)
    phase = best_phase(left)
    a, b = _totals(terms.a, terms.b, lag, these, np.array([phase]))
    return (float(-b[0] / (2 * a[0])), phase) if _determined(a, b)[0] else (0.0, phase)


def _determined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (np.abs(a) > FLAT) & np.isfinite(a) & np.isfinite(b)


@kernel
def _totals(
    a: np.ndarray, b: np.ndarray, lag: np.ndarray, these: np.ndarray, phases: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Terms of ``these`` integrations together, for each of ``phases`` at the start of the exposure.

    An integration, ``lag`` later, takes the terms of the first trial at or above its own phase.
    """
    trials = a.shape[1]
    total_a, total_b = np.zeros(phases.size), np.zeros(phases.size)
    for k in range(phases.size):
        for i in these:
            near = int((phases[k] + lag[i]) % 1 * trials)
            nearest, least = 0, 2.0
            for candidate in range(near - 1, near + 3):
                trial = candidate % trials
                above = (trial / trials - phases[k] - lag[i]) % 1
                if above < least:
                    nearest, least = trial, above
            total_a[k] += a[i, nearest]
            total_b[k] += b[i, nearest]
    return total_a, total_b


def best_phase(left: np.ndarray) -> float:
    """The phase where the sum of squares (trial) is smallest: the vertex of the parabola through three trials.

    The trials are a circle. (The JWST calibration pipeline 3.0.0 puts the trial before the first, or after the last,
    at the other end, and then finds a phase half a period away.)
    """
    if not np.isfinite(left).any():
        return 0.0
    best = int(np.nanargmin(left))
    before, here, after = left[best - 1], left[best], left[(best + 1) % left.size]
    curvature = before - 2 * here + after
    shift = 0.5 * (before - after) / curvature if curvature > 0 else 0.0
    return (best + (shift if np.isfinite(shift) else 0.0)) / left.size
