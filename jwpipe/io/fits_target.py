"""The place of an array in a FITS file that is being written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from jwpipe.io.runs import runs


@dataclass(frozen=True)
class FitsTarget:
    """Takes blocks as ``target[slices] = block``, from any thread or process that sees ``path``.

    ``dtype`` is the native type of the array; the file gets it as FITS keeps it (`stored`).
    """

    path: str
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __setitem__(self, region: tuple[slice, ...], block: np.ndarray) -> None:
        starts = [part.indices(size)[0] for part, size in zip(region, self.shape, strict=True)]
        pixels = stored(block, self.dtype).reshape(-1).view(np.uint8).data
        places = [pixel for _, pixel in runs(self.shape, starts, block.shape)]
        size = len(pixels) // max(1, len(places))
        with _opened(self.path) as file:
            for k, pixel in enumerate(places):
                self._write(file, pixel, pixels[k * size : (k + 1) * size])

    def _write(self, file: int, pixel: int, rest: memoryview) -> None:
        position = self.offset + pixel * self.dtype.itemsize
        while rest:
            try:
                written = os.pwrite(file, rest, position)
            except OSError as error:
                raise OSError(error.errno, error.strerror, self.path) from error
            position += written
            rest = rest[written:]


@contextmanager
def _opened(path: str) -> Iterator[int]:
    file = os.open(path, os.O_WRONLY)
    try:
        yield file
    finally:
        os.close(file)


def stored(values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """``values`` as FITS keeps them: big-endian, unsigned integers wider than a byte with their sign bit flipped."""
    values = np.asarray(values).astype(dtype, copy=False)
    if dtype.kind == "u" and dtype.itemsize > 1:
        values = (values ^ dtype.type(1 << (8 * dtype.itemsize - 1))).view(f"i{dtype.itemsize}")
    return np.ascontiguousarray(values, values.dtype.newbyteorder(">"))
