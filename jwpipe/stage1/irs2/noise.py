"""The noise that all reads of an IRS2 frame share, predicted from the reference output and the reference reads.

After Rauscher et al. 2017, PASP 129, 105003. Of each group of an integration, less the mean over its groups:

1. a straight line in time, fitted to each output's reads of the detector's light-blind edge lines, is subtracted;
2. gaps of the reference output's series are bridged by its samples around, and the places where the other outputs read
   references or nothing are filled by a filter that passes the lowest and the highest frequencies;
3. the noise of an output is ``alpha * FT(reference output) + beta * FT(reference reads)`` with its kernels of the
   ``refpix`` reference; its real part, back in time, is what the pixels of that output lose.

Samples of exactly 0 count as not read, as in jwst 3.0.0: so does a read that equals its mean over the groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from jwpipe.numerics.irs2 import (
    LINES,
    MIDDLE,
    PERIOD,
    READS,
    SAMPLES,
    TICKS,
    Interleaving,
    at_ticks,
    bridge_gaps,
    frequencies,
    is_reference,
    lines_of,
    over_lines,
    waves,
    without_line,
)

EDGE = 4
EDGE_COLUMNS = np.r_[0:EDGE, LINES - EDGE : LINES]
BLOCK = PERIOD + 2
TURNS = 3
"""How often the filter is applied until the filled samples count as settled."""
AROUND = np.sin(np.arange(1, 32) / 32 * np.pi)
"""Weights of the samples that bridge a gap."""
COPIES = {9: (-2, 0), 10: (1, 3), 11: (-3, -1), 12: (0, 2)}
"""Where the four reference reads between the pixels are put, from where they were read, in ticks of their block."""


@dataclass(frozen=True)
class Reads:
    """The reads of one output in one group, rows with growing y.

    ``values`` (y, x) are its reference reads, of the reference output all; ``edges`` (y, x) its pixels in the four
    columns at either end.
    """

    values: np.ndarray
    edges: np.ndarray


@dataclass(frozen=True)
class Noise:
    """What the pixels of one output lose in one group.

    ``plane`` (y, x); ``intercept`` and ``slope`` of the straight line (DN, DN a tick, from the middle of the frame);
    ``reads`` (y, x), what is left of the reads themselves.
    """

    plane: np.ndarray
    intercept: float
    slope: float
    reads: np.ndarray


def shared_noise(
    reads: Sequence[Reads], offsets: Sequence[Reads], kernels: np.ndarray, layout: Interleaving
) -> list[Noise]:
    """The noise of one group, output by output, the reference output first (without a plane).

    Parameters
    ----------
    reads, offsets
        Of the five outputs: the reads of this group, DN, and their means over the integration's groups, float64.
    kernels
        ``alpha`` and ``beta`` (2, output, k2, k1), complex64 (see `hermitian`).
    """
    first, *others = (
        Reads(_above(read.values, offset.values), _above(read.edges, offset.edges))
        for read, offset in zip(reads, offsets, strict=True)
    )
    line = fitted_line(first, layout, 0)
    ticks = layout.ticks(0)
    series = np.zeros((TICKS, LINES), np.float32)
    series[ticks] = without_line(layout.in_turn(first.values), ticks, *line)
    lines = filled(bridge_gaps(series, AROUND))
    reference = waves(lines)
    kept = layout.in_turn(at_ticks(lines, ticks)) + offsets[0].values
    noises = [Noise(kept[:0], *line, kept.astype(np.float32))]
    for output, read in enumerate(others, 1):
        alpha, beta = kernels[:, output - 1]
        line = fitted_line(read, layout, output)
        ticks = layout.ticks(output)
        straight = without_line(layout.in_turn(read.values), ticks[is_reference()], *line)
        lines = over_lines(*_twice(straight, ticks[is_reference()]))
        noise = waves(lines)
        noise *= beta
        noise += alpha * reference
        lines = lines_of(noise)
        plane = layout.in_turn(at_ticks(lines, ticks[~is_reference()]))
        left = straight - at_ticks(lines, ticks[is_reference()])
        noises.append(Noise(plane, *line, layout.in_turn(left)))
    return noises


def _above(values: np.ndarray, offset: np.ndarray) -> np.ndarray:
    return (values - offset).astype(np.float32)


def _twice(reads: np.ndarray, ticks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reference reads (y, line) made at ``ticks``, as they enter the series: each at two ticks."""
    within = [COPIES[int(tick)] for tick in ticks % BLOCK]
    places = [ticks + [shift[copy] for shift in within] for copy in (0, 1)]
    return np.concatenate([reads, reads]), np.concatenate(places)


def fitted_line(reads: Reads, layout: Interleaving, output: int) -> tuple[float, float]:
    """Intercept and slope of an output's reads in the edge lines; those of 0 do not count."""
    ticks, reference = layout.ticks(output), is_reference() if output else np.ones(READS, bool)
    lines = layout.lines()[EDGE_COLUMNS] * TICKS - MIDDLE
    values = np.concatenate([reads.values[:, EDGE_COLUMNS], reads.edges]).astype(np.float64)
    times = np.concatenate([ticks[reference], ticks[~reference]])[:, np.newaxis] + lines
    used = values != 0
    if not used.any():
        return 0.0, 0.0
    time, value = times[used], values[used]
    apart = time - time.mean()
    spread = (apart**2).sum()
    slope = (apart * value).sum() / spread if spread > 0 else 0.0
    return float(value.mean() - slope * time.mean()), float(slope)


def filled(series: np.ndarray) -> np.ndarray:
    """The transform over lines (tick, k1) of the reference output's series (tick, line).

    Where the other outputs read no pixel it is filled by the filter.
    """
    lines = over_lines(series, np.arange(TICKS))
    other = np.ones(TICKS, bool)
    other[Interleaving(turned=False).ticks(1)[~is_reference()]] = False
    for _ in range(TURNS):
        spectrum = waves(lines)
        spectrum *= passed()
        lines[other] = lines_of(spectrum)[other]
    return lines


@cache
def passed() -> np.ndarray:
    """What the filter lets through (k2, k1): the lowest and the highest frequencies, with cosine edges."""
    width = 110000 // BLOCK
    flat = TICKS // BLOCK * LINES // 2 - width // 2
    edge = (np.cos(np.arange(width) * np.pi / width) + 1) / 2
    half = SAMPLES // 2
    gain = np.zeros(half + 1)
    gain[:flat] = 1
    gain[flat : flat + width] = edge
    gain[half - flat :] = 1
    gain[half - flat - width : half - flat] = edge[::-1]
    above = frequencies()
    return gain[np.minimum(above, SAMPLES - above)].astype(np.float32)


def hermitian(kernel: np.ndarray) -> np.ndarray:
    """Of a kernel (frequency) the part that acts on the real part of the result, (k2, k1)."""
    above = frequencies()
    return ((kernel[above] + np.conj(kernel[-above])) / 2).astype(np.complex64)
