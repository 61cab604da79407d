"""image3: exposures to a mosaic and its catalogue.

``solve`` finds the alignment and the sky levels: few numbers from all exposures, computed at once, since the mosaic's
grid depends on them. ``clean`` and ``combine`` stay lazy, tile by tile. ``catalog`` computes the mosaic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from jwpipe.engine.hooks import apply_hooks, without_hooks
from jwpipe.engine.preparing import Settings, crds_parameters
from jwpipe.exposure import IMAGE, ExposureError, Header, header
from jwpipe.inputs import mosaic_name
from jwpipe.params import check_steps, resolve
from jwpipe.provenance import COMPLETE, FAILED, SKIPPED, record
from jwpipe.refs import References, select
from jwpipe.stage3 import IMAGE3
from jwpipe.stage3.assign_mtwcs import follow_target, is_moving
from jwpipe.stage3.outlier_detection import Outliers, detect_outliers, mask_thresholds
from jwpipe.stage3.resample import resample_exposures
from jwpipe.stage3.skymatch import match_sky
from jwpipe.stage3.source_catalog import make_catalog
from jwpipe.stage3.source_catalog import source_catalog as catalog_step
from jwpipe.stage3.tweakreg import align_exposures
from jwpipe.step import Params

if TYPE_CHECKING:
    from astropy.table import QTable

PIPELINE = "image3"
SKIP = "skip = true"


@dataclass(frozen=True)
class Solved:
    """Exposures with their final WCS and sky level, and what is worth telling about them."""

    exposures: list[xr.Dataset]
    notes: tuple[str, ...] = ()


def parameters_of(
    exposures: Sequence[xr.Dataset], settings: Settings, alone: str = ""
) -> dict[str, Params]:
    """The parameters of all steps of image3; all but the step ``alone``, if one is named, are left out.

    Raises
    ------
    ExposureError
        Where there are no exposures, or one is no calibrated image.
    ParameterError
        For unknown or forbidden parameters.
    """
    if not exposures:
        raise ExposureError("image3: no exposures to combine; give at least one calibrated image")
    check_image(exposures)
    parameters = parameters_for(header(exposures[0]), settings)
    if not alone:
        return parameters
    return {
        name: params.model_copy(update={"skip": name != alone})
        for name, params in parameters.items()
    }


def parameters_for(keywords: Header, settings: Settings) -> dict[str, Params]:
    """The parameters of all steps of image3 for exposures, or a mosaic, with these keywords."""
    layers = crds_parameters(PIPELINE, IMAGE3, keywords, settings)
    return resolve(PIPELINE, IMAGE3, (*layers, *settings.layers))


def check_image(exposures: Sequence[xr.Dataset]) -> None:
    """Refuse what is no calibrated image with a WCS.

    Raises
    ------
    ExposureError
        Naming the exposure, what it is and what is expected.
    """
    for exposure in exposures:
        name, dims = header(exposure).filename, exposure["sci"].dims
        if dims != IMAGE:
            raise ExposureError(
                f"{name}: image3: SCI has dimensions {dims}, expected {IMAGE}; "
                "integrations are combined by detector1 (_rate), then calibrated by image2 (_cal)"
            )
        if "wht" in exposure:
            raise ExposureError(
                f"{name}: image3: this is a mosaic; expected calibrated exposures (_cal), which image2 makes"
            )
        if exposure.attrs.get("wcs") is None:
            raise ExposureError(f"{name}: image3: no WCS; run image2 on the exposure first")


def solve(
    exposures: Sequence[xr.Dataset],
    parameters: Mapping[str, Params],
    folder: Path | None = None,
    keep: Callable[[str, Sequence[xr.Dataset]], None] | None = None,
) -> Solved:
    """Align the exposures and find their sky levels; reads their pixels now.

    ``folder`` is where catalogues go; ``keep(step name, exposures)`` is called after each step.
    """
    followed = _followed(list(exposures), parameters["assign_mtwcs"])
    aligned = _aligned(followed.exposures, parameters["tweakreg"], folder)
    matched = _sky_matched(aligned.exposures, parameters["skymatch"])
    if keep is not None:
        if is_moving(exposures):
            keep("assign_mtwcs", followed.exposures)
        keep("tweakreg", aligned.exposures)
        keep("skymatch", matched.exposures)
    return Solved(matched.exposures, (*followed.notes, *aligned.notes, *matched.notes))


def _recorded(
    exposures: Sequence[xr.Dataset],
    step: str,
    params: Params,
    status: str = COMPLETE,
    reason: str = "",
) -> list[xr.Dataset]:
    return [
        record(exposure, step, status, reason=reason, parameters=params.own())
        for exposure in exposures
    ]


def _followed(exposures: list[xr.Dataset], params: Any) -> Solved:
    """Exposures of a moving target on the target's sky; others as they are."""
    step = "assign_mtwcs"
    if not is_moving(exposures):
        return Solved(exposures)
    if params.skip:
        return Solved(_recorded(exposures, step, params, SKIPPED, SKIP))
    exposures = [apply_hooks(exposure, params.pre_hooks) for exposure in exposures]
    moved, reason = follow_target(exposures)
    moved = [apply_hooks(exposure, params.post_hooks) for exposure in moved]
    done = _recorded(moved, step, params, SKIPPED if reason else COMPLETE, reason)
    return Solved(done, (f"{step}: {reason}",) if reason else ())


