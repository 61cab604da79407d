"""Flag pixels that disagree with what the other exposures saw at the same place of the sky.

Each group of simultaneous exposures is drizzled onto a common grid; the median over groups is a picture
of the sky without cosmic rays and bad pixels; it is interpolated back onto the pixels of each exposure,
and pixels that differ by more than noise and pointing explain are flagged (``numerics/blot.py``).

Graph strategy: as in ``tiles.py``, with one task more a group (the threshold below which weights are
masked, a statistic of its whole image), one a tile (the median) and one for each block of rows of an
exposure (blot and flag).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import getitem
from typing import Any, Literal

import numpy as np
import xarray as xr
from pydantic import Field, field_validator

from jwpipe.chunks import row_blocks
from jwpipe.dq import Pixel
from jwpipe.exposure import IMAGE, ExposureError, header
from jwpipe.numerics.blot import HALO, blot, find_outliers, find_outliers_plain
from jwpipe.numerics.coadd import VARIANCES, Coadd, image, pixel_weights
from jwpipe.numerics.stack import clipped_mean, nanmedian
from jwpipe.stage3.grid import output_grid
from jwpipe.stage3.groups import group_ids, members
from jwpipe.stage3.placement import TILE, Box, Placement
from jwpipe.stage3.tiles import Drizzler, Facts, Graph, Key, Recipe, facts_of, join_blocks
from jwpipe.step import CombiningStep, Params

FLAGS = np.uint32(Pixel.DO_NOT_USE | Pixel.OUTLIER)
UNUSABLE = np.uint32(Pixel.DO_NOT_USE)
REWRITTEN = ("sci", "err", "dq", *VARIANCES)
ALL_BITS = 0xFFFFFFFF


class OutlierDetectionParams(Params):
    """Parameters of outlier_detection; some serve other modes than imaging, and are accepted here."""

    weight_type: Literal["ivm", "exptime"] = Field(
        "ivm", description="weights: inverse read-noise variance, or exposure time"
    )
    pixfrac: float = Field(
        1.0,
        ge=0.0,
        le=1.0,
        description="fraction to which input pixels shrink before they are dropped",
    )
    kernel: Literal["square", "point", "turbo"] = Field(
        "square", description="shape in which a pixel's flux is dropped"
    )
    fillval: str = Field("NAN", description="value of pixels that a group does not cover")
    maskpt: float = Field(
        0.7, ge=0.0, description="pixels with less weight than this fraction of the mean are masked"
    )
    snr: str = Field(
        "5.0 4.0", description="signal-to-noise thresholds of the first and the second pass"
    )
    scale: str = Field(
        "1.2 0.7", description="fraction of the local slope that is allowed for, in either pass"
    )
    backg: float = Field(
        0.0,
        description="level by which exposures lie above the median image; skymatch's comes first",
    )
    kernel_size: str = Field("7 7", description="for integral-field spectra; accepted")
    threshold_percent: float = Field(
        99.8, ge=0.0, le=100.0, description="for integral-field spectra; accepted"
    )
    rolling_window_width: int = Field(25, ge=1, description="for time series; accepted")
    ifu_second_check: bool = Field(False, description="for integral-field spectra; accepted")
    save_intermediate_results: bool = Field(
        False, description="write the resampled groups, their median, and the blotted median"
    )
    resample_data: bool = Field(
        True, description="resample before taking the median; without, exposures must be undithered"
    )
    good_bits: str = Field(
        "~DO_NOT_USE",
        description="DQ flags that do not exclude a pixel, by name or value, joined by + or commas; "
        "after ~ those that do",
    )
    search_output_file: bool = Field(False, description="accepted; has no meaning here")
    in_memory: bool = Field(
        True,
        description="keep the resampled groups for the median; without, they are made twice, and memory "
        "does not grow with the number of groups",
    )
    pixmap_stepsize: float = Field(
        1.0,
        ge=1.0,
        description="accepted; positions are always interpolated, with a checked error below 1e-4 pixel",
    )
    pixmap_order: Literal[1, 3] = Field(1, description="accepted, as pixmap_stepsize")

    @field_validator("snr", "scale")
    @classmethod
    def _is_pair(cls, value: str) -> str:
        if len([float(word) for word in value.split()]) != 2:
            raise ValueError("expected two numbers, for the first and the second pass")
        return value

    @field_validator("good_bits")
    @classmethod
    def _are_bits(cls, value: str) -> str:
        bad_bits(value)
        return value

    @property
    def fill(self) -> float:
        """The fill value as a number."""
        text = self.fillval.strip().upper()
        return np.nan if text in ("NAN", "INDEF", "") else float(text)


def bad_bits(good: str) -> int:
    """The DQ bits that exclude a pixel, from the ``good_bits`` parameter.

    Raises
    ------
    ValueError
        For a name that is no DQ flag.
    """
    text = good.strip().removeprefix("~")
    bits = 0
    for word in text.replace(",", "+").replace("|", "+").split("+"):
        name = word.strip().upper()
        if name.isdigit():
            bits |= int(name)
        elif name in Pixel.__members__:
            bits |= int(Pixel[name])
        else:
            raise ValueError(f"{word.strip()!r} is not a DQ flag: {', '.join(Pixel.__members__)}")
    return bits if good.strip().startswith("~") else ALL_BITS & ~bits


@dataclass(frozen=True)
class Limits:
    """Thresholds of both passes, and the level of the exposure above the median image."""

    snr: tuple[float, float]
    scale: tuple[float, float]
    background: float


@dataclass(frozen=True, eq=False)
class Outliers:
    """The exposures with outliers flagged, or as they were, with the ``reason`` why the step was skipped.

    ``intermediate`` are the products of ``save_intermediate_results``: resampled groups
    (``outlier_i2d``), the ``median``, and a ``blot`` for each exposure.
    """

    exposures: list[xr.Dataset]
    reason: str = ""
    intermediate: tuple[xr.Dataset, ...] = ()


def detect_outliers(
    exposures: Sequence[xr.Dataset], params: OutlierDetectionParams, *, side: int = TILE
) -> Outliers:
    """Flag outliers in a set of overlapping images, lazily.

    DQ gets OUTLIER and DO_NOT_USE; where DO_NOT_USE is set, or any of SCI, ERR and the variances is
    NaN, all of them become NaN and DO_NOT_USE is set. Fewer than two exposures are left as they are.

    Raises
    ------
    ExposureError
        Where exposures are no images, have no WCS, or without resampling have different shapes.
    """
    if len(exposures) < 2:
        return Outliers(
            list(exposures), f"{len(exposures)} exposure; outliers need at least two to compare"
        )
    return (_Resampled if params.resample_data else _Plain)(exposures, params, side).result()


def _limits(exposure: xr.Dataset, params: OutlierDetectionParams) -> Limits:
    keywords = header(exposure)
    level, subtracted = keywords.get("BKGLEVEL"), keywords.get("BKGSUB")
    first, second = (float(word) for word in params.snr.split())
    low, high = (float(word) for word in params.scale.split())
    above = level is not None and subtracted is not None and not subtracted
    return Limits((first, second), (low, high), float(level) if above else params.backg)


class _Detection:
    """The graph of a detection; what the two ways of making the median have in common."""

    def __init__(
        self, exposures: Sequence[xr.Dataset], params: OutlierDetectionParams, side: int
    ) -> None:
        self.exposures, self.params = exposures, params
        self.graph = Graph()
        self.bad = bad_bits(params.good_bits)
        self.frame = exposures[0].sizes["y"], exposures[0].sizes["x"]
        self.token = ""

    def result(self) -> Outliers:
        """All lazy results."""
        raise NotImplementedError

    def median_of(self, k: int, box: Box) -> Any:
        """What stands in a task for the median image that a box of exposure ``k`` is compared with."""
        raise NotImplementedError

    def flagged(self) -> list[xr.Dataset]:
        """The exposures with outliers flagged, in blocks of rows."""
        specs: dict[str, Any] = {}
        names: list[dict[str, str]] = []
        for k, exposure in enumerate(self.exposures):
            present = [name for name in REWRITTEN if name in exposure]
            blocks = self._flag_tasks(k, present)
            own = {name: f"{name}-crf{k}-{self.token}" for name in present}
            for name, layer in own.items():
                make = {(layer, b, 0): (getitem, key, name) for b, key in enumerate(blocks)}
                chunks = (row_blocks(exposure.sizes["y"], 1), (exposure.sizes["x"],))
                specs[layer] = (make, chunks, exposure[name].dtype)
            names.append(own)
        arrays = self.graph.layers(specs)
        return [
            exposure.assign(
                {
                    n: xr.DataArray(arrays[layer], dims=IMAGE, attrs=exposure[n].attrs)
                    for n, layer in own.items()
                }
            ).assign_attrs(product="crf")
            for exposure, own in zip(self.exposures, names, strict=True)
        ]

    def _flag_tasks(self, k: int, present: Sequence[str]) -> list[Key]:
        """The tasks of exposure ``k`` that give its rewritten variables, block by block."""
        exposure, keys = self.exposures[k], []
        limits = _limits(exposure, self.params)
        for b, (inner, outer) in enumerate(_row_boxes(exposure)):
            compared = [self.graph.box(exposure[name], outer) for name in ("sci", "err")]
            carried = [name for name in present if name not in ("sci", "err")]
            key = (f"flag-{self.token}", k, b)
            self.graph.tasks[key] = (
                flag_rows,
                limits,
                self.params.resample_data,
                inner.top - outer.top,
                self.median_of(k, outer),
                compared,
                carried,
                [self.graph.box(exposure[name], inner) for name in carried],
            )
            keys.append(key)
        return keys


def _row_boxes(exposure: xr.Dataset) -> list[tuple[Box, Box]]:
    """Blocks of rows, without and with the neighbouring rows that they are compared over."""
    ny, nx = exposure.sizes["y"], exposure.sizes["x"]
    boxes, top = [], 0
    for high in row_blocks(ny, 1):
        inner = Box(top, top + high, 0, nx)
        outer = Box(max(0, top - HALO), min(ny, top + high + HALO), 0, nx)
        boxes.append((inner, outer))
        top += high
    return boxes


def flag_rows(
    limits: Limits,
    two_passes: bool,
    above: int,
    model: np.ndarray,
    compared: Sequence[np.ndarray],
    names: Sequence[str],
    carried: Sequence[np.ndarray],
) -> dict[str, np.ndarray]:
    """Flag a block of rows: one task.

    ``model`` and ``compared`` (sci, err) have ``above`` more rows before the block, and some after it,
    than the ``carried`` variables called ``names``.
    """
    sci, err = compared
    if two_passes:
        found = find_outliers(
            sci, err, model, snr=limits.snr, scale=limits.scale, background=limits.background
        )
    else:
        found = find_outliers_plain(sci, err, model, snr=limits.snr[0])
    pixels = dict(zip(names, carried, strict=True))
    own = slice(above, above + pixels["dq"].shape[0])
    pixels |= {"sci": sci[own], "err": err[own]}
    pixels["dq"] = pixels["dq"] | np.where(found[own], FLAGS, np.uint32(0))
    return consistent(pixels)


def consistent(pixels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The variables of an exposure with DO_NOT_USE wherever any is NaN, and NaN wherever it is set."""
    invalid = (pixels["dq"] & UNUSABLE).astype(bool)
    planes = {name: values for name, values in pixels.items() if name != "dq"}
    for values in planes.values():
        invalid |= np.isnan(values)
    result = {
        name: np.where(invalid, np.float32(np.nan), values) for name, values in planes.items()
    }
    result["dq"] = pixels["dq"] | np.where(invalid, UNUSABLE, np.uint32(0))
    return result


