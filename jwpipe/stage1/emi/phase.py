"""Find waves of interference in what straight ramps leave of a MIRI exposure.

The ramps of the first integrations, less a line and their median, averaged over the four outputs, are sorted by
phase: clipped means in bins of phase are the wave. It is taken off as it is, or it tells phase and amplitude of a
reference wave. Held meanwhile is a quarter of the samples of these integrations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from jwpipe.numerics.emi_waves import OUTPUTS, period_clocks, phase_of, subtract_table
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.medians import middle, sort_columns
from jwpipe.numerics.views import read_only
from jwpipe.stage1.emi.fit import Wave
from jwpipe.stage1.emi.readout import Readout
from jwpipe.step import Round

MOST_BINS = 501
MANY_BINS = 500
CLIP = 3.0
CLIPPINGS = 5
# Of so few groups the smallest value stands for the level, not the median.
FEW_GROUPS = 2
CYCLES = 3


@dataclass(frozen=True, eq=False)
class Table:
    """A wave found in an exposure: ``values`` clock by clock over one period, and in ``bins`` of phase as measured.

    ``frame`` and ``integration`` are the clocks from a frame or integration to the next.
    """

    frequency: float
    frame: float
    integration: float
    values: np.ndarray
    bins: np.ndarray

    def subtracted(self, sci: np.ndarray, clock: np.ndarray, first: int = 0) -> np.ndarray:
        """Ramps (i, g, y, x) of the integrations from ``first`` on, less the wave; ``clock`` (y, x)."""
        period = period_clocks(self.frequency)
        arrays = read_only(sci, clock, self.values)
        return subtract_table(*arrays, period, self.frame, self.integration, first)


def subtracted_tables(
    tables: Sequence[Table], sci: np.ndarray, clock: np.ndarray, first: int = 0
) -> np.ndarray:
    """Ramps (i, g, y, x) of the integrations from ``first`` on, less all ``tables``, one after the other."""
    for table in tables:
        sci = table.subtracted(sci, clock, first)
    return sci


@dataclass(frozen=True)
class Search:
    """How waves are looked for: parameters of the step."""

    nints_to_phase: int | None
    use_n_cycles: int | None
    nbins: int | None
    scale_reference: bool


def rounds_of_tables(
    readout: Readout, waves: tuple[Wave, ...], search: Search
) -> tuple[Round, ...]:
    """One round for each wave, in what the waves before it left; waves without samples have no reference."""
    if not waves:
        return ()
    number = integrations_to_phase(readout, waves[0], search)
    return tuple(
        Round(_residuals, _join, partial(_find, readout, wave, search), (0, number))
        for wave in waves
    )


def integrations_to_phase(readout: Readout, first: Wave, search: Search) -> int:
    """So many integrations as hold ``use_n_cycles`` periods of the first wave, but for ``nints_to_phase``."""
    number = readout.integrations
    if search.nints_to_phase is not None:
        number = search.nints_to_phase
    elif search.use_n_cycles is not None:
        cycles = search.use_n_cycles * period_clocks(first.frequency)
        number = int(np.ceil(cycles / (readout.reset * readout.groups)))
    return max(1, min(number, readout.integrations))


def _residuals(found: Any, sci: np.ndarray, pixeldq: np.ndarray, clock: np.ndarray) -> Any:
    return [detrended(*read_only(subtracted_tables(found, sci, clock)))]


def _join(one: Any, other: Any) -> Any:
    return one + other


@kernel
def detrended(sci: np.ndarray) -> np.ndarray:
    """Ramps (i, g, y, x) less a line and their median, averaged over four columns (i, g, y, x / 4), DN.

    Line and median leave out the first and the last group. Columns 1 and 2 of the result, whose reference pixels are
    bad, are the average of columns 0 and 3.
    """
    integrations, groups, rows, columns = sci.shape
    quarter = columns // OUTPUTS
    found = np.empty((integrations, groups, rows, quarter), np.float32)
    levels = np.empty((groups, columns), np.float32)
    middles = np.empty((groups, columns), np.float32)
    slope, median = np.empty(columns), np.empty(columns, np.float32)
    for i in range(integrations):
        for y in range(rows):
            _line(sci[i], y, slope)
            for g in range(groups):
                for x in range(columns):
                    levels[g, x] = sci[i, g, y, x] - slope[x] * g
            middles[: groups - 2] = levels[1 : groups - 1]
            _level(middles, groups - 2, median)
            for g in range(groups):
                _average(levels[g], median, found[i, g, y])
    return found


@kernel
def _line(ramp: np.ndarray, y: int, slope: np.ndarray) -> None:
    """Slopes of a row in counts per group, by least squares without the first and the last group."""
    groups = ramp.shape[0] - 2
    s_x, s_xx = 0.0, 0.0
    s_y, s_xy = np.zeros(slope.size), np.zeros(slope.size)
    for g in range(groups):
        s_x += g
        s_xx += g * g
        for x in range(slope.size):
            value = ramp[g + 1, y, x]
            s_y[x] += value
            s_xy[x] += g * value
    for x in range(slope.size):
        slope[x] = (groups * s_xy[x] - s_x * s_y[x]) / (groups * s_xx - s_x * s_x)


@kernel
def _level(values: np.ndarray, number: int, level: np.ndarray) -> None:
    """Median, or minimum of few, of ``values[:number]`` (g, x), which are sorted."""
    sort_columns(values, number, level.size)
    for x in range(level.size):
        level[x] = values[0, x] if number <= FEW_GROUPS else middle(values, number, x)


@kernel
def _average(levels: np.ndarray, median: np.ndarray, averaged: np.ndarray) -> None:
    for k in range(averaged.size):
        x = OUTPUTS * k
        total = levels[x] - median[x]
        for output in range(1, OUTPUTS):
            total += levels[x + output] - median[x + output]
        averaged[k] = total / np.float32(OUTPUTS)
    between = (averaged[0] + averaged[3]) / np.float32(2)
    averaged[1] = between
    averaged[2] = between


def _find(readout: Readout, wave: Wave, search: Search, found: Any, merged: Any) -> Any:
    """Make the table of a wave from the residuals of the whole frame, strip by strip."""
    residuals = np.concatenate(merged, axis=2)
    residuals -= np.median(residuals, axis=(2, 3), keepdims=True)
    bins = binned_wave(readout, wave, search, residuals)
    table = wave_table(bins, wave, scale=search.scale_reference)
    return (*found, Table(wave.frequency, readout.frame, readout.integration, table, bins))


def measured(
    sci: np.ndarray, readout: Readout, waves: Sequence[Wave], search: Search
) -> np.ndarray:
    """Each wave in bins of phase (wave, bin), found in integrations ``sci`` (i, g, y, x); NaN after its last bin."""
    clock = readout.clocks(delayed=True).read()
    found: Any = ()
    for wave in waves:
        parts = _residuals(found, sci, np.empty(0), clock)
        found = _find(readout, wave, search, found, parts)
    rows = np.full((len(waves), max(bin_count(wave, search) for wave in waves)), np.nan)
    for row, table in zip(rows, found, strict=True):
        row[: table.bins.size] = table.bins
    return rows


def bin_count(wave: Wave, search: Search) -> int:
    """Bins of phase of a wave."""
    number = int(period_clocks(wave.frequency) / 2.0) if search.nbins is None else search.nbins
    return MANY_BINS if number > MOST_BINS else number


def binned_wave(readout: Readout, wave: Wave, search: Search, residuals: np.ndarray) -> np.ndarray:
    """The wave in bins of phase, less its median; ``residuals`` (i, g, y, x / 4) without their medians."""
    period = period_clocks(wave.frequency)
    number = bin_count(wave, search)
    clock = np.ascontiguousarray(readout.clocks(delayed=True).read()[:, ::OUTPUTS])
    order, ends = sorted_by_phase(
        clock, period, readout.frame, readout.integration, residuals, number
    )
    means = np.empty(number)
    for k in range(number):
        means[k] = clipped_mean(np.sort(order[ends[k] : ends[k + 1]]))
    return means - np.median(means)


@kernel
def sorted_by_phase(
    clock: np.ndarray,
    period: float,
    frame: float,
    integration: float,
    values: np.ndarray,
    bins: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The values (i, g, y, x) of each of ``bins`` in phase, one bin after the other, and where each begins (bins + 1).

    A bin holds its upper end, not its lower: phase 0 is in none.
    """
    counts = np.zeros(bins + 2, np.int64)
    at = np.empty(values.size, np.int32)
    flat = values.ravel()
    p = 0
    for i in range(values.shape[0]):
        for g in range(values.shape[1]):
            since = i * integration + g * frame
            for y in range(values.shape[2]):
                for x in range(values.shape[3]):
                    k = _bin(phase_of(since + clock[y, x], period), bins)
                    at[p] = k
                    counts[k + 2] += 1
                    p += 1
    # Values of phase 0 are counted where none begins.
    starts = np.cumsum(counts)[1:] - counts[1]
    ends = starts[:bins].copy()
    order = np.empty(starts[bins], np.float32)
    for p in range(flat.size):
        k = at[p]
        if k >= 0:
            order[ends[k]] = flat[p]
            ends[k] += 1
    return order, starts


