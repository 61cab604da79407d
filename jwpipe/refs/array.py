"""Pixels of a reference as a small lazy handle that workers read region by region.

A ``RefArray`` is a chain of small frozen values: pixels in a file, cut to the exposure's subarray,
DQ translated, perhaps transformed. It pickles to a few hundred bytes, compares and hashes by what
it stands for, and so serves as its own cache key.
"""

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from jwpipe.io.fitsarray import FitsArray
from jwpipe.numerics.stripes import Run
from jwpipe.refs.cache import CACHE, SparseFlags
from jwpipe.refs.content import Stamp, decoded
from jwpipe.refs.prepared import STORE
from jwpipe.refs.quality import Translation, translate

ALL = slice(None)
Span = tuple[int, int]


class Source(Protocol):
    """Where the pixels of a ``RefArray`` come from; hashable, picklable."""

    def read(self, rows: Span, columns: Span) -> np.ndarray:
        """The pixels of a region, all leading axes whole."""


@dataclass(frozen=True)
class FilePixels:
    """Pixels that lie uncompressed in a FITS file."""

    file: Stamp
    pixels: FitsArray

    def read(self, rows: Span, columns: Span) -> np.ndarray:
        """Read the region's bytes."""
        return self.pixels[..., slice(*rows), slice(*columns)]


@dataclass(frozen=True)
class DecodedPixels:
    """Pixels of a compressed or scaled HDU: decoded whole, once, into the cache."""

    file: Stamp
    index: int

    def read(self, rows: Span, columns: Span) -> np.ndarray:
        """Cut the region from the decoded array."""
        whole = CACHE.get(self, None, lambda: decoded(self.file.path, self.index))
        return np.array(whole[..., slice(*rows), slice(*columns)], order="C")


@dataclass(frozen=True)
class MemoryPixels:
    """An array in memory, known by its checksum."""

    checksum: str
    values: np.ndarray = field(compare=False, repr=False)

    def read(self, rows: Span, columns: Span) -> np.ndarray:
        """Copy the region."""
        return np.array(self.values[..., slice(*rows), slice(*columns)], order="C")


@dataclass(frozen=True)
class CutPixels:
    """A source seen from a subarray: rows and columns counted from its corner."""

    source: Source
    y: int
    x: int

    def read(self, rows: Span, columns: Span) -> np.ndarray:
        """Read the region, shifted."""
        return self.source.read(_shift(rows, self.y), _shift(columns, self.x))


@dataclass(frozen=True)
class StripedPixels:
    """A source whose rows (axis "y") or columns ("x") are put together in another order.

    The rest is unknown: NaN, or 0 where pixels are whole numbers.
    """

    source: Source
    axis: str
    along: tuple[Run, ...]

    def read(self, rows: Span, columns: Span) -> np.ndarray:
        """Read what lies between the first and the last pixel wanted, and take those out."""
        along_y = self.axis == "y"
        start, stop = rows if along_y else columns
        parts = [
            (run.there + a - run.here, a - start, b - a)
            for run in self.along
            if (a := max(run.here, start)) < (b := min(run.here + run.size, stop))
        ]
        low = min((there for there, _, _ in parts), default=0)
        high = max((there + size for there, _, size in parts), default=low)
        read = (low, high), columns
        region = self.source.read(*(read if along_y else (rows, (low, high))))
        turned = region if along_y else np.swapaxes(region, -1, -2)
        unknown = np.nan if region.dtype.kind == "f" else 0
        shape = (*turned.shape[:-2], stop - start, turned.shape[-1])
        taken = np.full(shape, unknown, region.dtype)
        for there, here, size in parts:
            taken[..., here : here + size, :] = turned[..., there - low : there - low + size, :]
        return np.ascontiguousarray(taken if along_y else np.swapaxes(taken, -1, -2))


@dataclass(frozen=True)
class StandardFlags:
    """DQ planes with the bits of a file, given as standard bits."""

    source: Source
    pairs: Translation

    def read(self, rows: Span, columns: Span) -> np.ndarray:
        """Read the region and translate it."""
        return translate(self.source.read(rows, columns).astype(np.uint32, copy=False), self.pairs)


