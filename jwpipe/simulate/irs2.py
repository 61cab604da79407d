"""NIRSpec's IRS2 readout: reference pixels between the others, and noise that both see.

A line of an output (in the order of reading) has 8 pixels, 4 reference pixels, then 16 and 4 by turns, and 8 pixels at
its end; stepping out to the reference pixels and back takes a clock each, the end of a line 8. A raw line holds the
reference output and the four others, 640 samples each, of which every second one from the first on is read backwards
(Rauscher et al. 2017, PASP 129, 105003; Moseley et al. 2010, Proc. SPIE 7742).
"""

from __future__ import annotations

import numpy as np

from jwpipe.simulate.camera import Camera
from jwpipe.simulate.chance import one_over_f
from jwpipe.simulate.detectors import FRAME_SIDE
from jwpipe.simulate.electronics import COMMON_SHARE
from jwpipe.simulate.pixels import Pixels

NORMAL, REFERENCE = 16, 4
OUTPUTS = 5
WIDTH = 640
LINE_CLOCKS = 712
_PERIODS = 32
_PERIOD = NORMAL + REFERENCE
BAD_READS = (2, 1, 5)
"""A pair of reference pixels that is broken: output, 1 or 2 for odd or even columns, place along the line."""
_BROKEN = 25.0


def is_reference() -> np.ndarray:
    """Which of the 640 samples of an output's line are reference pixels."""
    place = np.arange(WIDTH) % _PERIOD
    return (place >= NORMAL // 2) & (place < NORMAL // 2 + REFERENCE)


def sample_clocks() -> np.ndarray:
    """Clocks at which the 640 samples of a line are read, in the order of reading."""
    reference = is_reference()
    steps = np.abs(np.diff(reference.astype(int), prepend=0))
    return np.asarray(np.arange(WIDTH) + np.cumsum(steps))


def normal_columns() -> np.ndarray:
    """Which of the 3200 samples of a raw line are pixels."""
    output = ~is_reference()
    return np.concatenate([np.zeros(WIDTH, bool), *[output] * (OUTPUTS - 1)])


def broken_columns() -> slice:
    """The samples of the broken pair in a raw line."""
    output, parity, place = BAD_READS
    pair = parity - 1 if output % 2 else 2 - parity
    first = output * WIDTH + NORMAL // 2 + place * _PERIOD + 2 * pair
    return slice(first, first + 2)


def laid_out(image: np.ndarray, camera: Camera, between: float = 0) -> np.ndarray:
    """``image`` (2048, 2048) in the layout of raw data, (3200, 2048), with ``between`` in all that are no pixels."""
    raw = np.empty((FRAME_SIDE, OUTPUTS * WIDTH), image.dtype)
    raw[:] = between
    raw[:, normal_columns()] = camera.detector.as_read(image)
    return np.ascontiguousarray(camera.detector.as_seen(raw))


class Irs2:
    """White noise, and 1/f noise of two origins: common to all outputs, and of each output with its references."""

    def __init__(self, camera: Camera, pixels: Pixels, rng: np.random.Generator) -> None:
        self._camera, self._pixels, self._rng = camera, pixels, rng
        self._clocks = sample_clocks()

    def pedestal(self) -> np.ndarray:
        """Bias and reset noise (3200, 2048) of an integration, DN."""
        knobs = self._camera.instrument
        scatter = np.float32(knobs.reset_noise)
        shape = self._pixels.bias.shape
        bias = self._pixels.bias + scatter * self._rng.standard_normal(shape, dtype=np.float32)
        return laid_out(bias, self._camera, knobs.bias)

    def noise(self, group: int) -> np.ndarray:
        """Noise (3200, 2048) of one frame, DN."""
        knobs, share = self._camera.instrument, COMMON_SHARE
        shape = FRAME_SIDE, OUTPUTS * WIDTH
        lines = self._rng.standard_normal(shape, dtype=np.float32) * np.float32(knobs.read_noise)
        lines[:, broken_columns()] *= np.float32(_BROKEN)
        common = self._drift()
        for output in range(OUTPUTS):
            own = share**0.5 * common + (1 - share) ** 0.5 * self._drift()
            part = lines[:, output * WIDTH : (output + 1) * WIDTH]
            # every second output, the reference output among them, is read backwards
            part += own[:, :: 1 if output % 2 else -1]
            part += np.float32(self._rng.standard_normal() * knobs.amplifier_drift)
        return np.ascontiguousarray(self._camera.detector.as_seen(lines))

    def _drift(self) -> np.ndarray:
        """1/f noise (2048, 640) of the samples of an output in the order of reading, DN."""
        series = one_over_f(self._rng, FRAME_SIDE * LINE_CLOCKS).reshape(FRAME_SIDE, LINE_CLOCKS)
        return series[:, self._clocks] * np.float32(self._camera.instrument.one_over_f)

    def laid_out(self, counts: np.ndarray) -> np.ndarray:
        """The pixels among the samples of reference, which see no light."""
        return laid_out(counts, self._camera)

    def reference_output(self) -> np.ndarray:
        """It is among the samples."""
        return np.empty(0, np.float32)


def filters(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """The filters of the reference output and of the interleaved pixels, by frequency (712 x 2048, complex).

    They take the drift out where it exceeds the noise of the samples that tell of it: S / (S + N) for power spectra of
    the 1/f noise and of white noise. Interleaved pixels fill 8 of 22 clocks (each is used twice), hence the factor.
    """
    knobs, count = camera.instrument, FRAME_SIDE * LINE_CLOCKS
    frequency = np.minimum(np.arange(count), count - np.arange(count)).astype(np.float64)
    frequency[0] = 1.0
    drift = knobs.one_over_f**2 * count / (2.0 * np.log(count / 2) * frequency)
    period = _PERIOD + 2
    white = knobs.read_noise**2
    own = drift / (drift + white * period / REFERENCE)
    own[frequency > count / period / 2] = 0.0
    shared = COMMON_SHARE * drift / (drift + white * period / _PERIOD)
    beta = (period / (2 * REFERENCE)) * own
    alpha = (1.0 - own) * shared
    return alpha.astype(np.complex64), beta.astype(np.complex64)
