"""NIRSpec's IRS2 exposures: pixels and reference reads, which lie in turns along y, go their own ways.

An interleaved exposure is looked at as two: the pixels of the detector, a frame of 2048 rows, and the reads of the
reference output and between the pixels, 1152 rows. The steps up to ``refpix`` run on the pixels as on any exposure;
what ``refpix`` subtracts is found beside (``reference_reads``). ``saturation`` and ``ipc`` see pixels alone.

Where a frame must stay interleaved (a saved result of a step before ``refpix``, ``preserve_irs2_refpix``), both are
processed and put together again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import dask.array as da
import numpy as np
import xarray as xr
from dask.highlevelgraph import HighLevelGraph

from jwpipe.engine.chain import Bound, Given
from jwpipe.engine.graph import source_of
from jwpipe.engine.reference_reads import (
    BAD_REFERENCE,
    UNUSABLE,
    Frames,
    GroupNoise,
    Inputs,
    NoiseTasks,
    Verdict,
    noise_tasks,
    on_rows,
)
from jwpipe.exposure import ExposureError, header
from jwpipe.io.chunking import chunks_of
from jwpipe.io.fitsarray import FitsArray
from jwpipe.io.fitsrows import FitsRows
from jwpipe.io.handles import handle_name
from jwpipe.numerics.irs2 import FRAME_ROWS, HALF, LINES, OUTPUTS, TICKS, Interleaving
from jwpipe.numerics.stripes import runs
from jwpipe.refs import RefArray, References
from jwpipe.stage1.refpix import RefpixParams
from jwpipe.stage1.refpix_irs2 import correction, layout_of, refpix_irs2
from jwpipe.step import AnyStep

if TYPE_CHECKING:
    from jwpipe.engine.preparing import Planned

UNSEEN = ("saturation", "ipc")
"""Steps that work on the pixels of the detector alone."""
WAVES_ALIVE = 16
"""Arrays of the size of a series' transform that the noise of a group takes, together with its frame."""
AFTER = (
    "linearity",
    "dark_current",
    "charge_migration",
    "jump",
    "picture_frame",
    "clean_flicker_noise",
    "persistence",
    "ramp_fit",
    "gain_scale",
)
"""Steps whose references are frames of 2048 rows."""


def is_interleaved(exposure: xr.Dataset) -> bool:
    """Whether the frames of a ramp still hold the reference reads."""
    return "group" in exposure["sci"].dims and exposure.sizes["y"] == FRAME_ROWS


def noise_bytes(exposure: xr.Dataset, steps: Sequence[AnyStep]) -> tuple[int, int]:
    """Bytes that a task holds which finds the noise of a group, and of the kernels; 0 where there are none."""
    if refpix_irs2 not in steps or not is_interleaved(exposure):
        return 0, 0
    waves = TICKS * HALF * np.dtype(np.complex64).itemsize
    return WAVES_ALIVE * waves, 2 * (OUTPUTS - 1) * waves


def reference_rows(layout: Interleaving) -> np.ndarray:
    """The rows of the frame that hold no pixels: all of the reference output, some of the others; with growing y."""
    rows = np.ones(FRAME_ROWS, bool)
    rows[layout.science_rows()] = False
    return np.flatnonzero(rows)


def rows_of(exposure: xr.Dataset, rows: np.ndarray) -> xr.Dataset:
    """The exposure with these rows alone, its pixels still in the file where they were."""
    taken = {}
    for name, variable in exposure.variables.items():
        if "y" not in variable.dims:
            continue
        source = source_of(exposure[name])
        if source is None:
            taken[name] = variable.isel(y=rows)
            continue
        assert isinstance(source.array, FitsArray)
        handle = FitsRows(source.array, runs(rows), rows.size)
        dims = tuple(map(str, variable.dims))
        array = da.from_array(
            handle,
            chunks_of(dims, handle.shape),
            name=handle_name(handle),
            inline_array=True,
            meta=np.empty((0,) * handle.ndim, handle.dtype),
        )
        taken[name] = xr.Variable(dims, array, variable.attrs, {"handle": handle})
    return exposure.drop_vars(list(taken)).assign(taken)


def put_together(
    exposure: xr.Dataset, pixels: xr.Dataset, reads: xr.Dataset, layout: Interleaving
) -> xr.Dataset:
    """The interleaved exposure with all variables of its two parts; what the reads do not have is 0 there."""
    order = np.argsort(np.concatenate([layout.science_rows(), reference_rows(layout)]))
    joined = {}
    for name in pixels:
        if "y" in pixels[name].dims:
            first = da.asarray(pixels[name].data)
            height = reads.sizes["y"]
            second = (
                da.asarray(reads[name].data)
                if name in reads
                else da.zeros((*first.shape[:-2], height, first.shape[-1]), first.dtype)
            )
            whole = da.concatenate([first, second.astype(first.dtype)], axis=-2)[..., order, :]
            joined[name] = (pixels[name].dims, whole, pixels[name].attrs)
    return exposure.assign(joined).assign_attrs(pixels.attrs)


Run: TypeAlias = (
    "Callable[[xr.Dataset, Sequence[Planned], Callable[[Planned, Bound], Bound]], xr.Dataset]"
)
"""Runs steps on an exposure, each changed by a function once it is bound."""


