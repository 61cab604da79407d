"""Arrays of references kept in memory, shared by all threads of a process, bounded in bytes.

Every further exposure of the same detector wants the same references again. A transformed one (a dark averaged to the
read pattern) is expensive: two threads that want it at the same time must compute it once, and it waits on disk
(``prepared``). Pixels as they lie in a file are kept while there is room: reading them again costs little.

Regions are dropped from the array least recently used: that of another detector. Exposures ask for
the regions of an array in the same order; where they do not fit together, dropping the oldest
would drop each just before it is wanted again, therefore chance decides among them.
"""

import os
import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

CAPACITY = int(float(os.environ.get("JWPIPE_REFERENCE_CACHE", 160e6)))
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
        self._regions: OrderedDict[Hashable, dict[Hashable, Any]] = OrderedDict()
        self._asked: dict[Hashable, int] = {}
        self._count = 0
        self._pending: dict[Hashable, Future[Any]] = {}
        self._lock = threading.Lock()
        self._chance = random.Random(0)

    def get(
        self, array: Hashable, region: Hashable, compute: Callable[[], K], *, spare: bool = False
    ) -> K:
        """What is kept of a region of ``array``; ``compute`` is called at most once at a time for it.

        ``spare``: only regions of arrays that nobody asked for since ``array`` was last asked for are dropped to
        make room for it.
        """
        key = array, region
        with self._lock:
            before = self._ask_for(array)
            if region in self._regions[array]:
                found: K = self._regions[array][region]
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
        self._store(array, region, made, before if spare else None)
        mine.set_result(made)
        return made

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._regions.clear()
            self._asked.clear()
            self.nbytes = 0

    def _forget(self, key: Hashable) -> None:
        with self._lock:
            del self._pending[key]

    def _ask_for(self, array: Hashable) -> int:
        """Make ``array`` the last one asked for; when it was asked for before, 0 if it was not."""
        before = self._asked.get(array, 0)
        self._count += 1
        self._asked[array] = self._count
        self._regions.setdefault(array, {})
        self._regions.move_to_end(array)
        return before

    def _store(self, array: Hashable, region: Hashable, made: Kept, before: int | None) -> None:
        """Keep a region; only at the cost of arrays last asked for ``before`` a time, if that is given."""
        with self._lock:
            del self._pending[array, region]
            if made.nbytes > self.capacity:
                return
            while self.nbytes + made.nbytes > self.capacity:
                oldest, regions = next(iter(self._regions.items()))
                if not regions:
                    del self._regions[oldest], self._asked[oldest]
                elif before is not None and self._asked[oldest] >= before:
                    return
                else:
                    dropped = regions.pop(self._chance.choice(list(regions)))
                    self.nbytes -= dropped.nbytes
            self._asked.setdefault(array, self._count)
            self._regions.setdefault(array, {})[region] = made
            self.nbytes += made.nbytes


CACHE = ArrayCache(CAPACITY)