@kernel
def _bin(phase: float, bins: int) -> int:
    """The bin of a phase; -1 for phase 0."""
    k = min(int(phase * bins), bins - 1)
    if phase <= k / bins:
        return k - 1
    return k + 1 if phase > (k + 1) / bins else k


@kernel
def clipped_mean(values: np.ndarray) -> float:
    """Mean of sorted values without those far from the median, in units of the standard deviation, five times."""
    first, stop = 0, values.size
    for _ in range(CLIPPINGS):
        if stop == first:
            return np.nan
        rest = values[first:stop].astype(np.float64)
        centre = 0.5 * (rest[(rest.size - 1) // 2] + rest[rest.size // 2])
        width = CLIP * rest.std()
        low = first + np.searchsorted(rest, centre - width)
        high = first + np.searchsorted(rest, centre + width, side="right")
        if low == first and high == stop:
            break
        first, stop = low, high
    return values[first:stop].astype(np.float64).mean() if stop > first else np.nan


def wave_table(bins: np.ndarray, wave: Wave, *, scale: bool) -> np.ndarray:
    """The wave clock by clock: the bins themselves, or the reference wave at their phase and amplitude.

    Values that are not finite are 0.
    """
    period = period_clocks(wave.frequency)
    table = resampled(bins, period)
    if wave.samples.size and np.isfinite(bins).all():
        shift = best_shift(wave.samples, resampled(bins, wave.samples.size))
        reference = resampled(np.roll(wave.samples, shift), period)
        factor = np.polyfit(reference, table, 1)[0] if scale else 1.0
        table = reference * factor
    return np.where(np.isfinite(table), table, 0.0)


def resampled(values: np.ndarray, size: float) -> np.ndarray:
    """``values`` stretched to ``size`` by repeating or dropping."""
    places = np.arange(int(np.ceil(size))) * (values.size / size)
    return values[places.astype(np.int64)]


def best_shift(reference: np.ndarray, wave: np.ndarray) -> int:
    """The cyclic shift of ``reference`` that correlates best with ``wave``."""
    wave = wave - wave.mean()
    shifts = [wave @ np.roll(reference, shift) for shift in range(reference.size)]
    return int(np.argmax(shifts))
