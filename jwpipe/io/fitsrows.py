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
        """The pixels of a box (slices of step 1, one an axis), of ``dtype`` if that is given."""
        rows = box[-2]
        sizes = [part.stop - part.start for part in box]
        pixels = np.empty(sizes, np.dtype(dtype or self.dtype))
        for run in self.runs:
            start, stop = max(run.here, rows.start), min(run.here + run.size, rows.stop)
            if start < stop:
                shift = run.there - run.here
                there = (*box[:-2], slice(start + shift, stop + shift), box[-1])
                here = slice(start - rows.start, stop - rows.start)
                pixels[..., here, :] = self.array.read(there, dtype)
        return pixels
