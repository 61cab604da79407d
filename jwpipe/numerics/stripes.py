"""Where the rows of a striped readout lie on the detector.

In multistripe readouts the detector's clock reads some rows (reference pixels mostly), skips some, reads the rows of a
stripe, and goes on so until the frame is full: rows that lie apart on the detector lie together in the array. "Rows"
run along the slow axis, which may be x of the array. With superstripes, consecutive integrations look at consecutive
places, and all of them together make an integration of the whole field.

=========  ============================================================================================
MSTR_RD1   rows read first, from the subarray's start on (reference pixels)
MSTR_SK1   rows skipped then
MSTR_RD2   rows of a stripe; 0 in superstripes means as many as SSTR_STP
MSTR_SK2   rows skipped between stripes
MSTR_RPT   1: after each stripe the clock goes back to the start, and reads MSTR_RD1 rows again
MSTR_ILV   1: with MSTR_RPT, each further stripe lies after the one before, else all lie in the same place
SSTR_NST   number of superstripes; 0: none
SSTR_STP   rows from one superstripe to the next
=========  ============================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

DETECTOR = 2048
KEYWORDS = (
    "MSTR_RD1", "MSTR_SK1", "MSTR_RD2", "MSTR_SK2", "MSTR_RPT", "MSTR_ILV", "SSTR_STP", "SSTR_NST"
)  # fmt: skip
PADDED = frozenset({f"SUB{rows}STRIPE_SOSS" for rows in (17, 60, 204, 680)})
"""Superstripe subarrays that are put together to the detector's whole length."""


class StripesError(ValueError):
    """The keywords describe no striped readout of the array; the message says why."""


@dataclass(frozen=True)
class Part:
    """Rows read together: the first one in the array and on the detector, both counted from 0, and how many.

    ``reference`` is true for the rows read first (MSTR_RD1); ``turn`` counts the stripes of a frame.
    """

    row: int
    detector: int
    size: int
    reference: bool
    turn: int

    def turned(self, rows: int) -> Part:
        """The same rows, counted from the other ends of an array of ``rows`` rows and of the detector."""
        row, detector = rows - self.row - self.size, DETECTOR - self.detector - self.size
        return replace(self, row=row, detector=detector)


@dataclass(frozen=True)
class Stripes:
    """A striped readout, in the orientation of the array.

    ``axis`` is the slow one ("x" or "y"), ``rows`` the size of the array along it. ``frames`` holds the parts of the
    frame of each superstripe; there is one frame without superstripes. ``padded`` says that superstripes are put
    together to the detector's whole length.
    """

    axis: str
    rows: int
    frames: tuple[tuple[Part, ...], ...]
    superstripes: int
    padded: bool

    @property
    def turns(self) -> int:
        """Stripes in a frame."""
        return max(part.turn for frame in self.frames for part in frame) + 1

    @property
    def span(self) -> tuple[int, int]:
        """The first row of the field that superstripes make together, from 0, and the rows of the field."""
        if self.padded:
            return 0, DETECTOR
        science = [part for frame in self.frames for part in frame if not part.reference]
        start = min(part.detector for part in science)
        return start, max(part.detector + part.size for part in science) - start

    def rows_of(self, frame: int) -> np.ndarray:
        """The detector's row of each row of the array."""
        rows = np.empty(self.rows, np.int64)
        for part in self.frames[frame]:
            rows[part.row : part.row + part.size] = np.arange(part.size) + part.detector
        return rows


def stripes_of(header: Mapping[str, Any]) -> Stripes | None:
    """The striped readout that keywords describe, ``None`` for one without stripes (no MSTR_RD1).

    Raises
    ------
    StripesError
        For numbers of rows that do not fill the array, or reach beyond the detector.
    """
    if header.get("MSTR_RD1") is None:
        return None
    slow = int(header["SLOWAXIS"])
    axis, number = ("x", 1) if abs(slow) == 1 else ("y", 2)
    rows = int(header[f"SUBSIZE{number}"])
    start = _start(header, slow, int(header[f"SUBSTRT{number}"]))
    readout = {key: int(header.get(key) or 0) for key in KEYWORDS}
    count = readout["SSTR_NST"]
    if readout["MSTR_RD2"] <= 0:
        if not count:
            raise StripesError(f"MSTR_RD2 is {readout['MSTR_RD2']}, expected 1 or more")
        readout["MSTR_RD2"] = readout["SSTR_STP"]
    frames = [tuple(_frame(readout, start, rows, k)) for k in range(max(count, 1))]
    if slow < 0:
        frames = [tuple(part.turned(rows) for part in frame) for frame in frames]
    return Stripes(axis, rows, tuple(frames), count, header.get("SUBARRAY") in PADDED)


def _start(header: Mapping[str, Any], slow: int, start: int) -> int:
    """The first row that is read, counted from 0 in the order of reading.

    Some files have the wrong start: those of the DHS, and 1 where rows are read downwards.
    """
    if "DHS" in str(header.get("SUBARRAY", "")).upper() or (slow < 0 and start == 1):
        return 0
    return start - 1 if slow > 0 else DETECTOR - start


