"""Boxes of an image in a local file, decoded piece by piece.

Whole rows are read by position: mapping the file would cost a page fault every few rows, and its pages would count
as memory of the process. Narrow columns are mapped, plane by plane. Planes so small that several fit into a piece are
read whole, whatever part of them is wanted: a call for each would take longer than its bytes.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from jwpipe.io.runs import runs
from jwpipe.numerics.byteorder import Decode

PIECE = 1 << 18
"""Bytes read at once, so that they are decoded while they are in the cache."""
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
        """Some columns, plane by plane: few of the bytes on the way from the first to the last are wanted."""
        *_, ny, nx = self.shape
        *outer, rows, columns = box
        for place, plane in zip(
            np.ndindex(pixels.shape[:-2]),
            product(*(range(part.start, part.stop) for part in outer)),
            strict=True,
        ):
            number = np.ravel_multi_index(plane, self.shape[:-2]) if plane else 0
            first = (int(number) * ny + rows.start) * nx
            self._read_mapped(first, nx, columns, pixels[place])

    def _read_mapped(self, first: int, width: int, columns: slice, pixels: np.ndarray) -> None:
        """Columns of the rows of ``width`` pixels from pixel ``first`` on; what is not wanted is never copied."""
        start = self.offset + first * self.itemsize
        size = pixels.shape[0] * width * self.itemsize
        if start + size > os.fstat(self.file).st_size:
            raise OSError("the file ends before its pixels do")
        page = start - start % mmap.ALLOCATIONGRANULARITY
        mapped = mmap.mmap(self.file, start - page + size, access=mmap.ACCESS_READ, offset=page)
        raw = np.frombuffer(mapped, np.uint8, size, start - page).reshape(pixels.shape[0], -1)
        wanted = raw[:, columns.start * self.itemsize : columns.stop * self.itemsize]
        part = np.empty(pixels.size, pixels.dtype)
        self.decode(wanted.reshape(-1), part)
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
