"""Slopes of ramps, a row at a time.

Pixels without flags in an integration go through loops over x, which the compiler vectorises; the others one by one
through ``segments.py``. Everything is in double precision but what is stored.
"""

from typing import NamedTuple

import numpy as np

from jwpipe.dq import Pixel
from jwpipe.numerics.differences import gather_ramps
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.planes import list_where
from jwpipe.numerics.ramp_kinds import (
    LARGEST_VARIANCE,
    SUPPRESSED,
    UNFIT,
    Model,
    Ramps,
    Row,
    first_frame,
    load_ramp,
    restore_charge,
    single_time,
)
from jwpipe.numerics.ramp_rates import SEGMENT, sum_medians
from jwpipe.numerics.segments import (
    CHARGELOSS,
    CLASSES,
    JUMP,
    PERSISTENCE,
    SATURATED,
    SQUARE_LIMITS,
    find_segments,
    fit_segments,
)

KEPT = np.uint8(JUMP | PERSISTENCE | SATURATED)
INVALID = np.uint32(Pixel.DO_NOT_USE | Pixel.SATURATED)
PIXEL_DO_NOT_USE = np.uint32(Pixel.DO_NOT_USE)
NO_GAIN = np.uint32(Pixel.NO_GAIN_VALUE | Pixel.DO_NOT_USE)
# A signal-to-noise class is rare where it holds less than one pixel in so many.
RARE = 16


class Fit(NamedTuple):
    """Results of integrations (i, y, x), of the exposure (y, x), or of a row of either."""

    slope: np.ndarray
    err: np.ndarray
    var_poisson: np.ndarray
    var_rnoise: np.ndarray


@kernel
def snr_classes(
    first: np.ndarray,
    last: np.ndarray,
    gain: np.ndarray,
    noise: np.ndarray,
    clean: np.ndarray,
    level: np.ndarray,
) -> None:
    """Class of the signal-to-noise ratio of each pixel; ``CLASSES`` where the ramp is not clean."""
    for x in range(level.size):
        signal = (np.float64(last[x]) - np.float64(first[x])) * gain[x]
        square, variance = signal * signal, noise[x] * noise[x] + signal
        above = (
            np.int32(square >= SQUARE_LIMITS[0] * variance)
            + np.int32(square >= SQUARE_LIMITS[1] * variance)
            + np.int32(square >= SQUARE_LIMITS[2] * variance)
            + np.int32(square >= SQUARE_LIMITS[3] * variance)
            + np.int32(square >= SQUARE_LIMITS[4] * variance)
        )
        above = above if signal > 0 else np.int32(0)
        level[x] = above if clean[x] else np.int32(CLASSES)


@kernel
def class_slopes(
    sci: np.ndarray,
    window: np.ndarray,
    y: int,
    start: int,
    weights: np.ndarray,
    total: np.ndarray,
) -> None:
    """Slopes per group, with the ``weights`` of one class, of whole ramps (g, y, x) from column ``start`` on."""
    first, last, stop = window[0], window[1] - 1, start + total.size
    total[:] = 0.0
    for k in range(0, weights.size, 2):
        low, high = sci[first + k, y, start:stop], sci[last - k, y, start:stop]
        weight = weights[k]
        if k + 1 < weights.size:
            next_low, next_high = (
                sci[first + k + 1, y, start:stop],
                sci[last - k - 1, y, start:stop],
            )
            next_weight = weights[k + 1]
            for x in range(total.size):
                total[x] += weight * (np.float64(high[x]) - np.float64(low[x])) + next_weight * (
                    np.float64(next_high[x]) - np.float64(next_low[x])
                )
        else:
            for x in range(total.size):
                total[x] += weight * (np.float64(high[x]) - np.float64(low[x]))


