"""Boxes of an image in a local file, read by position and decoded piece by piece.

Mapping the file would cost a page fault every few rows, and its pages would count as memory of the process.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from jwpipe.io.runs import runs
from jwpipe.numerics.byteorder import Decode

PIECE = 1 << 18
"""Bytes read at once, so that they are decoded while they are in the cache."""
BAND = 1 << 20
"""Bytes of whole rows read at once where only some of their columns are wanted."""


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
        if len(self.shape) > 1 and pixels.shape[-1] != self.shape[-1]:
            self._read_columns(box, pixels)
            return
        scratch = np.empty(min(PIECE, pixels.size * self.itemsize), np.uint8)
        starts = [part.start for part in box]
        for index, first in runs(self.shape, starts, pixels.shape) if pixels.size else ():
            self._read_run(first, pixels[index].reshape(-1), scratch)

    def _read_columns(self, box: tuple[slice, ...], pixels: np.ndarray) -> None:
        """Bands of whole rows, cut to the columns wanted."""
        width = self.shape[-1]
        height = max(1, BAND // (width * self.itemsize))
        for top in range(0, pixels.shape[-2], height):
            target = pixels[..., top : top + height, :]
            first = box[-2].start + top
            rows = slice(first, first + target.shape[-2])
            band = np.empty((*target.shape[:-1], width), pixels.dtype)
            self.read((*box[:-2], rows, slice(0, width)), band)
            target[:] = band[..., box[-1]]

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
