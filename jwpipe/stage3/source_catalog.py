"""A catalogue of the sources in a mosaic: photometry, morphology, and whether they are extended.

Sources are found on the background-subtracted mosaic, and measured there in their isophotes; apertures are measured on
the mosaic itself with a local background. Fluxes are in Jy.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import xarray as xr
from pydantic import Field, model_validator

from jwpipe import __version__
from jwpipe.exposure import ExposureError, Header, header
from jwpipe.stage3.catalog_columns import descriptions, number_format
from jwpipe.stage3.photometry import (
    Apertures,
    ab_magnitude,
    aperture_sums,
    daofind_shape,
    local_background,
    nearest_neighbours,
)
from jwpipe.stage3.starfinder import FinderParams, Sources, find
from jwpipe.step import CombiningStep

if TYPE_CHECKING:
    from astropy.table import QTable

    from jwpipe.refs import RefFile

VERSIONED = ("numpy", "scipy", "astropy", "photutils", "gwcs")


class SourceCatalogParams(FinderParams):
    """Parameters of source_catalog."""

    aperture_ee1: int = Field(
        30, gt=0, lt=100, description="encircled energy of the smallest aperture, in percent"
    )
    aperture_ee2: int = Field(
        50, gt=0, lt=100, description="encircled energy of the middle aperture, in percent"
    )
    aperture_ee3: int = Field(
        70, gt=0, lt=100, description="encircled energy of the largest aperture, in percent"
    )
    ci1_star_threshold: float = Field(
        2.0, description="extended sources have a higher ratio of middle to smallest aperture"
    )
    ci2_star_threshold: float = Field(
        1.8, description="and a higher ratio of largest to middle aperture"
    )
    suffix: str = Field("cat", description="suffix of the catalogue's file name")
    starfinder: Literal["dao", "iraf", "segmentation"] = Field(
        "segmentation",
        description="algorithm that finds sources: DAOFIND, IRAF starfind or segmentation",
    )
    snr_threshold: float = Field(
        3.0, gt=0, description="detection threshold above the background, in units of its noise"
    )
    bkg_boxsize: int = Field(
        1000, ge=1, description="size of the boxes in which the background is measured, in pixels"
    )
    kernel_fwhm: float = Field(
        2.0, gt=0, description="FWHM of the Gaussian detection kernel, in pixels"
    )
    npixels: int = Field(
        25, ge=1, description="least number of connected pixels of a source (segmentation)"
    )

    @property
    def energies(self) -> tuple[int, int, int]:
        """Encircled energies of the apertures, in percent."""
        return self.aperture_ee1, self.aperture_ee2, self.aperture_ee3

    @model_validator(mode="after")
    def _increasing(self) -> Self:
        first, second, third = self.energies
        if not first < second < third:
            raise ValueError(f"aperture_ee1, 2, 3 are {self.energies}, expected increasing values")
        return self


@dataclass(frozen=True)
class Catalogue:
    """What was found: the table and the map of segments (y, x) uint32, or the ``reason`` why there is none."""

    table: QTable | None = None
    segments: np.ndarray | None = None
    reason: str = ""
    warnings: tuple[str, ...] = ()


class _NoCatalogueError(Exception):
    """No catalogue can be made, for the reason given."""


def make_catalog(
    mosaic: xr.Dataset, references: Mapping[str, RefFile | None], params: SourceCatalogParams
) -> Catalogue:
    """The catalogue of a ``mosaic`` with ``sci``, ``err`` and ``wht`` (y, x), computed now.

    Of ``references``, ``apcorr`` gives the apertures (without it: radii of 1, 2 and 3 pixels, not corrected), and
    ``abvegaoffset`` the Vega magnitudes (without it: equal to AB). Where the mosaic has no sources, or a reference no
    row for it, the result has a reason and no table.
    """
    keywords = header(mosaic)
    warnings: list[str] = []
    try:
        apertures = _apertures(references.get("apcorr"), keywords, params, warnings)
        vega = _vega_offset(references.get("abvegaoffset"), keywords, warnings)
        data, error, empty = _pixels(mosaic, keywords)
    except _NoCatalogueError as problem:
        return Catalogue(None, None, str(problem), tuple(warnings))
    sources = find(data, error, empty, params, mosaic.attrs["wcs"])
    if not len(sources.table):
        return Catalogue(None, None, f"no sources: {sources.reason}", tuple(warnings))
    columns = measure(data, error, sources, mosaic, apertures, vega, params)
    table = _table(columns, sources, apertures, vega)
    segments = None if sources.segments is None else sources.segments.astype(np.uint32)
    return Catalogue(table, segments, "", tuple(warnings))


def _pixels(mosaic: xr.Dataset, keywords: Header) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Data and error in Jy (y, x) float32, and the pixels without coverage."""
    from dask.base import compute

    unit, area = keywords.get("BUNIT"), keywords.get("PIXAR_SR")
    if unit != "MJy/sr":
        raise ExposureError(
            f"{keywords.filename}: source_catalog: BUNIT is {unit!r}, expected MJy/sr; run photom on the exposures"
        )
    if area is None:
        raise _NoCatalogueError(
            "PIXAR_SR is missing: surface brightness cannot be turned into flux"
        )
    sci, err, wht = compute(*(mosaic[name].data for name in ("sci", "err", "wht")))
    to_jansky = np.float32(1.0e6 * float(area))
    return sci * to_jansky, err * to_jansky, np.isnan(err) | (wht == 0)


