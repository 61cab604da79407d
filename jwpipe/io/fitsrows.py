"""Some rows of a FITS image, in an order of one's own, read region by region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from jwpipe.io.fitsarray import FitsArray, bounding_box
from jwpipe.numerics.stripes import Run


@dataclass(frozen=True)
class FitsRows:
    """The rows (last axis but one) of ``array`` that ``runs`` name, ``size`` of them; indexed as ``FitsArray`` is."""

    array: FitsArray
    runs: tuple[Run, ...]
    size: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """The native type of the pixels."""
        return self.array.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape with these rows alone."""
        return (*self.array.shape[:-2], self.size, self.array.shape[-1])

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.array.ndim

    def __getitem__(self, index: Any) -> np.ndarray:
        box, rest = bounding_box(index, self.shape)
        return np.asarray(self.read(box)[rest], order="C")

    def read(self, box: tuple[slice, ...], dtype: np.dtype[Any] | None = None) -> np.ndarray:
        """The pixels of a box (slices of step 1, one an axis), of ``dtype`` if that is given.

        All rows from the first to the last that is wanted are read: to read a few by themselves costs more.
        """
        rows = box[-2]
        parts = [
            (max(run.here, rows.start) - rows.start, part.start, part.stop - part.start)
            for run in self.runs
            if (part := _there(run, rows)).start < part.stop
        ]
        pixels = np.empty([part.stop - part.start for part in box], np.dtype(dtype or self.dtype))
        low = min((there for _, there, _ in parts), default=0)
        high = max((there + size for _, there, size in parts), default=0)
        read = self.array.read((*box[:-2], slice(low, high), box[-1]), dtype)
        for here, there, size in parts:
            pixels[..., here : here + size, :] = read[..., there - low : there - low + size, :]
        return pixels


def _there(run: Run, rows: slice) -> slice:
    """The rows of a run, in the file, that are among ``rows``."""
    shift = run.there - run.here
    return slice(max(run.here, rows.start) + shift, min(run.here + run.size, rows.stop) + shift)
