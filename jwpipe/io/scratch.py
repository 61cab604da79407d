"""Arrays that wait on disk for the tasks that want parts of them.

The file has no name: it goes when nobody holds the array any more, also where the process is killed. It lies in the
folder for temporary files (``TMPDIR``), of which several times an exposure's size may be needed. Pickled, an array
travels with its pixels, and lies on the receiver's disk then.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from jwpipe.exposure import ExposureError


class Scratch:
    """A plane (y, x) on disk."""

    def __init__(self, plane: np.ndarray) -> None:
        """Write ``plane``.

        Raises
        ------
        ExposureError
            Where there is no room.
        """
        self.shape, self.dtype = plane.shape, plane.dtype
        self._row_bytes = plane[:1].nbytes
        try:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
            weakref.finalize(self, self._file.close)
            view = memoryview(np.ascontiguousarray(plane).reshape(-1).view(np.uint8).data)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise ExposureError(
                f"{tempfile.gettempdir()}: intermediate results cannot be written ({error}); "
                "make room, or set TMPDIR to a folder with more"
            ) from error

    def __reduce__(self) -> tuple[Any, ...]:
        return Scratch, (self.rows(0, self.shape[0]),)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows of the plane."""
        part = np.empty((stop - start, *self.shape[1:]), self.dtype)
        view, place = memoryview(part.reshape(-1).view(np.uint8).data), start * self._row_bytes
        while view:
            count = os.preadv(self._file.fileno(), [view], place)
            view, place = view[count:], place + count
        return part


class ScratchRamp:
    """Planes of all groups: seen as an array (integration, group, y, x), a part of which is read when asked for."""

    def __init__(self, integrations: Sequence[Sequence[Scratch]]) -> None:
        self.planes = integrations
        first = integrations[0][0]
        self.shape = (len(integrations), len(integrations[0]), *first.shape)
        self.dtype = first.dtype

    def __getitem__(self, part: tuple[slice, ...]) -> np.ndarray:
        chosen = [planes[part[1]] for planes in self.planes[part[0]]]
        start, stop, _ = part[2].indices(self.shape[2])
        result = np.empty((len(chosen), len(chosen[0]), stop - start, self.shape[3]), self.dtype)
        for i, planes in enumerate(chosen):
            for g, plane in enumerate(planes):
                result[i, g] = plane.rows(start, stop)
        return result[..., part[3]]