def _selected(
    rows: Any, names: tuple[str, ...], keywords: Header, path: str, where: dict[str, str]
) -> np.ndarray:
    """Mask of the rows of a reference table whose columns ``names`` have the values of the headers."""
    chosen = np.ones(len(rows), bool)
    for name in names:
        value = str(keywords.get(where[name]) or "").strip()
        chosen &= np.array([str(entry).strip() == value for entry in rows[name]], bool)
    if not chosen.any():
        wanted = ", ".join(f"{where[name]}={keywords.get(where[name])}" for name in names)
        raise _NoCatalogueError(f"{path} has no row for {wanted}")
    return chosen


SELECTORS = {"filter": "FILTER", "pupil": "PUPIL", "subarray": "SUBARRAY", "detector": "DETECTOR"}
APCORR_KEYS = {
    "NIRCAM": ("filter", "pupil"),
    "NIRISS": ("filter", "pupil"),
    "MIRI": ("filter", "subarray"),
    "FGS": (),
}
VEGA_KEYS = {
    "NIRCAM": ("filter", "pupil"),
    "NIRISS": ("filter", "pupil"),
    "MIRI": ("filter",),
    "FGS": ("detector",),
}


def _keys(table: dict[str, tuple[str, ...]], keywords: Header) -> tuple[str, ...]:
    instrument = str(keywords.get("INSTRUME"))
    if instrument not in table:
        raise _NoCatalogueError(f"INSTRUME is {instrument}, expected one of {', '.join(table)}")
    return table[instrument]


def _apertures(
    reference: RefFile | None, keywords: Header, params: SourceCatalogParams, warnings: list[str]
) -> Apertures:
    """The apertures of the reference file for this instrument set-up, in pixels of the mosaic."""
    if reference is None:
        warnings.append("no apcorr reference: apertures of 1, 2 and 3 pixels, not corrected")
        return Apertures(np.array([1, 2, 3]), np.array([1.0, 2.0, 3.0]), np.ones(3), 5.0, 10.0)
    rows = reference.table("APCORR")
    names = _keys(APCORR_KEYS, keywords)
    rows = rows[_selected(rows, names, keywords, reference.path, SELECTORS)]
    percent = np.round(rows["eefraction"] * 100)
    wanted = [np.flatnonzero(percent == energy) for energy in params.energies]
    for energy, found in zip(params.energies, wanted, strict=True):
        if len(found) != 1:
            raise _NoCatalogueError(
                f"{reference.path} has {len(found)} rows for {energy} % encircled energy, expected one; "
                f"it has {', '.join(f'{value:g}' for value in percent)}"
            )
    rows = rows[np.concatenate(wanted)]
    inner, outer = np.unique(rows["skyin"]), np.unique(rows["skyout"])
    if len(inner) != 1 or len(outer) != 1:
        raise _NoCatalogueError(f"{reference.path} has different skyin, skyout for one set-up")
    ratio = keywords.get("PXSCLRT")
    if ratio is None:
        warnings.append("PXSCLRT is missing: apertures assume the detector's pixel scale")
        ratio = 1.0
    return Apertures(
        np.array(params.energies),
        np.array(rows["radius"]) / ratio,
        np.array(rows["apcorr"]),
        inner[0] / ratio,
        outer[0] / ratio,
    )