@kernel
def clean_slopes(
    sci: np.ndarray,
    window: np.ndarray,
    y: int,
    start: int,
    weights: np.ndarray,
    level: np.ndarray,
    slopes: np.ndarray,
) -> None:
    """Weighted slopes per group of whole ramps (g, y, x) from column ``start`` on; ``weights`` (class * pair).

    Classes that are frequent are computed for all pixels, which then choose; rare ones by pixel. Pixels without a
    class keep their slope.
    """
    first, last = window[0], window[1] - 1
    pairs = (last - first + 1) // 2
    total = np.empty(level.size)
    rare = np.zeros(CLASSES + 1, np.bool_)
    for c in range(CLASSES):
        count = np.int32(0)
        for x in range(level.size):
            count += np.int32(level[x] == c)
        rare[c] = count * RARE < level.size
        if not rare[c]:
            class_slopes(sci, window, y, start, weights[c * pairs : (c + 1) * pairs], total)
            for x in range(level.size):
                slopes[x] = total[x] if level[x] == c else slopes[x]
    places, found = np.empty(level.size + 1, np.int32), 0
    for x in range(level.size):
        places[found] = x
        found += rare[level[x]]
    for p in range(found):
        x = places[p]
        slope, weight = 0.0, level[x] * pairs
        for k in range(pairs):
            rise = np.float64(sci[last - k, y, start + x]) - np.float64(
                sci[first + k, y, start + x]
            )
            slope += weights[weight + k] * rise
        slopes[x] = slope


@kernel
def store_clean(slopes: np.ndarray, length: int, group_time: float, row: Row, out: Fit) -> None:
    """Slopes, variances and errors of ramps without flags."""
    cubic, linear = 1.0 / (length**3 - length), 1.0 / (group_time * (length - 1))
    per_second = 1.0 / group_time
    for x in range(slopes.size):
        read, photon = row.unit[x] * cubic, row.rate[x] * linear / row.gain[x]
        void = read >= LARGEST_VARIANCE
        variance = photon + read
        nothing = row.invalid[x]
        some = (photon > 0) & (photon < LARGEST_VARIANCE) & (not nothing)
        slope = slopes[x] * per_second if (read > 0) & (not void) else np.nan
        slope = 0.0 if void else slope
        out.slope[x] = np.nan if nothing else slope
        out.err[x] = 0.0 if nothing | (variance > LARGEST_VARIANCE) else np.sqrt(variance)
        out.var_poisson[x] = photon if some else 0.0
        out.var_rnoise[x] = 0.0 if nothing | void else read


@kernel
def add_clean(
    slopes: np.ndarray, length: int, group_time: float, clean: np.ndarray, row: Row
) -> None:
    """Add ramps without flags to the sums over integrations."""
    cubic, linear = 1.0 / (length**3 - length), 1.0 / (group_time * (length - 1))
    for x in range(slopes.size):
        weight, photon = 1.0 / (row.unit[x] * cubic), row.rate[x] / row.gain[x] * linear
        row.sums[0, x] += slopes[x] * weight / group_time if clean[x] else 0.0
        row.sums[1, x] += weight if clean[x] else 0.0
        row.sums[2, x] += 1.0 / photon if (photon > 0) & clean[x] else 0.0


