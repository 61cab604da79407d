"""Mosaics as lazy arrays, tile by tile.

Graph strategy: one task for each tile and exposure that touches it drizzles just the pixels needed, read
straight from the file where the exposure still is a file; one task a tile adds these sums, exposures in
order of the association, and finishes. Everything is known from the exposures' WCS before a pixel is
read. A cutout of the mosaic therefore costs the tiles and the rows of exposures under it, and memory
does not grow with the number of exposures or the size of the mosaic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from jwpipe.exposure import ExposureError, header
from jwpipe.io.fitsarray import FitsArray
from jwpipe.io.fitsrows import FitsRows
from jwpipe.io.handles import handle_of
from jwpipe.numerics.coadd import (
    VARIANCES,
    Contents,
    Drizzled,
    WeightType,
    coadd,
    coadd_first,
    pixel_weights,
    values_with_errors,
)
from jwpipe.numerics.drizzle import KernelName, reach, spread
from jwpipe.stage3.grid import Grid
from jwpipe.stage3.placement import Box, Placement, Tile, place, tile_edges, tile_shape, tiles

BATCH = 8
"""Exposures of a tile that are added in one task: bounds what waits in memory."""

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Recipe:
    """How pixels are weighted and dropped, and which planes are drizzled.

    ``bad`` are the DQ bits that exclude a pixel. ``planes`` is ``image``, or with it the ``errors``
    (ERR) or the ``variances``; ``flags`` asks for the DQ bits of the contributing pixels.
    """

    kernel: KernelName
    pixfrac: float
    ratio: float
    weight_type: WeightType | None
    bad: int
    planes: Literal["image", "errors", "variances"] = "image"
    flags: bool = False

    def contents(self, context: int) -> Contents:
        """What sums of this recipe hold; ``context`` counts the context planes."""
        kind = self.planes
        return Contents(kind == "errors", kind == "variances", context, self.flags)

    @property
    def variables(self) -> tuple[str, ...]:
        """What is read of an exposure, where it has it."""
        names: dict[str, None] = dict.fromkeys(("sci", "dq"))
        if self.weight_type == "ivm":
            names["var_rnoise"] = None
        if self.planes == "errors":
            names["err"] = None
        if self.planes == "variances":
            names.update(dict.fromkeys(VARIANCES))
        return tuple(names)


@dataclass(frozen=True)
class Facts:
    """What the header says of an exposure: sky level to subtract, exposure time, place in the association."""

    level: float
    exposure_time: float
    number: int


def fill_value(text: str) -> float:
    """The number that a ``fillval`` parameter means: NAN, INDEF (the same) or a number.

    Raises
    ------
    ValueError
        Where it is none of these.
    """
    return float("nan") if text.strip().upper() in ("INDEF", "") else float(text)


def facts_of(exposure: xr.Dataset, number: int) -> Facts:
    """Read the facts of an exposure from its header."""
    keywords = header(exposure)
    level = keywords.get("BKGLEVEL")
    subtracted = bool(keywords.get("BKGSUB", False))
    measured = keywords.get("TMEASURE")
    time = keywords.get("EFFEXPTM") if measured is None else measured
    return Facts(0.0 if subtracted or level is None else float(level), float(time or 1.0), number)


def drizzle_box(
    recipe: Recipe,
    facts: Facts,
    placement: Placement,
    boxes: tuple[Box, Box, Box],
    names: Sequence[str],
    arrays: Sequence[np.ndarray],
) -> Drizzled:
    """Drizzle a box of an exposure onto part of a tile: one task.

    ``boxes`` are the pixels read, the output pixels, and the tile that these belong to.
    """
    source, target, tile = boxes
    pixels = typed(names, arrays)
    weights = pixel_weights(
        pixels["sci"],
        pixels["dq"],
        pixels.get("var_rnoise"),
        bad=recipe.bad,
        weight_type=recipe.weight_type,
        exposure_time=facts.exposure_time,
    )
    values, weights = _values(recipe, facts, pixels, placement.scanned(source, weights))
    sums, touched, flags = spread(
        placement.padded_map(source),
        weights,
        values,
        name=recipe.kernel,
        pixfrac=recipe.pixfrac,
        ratio=recipe.ratio,
        origin=target.corner,
        shape=target.shape,
        bits=pixels["dq"] if recipe.flags else None,
    )
    by_noise = recipe.weight_type == "ivm" and "var_rnoise" in pixels
    fixed = facts.exposure_time if recipe.weight_type == "exptime" else 1.0
    return Drizzled(
        sums,
        touched,
        flags,
        (target.top - tile.top, target.left - tile.left),
        facts.number,
        None if by_noise else fixed,
        tuple(name in pixels for name in VARIANCES),
    )


def _values(
    recipe: Recipe, facts: Facts, pixels: Mapping[str, np.ndarray], weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The planes to drizzle (ny, nx, planes), and the weights."""
    if recipe.planes == "variances":
        return values_with_errors(pixels["sci"], facts.level, pixels, weights)
    planes = [pixels["sci"] - np.float32(facts.level)]
    if recipe.planes == "errors":
        planes.append(pixels["err"])
    return np.stack(planes, axis=-1), weights


