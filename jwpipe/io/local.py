"""Boxes of an image in a local file, decoded piece by piece.

Whole rows are read by position: mapping the file would cost a page fault every few rows, and its pages would count
as memory of the process. Narrow columns are mapped, many planes at a time. Planes so small that several fit into a
piece are read whole, whatever part of them is wanted: a call for each would take longer than its bytes.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from jwpipe.io.runs import runs
from jwpipe.numerics.byteorder import Decode

PIECE = 1 << 18
"""Bytes read at once, so that they are decoded while they are in the cache."""
MAPPED = 32 << 20
"""Bytes of a file that are mapped at once where some columns are read; of their pages only those with them count."""
SMALL_PLANE = PIECE // 4


@dataclass(frozen=True)
class LocalImage:
    """An image of ``shape`` in an open file (a descriptor), pixels of ``itemsize`` bytes from ``offset`` on."""

    file: int
    offset: int
    itemsize: int
    shape: tuple[int, ...]
    decode: Decode

    def read(self, box: tuple[slice, ...], pixels: np.ndarray) -> None:
        """Read a box (slices of step 1, one an axis) into the contiguous ``pixels``.

        Raises
        ------
        OSError
            The file cannot be read, or ends too early.
        """
        if self._is_run_of_small_planes(pixels.shape):
            self._read_planes(box, pixels)
            return
        if len(self.shape) > 1 and pixels.shape[-1] != self.shape[-1]:
            self._read_columns(box, pixels)
            return
        scratch = np.empty(min(PIECE, pixels.size * self.itemsize), np.uint8)
        starts = [part.start for part in box]
        for index, first in runs(self.shape, starts, pixels.shape) if pixels.size else ():
            self._read_run(first, pixels[index].reshape(-1), scratch)

    @property
    def _plane(self) -> int:
        """Bytes of a plane (y, x)."""
        return prod(self.shape[-2:]) * self.itemsize

    def _is_run_of_small_planes(self, shape: tuple[int, ...]) -> bool:
        """Whether a box of ``shape`` is part of small planes that follow each other in the file."""
        together = shape[1:-2] == self.shape[1:-2]
        return len(shape) > 2 and prod(shape) > 0 and together and self._plane <= SMALL_PLANE

    def _read_planes(self, box: tuple[slice, ...], pixels: np.ndarray) -> None:
        """Parts of planes that follow each other, several planes at a time."""
        *outer, rows, columns = box
        first = outer[0].start * prod(self.shape[1:-2])
        parts = pixels.reshape(-1, *pixels.shape[-2:])
        step = PIECE // self._plane
        scratch = np.empty(min(step, len(parts)) * self._plane, np.uint8)
        for start in range(0, len(parts), step):
            some = parts[start : start + step]
            raw = scratch[: len(some) * self._plane]
            self._read_bytes(self.offset + (first + start) * self._plane, raw)
            planes = raw.reshape(len(some), self.shape[-2], self.shape[-1], self.itemsize)
            wanted = np.ascontiguousarray(planes[:, rows, columns])
            self.decode(wanted.reshape(-1), some.reshape(-1))

    def _read_columns(self, box: tuple[slice, ...], pixels: np.ndarray) -> None:
        """Some columns, many planes at a time: few of the bytes on the way from first to last are wanted."""
        *_, ny, nx = self.shape
        *outer, rows, columns = box
        step = max(1, MAPPED // (ny * nx * self.itemsize))
        for place, first, count in _neighbours(self.shape[:-2], outer):
            into = pixels[place].reshape(count, *pixels.shape[-2:])
            for start in range(0, count, step):
                part = into[start : start + step]
                self._read_mapped(first + start, (rows, columns), part)

    def _read_mapped(self, first: int, region: tuple[slice, slice], pixels: np.ndarray) -> None:
        """A region of the planes from number ``first`` on; what is not wanted is never copied."""
        *_, ny, nx = self.shape
        rows, columns = region
        width = nx * self.itemsize
        start = self.offset + (first * ny + rows.start) * width
        size = ((len(pixels) - 1) * ny + rows.stop - rows.start) * width
        if start + size > os.fstat(self.file).st_size:
            raise OSError("the file ends before its pixels do")
        page = start - start % mmap.ALLOCATIONGRANULARITY
        mapped = mmap.mmap(self.file, start - page + size, access=mmap.ACCESS_READ, offset=page)
        raw = np.ndarray(
            (len(pixels), pixels.shape[1], pixels.shape[2] * self.itemsize),
            np.uint8,
            mapped,
            start - page + columns.start * self.itemsize,
            (ny * width, width, 1),
        )
        part = np.empty(pixels.size, pixels.dtype)
        self.decode(raw.reshape(-1), part)
        pixels[:] = part.reshape(pixels.shape)

    def _read_run(self, first: int, pixels: np.ndarray, scratch: np.ndarray) -> None:
        step = scratch.size // self.itemsize
        for start in range(0, pixels.size, step):
            part = pixels[start : start + step]
            raw = scratch[: part.size * self.itemsize]
            self._read_bytes(self.offset + (first + start) * self.itemsize, raw)
            self.decode(raw, part)

    def _read_bytes(self, position: int, raw: np.ndarray) -> None:
        rest = raw.data
        while rest:
            count = os.preadv(self.file, [rest], position)
            if not count:
                raise OSError("the file ends before its pixels do")
            rest, position = rest[count:], position + count


def _neighbours(
    shape: tuple[int, ...], outer: list[slice]
) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """Planes of a box (slices of the leading axes) that follow each other in the file.

    Yields their place in the box's first axes, the number of the first in the file, and how many they are.
    """
    axis = len(shape)
    while axis > 0 and outer[axis - 1] == slice(0, shape[axis - 1]):
        axis -= 1
    # Of the last axis that is cut the planes still follow each other.
    looped = outer[: max(0, axis - 1)]
    starts = [part.start for part in outer]
    for place in np.ndindex(*(part.stop - part.start for part in looped)):
        index = [start + k for start, k in zip(starts, place, strict=False)]
        index += starts[len(place) :]
        first = 0
        for position, size in zip(index, shape, strict=True):
            first = first * size + position
        count = prod(part.stop - part.start for part in outer[len(looped) :])
        yield tuple(place), first, count
