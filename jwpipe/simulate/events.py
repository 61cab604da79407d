"""What hits a detector from the side: cosmic rays, snowballs and showers, each with a record."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jwpipe.simulate.detectors import PIXEL_AREA_CM2, Subarray
from jwpipe.simulate.instruments import Instrument, Readout

HIT = np.dtype(
    [("integration", "i4"), ("frame", "i4"), ("y", "i4"), ("x", "i4"), ("electrons", "f4"), ("event", "i4")]
)  # fmt: skip
"""Charge that an event left in one pixel; ``frame`` is the first frame of the integration that shows it."""

SNOWBALL = np.dtype(
    [("integration", "i4"), ("frame", "i4"), ("y", "f4"), ("x", "f4"), ("core", "f4"), ("halo", "f4")]
)  # fmt: skip
"""A snowball: its middle, the radius (pixels) that saturates and the one that the halo reaches."""

SHOWER = np.dtype(
    [("integration", "i4"), ("frame", "i4"), ("y", "f4"), ("x", "f4"), ("major", "f4"), ("minor", "f4"),
     ("angle", "f4"), ("electrons", "f4")]
)  # fmt: skip
"""A shower: faint light in a Gaussian ellipse, its middle, scales (pixels), angle from x to y, and height."""

_THICKNESS = 0.3
_ELECTRONS_PER_PIXEL_LENGTH = 9000.0
_TRACK_STEPS = 64
_LONGEST_TRACK = 30.0


def cosmic_rays(
    rng: np.random.Generator, region: Subarray, timing: Readout, integration: int, rate: float
) -> np.ndarray:
    """Hits (dtype ``HIT``) of one integration, ``rate`` events on a square centimetre in a second.

    Tracks come from all directions through a layer ``_THICKNESS`` pixels deep and leave charge along their length.
    """
    exposure = region.nx * region.ny * PIXEL_AREA_CM2 * timing.frames * timing.frame_time
    count = int(rng.poisson(rate * exposure))
    frame = rng.integers(0, timing.frames, count)
    start = rng.uniform(0.0, 1.0, (count, 2)) * (region.ny, region.nx) - 0.5
    cosine = np.sqrt(rng.uniform(size=count))
    sideways = np.minimum(_THICKNESS * np.sqrt(1.0 - cosine**2) / cosine, _LONGEST_TRACK)
    length = np.hypot(sideways, _THICKNESS)
    charge = _ELECTRONS_PER_PIXEL_LENGTH * length * rng.lognormal(-0.4, 0.7, count)
    angle = rng.uniform(0.0, 2 * math.pi, count)
    step = (np.arange(_TRACK_STEPS) + 0.5) / _TRACK_STEPS * sideways[:, None]
    y = np.rint(start[:, :1] + step * np.sin(angle)[:, None]).astype(np.int64)
    x = np.rint(start[:, 1:] + step * np.cos(angle)[:, None]).astype(np.int64)
    return _gathered(integration, frame, y, x, charge, region)


def _gathered(
    integration: int,
    frame: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    charge: np.ndarray,
    region: Subarray,
) -> np.ndarray:
    """One record for every pixel of every track, the steps in a pixel added up."""
    event = np.broadcast_to(np.arange(len(frame))[:, None], y.shape)
    inside = (y >= 0) & (y < region.ny) & (x >= 0) & (x < region.nx)
    cell = (event[inside] * region.ny + y[inside]) * region.nx + x[inside]
    cells, steps = np.unique(cell, return_counts=True)
    hits = np.zeros(cells.size, HIT)
    hits["integration"] = integration
    hits["x"] = cells % region.nx
    hits["y"] = cells // region.nx % region.ny
    hits["event"] = cells // (region.nx * region.ny)
    hits["frame"] = frame[hits["event"]]
    hits["electrons"] = charge[hits["event"]] * steps / _TRACK_STEPS
    return hits


def snowballs(
    rng: np.random.Generator, region: Subarray, timing: Readout, integration: int, rate: float
) -> np.ndarray:
    """Snowballs (dtype ``SNOWBALL``) of one integration."""
    exposure = region.nx * region.ny * PIXEL_AREA_CM2 * timing.frames * timing.frame_time
    balls = np.zeros(int(rng.poisson(rate * exposure)), SNOWBALL)
    balls["integration"] = integration
    balls["frame"] = rng.integers(0, timing.frames, balls.size)
    balls["y"], balls["x"] = (
        rng.uniform(0, region.ny, balls.size),
        rng.uniform(0, region.nx, balls.size),
    )
    balls["core"] = np.minimum(2.5 * rng.pareto(2.0, balls.size) + 2.5, 14.0)
    balls["halo"] = balls["core"] * rng.uniform(1.8, 2.6, balls.size)
    return balls


def snowball_charge(ball: np.void, region: Subarray) -> tuple[tuple[slice, slice], np.ndarray]:
    """The box of pixels that a snowball touches, and the electrons it leaves there."""
    reach = int(ball["halo"] * 2.6) + 1
    y0, x0 = max(int(ball["y"]) - reach, 0), max(int(ball["x"]) - reach, 0)
    box = (
        slice(y0, min(int(ball["y"]) + reach + 1, region.ny)),
        slice(x0, min(int(ball["x"]) + reach + 1, region.nx)),
    )
    y, x = np.ogrid[box]
    radius = np.hypot(y - ball["y"], x - ball["x"])
    halo = 4000.0 * np.exp(-np.maximum(radius - ball["core"], 0.0) / (0.25 * ball["halo"]))
    core = 3.0e5 / (1.0 + np.exp(3.0 * (radius - ball["core"])))
    return box, (core + halo).astype(np.float32)


def showers(
    rng: np.random.Generator, region: Subarray, timing: Readout, integration: int, rate: float
) -> np.ndarray:
    """Showers (dtype ``SHOWER``) of one integration."""
    exposure = region.nx * region.ny * PIXEL_AREA_CM2 * timing.frames * timing.frame_time
    count = int(rng.poisson(rate * exposure))
    found = np.zeros(count, SHOWER)
    found["integration"] = integration
    found["frame"] = rng.integers(0, timing.frames, count)
    found["y"], found["x"] = rng.uniform(0, region.ny, count), rng.uniform(0, region.nx, count)
    found["major"] = rng.uniform(14.0, 30.0, count)
    found["minor"] = found["major"] * rng.uniform(0.5, 1.0, count)
    found["angle"] = rng.uniform(0.0, math.pi, count)
    found["electrons"] = rng.uniform(100.0, 300.0, count)
    return found


def shower_charge(shower: np.void, region: Subarray) -> np.ndarray:
    """Electrons (ny, nx) that a shower leaves."""
    y, x = np.ogrid[: region.ny, : region.nx]
    dy, dx = y - shower["y"], x - shower["x"]
    cosine, sine = math.cos(shower["angle"]), math.sin(shower["angle"])
    along, across = dx * cosine + dy * sine, dy * cosine - dx * sine
    radius = (along / shower["major"]) ** 2 + (across / shower["minor"]) ** 2
    return np.asarray(shower["electrons"] * np.exp(-radius), np.float32)


@dataclass(frozen=True, eq=False)
class Strikes:
    """What strikes in one integration: records of dtype ``HIT``, ``SNOWBALL`` and ``SHOWER``."""

    rays: np.ndarray
    snowballs: np.ndarray
    showers: np.ndarray

    def add(self, charge: np.ndarray, before: int, frame: int, region: Subarray) -> None:
        """Add to ``charge`` (ny, nx; electrons) what struck after frame ``before`` and up to ``frame``."""
        now = self.rays[_between(self.rays, before, frame)]
        np.add.at(charge, (now["y"], now["x"]), now["electrons"])
        for ball in self.snowballs[_between(self.snowballs, before, frame)]:
            box, electrons = snowball_charge(ball, region)
            charge[box] += electrons
        for shower in self.showers[_between(self.showers, before, frame)]:
            charge += shower_charge(shower, region)


def _between(events: np.ndarray, before: int, frame: int) -> np.ndarray:
    return (events["frame"] > before) & (events["frame"] <= frame)


def strikes(
    rng: np.random.Generator,
    region: Subarray,
    timing: Readout,
    instrument: Instrument,
    integration: int,
    pixel_cm2: float = PIXEL_AREA_CM2,
) -> Strikes:
    """What strikes in one integration on pixels of the area ``pixel_cm2``."""
    larger = pixel_cm2 / PIXEL_AREA_CM2
    where = rng, region, timing, integration
    return Strikes(
        cosmic_rays(*where, instrument.cosmic_ray_rate * larger),
        snowballs(*where, instrument.snowball_rate * larger),
        showers(*where, instrument.shower_rate * larger),
    )