@dataclass(frozen=True)
class MappedPixels:
    """``function(pixels, *arguments)`` of a region's pixels, prepared once a process."""

    parent: "RefArray"
    function: Callable[..., np.ndarray]
    arguments: tuple[Hashable, ...]
    dtype: np.dtype[Any]

    def read(self, rows: Span, columns: Span) -> np.ndarray:
        """Transform the region, or take it from where it is kept."""
        region = slice(*rows), slice(*columns)
        prepared = CACHE.get(self, (rows, columns), lambda: STORE.put(self._transform(*region)))
        return prepared.read()

    def _transform(self, rows: slice, columns: slice) -> np.ndarray:
        arguments = [
            each.read(rows, columns) if isinstance(each, RefArray) else each
            for each in self.arguments
        ]
        result = self.function(self.parent.read(rows, columns), *arguments)
        return np.ascontiguousarray(result, dtype=self.dtype)


@dataclass(frozen=True)
class RefArray:
    """The pixels of one extension of a reference, cut to the exposure's subarray.

    ``shape`` and ``dtype`` are those of what ``read()`` returns; the last two axes are y and x.
    """

    source: Source
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def from_numpy(cls, values: np.ndarray) -> "RefArray":
        """A handle on an array in memory, for tests and for references that a user computed."""
        values = np.ascontiguousarray(values)
        description = f"{values.shape}{values.dtype.str}".encode()
        checksum = hashlib.sha256(description + values.tobytes()).hexdigest()
        return cls(MemoryPixels(checksum, values), values.shape, values.dtype)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def read(self, rows: slice = ALL, columns: slice = ALL) -> np.ndarray:
        """The pixels of a region as a C-contiguous native array, leading axes whole.

        Transformed pixels are shared with other readers: do not write into the result.
        """
        if self.ndim < 2:
            raise ValueError(f"a reference array of {self.ndim} axes has no rows and columns")
        region = self.source.read(_span(rows, self.shape[-2]), _span(columns, self.shape[-1]))
        return np.ascontiguousarray(region, dtype=self.dtype)

    def kept(self, rows: slice, columns: slice) -> np.ndarray:
        """As ``read``, for what further exposures want again: kept in the process while there is room.

        The result is shared with other readers: do not write into it.
        """
        if isinstance(self.source, MappedPixels):
            return self.read(rows, columns)
        region = _span(rows, self.shape[-2]), _span(columns, self.shape[-1])
        if isinstance(self.source, StandardFlags):
            return CACHE.get(
                self, region, lambda: SparseFlags.of(self.read(rows, columns)), spare=True
            ).dense()
        return CACHE.get(self, region, lambda: self.read(rows, columns), spare=True)

    def map(
        self,
        function: Callable[..., np.ndarray],
        *arguments: Hashable,
        shape: tuple[int, ...] | None = None,
        dtype: Any = None,
    ) -> "RefArray":
        """The array ``function(pixels, *arguments)``, computed and cached by region.

        ``function`` must be a module-level function that treats each pixel (y, x) by itself: it
        gets all leading axes of a region and returns any leading axes, given by ``shape``.
        ``arguments`` are hashable; a ``RefArray`` among them is read over the same region.
        """
        kind = np.dtype(dtype or self.dtype)
        return RefArray(MappedPixels(self, function, arguments, kind), shape or self.shape, kind)

    def cut(self, y: int, x: int, ny: int, nx: int) -> "RefArray":
        """The ``ny`` rows and ``nx`` columns whose corner is at row ``y`` and column ``x``."""
        shape = (*self.shape[:-2], ny, nx)
        if shape == self.shape:
            return self
        return RefArray(CutPixels(self.source, y, x), shape, self.dtype)

    def striped(self, axis: str, along: tuple[Run, ...], size: int) -> "RefArray":
        """The array with ``size`` rows (axis "y") or columns ("x"), put together of runs of them."""
        ny, nx = self.shape[-2:]
        shape = (size, nx) if axis == "y" else (ny, size)
        return RefArray(
            StripedPixels(self.source, axis, along), (*self.shape[:-2], *shape), self.dtype
        )


def _span(part: slice, length: int) -> Span:
    start, stop, step = part.indices(length)
    if step != 1:
        raise ValueError(f"a region of a reference has steps of 1, not {step}")
    return start, max(start, stop)


def _shift(span: Span, by: int) -> Span:
    return span[0] + by, span[1] + by
