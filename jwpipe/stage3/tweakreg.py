"""Align exposures with each other, and with an absolute catalogue, by the sources in them.

Catalogues are found exposure by exposure (``find_sources``: arrays in, table out, wherever the pixels are); the
alignment itself (``alignment.align``) sees no pixels. ``align_exposures`` does both for a list of lazy exposures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from pydantic import Field

from jwpipe.exposure import ExposureError, header
from jwpipe.io.product import temporary_name, writing
from jwpipe.stage3.alignment import ONE_GROUP, Alignment, Pointed, align, skipped
from jwpipe.stage3.astrometry import (
    absolute_catalog,
    listed_catalogs,
    pixel_positions,
    read_table,
)
from jwpipe.stage3.groups import group_ids
from jwpipe.stage3.starfinder import FinderParams, find, unusable
from jwpipe.step import CombiningStep
from jwpipe.wcs.fitswcs import s_region, sip_keywords, with_sip
from jwpipe.wcs.pointing import Pointing

if TYPE_CHECKING:
    from astropy.table import Table

Geometry = Literal["shift", "rshift", "rscale", "general"]


class TweakregParams(FinderParams):
    """Parameters of tweakreg."""

    save_catalogs: bool = Field(False, description="write the catalogue of each exposure")
    use_custom_catalogs: bool = Field(
        False, description="take catalogues from catfile, the association or TCATFILE"
    )
    catalog_format: Literal["ecsv", "fits"] = Field(
        "ecsv", description="format of the catalogues written"
    )
    catfile: str = Field(
        "", description="text file that lists exposures and their catalogues, two columns"
    )
    enforce_user_order: bool = Field(
        False, description="align exposures in the order given, not by overlap"
    )
    expand_refcat: bool = Field(
        False, description="add the sources of each aligned exposure to the reference catalogue"
    )
    minobj: int = Field(15, ge=1, description="least number of matched sources for a fit")
    fitgeometry: Geometry = Field(
        "rshift", description="what is fitted: shift, and rotation, and scale, or any linear map"
    )
    nclip: int = Field(3, ge=0, description="rounds of clipping in the fit")
    sigma: float = Field(3.0, ge=0, description="clipping limit in units of the fit's rms")
    searchrad: float = Field(2.0, gt=0, description="how far exposures may be off, in arcsec")
    use2dhist: bool = Field(True, description="find the first offset by a 2-D histogram")
    separation: float = Field(
        1.0, gt=0, description="sources closer than this are not used to match, in arcsec"
    )
    tolerance: float = Field(
        0.7, gt=0, description="how far matched sources may lie apart, in arcsec"
    )
    xoffset: float = Field(0.0, description="first offset in x where use2dhist is off, in arcsec")
    yoffset: float = Field(0.0, description="first offset in y where use2dhist is off, in arcsec")
    abs_refcat: str | None = Field(
        "", description="absolute catalogue: a file, or GAIAREFCAT, GAIADR3, GAIADR2, GAIADR1"
    )
    save_abs_catalog: bool = Field(False, description="write the absolute catalogue that was used")
    abs_minobj: int = Field(15, ge=1, description="as minobj, for the absolute catalogue")
    abs_fitgeometry: Geometry = Field(
        "rshift", description="as fitgeometry, for the absolute catalogue"
    )
    abs_nclip: int = Field(3, ge=0, description="as nclip, for the absolute catalogue")
    abs_sigma: float = Field(3.0, ge=0, description="as sigma, for the absolute catalogue")
    abs_searchrad: float = Field(6.0, gt=0, description="as searchrad, for the absolute catalogue")
    abs_use2dhist: bool = Field(True, description="as use2dhist, for the absolute catalogue")
    abs_separation: float = Field(
        1.0, gt=0, description="as separation, for the absolute catalogue"
    )
    abs_tolerance: float = Field(0.7, gt=0, description="as tolerance, for the absolute catalogue")
    sip_approx: bool = Field(True, description="write the SIP approximation of the new WCS")
    sip_max_pix_error: float = Field(
        0.01, gt=0, description="largest error of the forward approximation, in pixels"
    )
    sip_degree: int | None = Field(
        None, ge=1, le=6, description="degree of the forward polynomial; none: as needed"
    )
    sip_max_inv_pix_error: float = Field(
        0.01, gt=0, description="largest error of the inverse approximation, in pixels"
    )
    sip_inv_degree: int | None = Field(
        None, ge=1, le=6, description="degree of the inverse polynomial; none: as needed"
    )
    sip_npoints: int = Field(12, ge=3, description="points along each side that are fitted")
    output_use_model: bool = Field(True, description="name products after their exposures")
    in_memory: bool = Field(
        True, description="accepted for compatibility; memory is bounded anyway"
    )


def find_sources(exposure: xr.Dataset, params: TweakregParams) -> Table:
    """The catalogue of one exposure: columns ``id x y flux``, brightest first, within the WCS's bounding box.

    ``exposure`` has ``sci`` (y, x), ``dq`` (y, x) and, for the segmentation finder, ``err`` (y, x). Pixels flagged
    DO_NOT_USE or NON_SCIENCE are masked. ``meta["reason"]`` says why the catalogue is empty, if it is.
    """
    data = np.asarray(exposure["sci"].data)
    dq = np.asarray(exposure["dq"].data) if "dq" in exposure else np.zeros(data.shape, np.uint32)
    error = np.asarray(exposure["err"].data) if "err" in exposure else None
    sources = find(data, error, unusable(dq), params)
    table = sources.table["id", "xcentroid", "ycentroid", "flux"]
    table.rename_columns(["xcentroid", "ycentroid"], ["x", "y"])
    table = within_bounds(table, exposure.attrs.get("wcs"))
    table.meta["name"] = _name(exposure)
    if not len(table):
        table.meta["reason"] = sources.reason or "no source lies within the WCS's bounding box"
    return table


def within_bounds(table: Table, wcs: Any) -> Table:
    """The sources inside the bounding box of ``wcs``."""
    if wcs is None or wcs.bounding_box is None or not len(table):
        return table
    (left, right), (bottom, top) = wcs.bounding_box
    x, y = np.asarray(table["x"]), np.asarray(table["y"])
    return table[(x > left) & (x < right) & (y > bottom) & (y < top)]


def align_exposures(
    exposures: Sequence[xr.Dataset], params: TweakregParams, folder: Path | None = None
) -> tuple[list[xr.Dataset], Alignment]:
    """Lazy ``exposures`` with corrected WCS, S_REGION and SIP keywords, and the report of the alignment.

    The catalogues are computed now, one task per exposure, by the scheduler in force. ``folder`` is where
    ``save_catalogs`` and ``save_abs_catalog`` write (default: the working directory). With one group and no absolute
    catalogue there is nothing to align: no pixel is read.
    """
    if not exposures:
        raise ExposureError("tweakreg: no exposures to align; give at least one calibrated image")
    pointed = [as_pointed(*item) for item in zip(exposures, group_ids(exposures), strict=True)]
    target = Path(folder) if folder is not None else Path()
    reference = (params.abs_refcat or "").strip()
    alone = len({item.group for item in pointed}) == 1
    if alone and not reference and not params.save_catalogs:
        return list(exposures), skipped(pointed, ONE_GROUP)
    catalogs = source_catalogs(exposures, params)
    written = save_catalogs(exposures, catalogs, params, target)
    absolute = _absolute(pointed, exposures[0], params, target) if reference else None
    return apply_alignment(written, align(catalogs, pointed, params, absolute), params)


def as_pointed(exposure: xr.Dataset, group: str) -> Pointed:
    """What alignment needs to know of ``exposure``."""
    wcs = exposure.attrs.get("wcs")
    keywords = header(exposure)
    if wcs is None:
        raise ExposureError(
            f"{keywords.filename}: tweakreg: the exposure has no WCS; run assign_wcs first"
        )
    return Pointed(_name(exposure), group, wcs, Pointing.from_header(keywords))


def _name(exposure: xr.Dataset) -> str:
    return Path(header(exposure).filename).stem.strip("_- ")


def source_catalogs(exposures: Sequence[xr.Dataset], params: TweakregParams) -> list[Table]:
    """The catalogue of each exposure: the user's where there is one, else the sources found in its pixels."""
    from dask.base import compute
    from dask.delayed import delayed

    listed = (
        listed_catalogs(params.catfile) if params.use_custom_catalogs and params.catfile else None
    )
    search = delayed(find_sources)
    catalogs: list[Any] = []
    for exposure in exposures:
        path = custom_catalog(exposure, params, listed)
        catalogs.append(
            search(_pixels(exposure, params), params) if path is None else _read(exposure, path)
        )
    return list(compute(*catalogs))


