"""What a run would do, without computing a pixel: steps, references, parameters, chunks, tasks, memory, products."""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import xarray as xr

from jwpipe import mosaic as image3
from jwpipe.build import build, check, settings_of
from jwpipe.chunks import (
    INTEGRATION_BYTES,
    SAMPLE_BYTES,
    SCRATCH_BYTES,
    integrations_at_once,
    strip_rows,
)
from jwpipe.engine.chain import Bound, total_halo
from jwpipe.engine.graph import Blocks
from jwpipe.engine.interleaved import noise_bytes
from jwpipe.engine.preparing import Planned, Prepared, bind, prepare, reference_types
from jwpipe.exposure import ExposureError, header
from jwpipe.inputs import ExposureInput, MosaicInput, collect
from jwpipe.io import open as open_exposure
from jwpipe.io import product_name
from jwpipe.io.writing import Written, writing_of
from jwpipe.outcomes import message_of
from jwpipe.pipelines import PIPELINES
from jwpipe.refs import MissingReferences, RefArray, References
from jwpipe.refs.array import StandardFlags
from jwpipe.refs.cache import CAPACITY
from jwpipe.request import MOSAIC, Request
from jwpipe.stage3.placement import TILE, tile_shape
from jwpipe.stage3.tiles import BATCH
from jwpipe.step import Params, Step

FRAGMENTS = 1.25
"""Memory that tasks take, over what they hold: gaps between arrays, and results on their way to the file (measured)."""

LOADED_LATER = 76 << 20
LOADED_FOR_MOSAICS = 256 << 20
"""Bytes of libraries and compiled kernels that are loaded when the first task needs them (measured)."""

PLANES_OF_SUMS = 10
"""Planes of 4 bytes that the sums of one exposure on a tile hold: values, weights, variances, context."""

CATALOGUE_PLANES = 12
"""Planes of 4 bytes that source_catalog holds of the whole mosaic: image, errors, background, filtered image, map."""


@dataclass(frozen=True)
class StepRow:
    """One step of a plan: why it does not run, or its parameters that differ from the defaults."""

    name: str
    reason: str
    parameters: Mapping[str, Any]
    references: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """What would happen to one input in one pipeline."""

    name: str
    pipeline: str
    steps: Sequence[StepRow] = ()
    chunks: str = ""
    tasks: int = 0
    memory: int = 0
    products: Sequence[str] = ()
    error: str = ""


@dataclass(frozen=True)
class ReferenceRow:
    """One reference of one input and where it comes from, or the problem that there is with them."""

    exposure: str
    type: str = ""
    file: str = ""
    source: str = ""
    problem: str = ""


@dataclass
class _Planner:
    """The plans of a run as they are made; ``threads`` tasks run at once in a process."""

    request: Request
    threads: int
    built: dict[str, xr.Dataset] = field(default_factory=dict)

    def exposure(self, unit: ExposureInput) -> list[Plan]:
        """The plans of an exposure, one for each pipeline; tasks and products are told with the last one."""
        if self.request.lists_sources:
            return [self._catalogue(unit)]
        found = build(self.request, unit)
        self.built[unit.path] = found.result
        plans = []
        for number, (name, prepared) in enumerate(found.stages, 1):
            last = number == len(found.stages)
            plans.append(
                Plan(
                    unit.name,
                    name,
                    [_row(planned, prepared) for planned in prepared.steps],
                    _chunks(prepared.exposure),
                    _tasks(found.written or [found.result]) if last else 0,
                    predicted_memory(prepared, self.threads),
                    self._names(found.written, unit.name) if last else [],
                )
            )
        return plans

    def mosaic(self, unit: MosaicInput) -> Plan:
        """The plan of a mosaic, as if its exposures were aligned already."""
        exposures = [_unread(self.built[path]) for path in unit.members if path in self.built]
        settings = self.request.settings
        parameters = image3.parameters_of(exposures, settings, self.request.single)
        rows = self._rows(parameters, header(exposures[0]))
        saved = [
            each.assign_attrs(product=step)
            for step in ("tweakreg", "skymatch")
            if step in (*self.request.save, self.request.single) or parameters[step].save_results
            for each in exposures
        ]
        cleaned = image3.clean(exposures, parameters["outlier_detection"])
        written = [] if cleaned.reason else [*cleaned.exposures, *cleaned.intermediate]
        products = self._names([*saved, *written], asn_id=unit.asn_id)
        tasks = _tasks([*saved, *written])
        shape: tuple[int, ...] = (0, 0)
        if not parameters["resample"].skip:
            result = image3.combine(exposures, parameters["resample"], unit.name)
            tasks, shape = tasks + _tasks([result]), result["sci"].shape
            products += self._names([result])
            if not parameters["source_catalog"].skip:
                products += self._catalogue_names(result)
        memory = (
            _own_peak()
            + LOADED_FOR_MOSAICS
            + mosaic_bytes(len(exposures), self.threads, prod(shape))
        )
        outcome = next((row for row in rows if row.name == "outlier_detection"), None)
        if cleaned.reason and outcome is not None:
            rows[rows.index(outcome)] = StepRow(outcome.name, cleaned.reason, {}, {})
        return Plan(unit.name, MOSAIC, rows, _tiles(exposures, shape), tasks, memory, products)

    def _catalogue(self, unit: ExposureInput) -> Plan:
        mosaic = open_exposure(unit.path)
        parameters = image3.parameters_for(header(mosaic), self.request.settings)
        rows = self._rows({"source_catalog": parameters["source_catalog"]}, header(mosaic))
        size = mosaic["sci"].size
        memory = _own_peak() + LOADED_FOR_MOSAICS + mosaic_bytes(0, self.threads, size)
        names = self._catalogue_names(mosaic)
        return Plan(unit.name, "source_catalog", rows, _chunks(mosaic), 0, memory, names)

    def _rows(self, parameters: Mapping[str, Params], keywords: Any) -> list[StepRow]:
        rows = []
        for name, params in parameters.items():
            files = {}
            if name == "source_catalog" and not params.skip:
                references = image3.catalog_references(keywords, self.request.settings)
                files = {kind: file.name if file else "N/A" for kind, file in references.items()}
            rows.append(StepRow(name, image3.SKIP if params.skip else "", _changed(params), files))
        return rows

    def _names(
        self, exposures: Sequence[xr.Dataset], name: str = "", asn_id: str = ""
    ) -> list[str]:
        return [
            each.attrs.get("file")
            or product_name(
                name or each.attrs["filename"],
                each.attrs["product"],
                asn_id=asn_id,
                extension=f".{self.request.form}",
            )
            for each in exposures
        ]

    def _catalogue_names(self, mosaic: xr.Dataset) -> list[str]:
        name = mosaic.attrs["filename"]
        return [
            product_name(name, "cat", extension=".ecsv"),
            product_name(name, "segm", extension=f".{self.request.form}"),
        ]


