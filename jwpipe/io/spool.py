"""A nameless file that arrays wait in: on disk, read again in parts.

It goes when nobody holds it any more, also where the process is killed. It lies in the folder for temporary files
(``TMPDIR``). Reading costs what a copy costs, as long as the operating system keeps the file's pages.
"""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from typing import Any

import numpy as np

from jwpipe.exposure import ExposureError


class Spool:
    """Arrays one after the other, put and read by any thread."""

    def __init__(self) -> None:
        """Make the file.

        Raises
        ------
        OSError
            Where there is no folder for it.
        """
        self.file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        self.size = 0
        self._lock = threading.Lock()
        weakref.finalize(self, self.file.close)

    def put(self, array: np.ndarray) -> int:
        """Write an array; the place of its first byte.

        Raises
        ------
        OSError
            Where there is no room.
        """
        rest = memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        with self._lock:
            first = place = self.size
            self.size += len(rest)
        while rest:
            count = os.pwrite(self.file.fileno(), rest, place)
            rest, place = rest[count:], place + count
        return first

    def read(self, place: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """A new array of what lies from byte ``place`` on.

        Raises
        ------
        OSError
            Where the file ends before.
        """
        array = np.empty(shape, dtype)
        rest = memoryview(array.reshape(-1).view(np.uint8).data)
        while rest:
            count = os.preadv(self.file.fileno(), [rest], place)
            if not count:
                raise OSError("a temporary file ends before its arrays do")
            rest, place = rest[count:], place + count
        return array


def no_room(error: OSError) -> ExposureError:
    """What to tell where intermediate results cannot be written."""
    return ExposureError(
        f"{tempfile.gettempdir()}: intermediate results cannot be written ({error}); "
        "make room, or set TMPDIR to a folder with more"
    )
