"""Charge into raw counts: photons, hits, nonlinearity and saturation, frame by frame; then the electronics' noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jwpipe.numerics.jit import kernel
from jwpipe.simulate.chance import generator, key, one_over_f, poisson
from jwpipe.simulate.events import HIT, SNOWBALL, snowball_charge, strikes
from jwpipe.simulate.instruments import LINE_OVERHEAD, Detector, Instrument, Readout, Subarray
from jwpipe.simulate.pixels import NONLINEARITY, Pixels

RESET_DECAY = 12.0
"""Seconds in which the anomaly after a reset falls by e."""

_A2, _A3, _A4 = NONLINEARITY
_COMMON_SHARE = 0.6


@dataclass(frozen=True, eq=False)
class Raw:
    """Raw counts of an exposure, uint16: groups (i, g, y, x) and first frames (i, y, x); and what hit it."""

    sci: np.ndarray
    zeroframe: np.ndarray
    hits: np.ndarray
    snowballs: np.ndarray


@dataclass(frozen=True)
class Camera:
    """What makes raw data: a detector, the part that is read, when, and how well."""

    detector: Detector
    region: Subarray
    timing: Readout
    instrument: Instrument


@kernel
def _measured(charge, gain, curvature, well, settling):  # type: ignore[no-untyped-def]
    """Counts above the bias (ny, nx) that ``charge`` (electrons) gives: the linearity polynomial inverted by Newton.

    ``settling`` (DN) is what the reset leaves; counts stop at ``well``.
    """
    out = np.empty(charge.shape, np.float32)
    for y in range(charge.shape[0]):
        for x in range(charge.shape[1]):
            a2, a3, a4 = _A2 * curvature[y, x], _A3 * curvature[y, x], _A4 * curvature[y, x]
            full = well[y, x]
            highest = full * (1.0 + full * (a2 + full * (a3 + full * a4)))
            linear = min(charge[y, x] / gain[y, x] + settling[y, x], highest)
            dn = linear
            for _ in range(3):
                value = dn * (1.0 + dn * (a2 + dn * (a3 + dn * a4))) - linear
                slope = 1.0 + dn * (2.0 * a2 + dn * (3.0 * a3 + dn * 4.0 * a4))
                dn -= value / slope
            out[y, x] = min(dn, full)
    return out


def expose(rate: np.ndarray, pixels: Pixels, camera: Camera, *name: object) -> Raw:
    """Raw counts of an exposure of ``rate`` (ny, nx; DN/s of light), by the chance named ``name``."""
    timing, region = camera.timing, camera.region
    shape = (region.ny, region.nx)
    sci = np.empty((timing.nints, timing.ngroups, *shape), np.uint16)
    zeroframe = np.empty((timing.nints, *shape), np.uint16)
    struck, balls = [np.zeros(0, HIT)], [np.zeros(0, SNOWBALL)]
    for integration in range(timing.nints):
        rng = generator(*name, "events", integration)
        rays, snow = strikes(rng, region, timing, camera.instrument, integration)
        rays = rays[pixels.sensitive[rays["y"], rays["x"]]]
        struck.append(rays)
        balls.append(snow)
        photons = _Photons(rate, pixels, timing, key(*name, "photons", integration))
        frames = _frames(photons, pixels, camera, rays, snow)
        electronics = _Electronics(camera, pixels, generator(*name, "electronics", integration))
        _digitise(frames, electronics, timing, sci[integration], zeroframe[integration])
    return Raw(sci, zeroframe, np.concatenate(struck), np.concatenate(balls))


class _Photons:
    """Electrons of light and dark current that gather while one or more frames pass."""

    def __init__(self, rate: np.ndarray, pixels: Pixels, timing: Readout, seed: np.uint64) -> None:
        mean = (rate + pixels.dark) * pixels.gain * timing.frame_time
        self._seed = seed
        self._means = {}
        for frames in {1, timing.groupgap + 1}:
            several = np.ascontiguousarray(mean * frames, dtype=np.float32)
            self._means[frames] = several, np.exp(-several)

    def gathered(self, last: int, frames: int) -> np.ndarray:
        """Electrons (ny, nx) of the ``frames`` frames up to the one numbered ``last``."""
        return poisson(*self._means[frames], self._seed + np.uint64(last))


def _frames(
    photons: _Photons, pixels: Pixels, camera: Camera, rays: np.ndarray, snow: np.ndarray
) -> Iterator[np.ndarray]:
    """Counts above the bias (ny, nx) of each frame that is read, one after the other."""
    timing = camera.timing
    charge = np.zeros(pixels.gain.shape, np.float32)
    before = -1
    for frame in range(timing.frames):
        if frame % timing.stride >= timing.nframes:
            continue
        charge += photons.gathered(frame, frame - before)
        _strike(charge, rays, snow, before, frame, camera.region)
        charge *= pixels.sensitive
        before = frame
        settling = pixels.anomaly * np.float32(reset_settling((frame + 1) * timing.frame_time))
        seen = _shared(charge, camera.instrument.ipc, pixels.sensitive)
        yield _measured(seen, pixels.gain, pixels.curvature, pixels.well, settling)


def reset_settling(seconds: float) -> float:
    """What is left of the anomaly ``seconds`` after the reset."""
    return math.exp(-seconds / RESET_DECAY)


def _strike(
    charge: np.ndarray,
    rays: np.ndarray,
    snow: np.ndarray,
    before: int,
    frame: int,
    region: Subarray,
) -> None:
    """Add to ``charge`` what hit after frame ``before`` and up to ``frame``."""
    now = rays[(rays["frame"] > before) & (rays["frame"] <= frame)]
    np.add.at(charge, (now["y"], now["x"]), now["electrons"])
    for ball in snow[(snow["frame"] > before) & (snow["frame"] <= frame)]:
        box, electrons = snowball_charge(ball, region)
        charge[box] += electrons


def _shared(charge: np.ndarray, share: float, sensitive: np.ndarray) -> np.ndarray:
    """Charge as seen through the capacitance between pixels: each neighbour sees ``share`` of it."""
    if share == 0.0:
        return charge
    around = np.zeros_like(charge)
    around[1:] += charge[:-1]
    around[:-1] += charge[1:]
    around[:, 1:] += charge[:, :-1]
    around[:, :-1] += charge[:, 1:]
    mixed = (1.0 - 4.0 * share) * charge + share * around
    return np.where(sensitive, mixed, 0.0).astype(np.float32)


def _digitise(
    frames: Iterator[np.ndarray],
    electronics: _Electronics,
    timing: Readout,
    sci: np.ndarray,
    zeroframe: np.ndarray,
) -> None:
    """Average frames into groups, add noise and bias, round to counts; fills ``sci`` and ``zeroframe``."""
    pedestal = electronics.pedestal()
    others = timing.nframes - 1
    for group in range(timing.ngroups):
        total = next(frames)
        if group == 0:
            first = electronics.noise()
            zeroframe[...] = _counts(total + first + pedestal)
            noise = first + (others**0.5 * electronics.noise() if others else 0.0)
            noise /= timing.nframes
        else:
            noise = electronics.noise() / timing.nframes**0.5
        for _ in range(others):
            total += next(frames)
        sci[group] = _counts(total / np.float32(timing.nframes) + noise + pedestal)


def _counts(dn: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(dn), 0, 65535).astype(np.uint16)


class _Electronics:
    """Bias, reset noise, and the noise of one frame: white, 1/f along the read order, drifting amplifiers."""

    def __init__(self, camera: Camera, pixels: Pixels, rng: np.random.Generator) -> None:
        self._camera, self._pixels, self._rng = camera, pixels, rng

    def pedestal(self) -> np.ndarray:
        """Bias and reset noise (ny, nx) of an integration, DN."""
        shape = self._pixels.bias.shape
        scatter = np.float32(self._camera.instrument.reset_noise)
        return self._pixels.bias + scatter * self._rng.standard_normal(shape, dtype=np.float32)

    def noise(self) -> np.ndarray:
        """Noise (ny, nx) of one frame, DN."""
        instrument, region = self._camera.instrument, self._camera.region
        shape = self._pixels.bias.shape
        image = self._pixels.read_noise * self._rng.standard_normal(shape, dtype=np.float32)
        width = region.nx // region.outputs
        common = self._stripes(width) * np.float32(_COMMON_SHARE**0.5)
        parity = (region.x0 + np.arange(width)) % 2
        for output in range(region.outputs):
            part = image[:, output * width : (output + 1) * width]
            part += common + self._stripes(width) * np.float32((1 - _COMMON_SHARE) ** 0.5)
            drift, odd_even = self._rng.standard_normal(2)
            part += np.float32(drift * instrument.amplifier_drift)
            part += (odd_even * instrument.odd_even_drift * (1 - 2 * parity)).astype(np.float32)
        return np.asarray(image)

    def _stripes(self, width: int) -> np.ndarray:
        """1/f noise (ny, width) in the order of reading, lines with their overhead."""
        region, detector = self._camera.region, self._camera.detector
        line = width + LINE_OVERHEAD
        series = one_over_f(self._rng, region.ny * line).reshape(region.ny, line)[:, :width]
        fast, slow = np.sign(detector.fast_axis), np.sign(detector.slow_axis)
        return series[::slow, ::fast] * np.float32(self._camera.instrument.one_over_f)
