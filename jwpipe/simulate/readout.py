"""Charge into raw counts: photons, hits, nonlinearity and saturation, frame by frame; then the electronics' noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from jwpipe.numerics.jit import kernel
from jwpipe.simulate.camera import Camera
from jwpipe.simulate.chance import generator, key, poisson
from jwpipe.simulate.electronics import Electronics, electronics_of
from jwpipe.simulate.events import Strikes, strikes
from jwpipe.simulate.instruments import Readout
from jwpipe.simulate.pixels import NONLINEARITY, Pixels

RESET_DECAY = 12.0
"""Seconds in which the anomaly after a reset falls by e."""

_A2, _A3, _A4 = NONLINEARITY


@dataclass(frozen=True, eq=False)
class Raw:
    """Raw counts of an exposure, uint16, and what hit it.

    Groups (i, g, y, x), first frames (i, y, x), and the reference output (i, g, y, x / 4) that MIRI has, else empty.
    """

    sci: np.ndarray
    zeroframe: np.ndarray
    reference_output: np.ndarray
    hits: np.ndarray
    snowballs: np.ndarray
    showers: np.ndarray


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
    taken = [
        _integration(rate, pixels, camera, integration, *name)
        for integration in range(camera.timing.nints)
    ]
    return Raw(*(_joined([getattr(one, each.name) for one in taken]) for each in fields(Raw)))


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _integration(
    rate: np.ndarray, pixels: Pixels, camera: Camera, integration: int, *name: object
) -> Raw:
    """One integration of an exposure."""
    timing = camera.timing
    rng = generator(*name, "events", integration)
    struck = strikes(
        rng, camera.region, timing, camera.instrument, integration, camera.detector.pixel_cm2
    )
    rays = struck.rays[pixels.sensitive[struck.rays["y"], struck.rays["x"]]]
    struck = Strikes(rays, struck.snowballs, struck.showers)
    dark = pixels.dark * (1.0 + camera.instrument.dark_growth * (integration > 0))
    photons = _Photons(rate + dark, pixels, timing, key(*name, "photons", integration))
    frames = _frames(photons, pixels, camera, struck)
    rng = generator(*name, "electronics", integration)
    electronics = electronics_of(camera, pixels, rng, integration)
    planes = _digitised(frames, electronics, timing)
    return Raw(*planes, struck.rays, struck.snowballs, struck.showers)


class _Photons:
    """Electrons of light and dark current that gather while one or more frames pass."""

    def __init__(self, rate: np.ndarray, pixels: Pixels, timing: Readout, seed: np.uint64) -> None:
        mean = rate * pixels.gain * timing.frame_time
        self._seed = seed
        self._means = {}
        for frames in {1, timing.groupgap + 1}:
            several = np.ascontiguousarray(mean * frames, dtype=np.float32)
            self._means[frames] = several, np.exp(-several)

    def gathered(self, last: int, frames: int) -> np.ndarray:
        """Electrons (ny, nx) of the ``frames`` frames up to the one numbered ``last``."""
        return poisson(*self._means[frames], self._seed + np.uint64(last))


def _frames(
    photons: _Photons, pixels: Pixels, camera: Camera, struck: Strikes
) -> Iterator[np.ndarray]:
    """Counts above the pedestal (ny, nx) of each frame that is read, one after the other."""
    timing = camera.timing
    charge = np.zeros(pixels.gain.shape, np.float32)
    full = pixels.well + (pixels.bias if camera.detector.mid_infrared else np.float32(0.0))
    before = -1
    for frame in range(timing.frames):
        if frame % timing.stride >= timing.nframes:
            continue
        charge += photons.gathered(frame, frame - before)
        struck.add(charge, before, frame, camera.region)
        charge *= pixels.sensitive
        before = frame
        start = _start(pixels, camera, (frame + 1) * timing.frame_time)
        seen = _shared(charge, camera.instrument.ipc, pixels.sensitive)
        yield _measured(seen, pixels.gain, pixels.curvature, full, start)


def _start(pixels: Pixels, camera: Camera, seconds: float) -> np.ndarray:
    """Linear counts (ny, nx) without charge: what the reset leaves; with MIRI the bias, which is never subtracted."""
    if camera.detector.mid_infrared:
        return linear_counts(pixels.bias, pixels.curvature)
    return pixels.anomaly * np.float32(reset_settling(seconds))


def linear_counts(counts: np.ndarray, curvature: np.ndarray) -> np.ndarray:
    """Counts without nonlinearity, by the polynomial of ``NONLINEARITY``, float32."""
    a2, a3, a4 = (factor * curvature for factor in NONLINEARITY)
    return np.asarray(
        counts * (1.0 + counts * (a2 + counts * (a3 + counts * a4))), dtype=np.float32
    )


def reset_settling(seconds: float) -> float:
    """What is left of the anomaly ``seconds`` after the reset."""
    return math.exp(-seconds / RESET_DECAY)


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


def _digitised(
    frames: Iterator[np.ndarray], electronics: Electronics, timing: Readout
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average frames into groups, add noise and bias, round to counts: ``sci``, ``zeroframe``, reference output."""
    pedestal = electronics.pedestal()
    groups, output, zeroframe = [], [], np.empty(0, np.uint16)
    others = timing.nframes - 1
    for group in range(timing.ngroups):
        total = next(frames)
        if group == 0:
            first = electronics.noise(group)
            zeroframe = _counts(electronics.laid_out(total) + first + pedestal)
            noise = first + (others**0.5 * electronics.noise(group) if others else 0.0)
            noise /= timing.nframes
        else:
            noise = electronics.noise(group) / timing.nframes**0.5
        for _ in range(others):
            total += next(frames)
        mean = electronics.laid_out(total / np.float32(timing.nframes))
        groups.append(_counts(mean + noise + pedestal))
        output.append(_counts(electronics.reference_output()))
    return np.stack(groups)[None], zeroframe[None], np.stack(output)[None]


def _counts(dn: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(dn), 0, 65535).astype(np.uint16)
