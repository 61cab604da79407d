"""References prepared once a process, kept on disk: a dark averaged to the read pattern is as large as an exposure.

All lie one after the other in a file that goes with the process (``io.spool``).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from jwpipe.io.spool import Spool

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
    """An array in the file, from byte ``place`` on."""

    spool: Spool
    place: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    nbytes: int = 0

    def read(self) -> np.ndarray:
        """A new array."""
        return self.spool.read(self.place, self.shape, self.dtype)


Prepared: TypeAlias = InMemory | OnDisk


class Store:
    """The file, made when the first array is put there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spool: Spool | None = None

    def put(self, array: np.ndarray) -> Prepared:
        """Put an array on disk, if it is worth it and there is room."""
        try:
            spool = self._opened()
            if array.nbytes < SMALL or spool.size + array.nbytes > ROOM:
                return InMemory(array)
            return OnDisk(spool, spool.put(array), array.shape, array.dtype)
        except OSError:
            return InMemory(array)

    def _opened(self) -> Spool:
        with self._lock:
            self._spool = self._spool or Spool()
            return self._spool


STORE = Store()
