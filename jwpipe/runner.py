"""A run: exposure after exposure, then mosaics, to written products.

One bad exposure never takes down the others: what fails is reported and the rest goes on. Products appear under
their names only when they are complete.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Protocol

import xarray as xr

from jwpipe import mosaic as image3
from jwpipe.cluster import Executor, connect
from jwpipe.exposure import ExposureError, header
from jwpipe.inputs import ExposureInput, MosaicInput, Work, collect
from jwpipe.io import Pending, product_name, store
from jwpipe.io import open as open_exposure
from jwpipe.io import prepare as prepare_product
from jwpipe.io.save import Format
from jwpipe.params import Layer, ParameterError
from jwpipe.pipeline import Settings, prepare, run_alone
from jwpipe.pipelines import PIPELINES, Products, next_input, rate_products
from jwpipe.provenance import sealed
from jwpipe.request import Request, find_step, request_of
from jwpipe.stage3.tweakreg import write_table

logger = logging.getLogger(__name__)

MEMORY_FOR_INTERMEDIATES = 1 << 30
"""Bytes of calibrated exposures kept in memory between pipelines; more go to a scratch folder."""


@dataclass(frozen=True)
class Outcome:
    """What became of one exposure or mosaic."""

    name: str
    stage: str
    written: tuple[Path, ...] = ()
    seconds: float = 0.0
    error: str = ""


class Watcher(Protocol):
    """Who is told how the run goes."""

    def start(self, label: str) -> None:
        """A stage begins."""

    def advance(self, done: int, total: int) -> None:
        """Tasks are finished."""

    def finish(self, error: str = "") -> None:
        """The stage is over."""

    def note(self, text: str) -> None:
        """Something worth knowing happened."""


class Silent:
    """Tells nobody."""

    def start(self, label: str) -> None:
        """Nothing."""

    def advance(self, done: int, total: int) -> None:
        """Nothing."""

    def finish(self, error: str = "") -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Log it."""
        logger.warning("%s", text)


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
    watcher: Watcher | None = None,
) -> list[Outcome]:
    """Run a pipeline, a chain of them or one step, as ``jwpipe run`` does; one outcome a unit of work.

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


def message_of(failure: Exception, name: str, stage: str) -> str:
    """What to tell the user: known errors speak for themselves."""
    if isinstance(failure, ExposureError | ParameterError):
        return str(failure)
    return f"{name}: {stage}: {type(failure).__name__}: {failure}"


class Runner:
    """One run: where products go, and the exposures that wait for their mosaic."""

    def __init__(self, request: Request, executor: Executor, watcher: Watcher) -> None:
        self.request = request
        self.executor = executor
        self.watcher = watcher
        self.calibrated: dict[str, xr.Dataset] = {}
        self._scratch: Path | None = None
        self._kept_bytes = 0

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def everything(self, work: Work) -> list[Outcome]:
        """All exposures, then all mosaics."""
        outcomes = [
            self._guarded(each.name, self.stage, self._exposure, each) for each in work.exposures
        ]
        outcomes += [
            self._guarded(each.name, "image3", self._mosaic, each) for each in work.mosaics
        ]
        return [outcome for outcome in outcomes if outcome.written or outcome.error]

    @property
    def stage(self) -> str:
        """What is done with each exposure, for the report."""
        return self.request.single or ",".join(self.request.per_exposure) or "open"

    def _guarded(
        self, name: str, stage: str, work: Callable[[Any], list[Path]], unit: Any
    ) -> Outcome:
        """The outcome of one unit of work, whatever happens in it."""
        started = time.perf_counter()
        self.watcher.start(f"{name} {stage}")
        written: list[Path] = []
        error = ""
        try:
            written = work(unit)
        except Exception as failure:
            logger.debug("%s failed", name, exc_info=True)
            error = message_of(failure, name, stage)
        self.watcher.finish(error)
        return Outcome(name, stage, tuple(written), time.perf_counter() - started, error)

    def _exposure(self, unit: ExposureInput) -> list[Path]:
        saved: list[xr.Dataset] = []
        exposure = open_exposure(unit.path)
        if self.request.single:
            return self._write(self._single(exposure))
        products: Products = {exposure.attrs["product"]: exposure}
        for name in self.request.per_exposure:
            products = self._products(name, next_input(products), unit, saved)
            last = name == self.request.per_exposure[-1] and not self.request.combines
            if last or name in self.request.save:
                saved += products.values()
        written = self._write(saved)
        if self.request.combines:
            self.calibrated[unit.name] = self._kept(next_input(products))
        return written

    def _products(
        self, name: str, exposure: xr.Dataset, unit: ExposureInput, saved: list[xr.Dataset]
    ) -> Products:
        pipeline = PIPELINES[name]
        steps = pipeline.steps(header(exposure))
        settings = self._settings(unit)
        prepared = prepare(name, steps, exposure, settings)

        def keep(step: str, result: xr.Dataset) -> None:
            saved.append(result.assign_attrs(product=step))

        return pipeline.build(prepared, keep)

    def _settings(self, unit: ExposureInput) -> Settings:
        """The run's settings, with the exposure's backgrounds and the steps to save."""
        settings = self.request.settings
        layers: list[Layer] = [{step: {"save_results": True} for step in self.request.save}]
        if unit.backgrounds:
            layers.append({"bkg_subtract": {"bkg_list": tuple(map(str, unit.backgrounds))}})
        return Settings(
            settings.refs, settings.overrides, (*layers, *settings.layers), settings.crds
        )

    def _single(self, exposure: xr.Dataset) -> list[xr.Dataset]:
        """What one step makes: its product, of ramp_fit the rates."""
        step = find_step(self.request.single, header(exposure))
        result = run_alone(step, exposure, self.request.settings)
        rates = rate_products(result)
        return list(rates.values()) or [result.assign_attrs(product=step.name)]

    def _write(self, exposures: Sequence[xr.Dataset], asn_id: str = "") -> list[Path]:
        """Store all products in one graph, so that what they share is computed once."""
        if not exposures:
            return []
        form = self.request.form
        paths = [self._path(exposure, asn_id) for exposure in exposures]
        return self._store(
            [
                prepare_product(sealed(exposure), path, format=form)
                for exposure, path in zip(exposures, paths, strict=True)
            ]
        )

    def _store(self, products: Sequence[Pending]) -> list[Path]:
        return store(products, lambda value: self.executor.compute([value], self.watcher.advance))

    def _path(self, exposure: xr.Dataset, asn_id: str = "") -> Path:
        name = product_name(
            exposure.attrs["filename"],
            exposure.attrs["product"],
            asn_id=asn_id,
            extension=f".{self.request.form}",
        )
        return self.request.output / name

    def _kept(self, exposure: xr.Dataset) -> xr.Dataset:
        """A calibrated exposure, computed: in memory while there is room, else in the scratch folder."""
        self._kept_bytes += exposure.nbytes
        if self._kept_bytes <= MEMORY_FOR_INTERMEDIATES:
            (kept,) = self.executor.persist([exposure], self.watcher.advance)
            return kept
        if self._scratch is None:
            self.request.output.mkdir(parents=True, exist_ok=True)
            self._scratch = Path(mkdtemp(prefix=".jwpipe-", dir=self.request.output))
        path = self._scratch / f"{exposure.attrs['filename']}_cal.fits"
        self._store([prepare_product(exposure, path)])
        return open_exposure(path).assign_attrs(filename=exposure.attrs["filename"])

    def _mosaic(self, unit: MosaicInput) -> list[Path]:
        """Solve, clean, combine and list sources; written exposures are read back, so that memory stays bounded."""
        exposures = self._mosaic_members(unit)
        parameters = image3.parameters_of(exposures, self.request.settings)
        saved: list[xr.Dataset] = []

        def keep(step: str, results: Sequence[xr.Dataset]) -> None:
            if step in self.request.save or parameters[step].save_results:
                saved.extend(each.assign_attrs(product=step) for each in results)

        solved = image3.solve(exposures, parameters, self.request.output, keep)
        self._tell(solved.notes)
        written = self._write(saved)
        cleaned = image3.clean(solved.exposures, parameters["outlier_detection"])
        flagged = list(cleaned.exposures)
        if not cleaned.reason:
            paths = self._write([*flagged, *cleaned.intermediate], unit.asn_id)
            flagged = [open_exposure(path) for path in paths[: len(flagged)]]
            written += paths
        if parameters["resample"].skip:
            return written
        mosaic = image3.combine(flagged, parameters["resample"], unit.name, unit.association)
        (path,) = self._write([mosaic])
        return [*written, path, *self._catalog(open_exposure(path), parameters["source_catalog"])]

    def _mosaic_members(self, unit: MosaicInput) -> list[xr.Dataset]:
        failed = [name for name in unit.members if name not in self.calibrated]
        if failed:
            self.watcher.note(f"{unit.name}: without {', '.join(failed)}, which failed")
        attrs = {
            name: {
                "tweakreg_catalog": str(unit.catalogs.get(name, "")) or None,
                "group_id": unit.groups.get(name),
            }
            for name in unit.members
        }
        return [
            self.calibrated[name].assign_attrs({k: v for k, v in attrs[name].items() if v})
            for name in unit.members
            if name in self.calibrated
        ]

    def _tell(self, notes: Sequence[str]) -> None:
        for note in notes:
            self.watcher.note(note)

    def _catalog(self, mosaic: xr.Dataset, params: Any) -> list[Path]:
        if params.skip:
            return []
        references = image3.catalog_references(mosaic, self.request.settings)
        table, segments, notes = image3.catalog(mosaic, references, params)
        self._tell(notes)
        if table is None:
            return []
        name = product_name(mosaic.attrs["filename"], "cat", extension=".ecsv")
        path = self.request.output / name
        write_table(table, path)
        return [path, *([] if segments is None else self._write([segments]))]