def plan_request(request: Request, threads: int = 1) -> list[Plan]:
    """The plans of all units of a run of ``threads`` tasks at once in a process.

    A unit that cannot run has its error.
    """
    work = collect(request)
    plans = [Plan(Path(name).name, "input", error=problem) for name, problem in work.problems]
    planner = _Planner(request, threads)
    stage = request.single or ",".join(request.per_exposure)
    for unit in work.exposures:
        try:
            check(request, unit)
            plans += planner.exposure(unit)
        except Exception as error:  # hooks are the users' own
            plans.append(Plan(unit.name, stage, error=message_of(error, unit.name, stage)))
    for mosaic in work.mosaics:
        try:
            plans.append(planner.mosaic(mosaic))
        except Exception as error:
            plans.append(Plan(mosaic.name, MOSAIC, error=message_of(error, mosaic.name, MOSAIC)))
    return plans


def _row(planned: Planned, prepared: Prepared) -> StepRow:
    kinds = reference_types(planned, header(prepared.exposure))
    found = {kind: prepared.references[kind] for kind in kinds}
    files = {kind: file.name if file else "N/A" for kind, file in found.items()}
    return StepRow(planned.step.name, planned.reason, _changed(planned.params), files)


def _changed(params: Params) -> dict[str, Any]:
    """The parameters that differ from the defaults."""
    defaults = type(params)().own()
    return {k: v for k, v in params.own().items() if v != defaults[k]}


def _chunks(exposure: xr.Dataset) -> str:
    sizes = exposure["sci"].sizes
    blocks = _blocks(exposure)
    shape = " x ".join(f"{size} {dim}" for dim, size in sizes.items())
    number = len(blocks.heights) * len(blocks.widths)
    wide = f" x {max(blocks.widths)} columns" if len(blocks.widths) > 1 else ""
    return f"{shape} in {number} blocks of up to {max(blocks.heights)} rows{wide}"


def _blocks(exposure: xr.Dataset) -> Blocks:
    sizes = exposure["sci"].sizes
    return Blocks.of(sizes["y"], sizes["x"], *_extent(exposure))


def _extent(exposure: xr.Dataset) -> tuple[int, int]:
    """Integrations and groups of what is worked on at a time: the longest segment."""
    sizes = exposure["sci"].sizes
    segments = exposure.attrs.get("segments") or ()
    longest = max((each["integrations"] for each in segments), default=0)
    return longest or sizes.get("integration", 1), sizes.get("group", 1)


def _tiles(exposures: Sequence[xr.Dataset], shape: tuple[int, ...]) -> str:
    if not prod(shape):
        return f"those of {len(exposures)} exposures"
    height, width = tile_shape((shape[0], shape[1]))
    size = f"{shape[0]} x {shape[1]} pixels in tiles of {min(height, shape[0])} x {width}"
    return f"{len(exposures)} exposures, a mosaic of {size}"


def _unread(exposure: xr.Dataset) -> xr.Dataset:
    """The exposure with pixels that are there at once: what it takes to make them is planned by itself."""
    return exposure.assign(
        {
            name: v.copy(data=da.zeros(v.shape, v.dtype, chunks=da.asarray(v.data).chunks))
            for name, v in exposure.data_vars.items()
        }
    )