def _aligned(exposures: list[xr.Dataset], params: Any, folder: Path | None) -> Solved:
    if params.skip:
        return Solved(_recorded(exposures, "tweakreg", params, SKIPPED, SKIP))
    if is_moving(exposures):
        reason = "the target moves: stars do not tell where it is"
        left = _recorded(exposures, "tweakreg", params, SKIPPED, reason)
        return Solved(left, (f"tweakreg: {reason}",))
    exposures = [apply_hooks(exposure, params.pre_hooks) for exposure in exposures]
    moved, alignment = align_exposures(exposures, params, folder)
    notes = [f"tweakreg: {text}" for text in alignment.warnings]
    if alignment.status == FAILED:
        notes.append(f"tweakreg: exposures stay as they were: {alignment.reason}")
    moved = [apply_hooks(exposure, params.post_hooks) for exposure in moved]
    done = _recorded(moved, "tweakreg", params, alignment.status, alignment.reason)
    return Solved(done, tuple(notes))


def _sky_matched(exposures: list[xr.Dataset], params: Any) -> Solved:
    if params.skip:
        return Solved(_recorded(exposures, "skymatch", params, SKIPPED, SKIP))
    exposures = [apply_hooks(exposure, params.pre_hooks) for exposure in exposures]
    matched, report = match_sky(exposures, params)
    notes = tuple(f"skymatch: {text}" for text in report.warnings)
    done = [
        record(apply_hooks(e, params.post_hooks), "skymatch", status, parameters=params.own())
        for e, status in zip(matched, report.status, strict=True)
    ]
    return Solved(done, notes)


def clean(
    exposures: Sequence[xr.Dataset], params: Any, *, solve_thresholds: bool = False
) -> Outliers:
    """The exposures with outliers flagged, lazily.

    The weight below which pixels are left out of the comparison is a statistic of each group's whole image. With
    ``solve_thresholds`` it is computed now, and a cutout needs no more than the pixels under it.
    """
    if params.skip:
        return Outliers(_recorded(exposures, "outlier_detection", params, SKIPPED, SKIP), SKIP)
    exposures = [apply_hooks(e, params.pre_hooks) for e in exposures]
    plain = without_hooks(params)
    thresholds = mask_thresholds(exposures, plain) if solve_thresholds else None
    found = detect_outliers(exposures, plain, thresholds=thresholds)
    status = SKIPPED if found.reason else COMPLETE
    flagged = [apply_hooks(exposure, params.post_hooks) for exposure in found.exposures]
    done = _recorded(flagged, "outlier_detection", params, status, found.reason)
    return Outliers(done, found.reason, found.intermediate)