def typed(names: Sequence[str], arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Variables of an exposure in the types that kernels are compiled for."""
    return {
        name: np.ascontiguousarray(array, np.uint32 if name == "dq" else np.float32)
        for name, array in zip(names, arrays, strict=True)
    }


def read_box(handle: FitsArray | FitsRows, box: Box) -> np.ndarray:
    """The pixels of a box, straight from the file."""
    return handle[(box.rows, box.columns)]


def join_blocks(
    blocks: Sequence[np.ndarray], corners: Sequence[tuple[int, int]], box: Box
) -> np.ndarray:
    """The pixels of a box from the blocks that hold them, whose first pixels are ``corners``."""
    out = np.empty(box.shape, blocks[0].dtype)
    for block, (top, left) in zip(blocks, corners, strict=True):
        held = Box(top, top + block.shape[0], left, left + block.shape[1])
        part = held & box
        assert part is not None
        out[
            part.top - box.top : part.bottom - box.top, part.left - box.left : part.right - box.left
        ] = block[part.top - top : part.bottom - top, part.left - left : part.right - left]
    return out


@dataclass
class Graph:
    """A graph being built: its tasks, and the arrays that they read."""

    tasks: dict[Key, Any] = field(default_factory=dict)
    arrays: dict[str, da.Array] = field(default_factory=dict)

    def box(self, variable: xr.DataArray, box: Box) -> tuple[Any, ...]:
        """What stands in a task for the pixels of a box of ``variable`` (y, x)."""
        handle = handle_of(variable)
        if handle is not None:
            return (read_box, handle, box)
        array = da.asarray(variable.data)
        self.arrays[array.name] = array
        keys, corners = [], []
        rows, columns = _touched(array.chunks[0], box.rows), _touched(array.chunks[1], box.columns)
        for j, top in rows:
            for i, left in columns:
                keys.append((array.name, j, i))
                corners.append((top, left))
        return (join_blocks, keys, corners, box)

    def array(
        self, name: str, make: Mapping[Key, Any], chunks: tuple[tuple[int, ...], ...], dtype: Any
    ) -> da.Array:
        """An array whose blocks are made by the tasks ``make``, on top of the graph so far."""
        return self.layers({name: (make, chunks, dtype)})[name]

    def layers(
        self, outputs: Mapping[str, tuple[Mapping[Key, Any], tuple[tuple[int, ...], ...], Any]]
    ) -> dict[str, da.Array]:
        """Arrays over the graph so far, one layer each: their tasks, chunks and dtype by name."""
        base = f"tasks-{tokenize(sorted(outputs))}"
        graph = HighLevelGraph.from_collections(base, self.tasks, list(self.arrays.values()))
        layers, links = dict(graph.layers), dict(graph.dependencies)
        for name, (make, _, _) in outputs.items():
            layers[name], links[name] = make, {base}
        whole = HighLevelGraph(layers, links)
        return {
            name: da.Array(whole, name, chunks, dtype)
            for name, (_, chunks, dtype) in outputs.items()
        }


def _touched(chunks: Iterable[int], wanted: slice) -> list[tuple[int, int]]:
    """Number and start of the chunks that hold any of the ``wanted`` lines."""
    found, start = [], 0
    for number, size in enumerate(chunks):
        if start < wanted.stop and start + size > wanted.start:
            found.append((number, start))
        start += size
    return found


@dataclass(frozen=True, eq=False)
class Drizzler:
    """Exposures placed on a grid, ready to be drizzled tile by tile."""

    exposures: Sequence[xr.Dataset]
    grid: Grid
    placements: Sequence[Placement]
    side: int | None
    _boxes: dict[tuple[int, float], Box | None] = field(default_factory=dict)

    @classmethod
    def plan(cls, exposures: Sequence[xr.Dataset], grid: Grid, side: int | None) -> Drizzler:
        """Place the exposures on the grid.

        Raises
        ------
        ExposureError
            Where an exposure is not an image (y, x).
        """
        for exposure in exposures:
            if exposure["sci"].dims != ("y", "x"):
                raise ExposureError(
                    f"{header(exposure).filename}: resample: SCI has dimensions "
                    f"{exposure['sci'].dims}, expected (y, x); only images are drizzled: take the "
                    "average over integrations (rate, cal)"
                )
        found = cls(exposures, grid, place(exposures, grid), side)
        if not any(found._covered(k, 0.0) for k in range(len(exposures))):
            raise ExposureError(
                "resample: none of the exposures overlaps the mosaic; check output_wcs against where "
                "they lie"
            )
        return found

    @property
    def tiles(self) -> list[Tile]:
        """The tiles of the mosaic."""
        return list(tiles(self.grid.shape, self.side))

    @property
    def chunks(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The chunks of arrays made of the tiles."""
        height, width = tile_shape(self.grid.shape, self.side)
        return tile_edges(self.grid.shape[0], height), tile_edges(self.grid.shape[1], width)

    def token(self, *more: Any) -> str:
        """A name for what is made of these exposures on this grid."""
        parts = []
        for exposure, placement in zip(self.exposures, self.placements, strict=True):
            names = [
                str(getattr(v.data, "name", "")) or tokenize(v.data) for v in exposure.values()
            ]
            parts.append((names, placement.pixel_map.nodes, placement.valid, facts_of(exposure, 0)))
        return str(tokenize(parts, self.grid.shape, self.side, more))

    def margin(self, recipe: Recipe) -> float:
        """How far from an output pixel's centre the centre of a contributing pixel can be."""
        own = reach(recipe.kernel, recipe.pixfrac, recipe.ratio)
        extent = max(placement.half_extent for placement in self.placements)
        return max(own, extent) + 1.5

    def parts(
        self, graph: Graph, recipe: Recipe, tile: Tile, members: Iterable[int], name: str
    ) -> list[Key]:
        """Tasks that drizzle the exposures that touch a tile; their keys, in order."""
        margin, keys = self.margin(recipe), []
        for number, k in enumerate(members):
            exposure, placement = self.exposures[k], self.placements[k]
            covered = self._covered(k, margin)
            target = covered & tile.box if covered else None
            source = placement.input_box(target, margin) if target else None
            if target is None or source is None:
                continue
            present = [n for n in recipe.variables if n in exposure]
            key = (name, *tile.index, k)
            graph.tasks.setdefault((f"{name}-place", k), placement)
            graph.tasks[key] = (
                drizzle_box,
                recipe,
                facts_of(exposure, number),
                (f"{name}-place", k),
                (source, target, tile.box),
                present,
                [graph.box(exposure[n], source) for n in present],
            )
            keys.append(key)
        return keys

    def _covered(self, k: int, margin: float) -> Box | None:
        """The output pixels that exposure ``k`` can touch."""
        if (k, margin) not in self._boxes:
            rows = slice(0, self.placements[k].shape[0])
            self._boxes[k, margin] = self.placements[k].output_box(rows, margin, self.grid.shape)
        return self._boxes[k, margin]

    def summed(
        self,
        graph: Graph,
        recipe: Recipe,
        tile: Tile,
        parts: Sequence[Key],
        context: int,
        name: str,
    ) -> Any:
        """What stands in a task for the sums of the drizzled ``parts`` of a tile."""
        sums: Any = (coadd_first, tile.box.shape, recipe.contents(context), list(parts[:BATCH]))
        for start in range(BATCH, len(parts), BATCH):
            key = (f"{name}-sums", *tile.index, start)
            graph.tasks[key] = sums
            sums = (coadd, key, list(parts[start : start + BATCH]))
        return sums
