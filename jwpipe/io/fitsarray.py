"""One image array of a FITS file, read region by region.

``FitsArray`` is a small picklable handle: a worker opens the file by its path and reads only the bytes of the
region asked for. It understands the arrays of JWST files: big-endian integers and floats, and unsigned integers
stored with BZERO. Indexing it as an array makes it a source for ``dask.array.from_array``.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np


@dataclass(frozen=True)
class FitsArray:
    """The pixels of one HDU.

    ``stored`` is the big-endian dtype on disk, ``dtype`` the native dtype given back; where they differ in kind
    the values are unsigned integers stored with an offset (FITS BZERO).
    """

    path: str
    offset: int
    stored: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the array on disk."""
        return prod(self.shape) * np.dtype(self.stored).itemsize

    def __getitem__(self, index: Any) -> np.ndarray:
        raw = np.memmap(self.path, self.stored, "r", self.offset, self.shape)[index]
        return to_native(raw, self.dtype)


def to_native(raw: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """A native, contiguous copy of big-endian ``raw``; flips the sign bit of offset unsigned integers."""
    values = raw.astype(raw.dtype.newbyteorder("="), order="C")
    if dtype.kind == "u" and raw.dtype.kind == "i":
        unsigned = values.view(dtype)
        unsigned ^= dtype.type(1 << (8 * dtype.itemsize - 1))
        return unsigned
    return values.astype(dtype, copy=False)
