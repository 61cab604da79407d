"""Remove the drifts of the readout electronics from striped readouts.

Each frame of a multistripe readout carries its reference pixels among its rows, wherever the stripes were read. In
every group their clipped mean is taken for each amplifier (512 columns of the detector), odd and even columns apart,
and subtracted; superstripes of an integration each have levels of their own. The flags of each superstripe say which
of its reference pixels are good; jwst 3.0.0 takes the flags of the first for all.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jwpipe.exposure import Header
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.levels import clipped_means
from jwpipe.numerics.stripes import DETECTOR, SPACE, stripes_of
from jwpipe.refs import RefArray, References
from jwpipe.stage1.refpix import OUTPUT, REFERENCE, UNUSABLE, RefpixParams, place
from jwpipe.step import Round, Step, Survey

KINDS = 2 * DETECTOR // OUTPUT
"""Levels of a frame: those of odd and of even columns of each amplifier."""

Samples = tuple[np.ndarray, np.ndarray, np.ndarray]
Levels = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Columns:
    """Which level each pixel of a frame belongs to; read region by region as pixels of references are.

    ``slow`` is the slow axis of the array ("x" or "y"), ``fast`` FASTAXIS, ``start`` the place on the detector of the
    first pixel along it, ``size`` their number. Frames lie ``pitch`` rows apart; the last ``SPACE`` of these belong to
    none, which is -1. ``parity`` tells odd columns from even ones.
    """

    slow: str
    fast: int
    start: int
    size: int
    pitch: int
    parity: bool

    def read(self, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
        """The numbers of the levels (y, x), int32."""
        along_y = self.slow == "y"
        row, column = (
            np.arange(*span) for span in ((rows, columns) if along_y else (columns, rows))
        )
        ordinal = column if self.fast > 0 else self.size - 1 - column
        kind = (self.start + ordinal) // OUTPUT * 2 + (ordinal % 2 if self.parity else 0)
        levels = row[:, np.newaxis] // self.pitch * KINDS + kind
        levels[row % self.pitch >= self.pitch - SPACE] = -1
        return np.ascontiguousarray(levels if along_y else levels.T, np.int32)


def subtract_levels(
    sci: np.ndarray,
    zeroframe: np.ndarray | None,
    labels: np.ndarray,
    found: Levels,
    *,
    first: int = 0,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Subtract from each pixel its level.

    Parameters
    ----------
    sci
        Counts (i, g, y, x), DN.
    zeroframe
        First frames (i, y, x), DN; pixels of 0 hold no data and stay 0.
    labels
        The number of each pixel's level (y, x), -1 for none.
    found
        Levels (i, g, level), and of the zero frame (i, 1, level), DN, of all integrations.
    first
        The place of the first integration of ``sci`` among these.
    """
    these = slice(first, first + sci.shape[0])
    if zeroframe is not None:
        corrected = _subtract(zeroframe[:, np.newaxis], labels, found[1][these])[:, 0]
        zeroframe = np.where(zeroframe == 0, zeroframe, corrected)
    return _subtract(sci, labels, found[0][these]), zeroframe


@kernel
def _subtract(sci: np.ndarray, labels: np.ndarray, levels: np.ndarray) -> np.ndarray:
    integrations, groups, rows, columns = sci.shape
    corrected = np.empty_like(sci)
    for i in range(integrations):
        for g in range(groups):
            for y in range(rows):
                for x in range(columns):
                    level = levels[i, g, labels[y, x]] if labels[y, x] >= 0 else 0.0
                    corrected[i, g, y, x] = sci[i, g, y, x] - level
    return corrected


def samples_of(
    found: Any, sci: np.ndarray, pixeldq: np.ndarray, *zeroframe_and_labels: np.ndarray
) -> Samples:
    """The good reference pixels of a region: values (i, g, n), first frames (i, 1, n), and their levels (n)."""
    *zeroframe, labels = zeroframe_and_labels
    good = ((pixeldq & REFERENCE) != 0) & ((pixeldq & UNUSABLE) == 0) & (labels >= 0)
    frames = zeroframe[0][:, np.newaxis] if zeroframe else np.zeros_like(sci[:, :1])
    return sci[..., good], frames[..., good], labels[good]


def joined(one: Samples, other: Samples) -> Samples:
    """The samples of two regions."""
    first, second, third = (np.concatenate(pair, axis=-1) for pair in zip(one, other, strict=True))
    return first, second, third


def levels_of(found: Any, samples: Samples, *, count: int, limit: float, parity: bool) -> Levels:
    """The clipped means of the samples of each of ``count`` levels.

    Without reference pixels nothing is subtracted: from neither odd nor even columns where one of them has none.
    """
    values, frames, labels = samples
    return _means(values, labels, count, limit, parity), _means(
        frames, labels, count, limit, parity
    )


def _means(
    values: np.ndarray, labels: np.ndarray, count: int, limit: float, parity: bool
) -> np.ndarray:
    means = np.full((*values.shape[:2], count), np.nan)
    for label in np.unique(labels):
        these = np.ascontiguousarray(values[..., labels == label])
        means[..., label] = clipped_means(these, limit)
    if parity:
        pairs = means.reshape(*means.shape[:2], count // 2, 2)
        pairs[np.isnan(pairs).any(axis=-1)] = np.nan
    return np.nan_to_num(means)


@dataclass(frozen=True)
class Finish:
    """``levels_of`` with its arguments, comparable and picklable."""

    count: int
    limit: float
    parity: bool

    def __call__(self, found: Any, samples: Samples) -> Levels:
        """The levels."""
        return levels_of(found, samples, count=self.count, limit=self.limit, parity=self.parity)


def _labels(header: Header, params: RefpixParams) -> tuple[RefArray, int]:
    """The level of each pixel, and the number of levels."""
    stripes = stripes_of(header)
    assert stripes is not None
    fast = int(header["FASTAXIS"])
    starts = int(header["SUBSTRT1"]) - 1, int(header["SUBSTRT2"]) - 1
    sizes = int(header["SUBSIZE1"]), int(header["SUBSIZE2"])
    size = sizes[abs(fast) - 1]
    frames = len(stripes.frames) if stripes.superstripes else 1
    pitch = stripes.rows + SPACE
    columns = Columns(
        stripes.axis, fast, place(fast, starts, sizes), size, pitch, params.odd_even_columns
    )
    rows = frames * pitch if stripes.superstripes else stripes.rows
    shape = (rows, size) if stripes.axis == "y" else (size, rows)
    return RefArray(columns, shape, np.dtype(np.int32)), frames * KINDS


def _prepare(references: References, header: Header, params: RefpixParams) -> tuple[Any, ...]:
    return (_labels(header, params)[0],)


def _survey(references: References, header: Header, params: RefpixParams) -> Survey:
    labels, count = _labels(header, params)
    finish = Finish(count, params.siglimit, params.odd_even_columns)
    frames = ("zeroframe",) if header.get("ZEROFRAM") else ()
    reads = ("sci", "pixeldq", *frames)
    # Without first frames, flags of saturation bear on nothing here.
    without = () if frames else ("saturation",)
    return Survey(reads, (Round(samples_of, joined, finish),), (labels,), without)


refpix_stripes = Step(
    "refpix",
    subtract_levels,
    reads=("sci", "zeroframe?"),
    writes=("sci", "zeroframe?"),
    params=RefpixParams,
    prepare=_prepare,
    survey=_survey,
    apart=True,
    numbered=True,
)
