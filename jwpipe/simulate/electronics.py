"""The electronics: pedestals, and the noise of a frame as each kind of detector has it.

All images are in the layout of the raw data, which is that of the pixels but for IRS2 (``irs2.py``).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from jwpipe.simulate.camera import Camera
from jwpipe.simulate.chance import one_over_f
from jwpipe.simulate.detectors import LINE_OVERHEAD, MIRI_LINE_CLOCKS, MIRI_SKIPPED_LINE
from jwpipe.simulate.detectors import SAMPLE_TIME as CLOCK
from jwpipe.simulate.pixels import Pixels

COMMON_SHARE = 0.6
_MIRI_OUTPUTS = 4
_LATER_ANOMALY = 0.6
RESET_ANOMALY_GROUPS = 12
"""Groups after which MIRI's reset leaves nothing."""


class Electronics(Protocol):
    """What the electronics of one integration add."""

    def pedestal(self) -> np.ndarray:
        """Bias and reset noise of an integration, DN."""

    def noise(self, group: int) -> np.ndarray:
        """Noise of one frame, DN, and what the electronics add to it in this group."""

    def laid_out(self, counts: np.ndarray) -> np.ndarray:
        """``counts`` (ny, nx) in the layout of the raw data."""

    def reference_output(self) -> np.ndarray:
        """The reference output of the group of which noise was asked last, DN; empty where there is none."""


def electronics_of(
    camera: Camera, pixels: Pixels, rng: np.random.Generator, integration: int
) -> Electronics:
    """The electronics of a camera in one integration."""
    from jwpipe.simulate.irs2 import Irs2

    if camera.detector.mid_infrared:
        return MidInfrared(camera, pixels, rng, integration)
    return (Irs2 if camera.irs2 else NearInfrared)(camera, pixels, rng)


class NearInfrared:
    """White noise, 1/f along the read order, drifting amplifiers."""

    def __init__(self, camera: Camera, pixels: Pixels, rng: np.random.Generator) -> None:
        self._camera, self._pixels, self._rng = camera, pixels, rng

    def pedestal(self) -> np.ndarray:
        """Bias and reset noise (ny, nx) of an integration, DN."""
        shape = self._pixels.bias.shape
        scatter = np.float32(self._camera.instrument.reset_noise)
        return self._pixels.bias + scatter * self._rng.standard_normal(shape, dtype=np.float32)

    def noise(self, group: int) -> np.ndarray:
        """Noise (ny, nx) of one frame, DN."""
        instrument, detector = self._camera.instrument, self._camera.detector
        shape = self._pixels.bias.shape
        image = self._pixels.read_noise * self._rng.standard_normal(shape, dtype=np.float32)
        lines = detector.upright(image)
        width = lines.shape[1] // self._camera.outputs
        common = self._stripes(len(lines), width) * np.float32(COMMON_SHARE**0.5)
        region = self._camera.region
        first = region.x0 if abs(detector.fast_axis) == 1 else region.y0
        parity = (first + np.arange(width)) % 2
        for output in range(self._camera.outputs):
            part = lines[:, output * width : (output + 1) * width]
            part += common + self._stripes(len(lines), width) * np.float32(
                (1 - COMMON_SHARE) ** 0.5
            )
            drift, odd_even = self._rng.standard_normal(2)
            part += np.float32(drift * instrument.amplifier_drift)
            part += (odd_even * instrument.odd_even_drift * (1 - 2 * parity)).astype(np.float32)
        return np.asarray(image)

    def _stripes(self, lines: int, width: int) -> np.ndarray:
        """1/f noise (lines, width) in the order of reading, lines with their overhead."""
        detector = self._camera.detector
        line = width + LINE_OVERHEAD
        series = one_over_f(self._rng, lines * line).reshape(lines, line)[:, :width]
        fast, slow = np.sign(detector.fast_axis), np.sign(detector.slow_axis)
        return series[::slow, ::fast] * np.float32(self._camera.instrument.one_over_f)

    def laid_out(self, counts: np.ndarray) -> np.ndarray:
        """The pixels as they are."""
        return counts

    def reference_output(self) -> np.ndarray:
        """None is read."""
        return np.empty(0, np.float32)


