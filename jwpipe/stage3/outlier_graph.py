"""The graph of outlier_detection.

As in ``tiles.py``, with one task more a group (the threshold below which weights are masked, a
statistic of its whole image), one a tile (the median) and one for each block of rows of an exposure
(compare and flag).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import getitem
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from dask.base import tokenize

from jwpipe.chunks import row_blocks
from jwpipe.exposure import IMAGE, ExposureError, header
from jwpipe.numerics.blot import HALO
from jwpipe.numerics.coadd import VARIANCES
from jwpipe.stage3.grid import output_grid
from jwpipe.stage3.groups import group_ids, members
from jwpipe.stage3.outlier_tasks import (
    Limits,
    blot_box,
    flag_rows,
    group_image,
    median_tile,
    plain_median,
    plain_threshold,
    weigh_box,
    weight_threshold,
)
from jwpipe.stage3.placement import Box
from jwpipe.stage3.tiles import Drizzler, Graph, Key, Recipe, facts_of

if TYPE_CHECKING:
    from jwpipe.stage3.outlier_detection import OutlierDetectionParams

REWRITTEN = ("sci", "err", "dq", *VARIANCES)


def _limits(exposure: xr.Dataset, params: OutlierDetectionParams) -> Limits:
    keywords = header(exposure)
    level, subtracted = keywords.get("BKGLEVEL"), keywords.get("BKGSUB")
    first, second = (float(word) for word in params.snr.split())
    low, high = (float(word) for word in params.scale.split())
    above = level is not None and subtracted is not None and not subtracted
    return Limits((first, second), (low, high), float(level) if above else params.backg)


class Detection:
    """The graph of a detection; what the two ways of making the median have in common."""

    def __init__(
        self, exposures: Sequence[xr.Dataset], params: OutlierDetectionParams, side: int | None
    ) -> None:
        self.exposures, self.params = exposures, params
        self.graph = Graph()
        self.bad = params.bad
        self.frame = exposures[0].sizes["y"], exposures[0].sizes["x"]
        self.token = ""

    def prepare(self) -> None:
        """Put the tasks on the graph that ``median_of`` refers to."""
        raise NotImplementedError

    def intermediate(self) -> tuple[xr.Dataset, ...]:
        """The lazy products of ``save_intermediate_results``."""
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


class Resampled(Detection):
    """The median of resampled groups, blotted back."""

    def __init__(
        self,
        exposures: Sequence[xr.Dataset],
        params: OutlierDetectionParams,
        side: int | None,
        thresholds: Sequence[float] | None = None,
    ) -> None:
        super().__init__(exposures, params, side)
        self.thresholds = thresholds
        self.drizzler = Drizzler.plan(exposures, output_grid(exposures), side)
        self.recipe = Recipe(params.kernel, params.pixfrac, 1.0, params.weight_type, self.bad)
        self.token = self.drizzler.token(self.recipe, params.model_dump_json())
        self.groups = list(members(group_ids(exposures)).values())
        self.tiles = {tile.index: tile for tile in self.drizzler.tiles}

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

    def prepare(self) -> None:
        """See `Detection`."""
        stacks: dict[tuple[int, int], list[tuple[Key, Key | float]]] = {
            index: [] for index in self.tiles
        }
        for g in range(len(self.groups)):
            images = self._group_tiles(g, f"group-{self.token}")
            threshold = self._threshold(g, images)
            for index, key in images.items():
                stacks[index].append((key, threshold))
        for index, stack in stacks.items():
            shape = self.tiles[index].box.shape
            images_, thresholds = [k for k, _ in stack], [t for _, t in stack]
            self.graph.tasks[self._median_key(index)] = (median_tile, shape, images_, thresholds)

    def _threshold(self, g: int, images: Mapping[tuple[int, int], Key]) -> Key | float:
        """The weight below which pixels of a group are masked, or the task that finds it."""
        if self.thresholds is not None:
            return self.thresholds[g]
        weighed = images
        if not self.params.in_memory:
            weighed = self._group_tiles(g, f"weigh-{self.token}")
        key = (f"threshold-{self.token}", g)
        self.graph.tasks[key] = (weight_threshold, self.params.maskpt, list(weighed.values()))
        return key

    def solved(self) -> tuple[float, ...]:
        """The thresholds of all groups, computed now; ``prepare`` was called before."""
        name, count = f"thresholds-{self.token}", len(self.groups)
        make = {(name, g): (np.atleast_1d, (f"threshold-{self.token}", g)) for g in range(count)}
        array = self.graph.array(name, make, ((1,) * count,), np.float64)
        return tuple(array.compute().tolist())

    def _median_key(self, index: tuple[int, int]) -> Key:
        return (f"median-{self.token}", *index)

    def median_of(self, k: int, box: Box) -> Any:
        """See `Detection`."""
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

    def intermediate(self) -> tuple[xr.Dataset, ...]:
        """See `Detection`."""
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


class Plain(Detection):
    """The median of the exposures as they are, pixel by pixel."""

    def __init__(
        self, exposures: Sequence[xr.Dataset], params: OutlierDetectionParams, side: int | None
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
        self.token = tokenize(
            params.model_dump_json(), [tokenize(e["sci"].data) for e in exposures]
        )

    def prepare(self) -> None:
        """See `Detection`."""
        whole = Box(0, self.frame[0], 0, self.frame[1])
        for k in range(len(self.exposures)):
            self.graph.tasks[(f"threshold-{self.token}", k)] = (
                plain_threshold, self.params.maskpt, self._weight(k, whole)
            )  # fmt: skip

    def _weight(self, k: int, box: Box) -> Any:
        """What stands in a task for the weights of a box of exposure ``k``."""
        exposure = self.exposures[k]
        noise = "var_rnoise" in exposure and self.params.weight_type == "ivm"
        arrays = [self.graph.box(exposure[n], box) for n in ("sci", "dq")]
        arrays += [self.graph.box(exposure["var_rnoise"], box)] if noise else []
        return (weigh_box, facts_of(exposure, k), self.bad, self.params.weight_type, arrays)

    def median_of(self, k: int, box: Box) -> Any:
        """See `Detection`."""
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

    def intermediate(self) -> tuple[xr.Dataset, ...]:
        """See `Detection`."""
        first, name = self.exposures[0], f"sci-{self.token}"
        make = {
            (name, b, 0): (getitem, [self.median_of(0, inner)], 0)
            for b, (inner, _) in enumerate(_row_boxes(first))
        }
        chunks = (row_blocks(self.frame[0], 1), (self.frame[1],))
        median = self.graph.array(name, make, chunks, np.float32)
        found = xr.DataArray(median, dims=IMAGE, attrs=first["sci"].attrs)
        return (xr.Dataset({"sci": found}, attrs={**first.attrs, "product": "median"}),)
