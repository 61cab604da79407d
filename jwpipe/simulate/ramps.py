"""Small ramps as plain arrays, for trying out and testing single steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Ramp:
    """A linear ramp without bias: counts ``sci`` (i, g, y, x), flags, and the truth of each pixel (y, x).

    ``rate`` in DN/s, ``gain`` in e-/DN, ``readnoise`` of the difference of two frames in DN, ``group_time`` in s;
    ``hits`` (i, g, y, x) holds the DN that a cosmic ray added between a group and the one before.
    """

    sci: np.ndarray
    groupdq: np.ndarray
    pixeldq: np.ndarray
    rate: np.ndarray
    gain: np.ndarray
    readnoise: np.ndarray
    hits: np.ndarray
    group_time: float
    nframes: int


def ramp(
    ny: int = 16,
    nx: int = 16,
    ngroups: int = 8,
    nints: int = 1,
    *,
    rate: float | np.ndarray = 2.0,
    gain: float = 2.0,
    readnoise: float = 5.0,
    group_time: float = 10.0,
    nframes: int = 1,
    hit_fraction: float = 0.0,
    hit_dn: float = 500.0,
    seed: int = 1,
) -> Ramp:
    """A ramp of photon and read noise with a hit of ``hit_dn`` in ``hit_fraction`` of the group differences.

    Photons come between groups: within a group they are not averaged, which matters for bright pixels only.
    """
    rng = np.random.default_rng(seed)
    true = np.broadcast_to(np.asarray(rate, np.float64), (ny, nx))
    shape = (nints, ngroups, ny, nx)
    hits = np.where(rng.uniform(size=shape) < hit_fraction, hit_dn, 0.0)
    hits[:, 0] = 0.0
    electrons = rng.poisson(np.maximum(true, 0.0) * group_time * gain, shape)
    counts = np.cumsum(electrons / gain + hits, axis=1)
    counts += rng.normal(0.0, readnoise / np.sqrt(2.0 * nframes), shape)
    return Ramp(
        sci=counts.astype(np.float32),
        groupdq=np.zeros(shape, np.uint8),
        pixeldq=np.zeros((ny, nx), np.uint32),
        rate=true.astype(np.float32),
        gain=np.full((ny, nx), gain, np.float32),
        readnoise=np.full((ny, nx), readnoise, np.float32),
        hits=hits.astype(np.float32),
        group_time=group_time,
        nframes=nframes,
    )