class MidInfrared:
    """MIRI's: outputs that take turns along a row, the reset's transient, odd first and last frames, interference."""

    def __init__(
        self, camera: Camera, pixels: Pixels, rng: np.random.Generator, integration: int
    ) -> None:
        self._camera, self._pixels, self._rng = camera, pixels, rng
        self._integration = integration
        self._output = np.empty(0, np.float32)

    def pedestal(self) -> np.ndarray:
        """Reset noise (ny, nx) of an integration, DN; the bias is in the charge, since nonlinearity acts on it."""
        scatter = np.float32(self._camera.instrument.reset_noise)
        return scatter * self._rng.standard_normal(self._pixels.bias.shape, dtype=np.float32)

    def noise(self, group: int) -> np.ndarray:
        """Noise (ny, nx) of a group, DN, with all that hangs on its number."""
        pixels, knobs = self._pixels, self._camera.instrument
        image = pixels.read_noise * self._rng.standard_normal(pixels.bias.shape, dtype=np.float32)
        common = self._rng.standard_normal() * knobs.amplifier_drift
        for output in range(_MIRI_OUTPUTS):
            image[:, output::_MIRI_OUTPUTS] += self._drifts(common)
        shape = image.shape[0], image.shape[1] // _MIRI_OUTPUTS
        white = knobs.read_noise * self._rng.standard_normal(shape, dtype=np.float32)
        self._output = np.float32(knobs.bias) + white + self._drifts(common)
        image += reset_transient(self._camera, pixels, self._integration, group)
        image += np.float32(self._offset(group))
        if knobs.emi:
            image += interference(self._camera, self._integration, group)
        return np.asarray(image, np.float32)

    def _drifts(self, common: float) -> np.ndarray:
        """What an output drifted, DN (ny, 1): odd and even rows apart."""
        knobs, rows = self._camera.instrument, self._pixels.bias.shape[0]
        own, parity = self._rng.standard_normal(2) * (knobs.amplifier_drift, knobs.odd_even_drift)
        sign = 1 - 2 * ((self._camera.region.y0 + np.arange(rows)) % 2)
        return (common + own + parity * sign).astype(np.float32)[:, None]

    def _offset(self, group: int) -> float:
        """What is added to all pixels of a group: the first, the last, and the first few after an integration."""
        knobs, last = self._camera.instrument, self._camera.timing.ngroups - 1
        offset = knobs.first_frame * (group == 0) + knobs.last_frame * (group == last)
        return float(offset + knobs.decay * np.exp(-2.0 * group) * (self._integration > 0))

    def laid_out(self, counts: np.ndarray) -> np.ndarray:
        """The pixels as they are."""
        return counts

    def reference_output(self) -> np.ndarray:
        """The reference output (ny, nx / 4), DN."""
        return self._output


def reset_transient(camera: Camera, pixels: Pixels, integration: int, group: int) -> np.ndarray:
    """What the reset leaves in a group of MIRI (ny, nx), DN."""
    knobs = camera.instrument
    strength = np.exp(-group / knobs.reset_groups) * (1.0 if integration == 0 else _LATER_ANOMALY)
    return pixels.anomaly * np.float32(strength)


def interference(camera: Camera, integration: int, group: int) -> np.ndarray:
    """MIRI's electromagnetic interference in a group (ny, nx), DN: a sine of the time at which a pixel is read.

    The clock ticks in samples; a row's four outputs are read at once, a pixel in one clock (nine in slow patterns).
    An integration begins with a frame that only resets.
    """
    knobs, timing = camera.instrument, camera.timing
    slow = timing.pattern.startswith("SLOW")
    region = camera.region
    line = MIRI_LINE_CLOCKS["FULL_SLOW" if slow else region.name]
    frame = line * region.ny + (camera.detector.rows - region.ny) * MIRI_SKIPPED_LINE
    started = (integration * (timing.ngroups + 1) + group) * frame
    y, x = np.ogrid[: region.ny, : region.nx]
    clock = started + y * line + x // _MIRI_OUTPUTS * (9 if slow else 1)
    turns = np.asarray(clock * (CLOCK * knobs.emi_hz), np.float64) + knobs.emi_phase
    return (knobs.emi * np.sin(2 * np.pi * turns)).astype(np.float32)
