"""The state of the persistence step as a file: when each suspect pixel of a detector is clean again.

An ASDF file with a branch for each detector, which holds the suspect pixels alone: ``rows``, ``cols``, ``vals``
(seconds since 1970), ``pers_time`` (seconds that pixels stay suspect), ``filename`` of the exposure that left the
state, ``xstart``, ``ystart``, its subarray's corner on the detector, and ``start``, when its first group ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from jwpipe.exposure import ExposureError, Header, header
from jwpipe.io.fits_target import FitsTarget
from jwpipe.io.product import Pending, remove, temporary_name, unwritable, writing

KIND = np.dtype(np.float64)
STATE_PRODUCT = "persistence_state"


@dataclass(frozen=True)
class Windows:
    """The suspect pixels of an exposure's frame, and until when they are: (y, x, seconds since 1970).

    ``corner`` of its subarray on the detector; ``seconds`` that pixels stay suspect; ``start``, when its first group
    ends, in seconds since 1970.
    """

    detector: str
    corner: tuple[int, int]
    shape: tuple[int, int]
    seconds: float
    start: float
    pixels: tuple[np.ndarray, np.ndarray, np.ndarray] = field(
        default_factory=lambda: (np.zeros(0, int), np.zeros(0, int), np.zeros(0))
    )

    @classmethod
    def of(cls, keywords: Header, shape: Sequence[int], seconds: float, start: float) -> Windows:
        """All pixels of an exposure are clean."""
        corner = int(keywords.get("SUBSTRT2") or 1), int(keywords.get("SUBSTRT1") or 1)
        return cls(str(keywords["DETECTOR"]), corner, (shape[0], shape[1]), seconds, start)

    def part(self, rows: slice) -> Windows:
        """The same on some rows of the frame alone."""
        y, x, until = self.pixels
        here = (y >= rows.start) & (y < rows.stop)
        return replace(
            self,
            corner=(self.corner[0] + rows.start, self.corner[1]),
            shape=(rows.stop - rows.start, self.shape[1]),
            pixels=(y[here] - rows.start, x[here], until[here]),
        )

    def plane(self) -> np.ndarray:
        """The times (y, x), 0 where a pixel is clean."""
        y, x, until = self.pixels
        plane = np.zeros(self.shape)
        plane[y, x] = until
        return plane


def read_windows(path: str, frame: Windows) -> Windows:
    """The state in a file as it is for ``frame``: pixels of another subarray at their place on the detector.

    All pixels are clean where there is no file, where it has nothing of the detector, where pixels stayed suspect for
    another time, or where a later exposure, or the same one, left the state: a run that is done once more starts anew.

    Raises
    ------
    ExposureError
        The file cannot be read as one.
    """
    branch = _tree(path).get(frame.detector) if Path(path).exists() else None
    if branch is None or branch["pers_time"] != frame.seconds:
        return frame
    if branch.get("start", -inf) >= frame.start:
        return frame
    y, x, until = (np.asarray(branch[name]) for name in ("rows", "cols", "vals"))
    y = y + (branch.get("ystart", frame.corner[0]) - frame.corner[0])
    x = x + (branch.get("xstart", frame.corner[1]) - frame.corner[1])
    inside = (y >= 0) & (y < frame.shape[0]) & (x >= 0) & (x < frame.shape[1])
    return replace(frame, pixels=(y[inside], x[inside], until[inside].astype(KIND)))


def _tree(path: str | Path) -> dict[str, Any]:
    import asdf

    try:
        with asdf.open(path, lazy_load=False, memmap=False) as opened:
            hidden = ("asdf_library", "history")
            return {name: branch for name, branch in opened.tree.items() if name not in hidden}
    except (OSError, ValueError) as error:
        raise ExposureError(
            f"{path}: persistence: no state of detectors can be read ({error}); "
            "give an ASDF file that save_persistence made"
        ) from error


@dataclass(frozen=True)
class PendingState(Pending):
    """The state of an exposure still to be computed: whole planes in a temporary file, then the suspect pixels."""

    frame: Windows
    filename: str

    def finish(self) -> Path:
        """Write the suspect pixels beside what the file has of other detectors."""
        import asdf

        plane = np.fromfile(self.temporary, KIND.newbyteorder(">")).reshape(self.frame.shape)
        rows, columns = np.nonzero(plane)
        branch = {
            "filename": self.filename,
            "rows": rows,
            "cols": columns,
            "vals": plane[rows, columns].astype(KIND),
            "pers_time": int(self.frame.seconds),
            "xstart": self.frame.corner[1],
            "ystart": self.frame.corner[0],
            "start": self.frame.start,
        }
        tree = _tree(self.path) if self.path.exists() else {}
        remove(self.temporary)
        try:
            asdf.AsdfFile({**tree, self.frame.detector: branch}).write_to(self.temporary)
            self.temporary.replace(self.path)
        except OSError as error:
            self.discard()
            raise unwritable(self.path, error) from error
        return self.path


def prepare_state(exposure: xr.Dataset, path: Path) -> PendingState:
    """Room for the state (y, x) that is the ``sci`` of ``exposure``, to become the ASDF file ``path``."""
    state = exposure["sci"]
    frame = Windows.of(header(exposure), state.shape, state.attrs["seconds"], state.attrs["start"])
    temporary = temporary_name(path)
    with writing(temporary, path), temporary.open("wb") as file:
        file.truncate(state.size * KIND.itemsize)
    target = FitsTarget(str(temporary.absolute()), 0, KIND, frame.shape)
    filename = str(exposure.attrs.get("filename", ""))
    return PendingState(path, temporary, (da.asarray(state.data),), (target,), frame, filename)