def custom_catalog(
    exposure: xr.Dataset, params: TweakregParams, listed: dict[str, Path | None] | None
) -> Path | None:
    """The user's catalogue of ``exposure``, or ``None`` to find sources.

    Looked for in ``listed`` (the catfile), else in ``attrs["tweakreg_catalog"]`` (the association's member, an
    absolute path), else in the keyword TCATFILE. A catfile without a line turns custom catalogues off.
    """
    if not params.use_custom_catalogs or listed == {}:
        return None
    keywords = header(exposure)
    attribute = exposure.attrs.get("tweakreg_catalog", "")
    if listed is None and "tweakreg_catalog" in exposure.attrs:
        return Path(attribute) if str(attribute or "").strip() else None
    if listed is not None and keywords.filename in listed:
        return listed[keywords.filename]
    named = str(keywords.get("TCATFILE") or "").strip()
    return Path(named) if named else None


def _read(exposure: xr.Dataset, path: Path) -> Table:
    parameter = f"the catalogue of {header(exposure).filename}"
    table = pixel_positions(read_table(path, parameter), path)
    table = within_bounds(table, exposure.attrs.get("wcs"))
    table.meta["name"] = table.meta.get("name") or _name(exposure)
    table.meta["custom"] = str(path)
    return table


def _pixels(exposure: xr.Dataset, params: TweakregParams) -> xr.Dataset:
    """The variables and attributes that ``find_sources`` needs: less to send to a worker."""
    names = ["sci", "dq"] + (["err"] if params.starfinder == "segmentation" else [])
    pixels = exposure[[name for name in names if name in exposure]]
    filename = header(exposure).filename
    pixels.attrs = {"wcs": exposure.attrs.get("wcs"), "filename": filename}
    return pixels


