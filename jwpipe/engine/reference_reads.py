"""What the reference reads of interleaved exposures say: the noise of each group, found by tasks of their own.

For each group of each integration one task takes the reference reads from the file, runs the steps before ``refpix``
on them, and puts the noise of the whole frame on disk (`jwpipe.io.scratch`), where the blocks of the pixels find their
rows of all groups. Two small tasks for each output and integration go before: how its pairs of reads scatter, and the
mean of its reads over the groups. So never more than a few frames are in memory. The steps before ``refpix`` see
reference reads one group at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize

from jwpipe.dq import Pixel
from jwpipe.engine.borders import Levels
from jwpipe.engine.chain import Bound, Given, run_step
from jwpipe.engine.graph import needed, source_of
from jwpipe.engine.state import Source, State
from jwpipe.exposure import RAMP_VARIABLES
from jwpipe.io.fitsarray import FitsArray
from jwpipe.io.fitsrows import FitsRows
from jwpipe.io.scratch import Scratch, ScratchRamp
from jwpipe.numerics.irs2 import (
    FRAME_ROWS,
    LINES,
    MIDDLE,
    OUTPUTS,
    READS,
    TICKS,
    Interleaving,
    is_reference,
)
from jwpipe.numerics.stripes import runs
from jwpipe.refs import RefArray
from jwpipe.stage1.irs2.noise import EDGE, Noise, Reads, shared_noise
from jwpipe.stage1.irs2.repair import (
    Repair,
    bad_pairs,
    listed_rows,
    pair_moments,
    repaired,
    repairs,
)
from jwpipe.stage1.refpix_irs2 import Correction

RAMP_DIMS = ("integration", "group", "y")
DIMS = ((*RAMP_DIMS, "x"), RAMP_DIMS, RAMP_DIMS, RAMP_DIMS, ("x",))
BAD_REFERENCE = np.uint32(Pixel.BAD_REF_PIXEL)
UNUSABLE = np.uint32(Pixel.DO_NOT_USE)
ENDS = (slice(0, EDGE), slice(LINES - EDGE, LINES))


def on_rows(bound: Bound, rows: np.ndarray) -> Bound:
    """A step with those of its references that have interleaved rows seen as these rows alone."""
    along = runs(rows)

    def seen(reference: Any) -> Any:
        """A reference on the wanted rows, if it has the rows of a frame."""
        if isinstance(reference, RefArray) and reference.shape[-2] == FRAME_ROWS:
            return reference.striped("y", along, rows.size)
        return reference

    survey = bound.survey
    if survey is not None:
        survey = replace(survey, references=tuple(map(seen, survey.references)))
    return replace(bound, references=tuple(map(seen, bound.references)), survey=survey)


@dataclass(frozen=True, eq=False)
class Frames:
    """Groups of an exposure as the steps before ``refpix`` leave them; ``names`` are the variables of a group."""

    names: tuple[str, ...]
    steps: tuple[Bound, ...]
    layout: Interleaving

    def region(self, group: Sequence[Any], rows: np.ndarray, columns: slice) -> State:
        """The counts and flags of one group on rows and columns, (1, 1, y, x) and (y, x)."""
        state: State = {
            name: _rows(name, value, rows, columns)
            for name, value in zip(self.names, group, strict=True)
        }
        for bound in self.steps:
            seen = on_rows(bound, rows).references
            references = [
                r.kept(slice(0, rows.size), columns) if isinstance(r, RefArray) else r for r in seen
            ]
            run_step(bound, state, references, ())
        return state

    def reads(self, group: Sequence[Any], output: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The reads of an output: rows counted within it, counts (y, x), flags (y, x)."""
        rows = np.arange(READS) if output == 0 else np.flatnonzero(is_reference())
        state = self.region(group, self.layout.rows(output)[rows], slice(0, LINES))
        return rows, state["sci"][0, 0], _flags(state)

    def edges(self, group: Sequence[Any], output: int) -> tuple[np.ndarray, np.ndarray]:
        """The 640 reads of an output in the edge lines: counts and flags (y, 8)."""
        rows = self.layout.rows(output)
        states = [self.region(group, rows, columns) for columns in ENDS]
        counts = np.concatenate([state["sci"][0, 0] for state in states], axis=1)
        return counts, np.concatenate([_flags(state) for state in states], axis=1)


@dataclass(frozen=True)
class OneGroup:
    """A variable of one group of one integration, still in the file."""

    array: FitsArray
    integration: int
    group: int

    def read(self, rows: np.ndarray, columns: slice, dtype: np.dtype[Any]) -> np.ndarray:
        """Rows and columns; of leading axes this group."""
        array = FitsRows(self.array, runs(rows), rows.size)
        first = [slice(n, n + 1) for n in (self.integration, self.group)][: array.ndim - 2]
        return array.read((*first, slice(0, rows.size), columns), dtype)