def _frame(readout: Mapping[str, int], start: int, rows: int, superstripe: int) -> Iterator[Part]:
    """The parts of a frame in the order of reading."""
    first, stripe, gap = readout["MSTR_RD1"], readout["MSTR_RD2"], readout["MSTR_SK2"]
    skip = readout["MSTR_SK1"] + readout["SSTR_STP"] * superstripe
    if stripe <= 0 or first < 0:
        raise StripesError(
            f"stripes of {stripe} rows after {first} rows, expected 1 or more after 0 or more"
        )
    row, turn, place = 0, 0, start
    while row < rows:
        again = turn == 0 or readout["MSTR_RPT"] > 0
        if again:
            place = start + first + skip
            if first:
                yield _part(row, start, first, True, turn)
                row += first
        else:
            place += gap
        if again and turn and readout["MSTR_ILV"]:
            # The place of a superstripe does not count here, as in jwst 3.0.0: no readout has both.
            place = start + first + readout["MSTR_SK1"] + turn * (gap + stripe)
        yield _part(row, place, stripe, False, turn)
        row, turn, place = row + stripe, turn + 1, place + stripe
    if row != rows:
        raise StripesError(f"stripes of {first} and {stripe} rows do not fill {rows} rows")


def _part(row: int, detector: int, size: int, reference: bool, turn: int) -> Part:
    if detector < 0 or detector + size > DETECTOR:
        raise StripesError(
            f"rows {detector} to {detector + size} are read, the detector has {DETECTOR}"
        )
    return Part(row, detector, size, reference, turn)


SPACE = 2
"""Empty rows after each superstripe of a stack, so that no neighbours are seen across."""


@dataclass(frozen=True)
class Stack:
    """Frames of superstripes laid one after another along the slow axis, so that they are one frame.

    ``stripes`` says where the frames lie on the detector. There is no stack without superstripes.
    """

    stripes: Stripes

    @property
    def pitch(self) -> int:
        """Rows from one frame to the next."""
        return self.stripes.rows + SPACE

    @property
    def rows(self) -> int:
        """Rows of the stack."""
        return self.pitch * len(self.stripes.frames)

    def detector_rows(self) -> np.ndarray:
        """The detector's row of each row of the stack, -1 for empty ones."""
        rows = np.full((len(self.stripes.frames), self.pitch), -1)
        for number in range(len(self.stripes.frames)):
            rows[number, : self.stripes.rows] = self.stripes.rows_of(number)
        return rows.ravel()

    def sources(self) -> np.ndarray:
        """For each turn and each row of the whole field the row of the stack it is from, -1 where none is read.

        Shape (turns, rows of the field). Where stripes overlap, the later one counts.
        """
        start, size = self.stripes.span
        rows = np.full((self.stripes.turns, size), -1)
        for number, frame in enumerate(self.stripes.frames):
            for part in frame:
                if not part.reference:
                    place, row = part.detector - start, part.row + number * self.pitch
                    rows[part.turn, place : place + part.size] = np.arange(part.size) + row
        return rows


@dataclass(frozen=True)
class Run:
    """Consecutive rows: the first one here, and there; how many; -1 there means that nothing is."""

    here: int
    there: int
    size: int


def runs(rows: np.ndarray) -> tuple[Run, ...]:
    """The runs of consecutive numbers in ``rows``; those that are -1 are left out."""
    breaks = np.flatnonzero((np.diff(rows) != 1) | (rows[:-1] < 0)) + 1
    starts = [0, *breaks.tolist()]
    ends = [*breaks.tolist(), rows.size]
    return tuple(
        Run(a, int(rows[a]), b - a) for a, b in zip(starts, ends, strict=True) if rows[a] >= 0
    )


def read_times(header: Mapping[str, Any], stripes: Stripes) -> tuple[tuple[float, ...], ...]:
    """Seconds after the reset at which the frames of each group of a frame with several turns are read.

    One tuple for each group after the turns were told apart: the first turn of a group comes after the reset of its
    rows, the others follow at the time that the rows of a turn take. Times of a pixel are 10 microseconds; 12 are lost
    at the end of each row.
    """
    nframes, gap, outputs = (int(header[key]) for key in ("NFRAMES", "GROUPGAP", "NOUTPUTS"))
    columns = int(header["SUBSIZE2" if stripes.axis == "x" else "SUBSIZE1"])
    four = outputs == 4
    more_rows = 1 if four else 2 if outputs == 1 and columns >= 9 else 3
    row_time = (columns / outputs + 12) * 1e-5
    own = int(header["MSTR_RD1"] or 0) + int(header.get("MSTR_RD2") or 0)
    extra = 1e-5 if four else 0.0
    frame = row_time * (stripes.rows + more_rows) + extra
    steps = [row_time * (own + more_rows) + extra]
    steps += [row_time * own] * (stripes.rows // own - 1) if own else []
    if not own:
        steps = [frame]
    times, now = [], 0.0
    for _ in range(int(header["NGROUPS"])):
        for step in steps:
            times.append(tuple(now + step + k * frame for k in range(nframes)))
            now += step
        now += frame * (nframes - 1 + gap)
    return tuple(times)
