"""Flicker noise of all frames of an exposure, lazily and within a bounded memory.

Steps before this one make blocks of rows with all groups; noise is told by whole frames. Exposures that are small
enough stay in memory between the two. Of larger ones some frames at a time are put together, each time from the raw
pixels anew, and what is found of them is small; then all blocks are made once more, and corrected.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import dask.array as da
import numpy as np

from jwpipe.again import again
from jwpipe.dq import Group
from jwpipe.stage1.flicker.frame import Cleaning, background_of, fitted, restored

UNUSABLE = np.uint8(Group.DO_NOT_USE | Group.JUMP_DET)
SAMPLE_BYTES = 5
HELD = 256 << 20
"""Bytes of a ramp and its flags that may stay in memory as a whole."""
BATCH = 160 << 20
"""Bytes of the frames that are put together at a time, of exposures that are not held."""
STEP = 64 << 20
"""The same of exposures that are."""
PIECE = 16 << 20
"""Bytes of the frames that a task looks at, unless one frame is larger."""

Planes = tuple[slice, slice]
NONE = np.empty((0, 0, 0, 0), np.float32)


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames (i, n, y, x) of an exposure that are cleaned: ``cut`` gives some of them, lazily.

    ``made_of`` are the exposure's arrays behind them.
    """

    count: tuple[int, int]
    shape: tuple[int, int]
    cut: Callable[[Planes], da.Array]
    made_of: tuple[da.Array, ...]

    @property
    def is_small(self) -> bool:
        """Whether what the frames are made of may be held in memory."""
        return prod((*self.count, *self.shape)) * SAMPLE_BYTES <= HELD

    @property
    def held(self) -> tuple[da.Array, ...]:
        """What stays in memory: the exposure's pixels, or nothing, and they are computed anew for each batch."""
        return self.made_of if self.is_small else ()

    @property
    def whole(self) -> Planes:
        """All frames."""
        return slice(0, self.count[0]), slice(0, self.count[1])

    def batches(self) -> Iterator[Planes]:
        """Frames that are put together at a time."""
        step, width = self._fitting(STEP if self.is_small else BATCH)
        for i in range(0, self.count[0], step):
            for n in range(0, self.count[1], width):
                yield (
                    slice(i, min(i + step, self.count[0])),
                    slice(n, min(n + width, self.count[1])),
                )

    @property
    def piece(self) -> tuple[int, int]:
        """How many frames, along both axes, a task looks at."""
        return self._fitting(PIECE)

    def _fitting(self, size: int) -> tuple[int, int]:
        room = max(1, size // (4 * prod(self.shape)))
        number = max(1, self.count[1])
        return max(1, room // number), min(room, number)


def differences(sci: da.Array, groupdq: da.Array) -> Frames:
    """What each group added (i, g - 1, y, x): NaN where it is flagged as a jump or not to be used."""
    integrations, groups, *shape = sci.shape

    def cut(planes: Planes) -> da.Array:
        """Differences of neighbouring groups."""
        i, n = planes
        counts = sci[i, n.start : n.stop + 1].rechunk({1: -1})
        flags = groupdq[i, n.start + 1 : n.stop + 1].rechunk(
            {0: counts.chunks[0], 1: -1, 2: counts.chunks[2], 3: counts.chunks[3]}
        )
        chunks = (counts.chunks[0], flags.chunks[1], *counts.chunks[2:])
        return da.map_blocks(added, counts, flags, chunks=chunks, dtype=np.float32, meta=NONE)

    count = integrations, max(groups - 1, 0)
    return Frames(count, (shape[0], shape[1]), cut, (sci, groupdq))


def added(sci: np.ndarray, groupdq: np.ndarray) -> np.ndarray:
    """Differences of consecutive groups (i, g, y, x); ``groupdq`` are the flags of the later ones."""
    difference = np.subtract(sci[:, 1:], sci[:, :-1], dtype=np.float32)
    difference[groupdq & UNUSABLE != 0] = np.nan
    return difference


def images(sci: da.Array) -> Frames:
    """Count rates (i, n, y, x) as they are."""
    count, shape = sci.shape[:2], sci.shape[2:]
    return Frames((count[0], count[1]), (shape[0], shape[1]), lambda planes: sci[planes], (sci,))


@dataclass(frozen=True, eq=False)
class Job:
    """All that the cleaning of an exposure takes.

    ``scene`` (y, x), or (i, y, x), is True where a frame shows background; frames are divided by ``flat`` (y, x).
    ``chosen`` is ``how``, or a Delayed that differs from it in what the shape of results does not depend on.
    """

    frames: Frames
    scene: da.Array
    flat: da.Array | None
    how: Cleaning
    chosen: Any

    def found(self) -> da.Array:
        """What `flicker_frame.fitted` finds of each frame (i, n, 1 + K, m), with one chunk for each."""
        rows: dict[int, list[da.Array]] = {}
        last = self.scene
        for planes in self.frames.batches():
            part = self.frames.cut(planes)
            # Batches follow one another, so that few frames are in memory.
            part = again({"": part}, last, kept=self.frames.held)[""]
            last = self._each(_fit, part, planes, self.how.slots(self.frames.shape))
            rows.setdefault(planes[0].start, []).append(last)
        return da.concatenate([da.concatenate(row, axis=1) for row in rows.values()], axis=0)

    def backgrounds(self) -> da.Array:
        """The background of each frame (i, n, y, x) that was left out for the fit."""
        whole = self.frames.whole
        return self._each(_background, self.frames.cut(whole), whole, self.frames.shape)

    def _each(
        self,
        function: Callable[..., np.ndarray],
        part: da.Array,
        planes: Planes,
        shape: tuple[int, int],
    ) -> da.Array:
        """``function`` of each frame of ``part``, which are ``planes`` of the exposure's."""
        frame, piece = self.frames.shape, self.frames.piece
        part = part.rechunk((*piece, *frame))
        if self.scene.ndim == 3:
            scene = self.scene[planes[0]][:, None].rechunk((part.chunks[0], 1, *frame))
        else:
            scene = self.scene.rechunk(frame)
        return da.map_blocks(
            function,
            part,
            scene,
            None if self.flat is None else self.flat.rechunk(frame),
            how=self.chosen,
            chunks=(*part.chunks[:2], *((size,) for size in shape)),
            dtype=np.float32,
            meta=NONE,
        )


def _usable(frame: np.ndarray, scene: np.ndarray, flat: np.ndarray | None) -> np.ndarray:
    """A frame (y, x), divided by the flat, NaN where it shows no background."""
    image = np.where(scene, frame, np.float32(np.nan))
    return image if flat is None else image / flat


def _each_frame(
    frames: np.ndarray, scene: np.ndarray, flat: np.ndarray | None
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    for place in np.ndindex(frames.shape[:2]):
        mask = scene if scene.ndim == 2 else scene[place[0], 0]
        yield place, _usable(frames[place], mask, flat)


def _fit(
    frames: np.ndarray, scene: np.ndarray, flat: np.ndarray | None, how: Cleaning
) -> np.ndarray:
    result = np.empty((*frames.shape[:2], *how.slots(frames.shape[2:])), np.float32)
    for place, image in _each_frame(frames, scene, flat):
        result[place] = fitted(image, how)
    return result


def _background(
    frames: np.ndarray, scene: np.ndarray, flat: np.ndarray | None, how: Cleaning
) -> np.ndarray:
    result = np.zeros(frames.shape, np.float32)
    for place, image in _each_frame(frames, scene, flat):
        background = background_of(image, how)
        if background is not None:
            result[place] = background.level if background.image is None else background.image
    return result


def corrected(
    function: Callable[..., np.ndarray],
    sci: da.Array,
    found: da.Array,
    job: Job,
    *more: tuple[da.Array, str],
) -> da.Array:
    """``function(sci, level, noise of the frames, flat, *more, ...)`` of each block of an exposure (i, g, y, x).

    ``more`` are arrays and the names of their dimensions, of which i, y and x are those of the exposure.
    """
    sci = sci.rechunk({1: -1})
    level, rest = found[:, :, 0, 0], found[:, :, 1:]
    whole: dict[int, Any] = {0: sci.chunks[0]} | dict.fromkeys(range(1, 4), -1)
    dense = job.how.is_dense(job.frames.shape)
    chunks = {2: sci.chunks[2], 3: sci.chunks[3]} if dense else {}
    operands: list[Any] = [sci, "igyx", level.rechunk({0: sci.chunks[0], 1: -1}), "ib"]
    operands += [rest.rechunk(whole | chunks), "ibyx" if dense else "ibkm"]
    operands += [None, None] if job.flat is None else [job.flat.rechunk(sci.chunks[2:]), "yx"]
    for axis, name in ((2, "y"), (3, "x")):
        operands += [da.arange(sci.shape[axis], chunks=(sci.chunks[axis],)), name]
    for array, names in more:
        operands += [array, names]
    return da.blockwise(
        partial(function, shape=job.frames.shape, how=job.how),
        "igyx",
        *operands,
        concatenate=True,
        dtype=np.float32,
        meta=NONE,
    )


def accumulated(
    sci: np.ndarray,
    level: np.ndarray,
    found: np.ndarray,
    flat: np.ndarray | None,
    rows: np.ndarray,
    columns: np.ndarray,
    *,
    shape: tuple[int, int],
    how: Cleaning,
) -> np.ndarray:
    """Groups (i, g, y, x) that are each the one before it and what was added between them, cleaned."""
    result = sci.astype(np.float32)
    for i, g in np.ndindex(level.shape):
        if np.isfinite(level[i, g]):
            step = np.subtract(sci[i, g + 1], sci[i, g], dtype=np.float32)
            noise = how.noise(found[i, g], rows, columns, shape)
            np.add(result[i, g], restored(step, level[i, g], noise, flat), out=result[i, g + 1])
    return result


def cleaned(
    sci: np.ndarray,
    level: np.ndarray,
    found: np.ndarray,
    flat: np.ndarray | None,
    rows: np.ndarray,
    columns: np.ndarray,
    *,
    shape: tuple[int, int],
    how: Cleaning,
) -> np.ndarray:
    """Images (i, n, y, x), each cleaned by itself."""
    result = sci.astype(np.float32)
    for i, n in np.ndindex(level.shape):
        if np.isfinite(level[i, n]):
            noise = how.noise(found[i, n], rows, columns, shape)
            result[i, n] = restored(result[i, n], level[i, n], noise, flat)
    return result


def scaled_median(sci: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The median of all integrations (g, y, x), scaled to each (i, g, y, x); NaN do not count."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        middle = np.nanmedian(sci, axis=0)
    result: np.ndarray = scale[:, None, None, None] * middle
    return result


def residuals(sci: da.Array, scale: da.Array) -> Frames:
    """What differs in each integration from the median of all (i, g, y, x), which is scaled to it by ``scale`` (i)."""
    integrations, groups, *shape = sci.shape

    def cut(planes: Planes) -> da.Array:
        """Planes less the scaled median image."""
        return _with_scale(_residual, sci[:, planes[1]], scale)[planes[0]]

    return Frames((integrations, groups), (shape[0], shape[1]), cut, (sci,))


def scaled_medians(sci: da.Array, scale: da.Array) -> da.Array:
    """`scaled_median`, lazily."""
    return _with_scale(scaled_median, sci, scale)


def _with_scale(function: Callable[..., np.ndarray], sci: da.Array, scale: da.Array) -> da.Array:
    whole = sci.rechunk({0: -1})
    operands = (whole, "igyx", scale.rechunk(-1), "i")
    return da.blockwise(function, "igyx", *operands, dtype=np.float32, meta=NONE)


def _residual(sci: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return (sci - scaled_median(sci, scale)).astype(np.float32)


def cleaned_residuals(
    sci: np.ndarray,
    level: np.ndarray,
    found: np.ndarray,
    flat: np.ndarray | None,
    rows: np.ndarray,
    columns: np.ndarray,
    scale: np.ndarray,
    *,
    shape: tuple[int, int],
    how: Cleaning,
) -> np.ndarray:
    """Integrations (i, g, y, x), their difference from the median of all cleaned."""
    middle = scaled_median(sci, scale)
    rest = cleaned(sci - middle, level, found, flat, rows, columns, shape=shape, how=how)
    result = (middle + rest).astype(np.float32)
    told = np.isfinite(level)[:, :, None, None]
    return np.where(told, result, sci.astype(np.float32))