def save_catalogs(
    exposures: Sequence[xr.Dataset], catalogs: Sequence[Table], params: TweakregParams, folder: Path
) -> list[xr.Dataset]:
    """Write the catalogues that were found, where asked for; the exposures name them in TCATFILE."""
    named = []
    for exposure, catalog in zip(exposures, catalogs, strict=True):
        if "custom" in catalog.meta:
            name = catalog.meta["custom"]
        elif params.save_catalogs:
            suffix = f"_cat.{params.catalog_format}"
            name = header(exposure).filename.removesuffix(".fits") + suffix
            write_table(catalog, folder / Path(name).name)
        else:
            named.append(exposure)
            continue
        named.append(_with_keywords(exposure, "primary", TCATFILE=name))
    return named


def write_table(table: Table, path: Path) -> None:
    """Write ``table`` as ECSV or FITS, by the suffix of ``path``; the file appears complete or not at all."""
    draft = temporary_name(path)
    plain = table.copy()
    if path.suffix == ".fits":
        plain.meta = {}
    kind = "fits" if path.suffix == ".fits" else "ascii.ecsv"
    with writing(draft, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        plain.write(draft, format=kind, overwrite=True)
        draft.replace(path)


def _with_keywords(exposure: xr.Dataset, part: str, **keywords: Any) -> xr.Dataset:
    return exposure.assign_attrs({part: {**exposure.attrs.get(part, {}), **keywords}})


def _absolute(
    pointed: Sequence[Pointed], first: xr.Dataset, params: TweakregParams, folder: Path
) -> Table:
    name = str(params.abs_refcat).strip()
    footprints = [item.wcs.footprint(axis_type="spatial") for item in pointed]
    table = absolute_catalog(name, footprints, epoch_of(first))
    if params.save_abs_catalog and "catalog" in table.meta:
        write_table(table, folder / f"fit_{name.lower()}_ref.ecsv")
    return table


def epoch_of(exposure: xr.Dataset) -> float | None:
    """The date of observation as a decimal year; ``None`` without one (no proper motions then)."""
    from astropy.time import Time

    date = header(exposure).get("DATE-OBS")
    return float(Time(date).decimalyear) if date else None


def apply_alignment(
    exposures: Sequence[xr.Dataset], alignment: Alignment, params: TweakregParams
) -> tuple[list[xr.Dataset], Alignment]:
    """The exposures with the WCS of ``alignment`` where they were aligned, and the keywords that follow from it.

    Where no SIP approximation is good enough the old one stays, and the alignment returned has a warning more.
    """
    moved, warnings = [], list(alignment.warnings)
    for exposure, wcs, aligned in zip(exposures, alignment.wcs, alignment.aligned, strict=True):
        new, warning = _repointed(exposure, wcs, params) if aligned else (exposure, "")
        moved.append(new)
        warnings += [warning] if warning else []
    return moved, replace(alignment, warnings=tuple(warnings))


def _repointed(exposure: xr.Dataset, wcs: Any, params: TweakregParams) -> tuple[xr.Dataset, str]:
    keywords = dict(exposure.attrs.get("sci", {}))
    region = s_region(wcs)
    if region is not None:
        keywords["S_REGION"] = region
    warning = ""
    if params.sip_approx:
        try:
            keywords = with_sip(keywords, _sip(wcs, keywords, params))
        except (ValueError, RuntimeError) as error:
            warning = f"{header(exposure).filename}: the SIP keywords are not updated: {error}"
    return exposure.assign_attrs(wcs=wcs, sci=keywords), warning


def _sip(wcs: Any, keywords: dict[str, Any], params: TweakregParams) -> dict[str, Any]:
    x, y = keywords.get("CRPIX1"), keywords.get("CRPIX2")
    return sip_keywords(
        wcs,
        None if x is None or y is None else (x, y),
        max_pix_error=params.sip_max_pix_error,
        degree=params.sip_degree,
        max_inv_pix_error=params.sip_max_inv_pix_error,
        inv_degree=params.sip_inv_degree,
        npoints=params.sip_npoints,
    )


tweakreg = CombiningStep("tweakreg", TweakregParams)
