"""The pipelines as functions: lazy exposures in, lazy exposures out.

``refs`` is a folder of reference files, several, or nothing (then CRDS is asked); ``overrides`` names a file for a
reference type, or ``"N/A"``; ``steps`` sets parameters: ``{"jump": {"rejection_threshold": 5}}``. A function of your
own on lazy exposures runs after a step with ``{"jump": {"post_hooks": [function]}}`` or before it with ``pre_hooks``;
one on numpy arrays is put in as a step with ``insert={"after:jump": function}`` (`jwpipe.chunk_step`). With
``like_peer`` steps do as jwst 3.0.0 also where that is wrong and they, by default, are not.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from jwpipe.engine.preparing import Settings, prepare
from jwpipe.engine.user_steps import check_insertions, insertions
from jwpipe.exposure import header
from jwpipe.params import ParameterError, check_steps, nearest
from jwpipe.pipelines import PIPELINES, Products, check_input, prepare_alone, run_alone
from jwpipe.provenance import sealed
from jwpipe.request import find_step

if TYPE_CHECKING:
    from astropy.table import QTable

    from jwpipe.io.save import Format

logger = logging.getLogger(__name__)

Paths = str | Path | Sequence[str | Path]
Steps = Mapping[str, Mapping[str, Any]]


def settings_of(
    refs: Paths | None,
    overrides: Mapping[str, Any] | None,
    steps: Steps | None,
    insert: Mapping[str, Any] | None = None,
    *,
    like_peer: bool = False,
) -> Settings:
    """The settings that the keyword arguments of the pipeline functions stand for."""
    folders = [refs] if isinstance(refs, str | Path) else list(refs or ())
    files = {kind: str(path) for kind, path in (overrides or {}).items()}
    return Settings(
        tuple(Path(f) for f in folders),
        files,
        (dict(steps or {}),),
        inserted=insertions(insert or {}),
        like_peer=like_peer,
    )


def _opened(exposure: xr.Dataset | str | Path) -> xr.Dataset:
    if isinstance(exposure, xr.Dataset):
        return exposure
    from jwpipe.io import open

    return open(exposure)


def _products(name: str, exposure: xr.Dataset | str | Path, settings: Settings) -> Products:
    pipeline = PIPELINES[name]
    opened = _opened(exposure)
    check_input(name, opened)
    steps = pipeline.steps(header(opened))
    names = [step.name for step in steps]
    check_insertions(settings.inserted, names)
    check_steps(settings.layers, {*names, *(each.step.name for each in settings.inserted)})
    return pipeline.build(prepare(name, steps, opened, settings), None)


def detector1(
    ramps: xr.Dataset | str | Path,
    *,
    refs: Paths | None = None,
    overrides: Mapping[str, Any] | None = None,
    steps: Steps | None = None,
    insert: Mapping[str, Any] | None = None,
    like_peer: bool = False,
    product: str = "rate",
) -> xr.Dataset:
    """Count rates (DN/s) from raw ramps.

    ``product`` is ``rate`` (all integrations together) or ``rateints`` (each by itself). Where ramp_fit is skipped
    the corrected ramp comes back.

    Raises
    ------
    ExposureError, ParameterError, jwpipe.refs.MissingReferences
    """
    products = _products(
        "detector1", ramps, settings_of(refs, overrides, steps, insert, like_peer=like_peer)
    )
    if product not in ("rate", "rateints"):
        raise ParameterError(f"product {product!r}: {nearest(product, ('rate', 'rateints'))}")
    return products[product] if product in products else products["ramp"]


def dark(
    ramps: xr.Dataset | str | Path,
    *,
    refs: Paths | None = None,
    overrides: Mapping[str, Any] | None = None,
    steps: Steps | None = None,
) -> xr.Dataset:
    """The ramp of a dark exposure as it is before a dark is subtracted: what dark references are made of.

    Raises
    ------
    ExposureError, ParameterError, jwpipe.refs.MissingReferences
    """
    return _products("dark", ramps, settings_of(refs, overrides, steps))["dark"]


def guider(
    ramps: xr.Dataset | str | Path,
    *,
    refs: Paths | None = None,
    overrides: Mapping[str, Any] | None = None,
    steps: Steps | None = None,
) -> xr.Dataset:
    """Count rates (DN/s) of a guide-star exposure; its tables stay in ``attrs["tables"]``.

    Raises
    ------
    ExposureError, ParameterError, jwpipe.refs.MissingReferences
    """
    return _products("guider", ramps, settings_of(refs, overrides, steps))["cal"]


def image2(
    rates: xr.Dataset | str | Path,
    *,
    refs: Paths | None = None,
    overrides: Mapping[str, Any] | None = None,
    steps: Steps | None = None,
    insert: Mapping[str, Any] | None = None,
    like_peer: bool = False,
) -> xr.Dataset:
    """A calibrated image (MJy/sr, with its WCS) from count rates; integrations stay apart.

    Raises
    ------
    ExposureError, ParameterError, jwpipe.refs.MissingReferences
    """
    return next(
        iter(
            _products(
                "image2", rates, settings_of(refs, overrides, steps, insert, like_peer=like_peer)
            ).values()
        )
    )


def image3(
    exposures: Sequence[xr.Dataset | str | Path],
    *,
    refs: Paths | None = None,
    overrides: Mapping[str, Any] | None = None,
    steps: Steps | None = None,
    name: str | None = None,
) -> xr.Dataset:
    """A mosaic from calibrated exposures: aligned, sky-matched, cleaned of outliers, resampled.

    What depends on all exposures is solved when this is called: the alignment, the sky levels, and the weights
    below which outlier_detection leaves pixels out. The pixels stay lazy, tile by tile:
    ``mosaic.isel(y=..., x=...).compute()`` computes only what lies under the cutout.

    Raises
    ------
    ExposureError, ParameterError, jwpipe.refs.MissingReferences
    """
    from jwpipe.mosaic import build_mosaic

    opened = [_opened(exposure) for exposure in exposures]
    return build_mosaic(opened, settings_of(refs, overrides, steps), name)[0]


def source_catalog(
    mosaic: xr.Dataset | str | Path,
    *,
    refs: Paths | None = None,
    overrides: Mapping[str, Any] | None = None,
    steps: Steps | None = None,
) -> tuple[QTable | None, xr.Dataset | None]:
    """The source catalogue and segmentation map of a mosaic; computes its pixels.

    Both are ``None`` where there is nothing to list; a warning in the log says why.
    """
    from jwpipe.mosaic import build_catalog

    table, segments, notes = build_catalog(_opened(mosaic), settings_of(refs, overrides, steps))
    for note in notes:
        logger.warning("%s", note)
    return table, segments


def save(exposure: xr.Dataset, path: str | Path, *, format: Format = "fits") -> Path:
    """Compute an exposure and write it to ``path``, a file name or a folder; returns the product's path.

    Nothing stands under the product's name until it is complete; its history gets the checksums of all references.

    Raises
    ------
    ExposureError
        The folder cannot be made or written to, or its disk is full.
    """
    from jwpipe.io import save as write

    return write(sealed(exposure), path, format=format)


def run_step(
    name: str,
    exposure: xr.Dataset | str | Path,
    *,
    refs: Paths | None = None,
    overrides: Mapping[str, Any] | None = None,
    **parameters: Any,
) -> xr.Dataset:
    """One step alone, by its name; ``skip`` is ignored, since the step was asked for.

    Raises
    ------
    ExposureError, ParameterError, jwpipe.refs.MissingReferences
    """
    settings = settings_of(refs, overrides, {name: parameters})
    opened = _opened(exposure)
    prepared = prepare_alone(find_step(name, header(opened)), opened, settings)
    return next(iter(run_alone(prepared).values()))


__all__ = ["dark", "detector1", "guider", "image2", "image3", "run_step", "save", "source_catalog"]
