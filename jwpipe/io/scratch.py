"""Planes that wait on disk for the tasks that want rows of them.

Several times an exposure's size may be needed there. Pickled, a plane travels with its pixels, and lies on the
receiver's disk then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jwpipe.io.spool import Spool, no_room


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
            self._spool = Spool()
            self._spool.put(plane)
        except OSError as error:
            raise no_room(error) from error

    def __reduce__(self) -> tuple[Any, ...]:
        return Scratch, (self.rows(0, self.shape[0]),)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows of the plane."""
        shape = (stop - start, *self.shape[1:])
        return self._spool.read(start * self._row_bytes, shape, self.dtype)


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
