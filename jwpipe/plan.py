"""What a run would do, without computing a pixel: steps, references, parameters, chunks, tasks, memory, products."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask
import numpy as np
import xarray as xr

from jwpipe.chain import Bound, total_halo
from jwpipe.chunks import row_blocks, strip_rows
from jwpipe.exposure import ExposureError, header
from jwpipe.inputs import ExposureInput, collect
from jwpipe.io import open as open_exposure
from jwpipe.io import product_name
from jwpipe.params import resolve
from jwpipe.pipeline import Planned, Prepared, bind, prepare, reference_types
from jwpipe.pipelines import PIPELINES, Products, next_input
from jwpipe.refs import MissingReferences, RefArray
from jwpipe.refs.array import MappedPixels
from jwpipe.request import MOSAIC, Request, all_steps, find_step
from jwpipe.step import AnyStep, Step

STRIPS_ALIVE = 6
"""Arrays of a strip's size that a chain of kernels holds at once: inputs, results and scratch."""


@dataclass(frozen=True)
class StepRow:
    """One step of a plan: why it does not run, or its parameters that differ from the defaults."""

    name: str
    reason: str
    parameters: Mapping[str, Any]
    references: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """What would happen to one input."""

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


def plan_request(request: Request, workers: int | None) -> list[Plan]:
    """The plans of all units of a run; a unit that cannot run has its error."""
    work = collect(request)
    plans = [Plan(name, "input", error=problem) for name, problem in work.problems]
    for unit in work.exposures:
        try:
            plans += _exposure_plans(unit, request, workers or 1)
        except (ExposureError, OSError) as error:
            plans.append(Plan(unit.name, ",".join(request.per_exposure), error=str(error)))
    for mosaic in work.mosaics:
        steps = _combining_rows(request)
        extension = f".{request.form}"
        members = [
            product_name(name, "crf", asn_id=mosaic.asn_id, extension=extension)
            for name in mosaic.members
        ]
        own = (f"i2d{extension}", "cat.ecsv", f"segm{extension}")
        products = [*members, *(f"{mosaic.name}_{suffix}" for suffix in own)]
        plans.append(Plan(mosaic.name, MOSAIC, steps, products=products))
    return plans


def _exposure_plans(unit: ExposureInput, request: Request, workers: int) -> Iterator[Plan]:
    exposure = open_exposure(unit.path)
    names = request.per_exposure or ((request.single,) if request.single else ())
    for name in names:
        prepared = _prepared(name, exposure, request)
        products = _products(name, prepared)
        last = name == names[-1] and not request.combines
        kept = products if last or name in request.save else {}
        yield Plan(
            unit.name,
            name,
            [_row(planned, prepared) for planned in prepared.steps],
            _chunks(prepared.exposure),
            sum(_tasks(each) for each in kept.values()) or _tasks(next_input(products)),
            predicted_memory(prepared, workers),
            [product_name(unit.name, suffix, extension=f".{request.form}") for suffix in kept],
        )
        exposure = next_input(products)


def _prepared(name: str, exposure: xr.Dataset, request: Request) -> Prepared:
    keywords = header(exposure)
    steps: Sequence[AnyStep] = (
        (find_step(name, keywords),) if request.single else PIPELINES[name].steps(keywords)
    )
    return prepare(name, steps, exposure, request.settings)


def _products(name: str, prepared: Prepared) -> Products:
    if name in PIPELINES:
        return PIPELINES[name].build(prepared, None)
    return {name: prepared.exposure}


def _row(planned: Planned, prepared: Prepared) -> StepRow:
    defaults = type(planned.params)().own()
    changed = {k: v for k, v in planned.params.own().items() if v != defaults[k]}
    files = {}
    if planned.runs:
        kinds = reference_types(planned, header(prepared.exposure))
        found = {kind: prepared.references[kind] for kind in kinds}
        files = {kind: file.name if file else "N/A" for kind, file in found.items()}
    return StepRow(planned.step.name, planned.reason, changed, files)


def _combining_rows(request: Request) -> list[StepRow]:
    steps = all_steps()[MOSAIC]
    parameters = resolve(MOSAIC, steps, request.settings.layers)
    rows = []
    for step in steps:
        params = parameters[step.name]
        defaults = step.params().own()
        changed = {k: v for k, v in params.own().items() if v != defaults[k]}
        rows.append(StepRow(step.name, "skip = true" if params.skip else "", changed, {}))
    return rows


def _chunks(exposure: xr.Dataset) -> str:
    sizes = exposure["sci"].sizes
    planes = sizes.get("integration", 1) * sizes.get("group", 1)
    heights = row_blocks(sizes["y"], planes)
    shape = " x ".join(f"{size} {dim}" for dim, size in sizes.items())
    return f"{shape} in {len(heights)} blocks of up to {max(heights)} rows"


def _tasks(product: xr.Dataset) -> int:
    (optimized,) = dask.optimize(product)
    return len(dict(optimized.__dask_graph__()))


def predicted_memory(prepared: Prepared, workers: int) -> int:
    """Peak resident bytes of a process that runs ``workers`` tasks of the pipeline's pixel steps at once."""
    keywords = header(prepared.exposure)
    running = [p for p in prepared.steps if p.runs and isinstance(p.step, Step)]
    bound = [bind(p, prepared.references, keywords) for p in running]
    baseline = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    task = task_bytes(prepared.exposure, bound)
    return baseline + workers * task + cached_bytes(bound)


def task_bytes(exposure: xr.Dataset, bound: Sequence[Bound]) -> int:
    """Bytes that one task of a chain holds: its rows, their references, the strips and the results."""
    sizes = exposure["sci"].sizes
    planes = sizes.get("integration", 1) * sizes.get("group", 1)
    rows = max(row_blocks(sizes["y"], planes)) + 2 * total_halo(bound)
    pixels = rows * sizes["x"]
    stored = planes * pixels * exposure["sci"].dtype.itemsize
    references = sum(
        int(np.prod(array.shape[:-2])) * pixels * array.dtype.itemsize for array in _arrays(bound)
    )
    strips = STRIPS_ALIVE * strip_rows(planes, sizes["x"]) * planes * sizes["x"] * 4
    results = 10 * sizes.get("integration", 1) * pixels * 4
    return stored + references + strips + results


def cached_bytes(bound: Sequence[Bound]) -> int:
    """Bytes of prepared references that a process keeps for the next exposure."""
    return sum(
        int(np.prod(array.shape)) * array.dtype.itemsize
        for array in _arrays(bound)
        if isinstance(array.source, MappedPixels)
    )


def _arrays(bound: Sequence[Bound]) -> list[RefArray]:
    return [array for each in bound for array in each.references if isinstance(array, RefArray)]


def list_references(request: Request) -> list[ReferenceRow]:
    """The references of every input for the pipelines asked for, as far as they can be known without running."""
    rows = []
    for unit in collect(request).exposures:
        exposure = open_exposure(unit.path)
        for name in request.per_exposure:
            try:
                references = _prepared(name, exposure, request).references
            except MissingReferences as error:
                rows += [ReferenceRow(unit.name, problem=str(error))]
                continue
            rows += [
                ReferenceRow(
                    unit.name, kind, file.name if file else "N/A", references.sources[kind]
                )
                for kind, file in references.items()
            ]
    return rows
