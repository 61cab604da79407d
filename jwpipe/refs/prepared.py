"""References prepared once a process, kept on disk: a dark averaged to the read pattern is as large as an exposure.

All lie one after the other in a nameless file in the folder for temporary files (``TMPDIR``), which goes with the
process. Reading a region again costs what a copy costs, as long as the operating system keeps the file's pages.
"""

from __future__ import annotations

import os
import tempfile
import threading
from dataclasses import dataclass
from typing import IO, Any, TypeAlias

import numpy as np

ROOM = 8_000_000_000
"""Bytes on disk up to which arrays are put there."""
SMALL = 1 << 20
"""Bytes of arrays that are not worth it."""


@dataclass(frozen=True, eq=False)
class InMemory:
    """An array that was small, or for which there was no room."""

    array: np.ndarray

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.array.nbytes

    def read(self) -> np.ndarray:
        """The array; nobody may write into it."""
        return self.array


@dataclass(frozen=True, eq=False)
class OnDisk:
    """An array in the file, from ``offset`` on."""

    file: IO[bytes]
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    nbytes: int = 0

    def read(self) -> np.ndarray:
        """A new array.

        Raises
        ------
        OSError
            The disk does not give back what it took.
        """
        array = np.empty(self.shape, self.dtype)
        rest, place = memoryview(array.reshape(-1).view(np.uint8).data), self.offset
        while rest:
            count = os.preadv(self.file.fileno(), [rest], place)
            if not count:
                raise OSError("the file of prepared references ends too early")
            rest, place = rest[count:], place + count
        return array


Prepared: TypeAlias = InMemory | OnDisk


class Store:
    """The file, made when the first array is put there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self._end = 0

    def put(self, array: np.ndarray) -> Prepared:
        """Put a contiguous array on disk, if it is worth it and there is room."""
        if array.nbytes < SMALL:
            return InMemory(array)
        try:
            file, offset = self._place(array.nbytes)
            rest, place = memoryview(array.reshape(-1).view(np.uint8).data), offset
            while rest:
                count = os.pwrite(file.fileno(), rest, place)
                rest, place = rest[count:], place + count
        except OSError:
            return InMemory(array)
        return OnDisk(file, offset, array.shape, array.dtype)

    def _place(self, size: int) -> tuple[IO[bytes], int]:
        with self._lock:
            if self._end + size > ROOM:
                raise OSError("no room for more prepared references")
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
            self._end += size
            return self._file, self._end - size


STORE = Store()