def _tasks(products: Sequence[xr.Dataset]) -> int:
    """Tasks that compute and write the products together."""
    arrays = [da.asarray(v.data) for each in products for v in each.data_vars.values()]
    if not arrays:
        return 0
    (stored,) = dask.optimize(writing_of([Written(array, None) for array in arrays]))
    return len(dict(stored.__dask_graph__()))


def _own_peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def predicted_memory(prepared: Prepared, threads: int) -> int:
    """Peak resident bytes of a process that runs ``threads`` tasks of the pipeline's pixel steps at once."""
    keywords = header(prepared.exposure)
    running = [p for p in prepared.steps if p.runs and isinstance(p.step, Step)]
    bound = [bind(p, prepared.references, keywords) for p in running]
    noise, waves = noise_bytes(prepared.exposure, [each.step for each in bound])
    # What noise took is kept for the next exposure when it is freed, and of no use to blocks.
    tasks = int(threads * (FRAGMENTS * task_bytes(prepared.exposure, bound) + noise))
    return _own_peak() + LOADED_LATER + tasks + waves + cached_bytes(bound)


def task_bytes(exposure: xr.Dataset, bound: Sequence[Bound]) -> int:
    """Bytes that one task of a chain holds: a strip and its references, what waits for the fit, and the results."""
    blocks, (integrations, groups) = _blocks(exposure), _extent(exposure)
    height, width, halo = max(blocks.heights), max(blocks.widths), 2 * total_halo(bound)
    rows = min(height, strip_rows(integrations * groups, width))
    columns = width + (halo if len(blocks.widths) > 1 else 0)
    strip = (rows + halo) * columns
    at_once = integrations_at_once(integrations, groups, strip)
    cubes = sum(
        prod(array.shape[:-2]) * strip * array.dtype.itemsize
        for array in _arrays(bound)
        if array.ndim > 2
    )
    scratch = strip * at_once * groups * SCRATCH_BYTES + cubes
    waiting = 0
    if at_once < integrations:
        waiting = strip * integrations * groups * SAMPLE_BYTES
    kept = integrations * height * width * INTEGRATION_BYTES
    planes = sum(array.ndim == 2 for array in _arrays(bound)) * height * width * 4
    return max(scratch + kept // 2, waiting + kept) + planes


def cached_bytes(bound: Sequence[Bound]) -> int:
    """Bytes of references that a process keeps for the next exposure."""
    arrays = {array for array in _arrays(bound) if not isinstance(array.source, StandardFlags)}
    whole = sum(prod(array.shape) * array.dtype.itemsize for array in arrays)
    return min(whole, CAPACITY)


def mosaic_bytes(exposures: int, threads: int, size: int) -> int:
    """Bytes that a process holds for a mosaic of ``size`` pixels: tiles being summed, or its sources being found."""
    tile = min(size, TILE * TILE) * 4 * PLANES_OF_SUMS
    return max(threads * tile * (1 + min(exposures, BATCH)), size * 4 * CATALOGUE_PLANES)


def _arrays(bound: Sequence[Bound]) -> list[RefArray]:
    return [array for each in bound for array in each.references if isinstance(array, RefArray)]


def list_references(request: Request) -> list[ReferenceRow]:
    """The references of every input for the pipelines asked for, from the one on that takes it."""
    work = collect(request)
    rows = [ReferenceRow(name, problem=problem) for name, problem in work.problems]
    for unit in work.exposures:
        try:
            rows += _references_of(request, unit)
        except ExposureError as error:
            rows.append(ReferenceRow(unit.name, problem=str(error)))
    return rows


def _references_of(request: Request, unit: ExposureInput) -> list[ReferenceRow]:
    exposure, settings = open_exposure(unit.path), settings_of(request, unit)
    keywords, rows = header(exposure), []
    for name in _remaining(request, exposure):
        try:
            if name == MOSAIC:
                found: References = image3.catalog_references(keywords, settings)
            else:
                found = prepare(
                    name, PIPELINES[name].steps(keywords), exposure, settings
                ).references
        except MissingReferences as error:
            rows.append(ReferenceRow(unit.name, problem=str(error)))
            continue
        except ExposureError as error:
            # This pipeline does not take it, nor do those that follow; the references so far hold.
            rows.append(ReferenceRow(unit.name, problem=str(error)))
            break
        rows += [
            ReferenceRow(unit.name, kind, file.name if file else "N/A", found.sources[kind])
            for kind, file in found.items()
        ]
    return list(dict.fromkeys(rows))


def _remaining(request: Request, exposure: xr.Dataset) -> list[str]:
    """The pipelines that an exposure has not been through."""
    product = exposure.attrs["product"]
    made = {"rate": 1, "rateints": 1, "cal": 2, "calints": 2, "crf": 2, "i2d": 2}.get(product, 0)
    done = [*PIPELINES][:made]
    return [name for name in request.pipelines if name not in done]
