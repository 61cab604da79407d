"""Facts about instruments: detectors, subarrays, read patterns, filters; and the knobs of the simulation.

A detector's geometry is the second-order part of its published distortion: V2 and V3 (arcsec) as polynomials in
``u = (x - 1023.5) / 1024`` and ``v = (y - 1023.5) / 1024`` with 0-based pixels, terms ``1 u v u^2 uv v^2``.
Another instrument is added by adding its rows to the tables here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FRAME_SIDE = 2048
REFERENCE_BORDER = 4
SAMPLE_TIME = 1e-5
LINE_OVERHEAD = 12
PIXEL_AREA_CM2 = 18e-4**2


@dataclass(frozen=True)
class Detector:
    """One detector: where it is in the focal plane, how it is read, and its typical electronics."""

    name: str
    module: str
    channel: str
    fast_axis: int
    slow_axis: int
    v2: tuple[float, ...]
    v3: tuple[float, ...]
    gain: float

    @property
    def centre(self) -> tuple[float, float]:
        """V2 and V3 of the detector's centre, arcsec."""
        return self.v2[0], self.v3[0]

    @property
    def pixel_scale(self) -> float:
        """Side of a square pixel of the nominal area, arcsec."""
        determinant = self.v2[1] * self.v3[2] - self.v2[2] * self.v3[1]
        return math.sqrt(abs(determinant)) / 1024.0

    @property
    def pixel_area_sr(self) -> float:
        """Nominal pixel area, steradians."""
        return math.radians(self.pixel_scale / 3600.0) ** 2


def _nircam(name: str, direction: int, v2: tuple[float, ...], v3: tuple[float, ...]) -> Detector:
    long = name.endswith("LONG")
    channel, gain = ("LONG", 1.82) if long else ("SHORT", 2.05)
    return Detector(name, name[3], channel, direction, -2 * direction, v2, v3, gain)


_NIRCAM = (
    _nircam("NRCA1", -1, (120.52524, -31.89654, -0.31656, -0.00234, 0.21811, 0.03829),
            (-527.54289, -0.28598, 32.08364, 0.06897, 0.04239, -0.15087)),
    _nircam("NRCA2", 1, (119.58889, -31.4841, -0.12001, -0.00255, 0.1707, 0.03571),
            (-459.86351, -0.15393, 31.58588, 0.0894, 0.03967, -0.08467)),
    _nircam("NRCA3", -1, (51.88581, -32.04483, 0.15561, -0.06648, 0.22108, 0.01262),
            (-527.95252, 0.0163, 32.22089, 0.06894, 0.0844, -0.15298)),
    _nircam("NRCA4", 1, (52.19479, -31.62695, 0.04828, -0.06493, 0.17233, 0.01409),
            (-459.97271, 0.02351, 31.71568, 0.08985, 0.08269, -0.08532)),
    _nircam("NRCALONG", -1, (86.03907, -64.38693, -0.08134, -0.12679, 0.76361, 0.10278),
            (-493.38558, -0.17877, 64.69488, 0.32469, 0.24235, -0.44663)),
    _nircam("NRCB1", 1, (-120.96931, -31.47586, 0.20088, 0.00372, 0.16911, -0.03597),
            (-457.78899, 0.23606, 31.57895, 0.08997, -0.04077, -0.08237)),
    _nircam("NRCB2", -1, (-121.15447, -31.88368, 0.48235, 0.00537, 0.21579, -0.03859),
            (-525.47791, 0.4582, 32.06732, 0.06955, -0.04613, -0.14812)),
    _nircam("NRCB3", 1, (-53.14018, -31.62301, -0.2407, 0.06538, 0.17169, -0.01246),
            (-457.82198, -0.22147, 31.7103, 0.09117, -0.0817, -0.08342)),
    _nircam("NRCB4", -1, (-52.84593, -32.03832, -0.17971, 0.06757, 0.21983, -0.01209),
            (-525.72911, -0.042, 32.2065, 0.06962, -0.08466, -0.15061)),
    _nircam("NRCBLONG", 1, (-89.59643, -64.49195, 0.00687, 0.1203, 0.7607, -0.10344),
            (-491.47424, 0.09847, 64.79636, 0.32884, -0.23702, -0.43973)),
)  # fmt: skip
DETECTORS = {detector.name: detector for detector in _NIRCAM}
_MODULE_CENTRE = {"A": DETECTORS["NRCALONG"].centre, "B": DETECTORS["NRCBLONG"].centre}


@dataclass(frozen=True)
class Subarray:
    """The part of a detector that is read: first pixel (0-based) and size in the science frame."""

    name: str
    x0: int
    y0: int
    nx: int
    ny: int

    @property
    def outputs(self) -> int:
        """Amplifiers in use: four for the full frame, else one."""
        return 4 if self.nx == FRAME_SIDE else 1

    @property
    def frame_time(self) -> float:
        """Seconds to read one frame: lines have 12 clocks of overhead, frames one or two extra lines."""
        extra = 1 if self.outputs == 4 else 2
        line = self.nx // self.outputs + LINE_OVERHEAD
        return line * (self.ny + extra) * SAMPLE_TIME


_EXTENDED = {"SUB640": 640, "SUB320": 320, "SUB160": 160}
_POINT = {"SUB400P": 400, "SUB160P": 160, "SUB64P": 64}


