"""One image array of a FITS file, read region by region.

``FitsArray`` is a small picklable handle: a worker opens the file by its path and reads only the bytes of the
region asked for. It understands the arrays of JWST files: big-endian integers and floats, and unsigned integers
stored with BZERO. Indexing it as an array makes it a source for ``dask.array.from_array``.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from operator import index as as_integer
from types import EllipsisType
from typing import Any

import numpy as np

from jwpipe.exposure import ExposureError
from jwpipe.io.local import LocalImage
from jwpipe.io.source import is_remote, read_region, unpacked
from jwpipe.numerics.byteorder import decoder


@dataclass(frozen=True)
class FitsArray:
    """The pixels of one HDU.

    ``stored`` is the big-endian dtype on disk, ``dtype`` the native dtype given back; where they differ in kind
    the values are unsigned integers stored with an offset (FITS BZERO). ``offset`` counts bytes of the unpacked
    file where ``compressed`` says that it is a gzip file. ``stamp`` changes with the file, so that dask never takes
    the pixels of an older file for those of a newer one.
    """

    path: str
    offset: int
    stored: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    stamp: int = 0
    compressed: bool = False

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the array on disk."""
        return prod(self.shape) * np.dtype(self.stored).itemsize

    def __getitem__(self, index: Any) -> np.ndarray:
        box, rest = bounding_box(index, self.shape)
        return np.asarray(self.read(box)[rest], order="C")

    def read(self, box: tuple[slice, ...], dtype: np.dtype[Any] | None = None) -> np.ndarray:
        """The pixels of a box (slices of step 1, one an axis), of ``dtype`` if that is given.

        Raises
        ------
        ExposureError
            The file cannot be read, or has changed.
        """
        wanted, stored = np.dtype(dtype or self.dtype), np.dtype(self.stored)
        pixels = np.empty([part.stop - part.start for part in box], wanted)
        decode = decoder(stored, self.dtype, wanted)
        if is_remote(self.path) and not self.compressed:
            raw = read_region(self.path, self.offset, stored, self.shape, box)
            decode(raw.reshape(-1).view(np.uint8), pixels.reshape(-1))
            return pixels
        with self._opened() as file:
            image = LocalImage(file, self.offset, stored.itemsize, self.shape, decode)
            image.read(box, pixels)
        return pixels

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            if self.compressed:
                yield unpacked(self.path, self.stamp).fileno()
                return
            file = os.open(self.path, os.O_RDONLY)
            try:
                self._check_stamp(os.fstat(file).st_mtime_ns)
                yield file
            finally:
                os.close(file)
        except OSError as error:
            raise ExposureError(
                f"{self.path}: its pixels cannot be read ({error}); the file must stay unchanged while it is "
                "worked on, and every worker must see it under this path"
            ) from error

    def _check_stamp(self, found: int) -> None:
        if self.stamp and found != self.stamp:
            raise ExposureError(
                f"{self.path}: the file has changed since it was opened; open it again"
            )


def bounding_box(index: Any, shape: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[Any, ...]]:
    """The smallest box of step 1 that holds ``index``, and the index within that box."""
    parts = list(index) if isinstance(index, tuple) else [index]
    for k, part in enumerate(parts):
        if isinstance(part, EllipsisType):
            parts[k : k + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
            break
    parts += [slice(None)] * (len(shape) - len(parts))
    pairs = [_one_axis(part, size) for part, size in zip(parts, shape, strict=True)]
    return tuple(box for box, _ in pairs), tuple(rest for _, rest in pairs)


def _one_axis(part: Any, size: int) -> tuple[slice, Any]:
    if isinstance(part, slice):
        wanted = range(size)[part]
        if not wanted:
            return slice(0, 0), slice(0, 0)
        low, high = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1])
        return slice(low, high + 1), slice(None, None, wanted.step)
    if np.ndim(part) == 0:
        position = range(size)[as_integer(part)]
        return slice(position, position + 1), 0
    places = np.arange(size)[np.asarray(part)]
    low, high = (int(places.min()), int(places.max())) if places.size else (0, -1)
    return slice(low, high + 1), places - low