def _vega_offset(reference: RefFile | None, keywords: Header, warnings: list[str]) -> Any:
    """AB minus Vega magnitude for this instrument set-up."""
    if reference is None:
        warnings.append("no abvegaoffset reference: Vega magnitudes are AB magnitudes")
        return 0.0
    rows = reference.tree()["abvega_offset"]
    names = _keys(VEGA_KEYS, keywords)
    chosen = _selected(rows, names, keywords, reference.path, SELECTORS)
    if chosen.sum() > 1:
        raise _NoCatalogueError(f"{reference.path} has several rows for this set-up")
    return rows["abvega_offset"][chosen][0]


def measure(
    data: np.ndarray,
    error: np.ndarray,
    sources: Sources,
    mosaic: xr.Dataset,
    apertures: Apertures,
    vega: float,
    params: SourceCatalogParams,
) -> dict[str, Any]:
    """All columns of the catalogue by name: values, with units where they have any."""
    found = sources.table
    positions = np.transpose([_plain(found["xcentroid"]), _plain(found["ycentroid"])])
    columns: dict[str, Any] = {
        "label": found["id"],
        "xcentroid": positions[:, 0],
        "ycentroid": positions[:, 1],
        "sky_centroid": mosaic.attrs["wcs"].pixel_to_world(*positions.T),
    }
    columns |= _aperture_photometry(data, error, positions, apertures, vega)
    columns |= _concentration(columns, apertures, params)
    columns["sharpness"], columns["roundness"] = daofind_shape(data, positions, params.kernel_fwhm)
    index, distance = nearest_neighbours(positions)
    labels = np.asarray(columns["label"])
    columns["nn_label"] = np.where(index < 0, labels.dtype.type(-1), labels[index])
    columns["nn_dist"] = _quantity(distance, "pix")
    return columns | _isophotal(sources, mosaic, vega)


def _plain(values: Any) -> np.ndarray:
    return np.asarray(getattr(values, "value", values))


def _quantity(values: Any, unit: str) -> Any:
    from astropy.units import Quantity

    return Quantity(values, unit)


def _with_magnitudes(name: str, flux: np.ndarray, error: np.ndarray, vega: float) -> dict[str, Any]:
    magnitude, uncertainty = ab_magnitude(flux, error)
    return {
        f"{name}_flux": _quantity(flux, "Jy"),
        f"{name}_flux_err": _quantity(error, "Jy"),
        f"{name}_abmag": magnitude,
        f"{name}_abmag_err": uncertainty,
        f"{name}_vegamag": magnitude - vega,
        f"{name}_vegamag_err": uncertainty,
    }


def _aperture_photometry(
    data: np.ndarray, error: np.ndarray, positions: np.ndarray, apertures: Apertures, vega: float
) -> dict[str, Any]:
    level, uncertainty = local_background(data, positions, apertures.inner, apertures.outer)
    columns = {
        "aper_bkg_flux": _quantity(level, "Jy"),
        "aper_bkg_flux_err": _quantity(uncertainty, "Jy"),
    }
    for energy, radius in zip(apertures.energies, apertures.radii, strict=True):
        total, total_error, area = aperture_sums(data, error, positions, radius)
        flux = total - level * area
        columns |= _with_magnitudes(f"aper{energy}", flux, total_error, vega)
    correction = apertures.corrections[-1]
    return columns | _with_magnitudes(
        "aper_total", correction * flux, correction * total_error, vega
    )