class _Resampled(_Detection):
    """The median of resampled groups, blotted back."""

    def __init__(
        self, exposures: Sequence[xr.Dataset], params: OutlierDetectionParams, side: int
    ) -> None:
        super().__init__(exposures, params, side)
        self.drizzler = Drizzler.plan(exposures, output_grid(exposures), side)
        self.recipe = Recipe(params.kernel, params.pixfrac, 1.0, params.weight_type, self.bad)
        self.token = self.drizzler.token(self.recipe, params.model_dump_json())
        self.groups = list(members(group_ids(exposures)).values())
        self.tiles = {tile.index: tile for tile in self.drizzler.tiles}

    def result(self) -> Outliers:
        """See `_Detection`."""
        self._medians()
        flagged = self.flagged()
        return Outliers(flagged, "", self._intermediate())

    def _group_tiles(self, g: int, name: str) -> dict[tuple[int, int], Key]:
        """Tasks that give image and weight of the tiles that a group touches; their keys by tile."""
        keys = {}
        for index, tile in self.tiles.items():
            parts = self.drizzler.parts(self.graph, self.recipe, tile, self.groups[g], name)
            if parts:
                sums = self.drizzler.summed(self.graph, self.recipe, tile, parts, 0, f"{name}-{g}")
                keys[index] = (f"{name}-image", g, *index)
                self.graph.tasks[keys[index]] = (group_image, sums, self.params.fill)
        return keys

    def _medians(self) -> None:
        stacks: dict[tuple[int, int], list[tuple[Key, Key]]] = {index: [] for index in self.tiles}
        for g in range(len(self.groups)):
            images = self._group_tiles(g, f"group-{self.token}")
            weighed = images
            if not self.params.in_memory:
                weighed = self._group_tiles(g, f"weigh-{self.token}")
            threshold = (f"threshold-{self.token}", g)
            self.graph.tasks[threshold] = (
                weight_threshold, self.params.maskpt, list(weighed.values())
            )  # fmt: skip
            for index, key in images.items():
                stacks[index].append((key, threshold))
        for index, stack in stacks.items():
            shape = self.tiles[index].box.shape
            images_, thresholds = [k for k, _ in stack], [t for _, t in stack]
            self.graph.tasks[self._median_key(index)] = (median_tile, shape, images_, thresholds)

    def _median_key(self, index: tuple[int, int]) -> Key:
        return (f"median-{self.token}", *index)

    def median_of(self, k: int, box: Box) -> Any:
        """See `_Detection`."""
        placement, frame = self.drizzler.placements[k], self.drizzler.grid.shape
        region = placement.output_box(box.rows, HALO, frame) or Box(0, 1, 0, 1)
        under = [tile for tile in self.tiles.values() if tile.box & region]
        self.graph.tasks.setdefault((f"place-{self.token}", k), placement)
        return (
            blot_box,
            (f"place-{self.token}", k),
            box,
            region,
            frame,
            [self._median_key(tile.index) for tile in under],
            [tile.box.corner for tile in under],
        )

    def _intermediate(self) -> tuple[xr.Dataset, ...]:
        if not self.params.save_intermediate_results:
            return ()
        products = [self._group_product(g) for g in range(len(self.groups))]
        make = {(f"sci-{self.token}", *i): (getitem, [self._median_key(i)], 0) for i in self.tiles}
        median = self.graph.array(f"sci-{self.token}", make, self.drizzler.chunks, np.float32)
        products.append(self._product(0, {"sci": median}, "median", self.drizzler.grid.wcs))
        for k, exposure in enumerate(self.exposures):
            name, boxes = f"blot{k}-{self.token}", _row_boxes(exposure)
            make = {(name, b, 0): self.median_of(k, inner) for b, (inner, _) in enumerate(boxes)}
            chunks = (row_blocks(exposure.sizes["y"], 1), (exposure.sizes["x"],))
            blotted = self.graph.array(name, make, chunks, np.float32)
            products.append(self._product(k, {"sci": blotted}, "blot", exposure.attrs["wcs"]))
        return tuple(products)

    def _group_product(self, g: int) -> xr.Dataset:
        touched = self._group_tiles(g, f"group-{self.token}")
        arrays = {}
        for n, variable in enumerate(("sci", "wht")):
            name, fill = f"{variable}{g}-{self.token}", (self.params.fill, 0.0)[n]
            make: dict[Key, Any] = {
                (name, *index): (getitem, touched[index], n)
                if index in touched
                else (np.full, tile.box.shape, fill, np.float32)
                for index, tile in self.tiles.items()
            }
            arrays[variable] = self.graph.array(name, make, self.drizzler.chunks, np.float32)
        return self._product(self.groups[g][0], arrays, "outlier_i2d", self.drizzler.grid.wcs)

    def _product(self, k: int, arrays: Mapping[str, Any], product: str, wcs: Any) -> xr.Dataset:
        exposure = self.exposures[k]
        variables = {
            n: xr.DataArray(a, dims=IMAGE, attrs=exposure["sci"].attrs) for n, a in arrays.items()
        }
        return xr.Dataset(variables, attrs={**exposure.attrs, "product": product, "wcs": wcs})