def run_parts(
    exposure: xr.Dataset, running: Sequence[Planned], references: References, run: Run
) -> xr.Dataset:
    """An interleaved exposure after steps; its frames have 2048 rows after ``refpix``, unless they are preserved.

    Raises
    ------
    ExposureError
        For steps that cannot work on interleaved frames, and references of pixels alone.
    """
    layout = layout_of(header(exposure))
    cut = next((each for each in running if each.step is refpix_irs2), None)
    params = cut.params if cut is not None else None
    preserved = isinstance(params, RefpixParams) and params.preserve_irs2_refpix
    _check_order(exposure, running, cut, preserved)
    view = _PixelView(exposure, references, layout, preserved)
    pixels = run(rows_of(exposure, layout.science_rows()), running, view)
    if cut is not None and not preserved:
        return pixels
    rows = reference_rows(layout)
    seen = [each for each in running if each is not cut and each.step.name not in UNSEEN]
    reads = run(rows_of(exposure, rows), seen, lambda planned, bound: on_rows(bound, rows))
    if view.noise is not None:
        reads = _preserved(reads, view.noise, layout)
    return put_together(exposure, pixels, reads, layout)


def _check_order(
    exposure: xr.Dataset, running: Sequence[Planned], cut: Planned | None, preserved: bool
) -> None:
    """Refuse steps on interleaved frames that need those of 2048 rows."""
    names = [each.step.name for each in running]
    after = names[names.index("refpix") + 1 :] if cut is not None else names
    late = [name for name in after if name in AFTER]
    if late and (cut is None or preserved):
        why = "preserve_irs2_refpix is set" if preserved else "refpix does not run"
        raise ExposureError(
            f"{header(exposure).filename}: {late[0]}: the frames of {FRAME_ROWS} rows hold reference reads, "
            f"since {why}; skip the steps after refpix, or let refpix take the reads out"
        )


class _PixelView:
    """Binds steps to the pixels of an interleaved exposure, ``refpix`` to the noise that the reads show."""

    def __init__(
        self, exposure: xr.Dataset, references: References, layout: Interleaving, keep: bool
    ) -> None:
        self.exposure, self.references, self.layout, self.keep = exposure, references, layout, keep
        self.before: list[Bound] = []
        self.noise: NoiseTasks | None = None

    def __call__(self, planned: Planned, bound: Bound) -> Bound:
        if planned.step is refpix_irs2:
            return replace(bound, given=self._noise(planned))
        if planned.step.name not in UNSEEN and self.noise is None:
            self._check(planned, bound)
            self.before.append(bound)
        return on_rows(bound, self.layout.science_rows())

    def _check(self, planned: Planned, bound: Bound) -> None:
        """Refuse references of the pixels alone where reference reads are worked on as well."""
        for array in bound.references:
            if isinstance(array, RefArray) and array.shape[-2] != FRAME_ROWS:
                raise ExposureError(
                    f"{header(self.exposure).filename}: {planned.step.name}: a reference of {array.shape[-2]} rows "
                    f"found, {FRAME_ROWS} expected; give the reference of the readout pattern "
                    f"{header(self.exposure).get('READPATT')}"
                )

    def _noise(self, planned: Planned) -> Given:
        assert isinstance(planned.params, RefpixParams)
        file = self.references["refpix"]
        assert file is not None
        how = correction(file, header(self.exposure), planned.params)
        inputs = Inputs.of(self.exposure, self.before)
        frames = Frames(tuple(inputs.variables), tuple(self.before), self.layout)
        self.noise = noise_tasks(inputs, frames, how, keep=self.keep)
        return self.noise.given


def _preserved(reads: xr.Dataset, noise: NoiseTasks, layout: Interleaving) -> xr.Dataset:
    """The reference reads less their noise, the bad ones flagged."""
    given, shape = noise.given, reads["sci"].shape
    name = f"irs2-reads-{given.token}"
    layer: dict[Any, Any] = {
        (name, *place, 0, 0): (_left, key) for place, key in noise.groups.items()
    }
    graph = HighLevelGraph.from_collections(name, {**given.tasks, **layer}, given.arrays)
    chunks = ((1,) * shape[0], (1,) * shape[1], shape[2:3], shape[3:])
    sci = da.Array(graph, name, chunks, np.float32)
    flags = f"irs2-flags-{given.token}"
    layer = {(flags, 0, 0): (partial(_bad_flags, layout), noise.verdict)}
    graph = HighLevelGraph.from_collections(flags, {**given.tasks, **layer}, given.arrays)
    bad = da.Array(graph, flags, (shape[2:3], shape[3:]), np.uint32)
    pixeldq = (
        reads["pixeldq"] if "pixeldq" in reads else xr.zeros_like(reads["sci"][0, 0], np.uint32)
    )
    return reads.assign(
        sci=reads["sci"].copy(data=sci), pixeldq=pixeldq.copy(data=da.asarray(pixeldq.data) | bad)
    )


def _left(noise: GroupNoise) -> np.ndarray:
    assert noise.reads is not None
    return noise.reads.rows(0, noise.reads.shape[0])[np.newaxis, np.newaxis]


def _bad_flags(layout: Interleaving, verdict: Verdict) -> np.ndarray:
    """The flags (y, x) of the reference reads that are bad."""
    bad = np.zeros(FRAME_ROWS, bool)
    for output, rows in enumerate(verdict.bad):
        bad[layout.rows(output)] = rows
    flags = np.where(bad[reference_rows(layout)], BAD_REFERENCE | UNUSABLE, np.uint32(0))
    return np.repeat(flags[:, np.newaxis], LINES, axis=1)
