"""Arrays of references kept in memory, shared by all threads of a process, bounded in bytes.

A transformed reference (a dark averaged to the read pattern) is expensive and is wanted again by
every further exposure of the same detector; two threads that want it at the same time must compute
it once. Pixels as they lie in a file are kept while there is room: reading them again costs little.

Exposures ask for the same arrays in the same order. Where these do not fit together, dropping the
least recently used one would drop each just before it is wanted again; therefore chance decides.
"""

import os
import random
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

CAPACITY = int(float(os.environ.get("JWPIPE_REFERENCE_CACHE", 512e6)))
"""Bytes of reference arrays that a process keeps; JWPIPE_REFERENCE_CACHE in the environment."""


class Kept(Protocol):
    """What is kept: arrays, or what stands for them."""

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""


K = TypeVar("K", bound=Kept)


@dataclass(frozen=True)
class SparseFlags:
    """Flags of which few are set: the places of these in the flattened array, and their values."""

    shape: tuple[int, ...]
    places: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, flags: np.ndarray) -> "SparseFlags":
        """Leave out the flags that are 0."""
        places = np.flatnonzero(flags).astype(np.uint32)
        return cls(flags.shape, places, flags.reshape(-1)[places])

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.places.nbytes + self.values.nbytes

    def dense(self) -> np.ndarray:
        """All flags, as a new array."""
        flags = np.zeros(self.shape, self.values.dtype)
        flags.reshape(-1)[self.places] = self.values
        return flags


class ArrayCache:
    """Arrays up to ``capacity`` bytes; nobody may write into them."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.nbytes = 0
        self._kept: dict[Hashable, Any] = {}
        self._pending: dict[Hashable, Future[Any]] = {}
        self._lock = threading.Lock()
        self._chance = random.Random(0)

    def get(self, key: Hashable, compute: Callable[[], K], *, spare: bool = False) -> K:
        """What is kept under ``key``; ``compute`` is called at most once at a time for a key.

        ``spare``: nothing is dropped to make room for it.
        """
        with self._lock:
            if key in self._kept:
                found: K = self._kept[key]
                return found
            pending: Future[K] | None = self._pending.get(key)
            if pending is None:
                mine: Future[K] = Future()
                self._pending[key] = mine
        if pending is not None:
            return pending.result()
        try:
            made = compute()
        except BaseException as error:
            self._forget(key)
            mine.set_exception(error)
            raise
        self._store(key, made, spare=spare)
        mine.set_result(made)
        return made

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._kept.clear()
            self.nbytes = 0

    def _forget(self, key: Hashable) -> None:
        with self._lock:
            del self._pending[key]

    def _store(self, key: Hashable, made: Kept, *, spare: bool) -> None:
        with self._lock:
            del self._pending[key]
            room = self.capacity - (self.nbytes if spare else 0)
            if made.nbytes > room:
                return
            while self.nbytes + made.nbytes > self.capacity:
                dropped = self._kept.pop(self._chance.choice(list(self._kept)))
                self.nbytes -= dropped.nbytes
            self._kept[key] = made
            self.nbytes += made.nbytes


CACHE = ArrayCache(CAPACITY)