def _rows(name: str, value: Any, rows: np.ndarray, columns: slice) -> np.ndarray:
    dtype = np.dtype(RAMP_VARIABLES[name].dtype)
    if isinstance(value, OneGroup):
        return value.read(rows, columns, dtype)
    return np.ascontiguousarray(value[..., rows, :][..., columns], dtype)


def _flags(state: State) -> np.ndarray:
    shape = state["sci"].shape[-2:]
    return np.asarray(state.get("pixeldq", np.zeros(shape, np.uint32)))


@dataclass(frozen=True, eq=False)
class Inputs:
    """The variables of an interleaved exposure that tasks on its groups take."""

    variables: dict[str, Source | da.Array]
    arrays: list[da.Array]

    @classmethod
    def of(cls, exposure: xr.Dataset, steps: Sequence[Bound]) -> Inputs:
        """Those that the steps and ``refpix`` read."""
        names = needed([bound.step for bound in steps], ("sci", "pixeldq"))
        found = {name: exposure[name] for name in names if name in exposure}
        return cls({name: source_of(v) or da.asarray(v.data) for name, v in found.items()}, [])

    @property
    def extent(self) -> tuple[int, int]:
        """Integrations and groups."""
        integrations, groups = self.variables["sci"].shape[:2]
        return integrations, groups

    def group(self, i: int, g: int) -> list[Any]:
        """The variables of one group for a task: files, or the key of what is there of an array."""
        operands: list[Any] = []
        for value in self.variables.values():
            if isinstance(value, Source):
                assert isinstance(value.array, FitsArray)
                operands.append(OneGroup(value.array, i, g))
                continue
            lead = (slice(i, i + 1), slice(g, g + 1))[: value.ndim - 2]
            plane = value[lead]
            self.arrays.append(plane.rechunk(plane.shape))
            operands.append((self.arrays[-1].name, *(0,) * plane.ndim))
        return operands


@dataclass(frozen=True)
class Verdict:
    """Of each output the bad rows (640) and what replaces them."""

    bad: tuple[np.ndarray, ...]
    repairs: tuple[tuple[Repair, ...], ...]


def look(frames: Frames, output: int, *groups: Any) -> tuple[np.ndarray, np.ndarray]:
    """The moments (g, pair, 3) of an output's reference reads in an integration, and its flagged rows (640)."""
    moments, known = [], np.zeros(READS, bool)
    for group in groups:
        rows, values, flags = frames.reads(group, output)
        moments.append(pair_moments(values[is_reference()[rows]]))
        known[rows] |= ((flags & BAD_REFERENCE) != 0).any(axis=1)
    return np.stack(moments), known


def judge(correction: Correction, *looks: Sequence[tuple[np.ndarray, np.ndarray]]) -> Verdict:
    """Which reads are bad; ``looks`` holds what ``look`` found of each integration, output by output."""
    bad, fixes = [], []
    reference = np.flatnonzero(is_reference())
    for output in range(OUTPUTS):
        flagged = np.logical_or.reduce([of[output][1] for of in looks])
        known = flagged[reference].reshape(-1, 2).any(axis=1)
        for of in looks:
            found = bad_pairs(of[output][0], known, correction.params.ovr_corr_mitigation_ftr)
            flagged[reference] |= np.repeat(found & ~known, 2)
        bad.append(flagged)
        listed = listed_rows(correction.table, output, correction.layout)
        fixes.append(repairs(flagged, listed))
    return Verdict(tuple(bad), tuple(fixes))


def levelled(
    frames: Frames, correction: Correction, verdict: Verdict, group: Any, output: int
) -> tuple[Reads, np.ndarray]:
    """The reads of an output in one group, bad ones replaced, and the mean level (640) taken off them."""
    rows, values, _ = frames.reads(group, output)
    edges, flags = frames.edges(group, output)
    level = np.zeros(READS, np.float32)
    if correction.params.irs2_mean_subtraction:
        flags = np.where(verdict.bad[output][:, np.newaxis], flags | UNUSABLE, flags)
        level = correction.levels(output, edges, flags)
    fixes = verdict.repairs[output]
    values = repaired(values - level[rows, np.newaxis], rows, fixes)
    pixels = np.setdiff1d(np.arange(READS), rows)
    return Reads(values, (edges - level[:, np.newaxis])[pixels]), level


