"""Flicker noise of one frame: what its background pixels say of it.

A frame is what was added between two groups, a count rate, or a group less the scene. The noise found is kept small:
a value a line, or Fourier coefficients, from which ``noise`` makes the noise of any region.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any, Literal

import numpy as np

from jwpipe.numerics.clipping import grouped, limits
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.medians import middle_of
from jwpipe.numerics.nsclean import frame_model, waves
from jwpipe.numerics.nsclean_series import Filter, series_model
from jwpipe.numerics.views import read_only
from jwpipe.stage1.flicker.background import (
    EVERYTHING,
    Clip,
    Window,
    inside,
    level_and_window,
    modelled,
)

FULL = 2048
OUTPUTS = 4
NAN = np.float32(np.nan)
FREQUENCIES = Filter()


@dataclass(frozen=True)
class Cleaning:
    """How the frames of an exposure are cleaned.

    ``axis`` is that along which the median of a line is taken (1: x). ``parts`` is 4 where lines of full frames may be
    cut into those of the detector's outputs, and ``by_output`` says that they are. ``clip`` sigma below and above,
    pixels tell no noise; ``None``: no such limits. ``passed`` are the frequencies fitted in subarrays.
    """

    method: Literal["median", "fft"] = "median"
    background: Literal["median", "model"] | None = "median"
    box: tuple[int, int] | None = None
    clip: Clip | None = (2.0, 2.0)
    axis: int = 1
    parts: int = 1
    by_output: bool = False
    detector: str = ""
    passed: Filter = FREQUENCIES

    def slots(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """The shape of what ``fitted`` makes of a frame of ``shape``: a row for the level, then those of the noise."""
        if self.method == "median":
            return 1 + (self.parts if shape[self.axis] == FULL else 1), shape[1 - self.axis]
        return 1 + (len(waves(FULL)) if _is_full(shape) else shape[0]), shape[1]

    def is_dense(self, shape: tuple[int, ...]) -> bool:
        """Whether the noise of frames of ``shape`` is found pixel by pixel."""
        return self.method == "fft" and not _is_full(shape)

    def noise(
        self, found: np.ndarray, rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]
    ) -> np.ndarray:
        """The noise on rows and columns of a frame of ``shape``; broadcasts where it is the same along an axis.

        Parameters
        ----------
        found
            The rows after the first of what ``fitted`` found; where it is dense, on the region alone.
        rows, columns
            Indices of the region.
        """
        if self.is_dense(shape):
            return found
        if self.method == "fft":
            basis = waves(FULL)[:, rows].T.astype(np.float32)
            return basis @ found[:, columns]
        along, line = (columns, rows) if self.axis == 1 else (rows, columns)
        values = found[:, line]
        if len(found) > 1:
            values = values[along * len(found) // shape[self.axis]]
        return values.T if self.axis == 1 else values


def _is_full(shape: tuple[int, ...]) -> bool:
    return shape == (FULL, FULL)


@dataclass(frozen=True)
class Background:
    """The background of a frame: ``level`` all over, or ``image`` (y, x), and which pixels tell the noise.

    These are within the ``window``; with an ``image`` it is that of the rest, and they are ``used`` for the image.
    """

    level: np.float32
    window: Window
    image: np.ndarray | None = None
    used: np.ndarray | None = None


def fitted(image: np.ndarray, how: Cleaning) -> np.ndarray:
    """The level and the noise of a frame, in the shape of ``Cleaning.slots``.

    Parameters
    ----------
    image
        The frame (y, x) float32; NaN where it shows no background or cannot be used.

    Returns
    -------
    (1 + K, n) float32
        The level that was left out, NaN if the frame tells nothing, all along the first row; then what ``noise`` takes.
    """
    result = np.full(how.slots(image.shape), NAN)
    background = background_of(image, how)
    if background is None:
        return result
    found = _noise(_without(image, background), background, how)
    if found is not None:
        result[0] = background.level
        result[1:] = found
    return result


def background_of(image: np.ndarray, how: Cleaning) -> Background | None:
    """The background of a frame as given to ``fitted``; ``None`` where no pixel shows it."""
    finite = np.isfinite(image)
    if not finite.any():
        return None
    if how.background is None:
        return Background(np.float32(0), EVERYTHING)
    if how.background == "median":
        return Background(*level_and_window(image[finite], how.clip))
    smooth, used = modelled(np.where(finite, image, np.float32(0)), finite, how.box)
    window = EVERYTHING
    if how.clip is not None:
        rest = grouped((image - smooth)[used].astype(np.float32))
        window = (*limits(rest, -inf, inf, *how.clip), -inf, inf)
    return Background(np.float32(0), window, smooth, used)


def _without(image: np.ndarray, background: Background) -> np.ndarray:
    """The frame without its background (y, x), NaN where that was not made of it."""
    if background.image is None or background.used is None:
        return image
    rest = np.where(background.used, image - background.image, NAN)
    return rest.astype(np.float32, copy=False)


def _noise(image: np.ndarray, background: Background, how: Cleaning) -> np.ndarray | None:
    """What ``noise`` takes; ``None`` where the noise cannot be told."""
    if how.method == "median":
        lines = image if how.axis == 1 else image.T
        parts = how.parts if how.by_output and lines.shape[1] == FULL else 1
        found = line_medians(*read_only(lines), background.level, background.window, parts)
        return np.broadcast_to(found, (how.slots(image.shape)[0] - 1, len(lines)))
    mask = inside(image, background.level, background.window)
    rest = np.where(mask, image - background.level, np.float32(0))
    lines, usable = _to_detector(how, rest), _to_detector(how, mask)
    if _is_full(image.shape):
        return _to_science(frame_model(lines, usable), how)
    model = series_model(lines, usable, how.passed)
    return None if model is None else _to_science(model.T, how)


def _to_detector(how: Cleaning, image: np.ndarray) -> np.ndarray:
    """NIRSpec's image in the detector's frame: lines along y of the image, those of NRS2 from the last."""
    return np.ascontiguousarray(image.T[:: 1 if how.detector == "NRS1" else -1])


def _to_science(lines: np.ndarray, how: Cleaning) -> np.ndarray:
    """Columns of an image (n, x) from those of the detector's lines."""
    return lines if how.detector == "NRS1" else lines[:, ::-1]


@kernel
def line_medians(image: np.ndarray, level: np.float32, window: Window, parts: int) -> np.ndarray:
    """Medians (part, line) of what is above ``level`` in each part of the lines (line, x); 0 where nothing is.

    Only pixels in the window count; NaN do not.
    """
    low, high, lowest, highest = window
    ny, nx = image.shape
    width = nx // parts
    medians = np.zeros((parts, ny), np.float32)
    values = np.empty(width + 1, np.float32)
    few = np.empty(width, np.float32)
    for y in range(ny):
        for part in range(parts):
            count = 0
            for x in range(part * width, part * width + width):
                v = image[y, x]
                rest = v - level
                values[count] = rest
                inside = (low <= v) & (v <= high) & (lowest <= rest) & (rest <= highest)
                count += 1 if inside else 0
            if count:
                medians[part, y] = middle_of(values, count, few)
    return medians


def restored(
    image: np.ndarray, level: Any, noise: np.ndarray, flat: np.ndarray | None
) -> np.ndarray:
    """An image (y, x) without its noise, in the order in which frames are taken apart and put together again."""
    rest = image if flat is None else image / flat
    rest = ((rest - level) - noise) + level
    return rest if flat is None else rest * flat