def combine(
    exposures: Sequence[xr.Dataset], params: Any, name: str, association: str = ""
) -> xr.Dataset:
    """The lazy mosaic of the exposures."""
    exposures = [apply_hooks(exposure, params.pre_hooks) for exposure in exposures]
    mosaic = resample_exposures(
        exposures, without_hooks(params), filename=f"{name}_i2d.fits", association=association
    )
    return record(
        apply_hooks(mosaic, params.post_hooks), "resample", COMPLETE, parameters=params.own()
    )


def build_mosaic(
    exposures: Sequence[xr.Dataset], settings: Settings, name: str | None = None
) -> tuple[xr.Dataset, Solved]:
    """All steps of image3 but the catalogue: the lazy mosaic, and the solved exposures."""
    check_steps(settings.layers, {step.name for step in IMAGE3})
    parameters = parameters_of(exposures, settings)
    solved = solve(exposures, parameters)
    cleaned = clean(solved.exposures, parameters["outlier_detection"], solve_thresholds=True)
    name = name or mosaic_name([header(exposure) for exposure in exposures])[0]
    return combine(cleaned.exposures, parameters["resample"], name), solved


def catalog_references(keywords: Header, settings: Settings) -> References:
    """The references of source_catalog for a mosaic of exposures with these keywords."""
    types = catalog_step.reference_types
    return select(
        keywords,
        types,
        overrides=settings.overrides,
        folders=settings.refs,
        crds=settings.crds,
        optional=catalog_step.optional_types,
    )


def check_references(keywords: Header, settings: Settings) -> None:
    """Choose the references that the catalogue of a mosaic of exposures with these keywords will need.

    Raises
    ------
    jwpipe.refs.MissingReferences
        Listing all that no source has.
    """
    parameters = parameters_for(keywords, settings)
    if not (parameters["resample"].skip or parameters["source_catalog"].skip):
        catalog_references(keywords, settings)


def catalog(
    mosaic: xr.Dataset, references: References, params: Any
) -> tuple[QTable | None, xr.Dataset | None, tuple[str, ...]]:
    """The catalogue and segmentation map of a mosaic, and notes; computes its pixels.

    Where there is nothing to list both are ``None`` and a note says why. Hooks after the step get the catalogue.
    """
    mosaic = apply_hooks(mosaic, params.pre_hooks)
    found = make_catalog(mosaic, references, params)
    notes = [*found.warnings, *([found.reason] if found.reason else [])]
    segments = None if found.segments is None else _segmentation(mosaic, found.segments)
    table = found.table if found.table is None else apply_hooks(found.table, params.post_hooks)
    return table, segments, tuple(f"source_catalog: {note}" for note in notes)


def _segmentation(mosaic: xr.Dataset, labels: np.ndarray) -> xr.Dataset:
    """The segmentation map as a product: the label of the source that each pixel belongs to, or 0."""
    attrs = {**mosaic.attrs, "product": "segm", "tables": {}}
    attrs["sci"] = {k: v for k, v in attrs["sci"].items() if k != "BUNIT"}
    return xr.Dataset({"sci": (IMAGE, labels)}, attrs=attrs)


def build_catalog(
    mosaic: xr.Dataset, settings: Settings
) -> tuple[QTable | None, xr.Dataset | None, tuple[str, ...]]:
    """``catalog`` with the parameters and references that the settings give."""
    check_steps(settings.layers, {step.name for step in IMAGE3})
    keywords = header(mosaic)
    params = parameters_for(keywords, settings)["source_catalog"]
    return catalog(mosaic, catalog_references(keywords, settings), params)