def _concentration(
    columns: dict[str, Any], apertures: Apertures, params: SourceCatalogParams
) -> dict[str, Any]:
    """Flux ratios of the apertures; a source is extended where both steps exceed their threshold."""
    small, middle, large = (int(energy) for energy in apertures.energies)
    ratios = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        for low, high in ((small, middle), (middle, large), (small, large)):
            wide, narrow = columns[f"aper{high}_flux"], columns[f"aper{low}_flux"]
            ratios[f"CI_{high}_{low}"] = wide.value / narrow.value
    extended = (ratios[f"CI_{middle}_{small}"] > params.ci1_star_threshold) & (
        ratios[f"CI_{large}_{middle}"] > params.ci2_star_threshold
    )
    return {**ratios, "is_extended": extended}


def _isophotal(sources: Sources, mosaic: xr.Dataset, vega: float) -> dict[str, Any]:
    """What the segmentation measured; NaN where another finder was used, which measures only the flux."""
    found = sources.table
    flux = _plain(found["flux"])
    missing = np.full(len(found), np.nan)

    def column(name: str) -> Any:
        """A column of the catalogue, NaN where it was not measured."""
        return found[name] if name in found.colnames else missing

    columns = _with_magnitudes("isophotal", flux, _plain(column("segment_flux_err")), vega)
    columns["isophotal_area"] = column("area")
    columns["semimajor_sigma"] = column("semimajor_axis")
    columns["semiminor_sigma"] = column("semiminor_axis")
    columns["ellipticity"] = column("ellipticity")
    orientation = _quantity(column("orientation"), "deg")
    columns["orientation"] = column("orientation")
    columns["sky_orientation"] = (_angle_to_north(mosaic) + orientation) % _quantity(360.0, "deg")
    for corner in ("ll", "ul", "lr", "ur"):
        columns[f"sky_bbox_{corner}"] = column(f"sky_bbox_{corner}")
    return columns


def _angle_to_north(mosaic: xr.Dataset) -> Any:
    """180 degrees minus the angle from x to north at the reference pixel."""
    from astropy.units import arcsec

    keywords, wcs = header(mosaic), mosaic.attrs["wcs"]
    here = wcs.pixel_to_world(keywords["CRPIX1"] - 1, keywords["CRPIX2"] - 1)
    x, y = wcs.world_to_pixel(here)
    north_x, north_y = wcs.world_to_pixel(here.directional_offset_by(0.0, 1 * arcsec))
    return _quantity(180.0 - np.degrees(np.arctan2(north_y - y, north_x - x)), "deg")


def _table(columns: dict[str, Any], sources: Sources, apertures: Apertures, vega: Any) -> QTable:
    """The columns in order, with descriptions and formats, and how they were made."""
    from astropy.table import QTable

    small, middle, large = (int(energy) for energy in apertures.energies)
    table = QTable()
    for name, description in descriptions((small, middle, large)).items():
        table[name] = columns[name]
        table[name].info.description = description
        table[name].info.format = number_format(name)
    table.meta.update(sources.table.meta)
    table.meta["version"] = {"Python": sys.version.split()[0], "jwpipe": __version__} | {
        name: version(name) for name in VERSIONED
    }
    table.meta["aperture_params"] = {
        "aperture_ee": apertures.energies,
        "aperture_radii": apertures.radii,
        "aperture_corrections": apertures.corrections,
        "bkg_aperture_inner_radius": apertures.inner,
        "bkg_aperture_outer_radius": apertures.outer,
    }
    table.meta["abvega_offset"] = vega
    return table


source_catalog = CombiningStep(
    "source_catalog",
    SourceCatalogParams,
    ("apcorr", "abvegaoffset"),
    frozenset({"apcorr", "abvegaoffset"}),
)
