"""A run: exposure after exposure, then mosaics, to written products.

One bad exposure never takes down the others: what fails is reported and the rest goes on. Products appear under
their names only when they are complete.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from jwpipe import mosaic as image3
from jwpipe.build import (
    Built,
    build,
    check,
    has_pixels,
    is_image,
    is_made,
    without_pixels,
    write_darks,
)
from jwpipe.cluster import Executor, SchedulerError, connect
from jwpipe.exposure import ExposureError, header
from jwpipe.inputs import ExposureInput, MosaicInput, Work, collect
from jwpipe.io import Pending, product_name, store
from jwpipe.io import open as open_exposure
from jwpipe.io import prepare as prepare_product
from jwpipe.io.lengths import cut_to_lengths
from jwpipe.io.save import Format
from jwpipe.mosaic import SKIP
from jwpipe.outcomes import Outcome, Silent, Watcher, message_of
from jwpipe.params import Layer
from jwpipe.provenance import sealed
from jwpipe.request import Request, request_of
from jwpipe.stage3.tweakreg import write_table
from jwpipe.step import Params

logger = logging.getLogger(__name__)

MEMORY_FOR_INTERMEDIATES = 1 << 30
"""Bytes of calibrated exposures kept in memory between pipelines; more go to a scratch folder."""


def run(
    pipeline: str,
    inputs: str | Path | Sequence[str | Path],
    output: str | Path = ".",
    *,
    refs: Sequence[str | Path] = (),
    overrides: Mapping[str, str] | None = None,
    steps: Layer | None = None,
    save: Sequence[str] = (),
    scheduler: str = "threads",
    workers: int | None = None,
    format: Format = "fits",
    resume: bool = False,
    insert: Mapping[str, Any] | Sequence[str] = (),
    like_peer: bool = False,
    whole: bool = False,
    watcher: Watcher | None = None,
) -> list[Outcome]:
    """Run a pipeline, a chain of them or one step, as ``jwpipe run`` does; one outcome a unit of work.

    ``insert`` puts in steps of your own (`jwpipe.chunk_step`); ``like_peer`` does as jwst 3.0.0 also where it is wrong;
    ``whole`` makes one product of all segments of an exposure, else each is one by itself.

    Raises
    ------
    jwpipe.params.ParameterError
        For words that cannot be meant. Failures of single exposures are outcomes, not exceptions.
    """
    names = [inputs] if isinstance(inputs, str | Path) else inputs
    folders = [refs] if isinstance(refs, str | Path) else refs
    request = request_of(
        pipeline,
        [str(name) for name in names],
        output=output,
        refs=folders,
        overrides=[f"{kind}={path}" for kind, path in (overrides or {}).items()],
        steps=steps,
        save=save,
        form=format,
        resume=resume,
        insert=insert,
        like_peer=like_peer,
        whole=whole,
    )
    with connect(scheduler, workers) as executor:
        return run_request(request, executor, watcher or Silent())


def run_request(request: Request, executor: Executor, watcher: Watcher) -> list[Outcome]:
    """Do what ``request`` asks."""
    work = collect(request)
    outcomes = [Outcome(name, "input", error=problem) for name, problem in work.problems]
    for outcome in outcomes:
        watcher.note(outcome.error)
    with Runner(request, executor, watcher) as runner:
        return outcomes + runner.everything(work)


class Runner:
    """One run: where products go, and the exposures that wait for their mosaic."""

    def __init__(self, request: Request, executor: Executor, watcher: Watcher) -> None:
        self.request = request
        self.executor = executor
        self.watcher = watcher
        self.calibrated: dict[str, xr.Dataset] = {}
        self._scratch: Path | None = None
        self._kept_bytes = 0
        self._owners: dict[Path, str] = {}

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def everything(self, work: Work) -> list[Outcome]:
        """All exposures, then all mosaics; what lacks references is refused before anything runs."""
        refused = {each.path: self._refused(each.name, check, each) for each in work.exposures}
        exposures = [each for each in work.exposures if refused[each.path] is None]
        mosaics, outcomes = [], [outcome for outcome in refused.values() if outcome]
        for each in work.mosaics:
            outcome = self._refused(each.name, self._check_mosaic, each)
            if outcome is None:
                mosaics.append(each)
            else:
                outcomes.append(outcome)
        if self.request.combines and not self.request.save:
            wanted = {path for each in mosaics for path in each.members}
            exposures = [each for each in exposures if each.path in wanted]
        outcomes += [self._processed(each) for each in exposures]
        outcomes += [
            self._guarded(each.name, self.request.single or "image3", self._mosaic, each)
            for each in mosaics
        ]
        return [outcome for outcome in outcomes if outcome.stage]

    @property
    def stage(self) -> str:
        """What is done with each exposure, for the report; nothing where mosaics take it as it is."""
        if self.request.combines:
            return ",".join(self.request.per_exposure)
        return self.request.single or ",".join(self.request.pipelines)

    def _processed(self, unit: ExposureInput) -> Outcome:
        if self.stage:
            return self._guarded(unit.name, self.stage, self._exposure, unit)
        self.calibrated[unit.path] = build(self.request, unit).result
        return Outcome(unit.name, "")

    def _refused(
        self, name: str, look: Callable[[Request, Any], None], unit: Any
    ) -> Outcome | None:
        """The outcome of a unit of work that cannot be done."""
        try:
            look(self.request, unit)
        except Exception as failure:
            logger.debug("%s refused", name, exc_info=True)
            error = message_of(failure, name, self.stage)
            self.watcher.note(error)
            return Outcome(name, self.stage or "image3", error=error)
        return None

    def _check_mosaic(self, request: Request, unit: MosaicInput) -> None:
        """Choose the references that the mosaic's catalogue will need."""
        if not request.single:
            image3.check_references(header(open_exposure(unit.members[0])), request.settings)

    def _guarded(
        self, name: str, stage: str, work: Callable[[Any, list[Path]], None], unit: Any
    ) -> Outcome:
        """The outcome of one unit of work, whatever happens in it."""
        started = time.perf_counter()
        self.watcher.start(f"{name} {stage}")
        written: list[Path] = []
        error = ""
        try:
            work(unit, written)
        except SchedulerError:
            raise
        except Exception as failure:
            logger.debug("%s failed", name, exc_info=True)
            error = message_of(failure, name, stage)
        self.watcher.finish(error)
        why = Outcome.unwritten if self.request.combines else "made before"
        return Outcome(name, stage, tuple(written), time.perf_counter() - started, error, why)

    def _exposure(self, unit: ExposureInput, written: list[Path]) -> None:
        if self.request.lists_sources:
            written += self._catalog_of(unit)
            return
        built = build(self.request, unit)
        for _, prepared in built.stages:
            left_out = [
                p for p in prepared.steps if p.reason and (self.request.single or p.is_missed)
            ]
            self._tell(f"{unit.name}: {p.step.name}: {p.reason}" for p in left_out)
        paths = self._paths(built, unit)
        if self.request.resume and self._is_made(built, paths, unit):
            self._tell(
                [f"{unit.name}: made before, with the same steps, parameters and references"]
            )
        else:
            write_darks(built)
            written += self._write(built.written, name=unit.name)
        if self.request.combines:
            stored = dict(zip(map(id, built.written), paths, strict=True))
            self.calibrated[unit.path] = self._kept(built, stored.get(id(built.result)))

    def _paths(self, built: Built, unit: ExposureInput) -> list[Path]:
        """Where the products go; those of another exposure of the run are not written over."""
        paths = [self._path(product, name=unit.name) for product in built.written]
        for product, path in zip(built.written, paths, strict=True):
            owner = self._owners.setdefault(path, unit.name)
            if owner != unit.name and "file" not in product.attrs:
                raise ExposureError(
                    f"{unit.name}: {product.attrs['product']}: {path} is a product of {owner} already, expected a "
                    "name of its own; int_name and opt_name are for a single exposure: run each apart, or leave them"
                )
        return paths

    def _is_made(self, built: Built, paths: Sequence[Path], unit: ExposureInput) -> bool:
        """Whether an earlier run wrote all products that the exposure is to get; a file of states does not tell."""
        if any("file" in product.attrs for product in built.written):
            return False
        pairs = zip(built.written, paths, strict=True)
        return bool(paths) and all(is_made(product, path, unit.path) for product, path in pairs)

    def _write(
        self, exposures: Sequence[xr.Dataset], asn_id: str = "", name: str = ""
    ) -> list[Path]:
        """Store all products in one graph, so that what they share is computed once."""
        products: list[Pending] = []
        exposures = [cut_to_lengths(each, self.executor.compute) for each in exposures]
        try:
            for exposure in exposures:
                path = self._path(exposure, asn_id, name)
                draft = prepare_product(sealed(exposure), path, format=self.request.form)
                products.append(draft)
        except BaseException:
            for product in products:
                product.discard()
            raise
        return self._store(products, exposures)

    def _store(self, products: Sequence[Pending], exposures: Sequence[xr.Dataset]) -> list[Path]:
        """Give the products their names once they are complete and have something in them."""

        def compute(writing: da.Array) -> np.ndarray:
            """Write all pixels on the scheduler."""
            (finite,) = self.executor.compute([writing], self.watcher.advance)
            return np.asarray(finite)

        def refuse_empty(number: int) -> None:
            """Raise for an image in which a pixel that can be used is expected."""
            if is_image(exposures[number]):
                raise ExposureError(without_pixels(exposures[number]))

        return store(products, compute, refuse_empty)

    def _path(self, exposure: xr.Dataset, asn_id: str = "", name: str = "") -> Path:
        if "file" in exposure.attrs:
            return Path(exposure.attrs["file"])
        named = exposure.attrs.get("saved_as", {}).get(exposure.attrs["product"])
        name = product_name(
            named or name or exposure.attrs["filename"],
            exposure.attrs["product"],
            asn_id=asn_id,
            extension=f".{self.request.form}",
        )
        return self.request.output / name

    def _kept(self, built: Built, path: Path | None) -> xr.Dataset:
        """A calibrated exposure to be read again: where it is written, in memory, or else in the scratch folder."""
        exposure = built.result
        name = exposure.attrs["filename"]
        if path is None:
            self._kept_bytes += exposure.nbytes
            if self._kept_bytes <= MEMORY_FOR_INTERMEDIATES:
                return self._persisted(exposure)
            if self._scratch is None:
                self.request.output.mkdir(parents=True, exist_ok=True)
                self._scratch = Path(mkdtemp(prefix=".jwpipe-", dir=self.request.output))
            target = self._scratch / f"{name}_cal.fits"
            (path,) = self._store([prepare_product(exposure, target)], [exposure])
        return open_exposure(path).assign_attrs(filename=name)

    def _persisted(self, exposure: xr.Dataset) -> xr.Dataset:
        (kept,) = self.executor.persist([exposure], self.watcher.advance)
        (usable,) = self.executor.compute([has_pixels(kept)])
        if not usable:
            raise ExposureError(without_pixels(kept))
        return kept

    def _mosaic(self, unit: MosaicInput, written: list[Path]) -> None:
        """Solve, clean, combine and list sources; written exposures are read back, so that memory stays bounded."""
        exposures = self._mosaic_members(unit)
        parameters = image3.parameters_of(exposures, self.request.settings, self.request.single)
        saved: list[xr.Dataset] = []

        def keep(step: str, results: Sequence[xr.Dataset]) -> None:
            """Take what is to be written beside the mosaic."""
            asked = step in (*self.request.save, self.request.single)
            if asked or parameters[step].save_results:
                saved.extend(each.assign_attrs(product=step) for each in results)

        self._phase(parameters, "tweakreg", "skymatch")
        solved = image3.solve(exposures, parameters, self.request.output, keep)
        self._tell(solved.notes)
        written += self._write(saved, unit.asn_id)
        self._phase(parameters, "outlier_detection")
        cleaned = image3.clean(solved.exposures, parameters["outlier_detection"])
        flagged = list(cleaned.exposures)
        if cleaned.reason:
            self._tell([f"outlier_detection: {cleaned.reason}"] if cleaned.reason != SKIP else [])
        else:
            paths = self._write([*flagged, *cleaned.intermediate], unit.asn_id)
            flagged = [open_exposure(path) for path in paths[: len(flagged)]]
            written += paths
        if parameters["resample"].skip:
            return
        self._phase(parameters, "resample")
        mosaic = image3.combine(flagged, parameters["resample"], unit.name, unit.association)
        (path,) = self._write([mosaic])
        written.append(path)
        self._phase(parameters, "source_catalog")
        if not parameters["source_catalog"].skip:
            written += self._catalog(open_exposure(path), parameters["source_catalog"])

    def _phase(self, parameters: Mapping[str, Params], *steps: str) -> None:
        running = [name for name in steps if not parameters[name].skip]
        if running and not self.request.single:
            self.watcher.phase(", ".join(running))

    def _mosaic_members(self, unit: MosaicInput) -> list[xr.Dataset]:
        failed = [Path(path).name for path in unit.members if path not in self.calibrated]
        if failed:
            self.watcher.note(f"{unit.name}: without {', '.join(failed)}, which failed")
        attrs = {
            path: {
                "tweakreg_catalog": str(unit.catalogs.get(path, "")) or None,
                "group_id": unit.groups.get(path),
            }
            for path in unit.members
        }
        return [
            self.calibrated[path].assign_attrs({k: v for k, v in attrs[path].items() if v})
            for path in unit.members
            if path in self.calibrated
        ]

    def _tell(self, notes: Iterable[str]) -> None:
        for note in notes:
            self.watcher.note(note)

    def _catalog_of(self, unit: ExposureInput) -> list[Path]:
        """The catalogue of a mosaic that is given."""
        mosaic = open_exposure(unit.path)
        parameters = image3.parameters_for(header(mosaic), self.request.settings)
        return self._catalog(mosaic, parameters["source_catalog"])

    def _catalog(self, mosaic: xr.Dataset, params: Any) -> list[Path]:
        references = image3.catalog_references(header(mosaic), self.request.settings)
        table, segments, notes = image3.catalog(mosaic, references, params)
        self._tell(notes)
        if table is None:
            return []
        name = product_name(mosaic.attrs["filename"], "cat", extension=".ecsv")
        path = self.request.output / name
        write_table(table, path)
        return [path, *([] if segments is None else self._write([segments]))]
