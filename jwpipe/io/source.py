"""Bytes of a file, wherever it is: a local path, a gzip file, or an address that fsspec understands.

Local files are read at their offsets. Remote ones are read by ranges, one request for each contiguous run, without a
cache between. A gzip file cannot be entered in the middle: each process that reads it unpacks it once, into a
temporary file that vanishes with the process.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from threading import Lock
from typing import IO, Any, Protocol
from zlib import crc32

import numpy as np

from jwpipe.exposure import ExposureError

GZIP = b"\x1f\x8b"
REMOTE_HEADER = 64 * 1024


class Source(Protocol):
    """Where headers are read from."""

    size: int
    stamp: int
    compressed: bool

    def read(self, start: int, stop: int) -> bytes:
        """Bytes ``start`` to ``stop`` of the (unpacked) file, fewer at its end."""


def is_remote(path: str) -> bool:
    """Whether ``path`` is an address for fsspec and not a path of this machine."""
    return "://" in path and not path.startswith("file://")


def local_path(path: str | os.PathLike[str]) -> str:
    """``path`` as text, without ``file://``."""
    return os.fspath(path).removeprefix("file://")


@dataclass
class LocalSource:
    """An open local file; lives only while headers are read."""

    file: IO[bytes]
    size: int
    stamp: int
    compressed: bool = False

    def read(self, start: int, stop: int) -> bytes:
        """See `Source`."""
        self.file.seek(start)
        return self.file.read(stop - start)


@dataclass
class RemoteSource:
    """A remote file; keeps the last range, since headers are read block by block."""

    path: str
    size: int
    stamp: int
    compressed: bool = False
    first: int = 0
    held: bytes = b""

    def read(self, start: int, stop: int) -> bytes:
        """See `Source`."""
        stop = min(stop, self.size)
        if not self.first <= start <= stop <= self.first + len(self.held):
            end = min(self.size, max(stop, start + REMOTE_HEADER))
            self.first, self.held = start, fetch(self.path, [(start, end)])[0]
        return self.held[start - self.first : stop - self.first]


def remote_source(path: str) -> Source:
    """The bytes behind an fsspec address."""
    filesystem, name = _filesystem(path)
    try:
        info = filesystem.info(name)
    except (OSError, ValueError) as error:
        raise ExposureError(
            f"{path}: cannot be read ({error}); check address and rights"
        ) from error
    if info.get("type") == "directory":
        raise ExposureError(f"{path}: a folder, expected a file; name one file of it")
    stamp = crc32(str([info.get(name) for name in ("ETag", "mtime", "created", "size")]).encode())
    source = RemoteSource(path, int(info.get("size") or 0), stamp)
    return unpacked_source(path, stamp) if source.read(0, 2) == GZIP else source


def unpacked_source(path: str, stamp: int) -> LocalSource:
    """A gzip file, unpacked."""
    file = unpacked(path, stamp)
    return LocalSource(file, os.fstat(file.fileno()).st_size, stamp, compressed=True)


def fetch(path: str, ranges: list[tuple[int, int]]) -> list[bytes]:
    """The bytes of each (start, stop) of a remote file, by range requests."""
    filesystem, name = _filesystem(path)
    starts, stops = zip(*ranges, strict=True)
    pieces = filesystem.cat_ranges(
        [name] * len(ranges), list(starts), list(stops), on_error="raise"
    )
    for piece, (start, stop) in zip(pieces, ranges, strict=True):
        if len(piece) != stop - start:
            raise ExposureError(
                f"{path}: {len(piece)} bytes came where {stop - start} were asked for; the file was cut short, "
                "or its server does not know range requests: copy the file to this machine"
            )
    return pieces


def _filesystem(path: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(path)
    except (ImportError, ValueError) as error:
        raise ExposureError(
            f"{path}: no access to this kind of address ({error}); "
            "jwpipe[s3] and jwpipe[http] install what buckets and web servers need"
        ) from error


_unpacking = Lock()


def unpacked(path: str, stamp: int) -> IO[bytes]:
    """The contents of a gzip file in a nameless temporary file, unpacked once a process."""
    with _unpacking:
        return _unpack(path, stamp)


@lru_cache(maxsize=4)
def _unpack(path: str, stamp: int) -> IO[bytes]:
    import fsspec

    target = tempfile.TemporaryFile(prefix="jwpipe-")  # noqa: SIM115  lives as long as the cache
    try:
        with fsspec.open(path, "rb") as packed, gzip.open(packed) as plain:
            shutil.copyfileobj(plain, target, 1 << 20)
    except (OSError, EOFError) as error:
        target.close()
        raise ExposureError(
            f"{path}: the gzip file is damaged ({error}); fetch it again"
        ) from error
    target.flush()
    return target


def read_region(
    path: str, offset: int, stored: np.dtype[Any], shape: tuple[int, ...], region: tuple[slice, ...]
) -> np.ndarray:
    """The pixels of a box (slices of step 1, one an axis) of a remote image, as stored."""
    sizes = tuple(part.stop - part.start for part in region)
    if 0 in sizes:
        return np.empty(sizes, stored)
    gap = (shape[-1] - sizes[-1]) * stored.itemsize if len(shape) > 1 else 0
    whole_rows = gap <= REMOTE_HEADER
    runs = _runs(shape, region, whole_rows=whole_rows)
    ranges = [(offset + a * stored.itemsize, offset + b * stored.itemsize) for a, b in runs]
    pieces = [np.frombuffer(piece, stored) for piece in fetch(path, ranges)]
    if not whole_rows or len(shape) == 1:
        return np.stack(pieces, dtype=stored).reshape(sizes)
    rows = [_rows(piece, sizes, shape[-1]) for piece in pieces]
    return np.stack(rows, dtype=stored).reshape(sizes)


def _rows(piece: np.ndarray, sizes: tuple[int, ...], width: int) -> np.ndarray:
    """The wanted columns of rows that were fetched from the first wanted pixel to the last."""
    strides = (width * piece.itemsize, piece.itemsize)
    return np.lib.stride_tricks.as_strided(piece, sizes[-2:], strides, writeable=False)


def _runs(
    shape: tuple[int, ...], region: tuple[slice, ...], *, whole_rows: bool
) -> list[tuple[int, int]]:
    """First and past-the-last pixel of each run, counted through the flattened image."""
    inner = 2 if whole_rows and len(shape) > 1 else 1
    outer, last = region[:-inner], region[-inner:]
    first = np.ravel_multi_index([part.start for part in last], shape[-inner:])
    final = np.ravel_multi_index([part.stop - 1 for part in last], shape[-inner:]) + 1
    pitch = prod(shape[-inner:])
    planes = product(*(range(part.start, part.stop) for part in outer))
    numbers = [np.ravel_multi_index(plane, shape[:-inner]) if plane else 0 for plane in planes]
    return [(int(n * pitch + first), int(n * pitch + final)) for n in numbers]