@kernel
def fit_integration(ramps: Ramps, model: Model, i: int, y: int, row: Row, out: Fit) -> None:
    """Fit one integration of a row."""
    first, stop = ramps.windows[i]
    length, clean = stop - first, row.clean[i]
    if length > 1:
        level, slopes = np.empty(clean.size, np.int32), np.empty(clean.size)
        sci = ramps.sci[i]
        snr_classes(sci[first, y], sci[stop - 1, y], row.gain, row.noise, clean, level)
        begin = model.starts[length]
        weights = model.table[begin : begin + CLASSES * (length // 2)]
        for start in range(0, clean.size, SEGMENT):
            part = slice(start, min(start + SEGMENT, clean.size))
            clean_slopes(sci, ramps.windows[i], y, start, weights, level[part], slopes[part])
        store_clean(slopes, length, model.group_time, row, out)
        if ramps.sci.shape[0] > 1:
            add_clean(slopes, length, model.group_time, clean, row)
    fit_flagged(ramps, model, i, y, row, out)


@kernel
def fit_flagged(ramps: Ramps, model: Model, i: int, y: int, row: Row, out: Fit) -> None:
    """Fit the ramps of a row that have flags."""
    # Fields are taken out of their tuples before the loop: each time costs more than a pixel.
    sci, groupdq, zeroframe = ramps.sci[i], ramps.groupdq[i], ramps.zeroframe
    group_time, first_time, frame_time = model.group_time, model.first_time, model.frame_time
    table, starts = model.table, model.starts
    gain, noise, unit, rate, invalid, sums = (
        row.gain,
        row.noise,
        row.unit,
        row.rate,
        row.invalid,
        row.sums,
    )
    slope, err, var_poisson, var_rnoise = out.slope, out.err, out.var_poisson, out.var_rnoise
    clean, kinds = row.clean[i], row.kinds[i]
    ramp, flags = np.empty(sci.shape[0], np.float64), np.empty(sci.shape[0], np.uint8)
    bounds, places = np.empty((flags.size, 2), np.int64), np.empty(clean.size + 1, np.int32)
    chosen = places[: list_where(clean, False, places)]
    some = np.empty((sci.shape[0], 1, chosen.size), np.float32)
    some_dq = np.empty(some.shape, np.uint8)
    gather_ramps(sci, y, chosen, some)
    gather_ramps(groupdq, y, chosen, some_dq)
    for k in range(chosen.size):
        x = chosen[k]
        kind = kinds[x]
        if invalid[x] or kind in (UNFIT, SUPPRESSED):
            slope[x] = np.nan
            err[x] = var_poisson[x] = var_rnoise[x] = 0.0
            continue
        frame = float(first_frame(zeroframe, i, y, x))
        load_ramp(some, some_dq, kind, frame, 0, k, ramp, flags)
        single = single_time(kind, group_time, first_time, frame_time)
        weighted, read, poisson, total = fit_segments(
            ramp,
            bounds,
            find_segments(flags, bounds),
            gain[x],
            noise[x],
            unit[x],
            rate[x],
            group_time,
            single,
            table,
            starts,
        )
        sums[0, x] += weighted
        sums[1, x] += read
        sums[2, x] += poisson
        read_part, variance = 1.0 / read, 1.0 / total
        photon_part = 1.0 / poisson if poisson > 0 else 0.0
        kept = 0.0 if read_part >= LARGEST_VARIANCE else read_part
        slope[x] = weighted * kept
        err[x] = 0.0 if variance > LARGEST_VARIANCE else np.sqrt(variance)
        var_poisson[x] = 0.0 if photon_part >= LARGEST_VARIANCE else photon_part
        var_rnoise[x] = kept


@kernel
def fold_flags(row: Row, y: int, ints_dq: np.ndarray) -> None:
    """Flags of the integrations and of the exposure; the latter is not to be used if no integration is."""
    integrations = ints_dq.shape[0]
    fitted = np.zeros(row.dq.size, np.bool_)
    seen = np.zeros(row.dq.size, np.uint8)
    for i in range(integrations):
        dq = ints_dq[i, y]
        for x in range(dq.size):
            void = (not row.clean[i, x]) & (
                (row.kinds[i, x] == UNFIT) | (row.kinds[i, x] == SUPPRESSED)
            )
            dq[x] = (
                row.dq[x] | (row.seen[i, x] & KEPT) | (PIXEL_DO_NOT_USE if void else np.uint32(0))
            )
            fitted[x] |= (dq[x] & PIXEL_DO_NOT_USE) == 0
            seen[x] |= row.seen[i, x]
    for x in range(row.dq.size):
        row.dq[x] |= (seen[x] & KEPT) | (np.uint32(0) if fitted[x] else PIXEL_DO_NOT_USE)
        row.invalid[x] |= not fitted[x]


@kernel
def store_rate(row: Row, out: Fit) -> None:
    """Combine the integrations: slopes weighted with their read variances, error from both variances."""
    for x in range(row.dq.size):
        photon = 1.0 / row.sums[2, x] if row.sums[2, x] > 0 else 0.0
        photon = 0.0 if photon >= LARGEST_VARIANCE else photon
        read = 1.0 / row.sums[1, x] if row.sums[1, x] > 0 else row.sums[1, x]
        read = 0.0 if read >= LARGEST_VARIANCE else read
        nothing = row.invalid[x]
        out.slope[x] = np.nan if nothing else row.sums[0, x] * read
        out.err[x] = 0.0 if nothing else np.sqrt(photon + read)
        out.var_poisson[x] = 0.0 if nothing else photon
        out.var_rnoise[x] = 0.0 if nothing else read


@kernel
def store_only(only: Fit, out: Fit) -> None:
    """Give the fit of the only integration as that of the exposure, whose error adds both variances."""
    for x in range(out.slope.size):
        out.slope[x] = only.slope[x]
        out.err[x] = np.sqrt(only.var_poisson[x] + only.var_rnoise[x])
        out.var_poisson[x] = only.var_poisson[x]
        out.var_rnoise[x] = only.var_rnoise[x]


@kernel
def any_marked(flags: np.ndarray, bits: np.uint8) -> bool:
    """Whether any of the flags (i, x) has one of ``bits``."""
    found = np.uint8(0)
    for i in range(flags.shape[0]):
        row = flags[i]
        for x in range(row.size):
            found |= row[x]
    return found & bits != 0


@kernel
def prepare_row(pixeldq: np.ndarray, group_time: float, row: Row) -> None:
    """Flags of the pixels before the fit, which are ruled out, and their unit of read variance."""
    row.sums[:] = 0.0
    for x in range(row.dq.size):
        row.dq[x] = pixeldq[x] | (np.uint32(0) if row.gain[x] > 0 else NO_GAIN)
        row.invalid[x] = (row.dq[x] & INVALID) != 0
        scatter = row.noise[x] / (group_time * row.gain[x])
        row.unit[x] = 12.0 * scatter * scatter


@kernel
def fit_rows(
    ramps: Ramps,
    model: Model,
    pixeldq: np.ndarray,
    gain: np.ndarray,
    noise: np.ndarray,
    dark: np.ndarray,
    rate: Fit,
    rate_dq: np.ndarray,
    ints: Fit,
    ints_dq: np.ndarray,
) -> None:
    """Fit all ramps into ``rate`` and ``ints`` and their flags.

    ``noise`` of a group in electrons, ``dark`` the rate added to the Poisson variance, both (y, x).
    """
    integrations, _, rows, columns = ramps.sci.shape
    invalid = np.empty(columns, np.bool_)
    median, unit, sums = np.empty(columns), np.empty(columns), np.empty((3, columns))
    seen = np.empty((integrations, columns), np.uint8)
    kinds = np.empty((integrations, columns), np.uint8)
    clean = np.empty((integrations, columns), np.bool_)
    for y in range(rows):
        row = Row(
            gain[y], noise[y], dark[y], rate_dq[y], invalid, median, unit, sums, seen, clean, kinds
        )
        prepare_row(pixeldq[y], model.group_time, row)
        sum_medians(ramps, model, y, row)
        for i in range(integrations):
            out = Fit(
                ints.slope[i, y], ints.err[i, y], ints.var_poisson[i, y], ints.var_rnoise[i, y]
            )
            fit_integration(ramps, model, i, y, row, out)
        fold_flags(row, y, ints_dq)
        total = Fit(rate.slope[y], rate.err[y], rate.var_poisson[y], rate.var_rnoise[y])
        if integrations == 1:
            store_only(out, total)
        else:
            store_rate(row, total)
        if any_marked(seen, CHARGELOSS):
            for x in range(columns):
                lost = np.uint8(0)
                for i in range(integrations):
                    lost |= seen[i, x] & CHARGELOSS
                if lost:
                    restore_charge(
                        ramps.groupdq,
                        y,
                        x,
                        gain[y, x],
                        noise[y, x],
                        kinds[:, x],
                        model,
                        rate.var_rnoise,
                        ints.var_rnoise,
                    )