def group_image(sums: Coadd, fill: float) -> tuple[np.ndarray, np.ndarray]:
    """Image and weight of a tile of a group: one task."""
    return image(sums, fill)


def weight_threshold(maskpt: float, images: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """The weight below which pixels of a group are masked: ``maskpt`` times their clipped mean."""
    return maskpt * clipped_mean([weight for _, weight in images]) if images else float("nan")


def median_tile(
    shape: tuple[int, int],
    images: Sequence[tuple[np.ndarray, np.ndarray]],
    thresholds: Sequence[float],
) -> np.ndarray:
    """The median over groups of a tile, pixels of too little weight left out: one task."""
    stack = np.empty((len(images), *shape), np.float32)
    for n, ((sci, weight), threshold) in enumerate(zip(images, thresholds, strict=True)):
        stack[n] = np.where(weight < np.float64(threshold), np.float32(np.nan), sci)
    return nanmedian(stack)


def blot_box(
    placement: Placement,
    box: Box,
    region: Box,
    frame: tuple[int, int],
    tiles: Sequence[np.ndarray],
    corners: Sequence[tuple[int, int]],
) -> np.ndarray:
    """The median image on the pixels of a box of an exposure; ``region`` is what it needs of the mosaic."""
    data = join_blocks(tiles, corners, region)
    return blot(data, placement.map(box), origin=region.corner, frame=frame)


class _Plain(_Detection):
    """The median of the exposures as they are, pixel by pixel."""

    def __init__(
        self, exposures: Sequence[xr.Dataset], params: OutlierDetectionParams, side: int
    ) -> None:
        super().__init__(exposures, params, side)
        for exposure in exposures:
            shape = (exposure.sizes["y"], exposure.sizes["x"])
            if exposure["sci"].dims != IMAGE or shape != self.frame:
                raise ExposureError(
                    f"{header(exposure).filename}: outlier_detection: shape {dict(exposure['sci'].sizes)}, "
                    f"expected (y, x) = {self.frame} as the first exposure; without resampling all must "
                    "show the same pixels: set resample_data = true"
                )
        from dask.base import tokenize

        self.token = tokenize(
            params.model_dump_json(), [tokenize(e["sci"].data) for e in exposures]
        )

    def result(self) -> Outliers:
        """See `_Detection`."""
        whole = Box(0, self.frame[0], 0, self.frame[1])
        for k, exposure in enumerate(self.exposures):
            self.graph.tasks[(f"threshold-{self.token}", k)] = (
                plain_threshold, self.params.maskpt, self._weight(k, whole)
            )  # fmt: skip
        flagged = self.flagged()
        return Outliers(flagged, "", self._intermediate())

    def _weight(self, k: int, box: Box) -> Any:
        """What stands in a task for the weights of a box of exposure ``k``."""
        exposure = self.exposures[k]
        noise = "var_rnoise" in exposure and self.params.weight_type == "ivm"
        arrays = [self.graph.box(exposure[n], box) for n in ("sci", "dq")]
        arrays += [self.graph.box(exposure["var_rnoise"], box)] if noise else []
        return (weigh_box, facts_of(exposure, k), self.bad, self.params.weight_type, arrays)

    def median_of(self, k: int, box: Box) -> Any:
        """See `_Detection`."""
        del k
        key = (f"median-{self.token}", box)
        if key not in self.graph.tasks:
            own = range(len(self.exposures))
            self.graph.tasks[key] = (
                plain_median,
                [self.graph.box(self.exposures[m]["sci"], box) for m in own],
                [self._weight(m, box) for m in own],
                [(f"threshold-{self.token}", m) for m in own],
            )
        return key

    def _intermediate(self) -> tuple[xr.Dataset, ...]:
        if not self.params.save_intermediate_results:
            return ()
        first, name = self.exposures[0], f"sci-{self.token}"
        make = {
            (name, b, 0): (getitem, [self.median_of(0, inner)], 0)
            for b, (inner, _) in enumerate(_row_boxes(first))
        }
        chunks = (row_blocks(self.frame[0], 1), (self.frame[1],))
        median = self.graph.array(name, make, chunks, np.float32)
        found = xr.DataArray(median, dims=IMAGE, attrs=first["sci"].attrs)
        return (xr.Dataset({"sci": found}, attrs={**first.attrs, "product": "median"}),)


def weigh_box(
    facts: Facts, bad: int, weight_type: Literal["ivm", "exptime"], arrays: Sequence[np.ndarray]
) -> np.ndarray:
    """Weights of a box of an exposure, from its sci, dq, and var_rnoise where it counts."""
    sci, dq, *noise = arrays
    rnoise = noise[0] if noise else None
    time = facts.exposure_time
    return pixel_weights(sci, dq, rnoise, bad=bad, weight_type=weight_type, exposure_time=time)


def plain_threshold(maskpt: float, weights: np.ndarray) -> float:
    """The weight below which pixels of an exposure are masked: one task."""
    return maskpt * clipped_mean([weights])


def plain_median(
    images: Sequence[np.ndarray], weights: Sequence[np.ndarray], thresholds: Sequence[float]
) -> np.ndarray:
    """The median over exposures, pixels of too little weight left out: one task."""
    return median_tile(images[0].shape, list(zip(images, weights, strict=True)), thresholds)


outlier_detection = CombiningStep("outlier_detection", OutlierDetectionParams)
