"""The detectors: where they are in the focal plane, how they are read, and the subarrays of each.

A detector's geometry is the second-order part of its published distortion: V2 and V3 (arcsec) as polynomials in
``u = (x - 1023.5) / 1024`` and ``v = (y - 1023.5) / 1024`` with 0-based pixels, terms ``1 u v u^2 uv v^2``; those
beside NIRCam are straight. Another detector is added by adding its rows to the tables here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

FRAME_SIDE = 2048
REFERENCE_BORDER = 4
SAMPLE_TIME = 1e-5
LINE_OVERHEAD = 12
PIXEL_AREA_CM2 = 18e-4**2
MIRI_PIXEL_AREA_CM2 = 25e-4**2
IRS2_FRAME_CLOCKS = 712 * FRAME_SIDE + 714


@dataclass(frozen=True)
class Detector:
    """One detector: where it is in the focal plane, how it is read, and its gain (e-/DN).

    ``fast_axis`` and ``slow_axis`` are those of the header: 1 for x, 2 for y, negative against it.
    """

    name: str
    instrument: str
    module: str
    channel: str
    fast_axis: int
    slow_axis: int
    v2: tuple[float, ...]
    v3: tuple[float, ...]
    gain: float
    rows: int = FRAME_SIDE
    columns: int = FRAME_SIDE

    @property
    def mid_infrared(self) -> bool:
        """Whether it is one of MIRI's, with outputs that take turns and reference pixels on two sides."""
        return self.instrument == "MIRI"

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

    @property
    def pixel_cm2(self) -> float:
        """Area of a pixel on the chip, square centimetres."""
        return MIRI_PIXEL_AREA_CM2 if self.mid_infrared else PIXEL_AREA_CM2

    def upright(self, image: np.ndarray) -> np.ndarray:
        """A view of ``image`` (..., y, x) with the direction of fast reading along its last axis, or against it."""
        return image if abs(self.fast_axis) == 1 else np.swapaxes(image, -1, -2)

    def as_read(self, image: np.ndarray) -> np.ndarray:
        """A view of ``image`` (..., y, x) in the order of reading (..., line, place in the line)."""
        slow, fast = self._directions
        return self.upright(image)[..., ::slow, ::fast]

    def as_seen(self, lines: np.ndarray) -> np.ndarray:
        """A view of ``lines``, in the order of reading, as an image: what ``as_read`` undoes."""
        slow, fast = self._directions
        return self.upright(lines[..., ::slow, ::fast])

    @property
    def _directions(self) -> tuple[int, int]:
        """Steps along the slow and the fast axis of an upright image, 1 or -1."""
        return (1 if self.slow_axis > 0 else -1), (1 if self.fast_axis > 0 else -1)

    def outputs(self, region: Subarray) -> int:
        """Amplifiers in use: four with MIRI and where lines are read whole, else one."""
        fast = region.nx if abs(self.fast_axis) == 1 else region.ny
        return 4 if self.mid_infrared or fast == FRAME_SIDE else 1

    def frame_time(self, region: Subarray, pattern: str = "") -> float:
        """Seconds to read one frame.

        Near infrared: lines have 12 clocks of overhead, frames one or two extra lines; MIRI skips lines in 7 clocks.
        """
        if self.mid_infrared:
            line = MIRI_LINE_CLOCKS["FULL_SLOW" if pattern.startswith("SLOW") else region.name]
            return (line * region.ny + (self.rows - region.ny) * MIRI_SKIPPED_LINE) * SAMPLE_TIME
        if is_irs2(pattern):
            return IRS2_FRAME_CLOCKS * SAMPLE_TIME
        outputs = self.outputs(region)
        fast, slow = (region.nx, region.ny) if abs(self.fast_axis) == 1 else (region.ny, region.nx)
        return (fast // outputs + LINE_OVERHEAD) * (slow + (1 if outputs == 4 else 2)) * SAMPLE_TIME


def is_irs2(pattern: str) -> bool:
    """Whether reference pixels are read between the others."""
    return "IRS2" in pattern


def _nircam(name: str, direction: int, v2: tuple[float, ...], v3: tuple[float, ...]) -> Detector:
    long = name.endswith("LONG")
    channel, gain = ("LONG", 1.82) if long else ("SHORT", 2.05)
    return Detector(name, "NIRCAM", name[3], channel, direction, -2 * direction, v2, v3, gain)


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


def _straight(
    name: str,
    instrument: str,
    axes: tuple[int, int],
    centre: tuple[float, float],
    scale: float,
    angle: float,
    gain: float,
    size: tuple[int, int] = (FRAME_SIDE, FRAME_SIDE),
) -> Detector:
    """A detector without distortion: V2 and V3 of its middle, arcsec a pixel, degrees from V3 to its y axis."""
    sine, cosine = math.sin(math.radians(angle)) * scale, math.cos(math.radians(angle)) * scale
    across, along = ((1023.5 - (side - 1) / 2) for side in (size[1], size[0]))
    v2 = centre[0] - cosine * across + sine * along, -1024 * cosine, 1024 * sine, 0.0, 0.0, 0.0
    v3 = centre[1] + sine * across + cosine * along, 1024 * sine, 1024 * cosine, 0.0, 0.0, 0.0
    return Detector(name, instrument, "", "", *axes, v2, v3, gain, *size)


_OTHERS = (
    _straight("NIS", "NIRISS", (-2, -1), (-290.1, -697.5), 0.0656, 0.57, 1.61),
    _straight("NRS1", "NIRSPEC", (2, 1), (428.9, -468.7), 0.1045, 138.5, 1.0),
    _straight("NRS2", "NIRSPEC", (-2, -1), (279.9, -337.9), 0.1045, 138.5, 1.1),
    _straight("GUIDER1", "FGS", (-2, -1), (206.4, -697.9), 0.0691, -1.25, 1.75),
    _straight("GUIDER2", "FGS", (2, -1), (24.4, -697.9), 0.0691, 0.18, 1.75),
    _straight("MIRIMAGE", "MIRI", (1, 2), (-453.6, -373.8), 0.1109, 4.84, 3.1, (1024, 1032)),
    _straight("MIRIFUSHORT", "MIRI", (1, 2), (-503.6, -318.7), 0.196, 8.3, 3.1, (1024, 1032)),
    _straight("MIRIFULONG", "MIRI", (1, 2), (-503.6, -318.7), 0.273, 8.3, 3.1, (1024, 1032)),
)
DETECTORS = {detector.name: detector for detector in (*_NIRCAM, *_OTHERS)}
_MODULE_CENTRE = {"A": DETECTORS["NRCALONG"].centre, "B": DETECTORS["NRCBLONG"].centre}


@dataclass(frozen=True)
class Subarray:
    """The part of a detector that is read: first pixel (0-based) and size in the science frame."""

    name: str
    x0: int
    y0: int
    nx: int
    ny: int


_EXTENDED = {"SUB640": 640, "SUB320": 320, "SUB160": 160}
_POINT = {"SUB400P": 400, "SUB160P": 160, "SUB64P": 64}


_SUBARRAYS = {
    "NIRISS": (
        Subarray("SUB256", 1792, 1792, 256, 256), Subarray("SUB128", 1920, 1920, 128, 128),
        Subarray("SUB80", 1044, 0, 80, 80), Subarray("SUBSTRIP256", 0, 1792, 2048, 256),
        Subarray("SUBSTRIP96", 0, 1802, 2048, 96),
    ),
    "NIRSPEC": (
        Subarray("ALLSLITS", 0, 896, 2048, 256), Subarray("SUBS200A1", 0, 1056, 2048, 64),
        Subarray("SUB2048", 0, 944, 2048, 32), Subarray("SUB512", 1024, 944, 512, 32),
        Subarray("SUB32", 1008, 944, 32, 32),
    ),
    "FGS": (Subarray("SUB128LL", 128, 128, 128, 128), Subarray("SUB128CNTR", 960, 960, 128, 128)),
    "MIRI": (
        Subarray("BRIGHTSKY", 456, 50, 512, 512), Subarray("SUB256", 412, 50, 256, 256),
        Subarray("SUB128", 0, 888, 136, 128), Subarray("SUB64", 0, 778, 72, 64),
        Subarray("SLITLESSPRISM", 0, 528, 72, 416), Subarray("MASK1065", 0, 18, 288, 224),
        Subarray("MASK1140", 0, 244, 288, 224), Subarray("MASK1550", 0, 466, 288, 224),
        Subarray("MASKLYOT", 0, 716, 320, 304),
    ),
}  # fmt: skip
MIRI_SKIPPED_LINE = 7
MIRI_LINE_CLOCKS = {
    "FULL": 271, "FULL_SLOW": 2333, "BRIGHTSKY": 162, "SUB256": 96, "SUB128": 44, "SUB64": 28,
    "SLITLESSPRISM": 28, "MASK1065": 82, "MASK1140": 82, "MASK1550": 82, "MASKLYOT": 90,
}  # fmt: skip
"""Clocks of MIRI from a line to the next."""


def subarray(detector: Detector, name: str, size: int | None = None) -> Subarray:
    """The subarray ``name`` of ``detector``, or with ``size`` a square one of that side at the same place.

    NIRCam's ``SUB640``, ``SUB320`` and ``SUB160`` lie in the corner next to the middle of the module and share
    reference pixels on two edges; on the long-wave detectors they lie in the middle and have none. ``SUB400P``,
    ``SUB160P`` and ``SUB64P`` lie in the upper right corner. A size of its own is named ``GENERIC``; those of MIRI
    have none, since its timing hangs on their names.

    Raises
    ------
    ValueError
        For a name that the instrument does not have, or a size that does not fit.
    """
    if name == "FULL" and size is None:
        return Subarray("FULL", 0, 0, detector.columns, detector.rows)
    if detector.instrument != "NIRCAM":
        return _fixed(detector, name, size)
    if name not in {"FULL", *_EXTENDED, *_POINT}:
        _unknown(name, [*_EXTENDED, *_POINT])
    side = size or {**_EXTENDED, **_POINT}[name]
    _check_size(side, FRAME_SIDE)
    label = name if size is None else "GENERIC"
    if name in _POINT:
        return Subarray(label, FRAME_SIDE - side, FRAME_SIDE - side, side, side)
    x0, y0 = _inner_corner(detector, side)
    return Subarray(label, x0, y0, side, side)


def _unknown(name: str, others: list[str]) -> None:
    raise ValueError(f"unknown subarray {name!r}; known ones: {', '.join(['FULL', *others])}")


def _check_size(side: int, largest: int) -> None:
    if not 8 <= side <= largest:
        raise ValueError(f"a subarray of {side} pixels does not fit a detector of {largest}")


def _fixed(detector: Detector, name: str, size: int | None) -> Subarray:
    """A subarray of an instrument that has them in a table."""
    known = {region.name: region for region in _SUBARRAYS[detector.instrument]}
    if name not in known and name != "FULL":
        _unknown(name, list(known))
    if size is None:
        return known[name]
    if detector.mid_infrared:
        raise ValueError("MIRI has subarrays by name only; leave size out")
    start = known.get(name, Subarray("FULL", 0, 0, 0, 0))
    _check_size(size, FRAME_SIDE - max(start.x0, start.y0))
    return Subarray("GENERIC", start.x0, start.y0, size, size)


def _inner_corner(detector: Detector, side: int) -> tuple[int, int]:
    """First pixel of the square next to the module's middle (x runs against V2, y along V3)."""
    far = FRAME_SIDE - side
    if detector.channel == "LONG":
        return far // 2, far // 2
    v2, v3 = _MODULE_CENTRE[detector.module]
    return (far if v2 < detector.centre[0] else 0), (far if v3 > detector.centre[1] else 0)