def subarray(detector: Detector, name: str, size: int | None = None) -> Subarray:
    """The subarray ``name`` of ``detector``, or with ``size`` a square one of that side at the same place.

    ``SUB640``, ``SUB320`` and ``SUB160`` lie in the corner next to the middle of the module and share reference
    pixels on two edges; on the long-wave detectors they lie in the middle and have none. ``SUB400P``, ``SUB160P``
    and ``SUB64P`` lie in the upper right corner. A size of its own is named ``GENERIC``.
    """
    if name == "FULL" and size is None:
        return Subarray("FULL", 0, 0, FRAME_SIDE, FRAME_SIDE)
    if name not in {"FULL", *_EXTENDED, *_POINT}:
        known = ", ".join(["FULL", *_EXTENDED, *_POINT])
        raise ValueError(f"unknown subarray {name!r}; known ones: {known}")
    side = size or {**_EXTENDED, **_POINT}[name]
    if not 8 <= side <= FRAME_SIDE:
        raise ValueError(f"a subarray of {side} pixels does not fit a detector of {FRAME_SIDE}")
    label = name if size is None else "GENERIC"
    if name in _POINT:
        return Subarray(label, FRAME_SIDE - side, FRAME_SIDE - side, side, side)
    x0, y0 = _inner_corner(detector, side)
    return Subarray(label, x0, y0, side, side)


def _inner_corner(detector: Detector, side: int) -> tuple[int, int]:
    """First pixel of the square next to the module's middle (x runs against V2, y along V3)."""
    far = FRAME_SIDE - side
    if detector.channel == "LONG":
        return far // 2, far // 2
    v2, v3 = _MODULE_CENTRE[detector.module]
    return (far if v2 < detector.centre[0] else 0), (far if v3 > detector.centre[1] else 0)


READ_PATTERNS = {
    "RAPID": (1, 0), "BRIGHT1": (1, 1), "BRIGHT2": (2, 0), "SHALLOW2": (2, 3), "SHALLOW4": (4, 1),
    "MEDIUM2": (2, 8), "MEDIUM8": (8, 2), "DEEP2": (2, 18), "DEEP8": (8, 12),
}  # fmt: skip


@dataclass(frozen=True)
class Readout:
    """When a detector is read: ``nframes`` averaged into a group, ``groupgap`` dropped between groups."""

    pattern: str
    nframes: int
    groupgap: int
    ngroups: int
    nints: int
    frame_time: float

    @property
    def stride(self) -> int:
        """Frames from one group to the next."""
        return self.nframes + self.groupgap

    @property
    def frames(self) -> int:
        """Frames in an integration, the dropped ones counted up to the last one read."""
        return self.stride * (self.ngroups - 1) + self.nframes

    @property
    def group_time(self) -> float:
        """Seconds between groups."""
        return self.stride * self.frame_time


def readout(pattern: str, ngroups: int, nints: int, frame_time: float) -> Readout:
    """The timing of an exposure; raises ValueError for an unknown read pattern."""
    if pattern not in READ_PATTERNS:
        raise ValueError(
            f"unknown read pattern {pattern!r}; known ones: {', '.join(READ_PATTERNS)}"
        )
    nframes, groupgap = READ_PATTERNS[pattern]
    return Readout(pattern, nframes, groupgap, ngroups, nints, frame_time)


@dataclass(frozen=True)
class Filter:
    """A filter: band (micron), brightness of 1 DN/s (MJy/sr), AB - Vega magnitude, image shift (pixels)."""

    name: str
    channel: str
    wavelength: float
    bandwidth: float
    photmjsr: float
    ab_vega: float
    offset: tuple[float, float]


_FILTERS = (
    Filter("F090W", "SHORT", 0.901, 0.194, 3.30, 0.504, (0.11, -0.05)),
    Filter("F115W", "SHORT", 1.154, 0.225, 2.98, 0.783, (-0.06, 0.14)),
    Filter("F150W", "SHORT", 1.501, 0.318, 2.21, 1.243, (-0.11, 0.06)),
    Filter("F200W", "SHORT", 1.990, 0.461, 1.85, 1.705, (0.17, -0.09)),
    Filter("F277W", "LONG", 2.786, 0.672, 0.41, 2.315, (-0.01, -0.56)),
    Filter("F356W", "LONG", 3.563, 0.787, 0.39, 2.824, (-0.13, -0.49)),
    Filter("F444W", "LONG", 4.421, 1.024, 0.44, 3.242, (-0.09, -0.07)),
)
FILTERS = {item.name: item for item in _FILTERS}


@dataclass(frozen=True)
class Instrument:
    """Knobs of the detectors' behaviour; DN are those of the raw data.

    ``read_noise`` is that of one frame; ``amplifier_drift`` and ``odd_even_drift`` are the offsets that each
    amplifier takes from group to group; ``one_over_f`` is the rms of the 1/f noise in one frame; ``reset_noise`` the
    scatter of the pedestal from integration to integration; ``cosmic_ray_rate`` counts hits on 1 cm^2 in 1 s and
    ``snowball_rate`` those that saturate a disc of pixels.
    """

    bias: float = 12000.0
    read_noise: float = 3.6
    reset_noise: float = 6.0
    amplifier_drift: float = 3.0
    odd_even_drift: float = 1.0
    one_over_f: float = 1.0
    dark_current: float = 0.002
    reset_anomaly: float = 3.0
    full_well: float = 47000.0
    nonlinearity: float = 1.0
    flat_rms: float = 0.02
    hot_fraction: float = 1e-3
    dead_fraction: float = 5e-4
    odd_reference_fraction: float = 1e-4
    ipc: float = 0.0
    cosmic_ray_rate: float = 5.0
    snowball_rate: float = 0.004
    pointing_error_mas: float = 6.0
    roll_error_arcsec: float = 2.0
    velocity_aberration: float = 1.00005
