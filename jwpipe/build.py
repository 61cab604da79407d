"""One exposure of a run to its lazy products: what ``run`` writes and ``plan`` shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from jwpipe.dq import Pixel
from jwpipe.engine.preparing import Prepared, Settings, prepare
from jwpipe.exposure import header
from jwpipe.inputs import ExposureInput
from jwpipe.io import open as open_exposure
from jwpipe.params import Layer
from jwpipe.pipelines import (
    PIPELINES,
    Products,
    check_axes,
    check_input,
    next_input,
    prepare_alone,
    results_of,
    run_alone,
)
from jwpipe.provenance import sealed
from jwpipe.refs import MissingReferences
from jwpipe.request import ALSO_RATES, Request, find_step
from jwpipe.stage1.dark_current import save_dark

IMAGES = frozenset({"rate", "rateints", "cal", "calints", "i2d"})
"""Products in which a pixel that can be used is expected."""

TELLING = (Pixel.DO_NOT_USE, Pixel.SATURATED)
"""Flags that tell why there is none."""


@dataclass(frozen=True)
class Built:
    """The lazy products of an exposure.

    ``written`` are those to write; ``result`` is what a mosaic takes; ``stages`` the pipelines (or the step) that
    it went through, with what was prepared for each.
    """

    written: tuple[xr.Dataset, ...]
    result: xr.Dataset
    stages: tuple[tuple[str, Prepared], ...]


def build(request: Request, unit: ExposureInput) -> Built:
    """The products that ``request`` asks of an exposure, nothing computed yet.

    Raises
    ------
    ExposureError
        Where the exposure cannot be opened or is not what the pipeline takes, or references are missing.
    """
    exposure = open_exposure(unit.path)
    settings = settings_of(request, unit)
    if request.single and not request.combines:
        prepared = _prepared_alone(request, exposure, settings)
        products = run_alone(prepared)
        return Built(tuple(products.values()), exposure, ((request.single, prepared),))
    saved: list[xr.Dataset] = []
    stages = []
    products = {exposure.attrs["product"]: exposure}
    for name in request.per_exposure:
        prepared = _prepared(name, next_input(products), settings)
        products = _products(name, prepared, saved)
        stages.append((name, prepared))
        last = name == request.per_exposure[-1] and not request.combines
        if last or name in request.save:
            saved += products.values()
    return Built(tuple(saved), next_input(products), tuple(stages))


def is_made(product: xr.Dataset, path: Path, source: str) -> bool:
    """Whether a complete ``product`` is at ``path`` already: by the same steps, parameters and references.

    What is older than its ``source`` does not count. Products get their names once they are complete.
    """
    if not path.exists():
        return False
    made_after = not Path(source).exists() or path.stat().st_mtime >= Path(source).stat().st_mtime
    history = sealed(product).attrs["history"]
    return made_after and bool(open_exposure(path).attrs["history"] == history)


def check(request: Request, unit: ExposureInput) -> None:
    """Choose the references of all pipelines that an exposure will go through.

    Raises
    ------
    ExposureError
        As `build`; references that are missing are listed together.
    """
    exposure = open_exposure(unit.path)
    settings = settings_of(request, unit)
    if request.single and not request.combines:
        if not request.lists_sources:
            _prepared_alone(request, exposure, settings)
        return
    missing = []
    for number, name in enumerate(request.per_exposure):
        if number == 0:
            check_input(name, exposure)
        try:
            prepare(name, PIPELINES[name].steps(header(exposure)), exposure, settings)
        except MissingReferences as error:
            missing.append(str(error))
    if missing:
        raise MissingReferences("\n".join(missing))


def settings_of(request: Request, unit: ExposureInput) -> Settings:
    """The run's settings, with the exposure's backgrounds and the steps to save."""
    given = request.settings
    layers: list[Layer] = [{step: {"save_results": True} for step in request.save}]
    if unit.backgrounds:
        layers.append({"bkg_subtract": {"bkg_list": tuple(map(str, unit.backgrounds))}})
    return replace(given, layers=(*layers, *given.layers))


def _prepared_alone(request: Request, exposure: xr.Dataset, settings: Settings) -> Prepared:
    if request.single not in {"gain_scale", *ALSO_RATES}:
        check_axes(request.pipelines[0], exposure)
    return prepare_alone(find_step(request.single, header(exposure)), exposure, settings)


def _prepared(name: str, exposure: xr.Dataset, settings: Settings) -> Prepared:
    check_input(name, exposure)
    return prepare(name, PIPELINES[name].steps(header(exposure)), exposure, settings)


def _products(name: str, prepared: Prepared, saved: list[xr.Dataset]) -> Products:
    def keep(step: str, result: xr.Dataset) -> None:
        """Take the results of a step that are to be saved."""
        saved.extend(results_of(step, result).values())

    return PIPELINES[name].build(prepared, keep)


def write_darks(built: Built) -> None:
    """Write the dark in the exposure's groups where ``dark_output`` asks for it."""
    for _, prepared in built.stages:
        for planned in prepared.steps:
            path = planned.params.own().get("dark_output") if planned.runs else None
            if path:
                save_dark(prepared.references, header(prepared.exposure), Path(path))


def is_image(exposure: xr.Dataset) -> bool:
    """Whether a pixel that can be used is expected."""
    return exposure.attrs["product"] in IMAGES


def has_pixels(exposure: xr.Dataset) -> Any:
    """Whether there is a finite pixel, lazily."""
    return np.isfinite(exposure["sci"].data).any()


def without_pixels(exposure: xr.Dataset) -> str:
    """What to tell about an exposure without a pixel that can be used."""
    size, found = exposure["sci"].size, ""
    if "dq" in exposure:
        flags = exposure["dq"].values
        counts = {bit.name: int(((flags & bit) != 0).sum()) for bit in TELLING}
        found = " (" + ", ".join(f"{name}: {count}" for name, count in counts.items()) + ")"
    return (
        f"{header(exposure).filename}: {exposure.attrs['product']}: none of {size} pixels can be used{found}, "
        "expected some; nothing is written. Look at the exposure (jwpipe show) and at its references "
        "(jwpipe refs), or leave it out"
    )
