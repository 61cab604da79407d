"""Chance that can be repeated: every number is a function of a key and a counter, whatever the order of computing.

A pixel's character (bias, gain ...) hangs on the detector and the pixel's place on it, so that a subarray is exactly
the cut of the full frame. The mixing function is SplitMix64 (Steele, Lea & Flood 2014, OOPSLA); Poisson numbers come
from inversion where the mean is small and from transformed rejection (Hoermann 1993, PTRS) elsewhere.
"""

from __future__ import annotations

import math
import zlib

import numpy as np

from jwpipe.numerics.jit import inline, kernel

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_UNIT = 2.0**-53
_UNIT24 = np.float32(2.0**-24)
_S40 = np.uint64(40)
_FAINT = 12.0
_BLOCK = 256
_RECIPROCAL = 1.0 / np.maximum(np.arange(64), 1)


def key(*parts: object) -> np.uint64:
    """A 64-bit key for a stream of random numbers, from anything that has a stable ``str``."""
    text = "/".join(str(part) for part in parts).encode()
    return np.uint64(zlib.crc32(text) << 32 | zlib.adler32(text))


def generator(*parts: object) -> np.random.Generator:
    """A numpy generator for the stream named by ``parts``."""
    return np.random.default_rng(int(key(*parts)))


@inline
def _mixed(state):  # type: ignore[no-untyped-def]
    state = (state ^ (state >> _S30)) * _MIX1
    state = (state ^ (state >> _S27)) * _MIX2
    return state ^ (state >> _S31)


@inline
def _unit(state):  # type: ignore[no-untyped-def]
    return (float(_mixed(state) >> _S11) + 0.5) * _UNIT


@kernel
def _uniform(seed, y0, x0, ny, nx, side):  # type: ignore[no-untyped-def]
    out = np.empty((ny, nx), np.float32)
    for y in range(ny):
        for x in range(nx):
            place = np.uint64((y0 + y) * side + x0 + x)
            out[y, x] = _unit(_mixed(seed) + place * _GOLDEN)
    return out


@kernel
def _normal(seed, y0, x0, ny, nx, side):  # type: ignore[no-untyped-def]
    out = np.empty((ny, nx), np.float32)
    for y in range(ny):
        for x in range(nx):
            state = _mixed(seed) + np.uint64(2 * ((y0 + y) * side + x0 + x)) * _GOLDEN
            radius = math.sqrt(-2.0 * math.log(_unit(state)))
            out[y, x] = radius * math.cos(2.0 * math.pi * _unit(state + _GOLDEN))
    return out


def uniform_field(seed: np.uint64, y0: int, x0: int, ny: int, nx: int, side: int) -> np.ndarray:
    """Uniform numbers (ny, nx) in (0, 1) for the pixels from (y0, x0) of a frame ``side`` wide."""
    return _uniform(seed, y0, x0, ny, nx, side)


def normal_field(seed: np.uint64, y0: int, x0: int, ny: int, nx: int, side: int) -> np.ndarray:
    """Standard normal numbers (ny, nx) for the pixels from (y0, x0) of a frame ``side`` wide."""
    return _normal(seed, y0, x0, ny, nx, side)


@inline
def _bright_count(mean, state):  # type: ignore[no-untyped-def]
    b = 0.931 + 2.53 * math.sqrt(mean)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    accept = 0.9277 - 3.6224 / (b - 2.0)
    log_mean = math.log(mean)
    while True:
        u = _unit(state) - 0.5
        v = _unit(state + _GOLDEN)
        state += _GOLDEN + _GOLDEN
        edge = 0.5 - abs(u)
        count = math.floor((2.0 * a / edge + b) * u + mean + 0.43)
        if edge >= 0.07 and v <= accept:
            return count
        if count < 0.0 or (edge < 0.013 and v > edge):
            continue
        bound = count * log_mean - mean - math.lgamma(count + 1.0)
        if math.log(v * inverse_alpha / (a / (edge * edge) + b)) <= bound:
            return count


@inline
def _faint_counts(mean, none, chance, out):  # type: ignore[no-untyped-def]
    """Counts of up to ``_BLOCK`` neighbouring pixels by inversion, all pixels term by term in step."""
    size = mean.size
    highest = 0.0
    for x in range(size):
        highest = max(highest, min(mean[x], _FAINT))
    term = none.copy()
    passed = none.copy()
    for x in range(size):
        out[x] = np.float32(0.0)
    for count in range(1, int(highest + 6.0 * math.sqrt(highest)) + 6):
        reciprocal = np.float32(_RECIPROCAL[count])
        for x in range(size):
            out[x] += np.float32(1.0) if chance[x] > passed[x] else np.float32(0.0)
            term[x] *= mean[x] * reciprocal
            passed[x] += term[x]


@kernel
def poisson(mean, none, seed):  # type: ignore[no-untyped-def]
    """Poisson counts (ny, nx) float32 of ``mean`` (ny, nx); ``none`` is exp(-mean), the chance of no count."""
    out = np.empty(mean.shape, np.float32)
    chance = np.empty(_BLOCK, np.float32)
    start = _mixed(seed)
    width = mean.shape[1]
    for y in range(mean.shape[0]):
        for x0 in range(0, width, _BLOCK):
            size = min(_BLOCK, width - x0)
            first = start + np.uint64(y * width + x0) * _GOLDEN
            for x in range(size):
                bits = np.int64(_mixed(first + np.uint64(x) * _GOLDEN) >> _S40)
                chance[x] = (np.float32(bits) + np.float32(0.5)) * _UNIT24
            _faint_counts(mean[y, x0 : x0 + size], none[y, x0 : x0 + size], chance, out[y, x0:])
            for x in range(size):
                level = float(mean[y, x0 + x])
                if level > _FAINT:
                    state = _mixed(first + np.uint64(x) * _GOLDEN)
                    out[y, x0 + x] = _bright_count(level, state)
    return out


def one_over_f(rng: np.random.Generator, samples: int) -> np.ndarray:
    """A stretch of noise with power inverse to frequency, unit variance, shape (samples,) float32."""
    from scipy import fft

    length = fft.next_fast_len(samples, real=True)
    count = length // 2 + 1
    spectrum = rng.standard_normal(2 * count, dtype=np.float32).view(np.complex64)
    weight = np.arange(count, dtype=np.float32)
    weight[0] = np.inf
    spectrum /= np.sqrt(weight)
    # each frequency k brings 2 * 2 / k of power to the sum of squares, before the transform's 1 / length
    rms = 2.0 * math.sqrt((1.0 / weight[1:].astype(np.float64)).sum()) / length
    return (fft.irfft(spectrum, length)[:samples] / np.float32(rms)).astype(np.float32, copy=False)
