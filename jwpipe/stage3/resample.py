"""Resample exposures onto a regular grid of sky pixels.

Drizzle (``numerics/drizzle.py``) with weights and error propagation as in the JWST calibration pipeline.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import getitem
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from pydantic import Field, field_validator

from jwpipe.dq import Pixel
from jwpipe.exposure import IMAGE, Header, header
from jwpipe.exptypes import IMAGING
from jwpipe.numerics.coadd import CONTEXT_BITS, VARIANCES, Coadd, image, total_error, variances
from jwpipe.numerics.drizzle import KernelName
from jwpipe.stage3.grid import Grid, GridRequest, custom_grid, output_grid
from jwpipe.stage3.groups import group_ids, members
from jwpipe.stage3.mosaic_header import mosaic_attrs
from jwpipe.stage3.tiles import Drizzler, Graph, Key, Recipe, fill_value
from jwpipe.step import CombiningStep, ExposureStep, Params

if TYPE_CHECKING:
    from jwpipe.refs import References

BAD = int(Pixel.DO_NOT_USE | Pixel.NON_SCIENCE)
CONTEXT = ("plane", *IMAGE)


class ResampleParams(Params):
    """Parameters of resample."""

    pixfrac: float = Field(
        1.0,
        ge=0.0,
        le=1.0,
        description="fraction to which input pixels shrink before they are dropped",
    )
    kernel: KernelName = Field(
        "square",
        description="shape in which a pixel's flux is dropped; gaussian and lanczos do not conserve flux, "
        "lanczos ignores pixfrac",
    )
    fillval: str = Field(
        "NAN",
        description="value of pixels that no exposure covers: NAN, INDEF (the same) or a number",
    )
    weight_type: Literal["ivm", "exptime"] | None = Field(
        "ivm",
        description="weights: inverse read-noise variance, exposure time, or None for equal weights",
    )
    output_shape: tuple[int, int] | None = Field(
        None, description="size of the mosaic in pixels, as x, y; by default it holds all exposures"
    )
    crpix: tuple[float, float] | None = Field(
        None, description="reference pixel x, y, counted from 0"
    )
    crval: tuple[float, float] | None = Field(
        None, description="RA and Dec of the reference pixel, degrees"
    )
    rotation: float | None = Field(
        None,
        description="position angle of the mosaic's y axis, degrees east of north; by default the axes "
        "are those of the first exposure's detector",
    )
    pixel_scale_ratio: float = Field(
        1.0, gt=0.0, description="pixel scale of the mosaic over that of the exposures"
    )
    pixel_scale: float | None = Field(
        None,
        gt=0.0,
        description="pixel scale of the mosaic, arcsec; comes before pixel_scale_ratio",
    )
    output_wcs: str = Field(
        "",
        description="ASDF file with a gwcs under the key 'wcs' to resample onto; comes before all else",
    )
    single: bool = Field(
        False,
        description="resample each group of exposures to an image of its own, on the common grid",
    )
    blendheaders: bool = Field(
        True, description="combine the keywords of all exposures, and keep them in the table HDRTAB"
    )
    in_memory: bool = Field(
        True,
        description="accepted; what is kept in memory does not grow with the number of exposures",
    )
    enable_ctx: bool = Field(
        True, description="make CON, which exposures contributed to each pixel"
    )
    enable_err: bool = Field(True, description="make ERR and the variances")
    report_var: bool = Field(True, description="keep the variances in the product")
    propagate_dq: bool = Field(
        False, description="make DQ, the flags of all pixels that contributed"
    )
    pixmap_stepsize: float = Field(
        1.0,
        ge=1.0,
        description="accepted; positions are always interpolated, with a checked error below 1e-4 pixel",
    )
    pixmap_order: Literal[1, 3] = Field(1, description="accepted, as pixmap_stepsize")

    @field_validator("fillval")
    @classmethod
    def _is_fill(cls, value: str) -> str:
        fill_value(value)
        return value

    @property
    def fill(self) -> float:
        """The fill value as a number."""
        return fill_value(self.fillval)

    @property
    def request(self) -> GridRequest:
        """What these parameters ask of the grid."""
        return GridRequest(
            self.pixel_scale_ratio,
            self.pixel_scale,
            self.rotation,
            self.crpix,
            self.crval,
            self.output_shape,
        )


def mosaic_grid(exposures: Sequence[xr.Dataset], params: ResampleParams) -> Grid:
    """The grid that the parameters ask for."""
    if params.output_wcs:
        return custom_grid(params.output_wcs, exposures, params.request)
    return output_grid(exposures, params.request)


def resample_exposures(
    exposures: Sequence[xr.Dataset],
    params: ResampleParams,
    *,
    filename: str = "",
    pool: str = "",
    association: str = "",
    side: int | None = None,
) -> xr.Dataset:
    """Combine exposures into one lazy mosaic.

    Parameters
    ----------
    exposures
        Calibrated images (y, x) with WCS, in the order of the association.
    params
        The parameters; ``single`` is the business of ``resample_groups``.
    filename, pool, association
        Name of the product and of the association's pool and table, for the header.
    side
        Side of the tiles in pixels; by default they are as wide as the mosaic, if that is not too wide.

    Returns
    -------
    xarray.Dataset
        ``sci err con(plane, y, x) wht var_poisson var_rnoise var_flat`` (and ``dq``), as the parameters
        ask, chunked by tile; product ``i2d``. Computing a cutout reads only the pixels under it.

    Raises
    ------
    ExposureError
        Where exposures are missing, are no images, or have no WCS, pointing or footprint.
    """
    grid = mosaic_grid(exposures, params)
    drizzler = Drizzler.plan(exposures, grid, side)
    recipe = _recipe(params, grid, "variances" if params.enable_err else "image")
    planes = -(-len(exposures) // CONTEXT_BITS) if params.enable_ctx else 0
    variables = coadded(drizzler, recipe, params.fill, range(len(exposures)), planes)
    if not params.report_var:
        variables = {name: v for name, v in variables.items() if name not in VARIANCES}
    attrs = _attrs(exposures, grid, params, filename)
    if pool:
        attrs["primary"]["ASNPOOL"] = pool
    if association:
        attrs["primary"]["ASNTABLE"] = association
    return xr.Dataset(variables, attrs=attrs)


def resample_groups(
    exposures: Sequence[xr.Dataset], params: ResampleParams, *, side: int | None = None
) -> list[xr.Dataset]:
    """Resample each group of simultaneous exposures to an image of its own, all on the common grid.

    ERR is drizzled as it is; there are no variances. Context bits and NDRIZ count within the group.
    """
    grid = mosaic_grid(exposures, params)
    drizzler = Drizzler.plan(exposures, grid, side)
    recipe = _recipe(params, grid, "errors")
    results = []
    for indices in members(group_ids(exposures)).values():
        planes = -(-len(indices) // CONTEXT_BITS) if params.enable_ctx else 0
        variables = coadded(drizzler, recipe, params.fill, indices, planes)
        group = [exposures[k] for k in indices]
        attrs = _attrs(group, grid, params, _single_name(group[0]))
        results.append(xr.Dataset(variables, attrs=attrs))
    return results


def _single_name(exposure: xr.Dataset) -> str:
    stem = header(exposure).filename.rpartition(".")[0] or header(exposure).filename
    return f"{stem.rpartition('_')[0] or stem}_outlier_i2d.fits"


def _recipe(
    params: ResampleParams, grid: Grid, planes: Literal["image", "errors", "variances"]
) -> Recipe:
    return Recipe(
        params.kernel,
        params.pixfrac,
        grid.ratio,
        params.weight_type,
        BAD,
        planes,
        params.propagate_dq,
    )


def coadded(
    drizzler: Drizzler, recipe: Recipe, fill: float, indices: Sequence[int], planes: int
) -> dict[str, xr.DataArray]:
    """The lazy variables of a mosaic of some of the exposures; ``planes`` counts context planes."""
    exposures = [drizzler.exposures[k] for k in indices]
    token = drizzler.token(recipe, repr(fill), tuple(indices), planes)
    graph, done = Graph(), f"mosaic-{token}"
    for tile in drizzler.tiles:
        parts = drizzler.parts(graph, recipe, tile, indices, f"drizzle-{token}")
        sums = drizzler.summed(graph, recipe, tile, parts, planes, f"drizzle-{token}")
        graph.tasks[(done, *tile.index)] = (finish_tile, recipe, fill, sums)
    specs = _specs(recipe, planes)
    outputs: dict[str, Any] = {}
    for name, (dims, dtype) in specs.items():
        leading = tuple((planes,) for _ in dims[:-2])
        make: dict[Key, Any] = {
            (f"{name}-{token}", *(0,) * len(leading), *tile.index): (
                getitem,
                (done, *tile.index),
                name,
            )
            for tile in drizzler.tiles
        }
        outputs[f"{name}-{token}"] = (make, (*leading, *drizzler.chunks), dtype)
    arrays = graph.layers(outputs)
    return {
        name: xr.DataArray(arrays[f"{name}-{token}"], dims=dims, attrs=_units(name, exposures[0]))
        for name, (dims, _) in specs.items()
    }


def _specs(recipe: Recipe, planes: int) -> dict[str, tuple[tuple[str, ...], type]]:
    """Dimensions and type of each variable of a mosaic, in the order of its extensions."""
    specs: dict[str, tuple[tuple[str, ...], type]] = {"sci": (IMAGE, np.float32)}
    if recipe.planes != "image":
        specs["err"] = (IMAGE, np.float32)
    if recipe.flags:
        specs["dq"] = (IMAGE, np.uint32)
    if planes:
        specs["con"] = (CONTEXT, np.int32)
    specs["wht"] = (IMAGE, np.float32)
    if recipe.planes == "variances":
        specs |= dict.fromkeys(("var_poisson", "var_rnoise", "var_flat"), (IMAGE, np.float32))
    return specs


def _units(name: str, exposure: xr.Dataset) -> dict[str, str]:
    source = "sci" if name == "err" else name
    units = exposure[source].attrs.get("units") if source in exposure else None
    return {"units": units} if units and name not in ("con", "wht", "dq") else {}


def finish_tile(recipe: Recipe, fill: float, sums: Coadd) -> dict[str, np.ndarray]:
    """The variables of a tile from its sums."""
    found = {
        "sci": image(sums, fill),
        "wht": sums.weight.astype(np.float32),
        "con": sums.context,
        "dq": sums.flags,
    }
    if recipe.planes == "errors":
        found["err"] = image(sums, fill, 1) / np.float32(recipe.ratio)
    if recipe.planes == "variances":
        parts = variances(sums, 1.0 / recipe.ratio**2)
        found |= {**parts, "err": total_error(parts)}
    return found


def _attrs(
    exposures: Sequence[xr.Dataset], grid: Grid, params: ResampleParams, filename: str
) -> dict[str, Any]:
    keywords = {
        "RESWHT": params.weight_type or "none",
        "PIXFRAC": params.pixfrac,
        "PXSCLRT": grid.ratio,
    }
    return mosaic_attrs(exposures, grid, keywords, params.blendheaders, filename)


def resample_exposure(
    exposure: xr.Dataset, references: References, params: ResampleParams
) -> xr.Dataset:
    """Resample one exposure: the quick look (``_i2d``) of image2."""
    del references
    name = header(exposure).filename
    return resample_exposures(
        [exposure], params, filename=re.sub(r"_[^_]*(\.fits)?$", "_i2d.fits", name)
    )


def _applies(keywords: Header, params: ResampleParams) -> str:
    del params
    kind = keywords.get("EXP_TYPE")
    return "" if kind in IMAGING else f"EXP_TYPE {kind} is not imaging"


resample = ExposureStep("resample", resample_exposure, params=ResampleParams, applies=_applies)
combine = CombiningStep("resample", ResampleParams)
