"""Arrays of references kept in memory, shared by all threads of a process, bounded in bytes.

A transformed reference (a dark averaged to the read pattern) is expensive and is wanted again by
every further exposure of the same detector; two threads that want it at the same time must compute
it once. Pixels as they lie in a file are not kept: the operating system does that, and swapping
their bytes costs no more than copying them.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future

import numpy as np

CAPACITY = int(float(os.environ.get("JWPIPE_REFERENCE_CACHE", 512e6)))
"""Bytes of reference arrays that a process keeps; JWPIPE_REFERENCE_CACHE in the environment."""


class ArrayCache:
    """The most recently used arrays, up to ``capacity`` bytes; nobody may write into them."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.nbytes = 0
        self._arrays: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._pending: dict[Hashable, Future[np.ndarray]] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of ``key``; ``compute`` is called at most once at a time for a key."""
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
                return self._arrays[key]
            pending = self._pending.get(key)
            if pending is None:
                mine = self._pending[key] = Future()
        if pending is not None:
            return pending.result()
        try:
            array = compute()
        except BaseException as error:
            self._forget(key)
            mine.set_exception(error)
            raise
        self._store(key, array)
        mine.set_result(array)
        return array

    def clear(self) -> None:
        """Drop all arrays."""
        with self._lock:
            self._arrays.clear()
            self.nbytes = 0

    def _forget(self, key: Hashable) -> None:
        with self._lock:
            del self._pending[key]

    def _store(self, key: Hashable, array: np.ndarray) -> None:
        with self._lock:
            del self._pending[key]
            if array.nbytes > self.capacity:
                return
            self._arrays[key] = array
            self.nbytes += array.nbytes
            while self.nbytes > self.capacity:
                _, oldest = self._arrays.popitem(last=False)
                self.nbytes -= oldest.nbytes


CACHE = ArrayCache(CAPACITY)
