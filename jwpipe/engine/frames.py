"""Looks at whole frames of flags: events larger than any halo.

The steps run twice, first for their flags alone. These wait on disk, block by block; then each integration is put
together, looked at, and waits on disk again for the blocks of the second run. So a look holds one integration in
memory, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from dask.base import tokenize

from jwpipe.engine.borders import Levels
from jwpipe.engine.chain import Bound, Given
from jwpipe.engine.graph import run_chain
from jwpipe.io.spool import Spool, no_room
from jwpipe.step import Look, Step

BATCH_BYTES = 32 << 20
"""Bytes of flags from which integrations are looked at in tasks of their own."""
MOST_BATCHES = 200
"""Each has a file open until the run is over."""
PIXELDQ = "found_pixeldq"
DIMS = (("integration", "group", "y", "x"),)

Layout: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
"""Heights and widths of blocks."""


class Shelf:
    """Flags (i, g, y, x) on disk, written integration by integration; ``shelf[slices]`` reads a part.

    The file has no name and goes when nobody holds the shelf any more. Pickled, it travels with its content.
    """

    def __init__(self, integrations: Iterator[np.ndarray] | np.ndarray) -> None:
        """Write the integrations (g, y, x).

        Raises
        ------
        ExposureError
            Where there is no room.
        """
        self.dtype, count, shape = np.dtype(np.uint8), 0, (0, 0, 0)
        try:
            self._spool = Spool()
            for flags in integrations:
                self._spool.put(flags.astype(self.dtype, copy=False))
                shape, count = flags.shape, count + 1
        except OSError as error:
            raise no_room(error) from error
        self.shape = (count, *shape)

    def __reduce__(self) -> tuple[Any, ...]:
        return Shelf, (self[:, :, :, :],)

    def __getitem__(self, part: tuple[slice, ...]) -> np.ndarray:
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)[part]
        stored = np.memmap(self._spool.file, self.dtype, "r", shape=self.shape)
        return np.array(stored[part], order="C")


@dataclass(frozen=True)
class Found:
    """What a look finds in some integrations: their flags, and what the last one leaves to the next (y, x)."""

    flags: Shelf
    left: Shelf | None


@dataclass(frozen=True)
class Joined:
    """Flags (i, g, y, x) whose first integration takes up what the one before has left; read as ``joined[slices]``."""

    flags: Shelf
    left: Shelf | None
    look: Look

    def __getitem__(self, part: tuple[slice, ...]) -> np.ndarray:
        flags = self.flags[part]
        if part[0].indices(self.flags.shape[0])[0] == 0 and self.left is not None and len(flags):
            self.look.join(flags[0], self.left[(slice(1), slice(1), *part[2:])][0, 0])
        return flags


def take_found(pixeldq: np.ndarray, groupdq: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The flags found before, in place of the step that found them."""
    return groupdq, pixeldq


def with_found_flags(
    exposure: xr.Dataset, bound: Sequence[Bound], look: Look
) -> tuple[xr.Dataset, Bound]:
    """The exposure, and what takes the place of the last step: the flags that it makes, after the look."""
    flags = run_chain(exposure, bound, ("groupdq", "pixeldq"))
    groupdq = flags["groupdq"].data
    token = tokenize(groupdq.name, look)
    count, groups, ny, nx = groupdq.shape
    tasks: dict[Any, Any] = {}
    places = [(i, j) for i in range(groupdq.numblocks[2]) for j in range(groupdq.numblocks[3])]
    for place in places:
        tasks[(f"shelf-{token}", *place)] = (Shelf, (groupdq.name, 0, 0, *place))
    shelves = [(f"shelf-{token}", *place) for place in places]
    step = max(1, BATCH_BYTES // (groups * ny * nx), -(-count // MOST_BATCHES))
    runs = [slice(first, min(first + step, count)) for first in range(0, count, step)]
    layout = (groupdq.chunks[2], groupdq.chunks[3])
    keys: list[Any] = []
    for k, run in enumerate(runs):
        tasks[(f"look-{token}", k)] = (partial(_looked, look, run, layout), shelves)
        before = (f"look-{token}", k - 1) if k else None
        keys.append((f"looked-{token}", k))
        tasks[keys[-1]] = (partial(_joined, look, run), (f"look-{token}", k), before)
    given = Given(DIMS, tasks, keys, (groupdq,), token)
    step_found = Step(bound[-1].step.name, take_found, (PIXELDQ,), ("groupdq", "pixeldq"))
    return exposure.assign({PIXELDQ: flags["pixeldq"]}), Bound(step_found, {}, (), 0, given=given)


def _looked(look: Look, run: slice, layout: Layout, shelves: Sequence[Shelf]) -> Found:
    """Look at the integrations ``run``, one after the other."""
    last: list[np.ndarray | None] = [None]

    def integrations() -> Iterator[np.ndarray]:
        """Flags of the integrations in turn, each with what the one before has left it."""
        for number in range(run.start, run.stop):
            flags, left = look.find(_frames_of(number, layout, shelves))
            if last[0] is not None:
                look.join(flags, last[0])
            last[0] = left
            yield flags

    flags = Shelf(integrations())
    left = last[0]
    return Found(flags, None if left is None else Shelf(left[np.newaxis, np.newaxis]))


def _frames_of(number: int, layout: Layout, shelves: Sequence[Shelf]) -> np.ndarray:
    """The flags (g, y, x) of one integration, put together from those of blocks."""
    heights, widths = layout
    groups = shelves[0].shape[1]
    flags = np.empty((groups, sum(heights), sum(widths)), np.uint8)
    blocks = iter(shelves)
    for y, height in zip(accumulate(heights, initial=0), heights, strict=False):
        for x, width in zip(accumulate(widths, initial=0), widths, strict=False):
            whole = (slice(number, number + 1), *(slice(None),) * 3)
            flags[:, y : y + height, x : x + width] = next(blocks)[whole][0]
    return flags


def _joined(look: Look, run: slice, found: Found, before: Found | None) -> Levels:
    """The flags of the integrations ``run`` for the steps that follow."""
    left = None if before is None else before.left
    arrays: Any = (Joined(found.flags, left, look),)
    return Levels(run.start, run.stop, arrays)
