"""The place of an array in a FITS file that is being written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np


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
        run = self._first_axis_of_runs(block.shape)
        strides = [prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]
        first = sum(start * stride for start, stride in zip(starts, strides, strict=True))
        with _opened(self.path) as file:
            for index in product(*map(range, block.shape[:run])):
                ahead = sum(n * stride for n, stride in zip(index, strides, strict=False))
                self._write(file, first + ahead, block[index])

    def _first_axis_of_runs(self, sizes: tuple[int, ...]) -> int:
        """The axis from which on the pixels of a block lie one after the other in the file."""
        axis = len(sizes) - 1
        while axis > 0 and sizes[axis] == self.shape[axis]:
            axis -= 1
        return axis

    def _write(self, file: int, pixel: int, values: np.ndarray) -> None:
        rest = stored(values, self.dtype).reshape(-1).view(np.uint8).data
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