def mean_reads(
    frames: Frames, correction: Correction, output: int, verdict: Verdict, *groups: Any
) -> Reads:
    """The mean of an output's reads over the groups of an integration, float64."""
    values: Any = 0.0
    edges: Any = 0.0
    for group in groups:
        reads, _ = levelled(frames, correction, verdict, group, output)
        values = values + reads.values.astype(np.float64)
        edges = edges + reads.edges.astype(np.float64)
    return Reads(values / len(groups), edges / len(groups))


@dataclass(frozen=True)
class GroupNoise:
    """What is subtracted from one group: the noise (y, x) on disk, and along y what the kernel takes else.

    ``reads`` (y, x) is what is left of the reference reads, for those who want them.
    """

    plane: Scratch
    intercept: np.ndarray
    slope: np.ndarray
    level: np.ndarray
    reads: Scratch | None


def group_noise(
    frames: Frames,
    correction: Correction,
    keep: bool,
    verdict: Verdict,
    offsets: Sequence[Reads],
    *group: Any,
) -> GroupNoise:
    """The noise of one group."""
    found = [levelled(frames, correction, verdict, group, output) for output in range(OUTPUTS)]
    layout = frames.layout
    noises = shared_noise([reads for reads, _ in found], offsets, correction.kernels.read(), layout)
    order = range(OUTPUTS - 1, 0, -1) if layout.turned else range(1, OUTPUTS)
    pixel = ~is_reference()
    starts = [
        noises[k].intercept + (layout.ticks(k)[pixel] - MIDDLE) * noises[k].slope for k in order
    ]
    slopes = [np.full(pixel.sum(), noises[k].slope * TICKS) for k in order]
    return GroupNoise(
        Scratch(np.concatenate([noises[k].plane for k in order])),
        np.concatenate(starts),
        np.concatenate(slopes),
        np.concatenate([found[k][1][pixel] for k in order]),
        Scratch(_all_reads(noises, layout)) if keep else None,
    )


def _all_reads(noises: Sequence[Noise], layout: Interleaving) -> np.ndarray:
    """What is left of the reads of all outputs, with growing y."""
    outputs = [noise.reads for noise in noises]
    return np.concatenate(outputs[::-1] if layout.turned else outputs)


def integration_levels(layout: Interleaving, i: int, *groups: GroupNoise) -> Levels:
    """What the kernel of ``refpix`` takes of an integration."""
    along = [
        np.stack([getattr(group, name) for group in groups])[np.newaxis]
        for name in ("intercept", "slope", "level")
    ]
    planes = ScratchRamp([[group.plane for group in groups]])
    arrays: Any = (planes, *along, layout.lines().astype(np.float64))
    return Levels(i, i + 1, arrays)


@dataclass(frozen=True, eq=False)
class NoiseTasks:
    """The tasks that find what ``refpix`` subtracts."""

    given: Given
    verdict: Any
    groups: dict[tuple[int, int], Any]


def noise_tasks(
    inputs: Inputs, frames: Frames, correction: Correction, *, keep: bool
) -> NoiseTasks:
    """The tasks on the groups of an exposure; ``keep`` says whether what is left of the reads is wanted."""
    integrations, groups = inputs.extent
    token = tokenize(
        [(b.step.name, b.step.kernel, b.keywords, b.references) for b in frames.steps],
        [v.array if isinstance(v, Source) else v.name for v in inputs.variables.values()],
        correction,
        keep,
    )
    layer: dict[Any, Any] = {}
    looks: list[list[Any]] = []
    verdict, found = (f"irs2-verdict-{token}", 0), {}
    for i in range(integrations):
        whole = [inputs.group(i, g) for g in range(groups)]
        looks.append([(f"irs2-look-{token}", i, output) for output in range(OUTPUTS)])
        means = [(f"irs2-mean-{token}", i, output) for output in range(OUTPUTS)]
        for output in range(OUTPUTS):
            mean = partial(mean_reads, frames, correction, output)
            layer[looks[-1][output]] = (partial(look, frames, output), *whole)
            layer[means[output]] = (mean, verdict, *whole)
        find = partial(group_noise, frames, correction, keep)
        for g in range(groups):
            found[i, g] = (f"irs2-noise-{token}", i, g)
            layer[found[i, g]] = (find, verdict, means, *whole[g])
        all_groups = [found[i, g] for g in range(groups)]
        layer[f"irs2-levels-{token}", i] = (
            partial(integration_levels, frames.layout, i),
            *all_groups,
        )
    layer[verdict] = (partial(judge, correction), *looks)
    levels = [(f"irs2-levels-{token}", i) for i in range(integrations)]
    given = Given(DIMS, layer, levels, tuple(inputs.arrays), token)
    return NoiseTasks(given, verdict, found)
