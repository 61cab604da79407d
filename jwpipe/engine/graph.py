"""Chains of pixel steps as lazy arrays.

Graph strategy: one layer per chain with one task per block (whole rows, but for long series), which reads its pixels
(and the halo that the steps need together) straight from the file where the exposure still is a file; small tasks for
each border step, one for so many integrations as memory allows, which run the preceding steps on the frame's edges
alone; for each round of a survey one task per block of rows, and a tree of merges; one getitem per output and block.
Blocks of consecutive chains line up, so that dask fuses them with what follows, up to the write. What is gathered has
the same name in all chains that begin alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import accumulate
from operator import getitem
from typing import Any, TypeAlias

import dask.array as da
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from jwpipe.chunks import (
    Region,
    column_blocks,
    crowded,
    integrations_at_once,
    pixels_of,
    row_blocks,
)
from jwpipe.engine.borders import Levels, packed
from jwpipe.engine.chain import Bound, Chain
from jwpipe.engine.state import Source, State, bare, extent
from jwpipe.exposure import RAMP_VARIABLES, RATE_VARIABLES, Variable
from jwpipe.io.handles import handle_of
from jwpipe.step import Round, Step

Input: TypeAlias = "Source | da.Array"

FAN_IN = 8
"""Parts of a survey that are merged at a time."""


def source_of(variable: xr.DataArray) -> Source | None:
    """The file behind a variable, where nothing has touched its pixels since it was opened."""
    handle = handle_of(variable)
    return None if handle is None else Source(handle)


def needed(steps: Iterable[Step], outputs: Iterable[str]) -> list[str]:
    """Variables that the steps take from the exposure, in order."""
    made: set[str] = set()
    wanted: dict[str, None] = {}
    for step in steps:
        wanted.update(dict.fromkeys(bare(n) for n in step.reads if bare(n) not in made))
        made.update(bare(name) for name in step.writes)
    wanted.update(dict.fromkeys(name for name in outputs if name not in made))
    return list(wanted)


def merely_carried(steps: Iterable[Bound], outputs: Iterable[str]) -> frozenset[str]:
    """Variables that the steps hand on to nobody."""
    carried = {name for bound in steps for name in bound.carried}
    used = {bare(n) for bound in steps for n in bound.step.reads if bare(n) not in bound.carried}
    return frozenset(carried - used - set(outputs))


def variable_spec(name: str, exposure: xr.Dataset) -> Variable:
    """Dimensions, type and unit of a chain's output (``rate.sci`` is ``sci`` of the product rate)."""
    product, _, variable = name.rpartition(".")
    ramp = "group" in exposure["sci"].dims
    if ramp and not product:
        return RAMP_VARIABLES[variable]
    spec = RATE_VARIABLES[variable]
    cube = product.endswith("ints") or (not product and "integration" in exposure["sci"].dims)
    return Variable(
        ("integration", *spec.dims) if cube else spec.dims, spec.dtype, spec.units, spec.doc
    )


def run_chain(
    exposure: xr.Dataset, steps: Sequence[Bound], outputs: Sequence[str]
) -> dict[str, xr.DataArray]:
    """The lazy ``outputs`` of a run of steps on an exposure, cut into row blocks."""
    idle = merely_carried(steps, outputs)
    wanted = [n for n in needed([b.step for b in steps], outputs) if n not in idle]
    # Flags that the exposure does not carry yet are made in the shape of its pixels.
    names = [n for n in dict.fromkeys(["sci", *wanted]) if n in exposure]
    sizes = {str(dim): size for dim, size in exposure.sizes.items()}
    chain = Chain(tuple(steps), sizes["y"], sizes["x"], tuple(names), tuple(outputs))
    inputs: list[Input] = [source_of(exposure[n]) or da.asarray(exposure[n].data) for n in names]
    blocks = Blocks.of(chain.ny, chain.nx, *extent(inputs))
    if any(bound.step.whole_rows for bound in steps):
        blocks = blocks.rows_only()
    specs = [variable_spec(name, exposure) for name in outputs]
    graph, token = _graph(chain, inputs, blocks, specs)
    arrays = {}
    for name, spec in zip(outputs, specs, strict=True):
        leading = ((sizes[dim],) for dim in spec.dims[:-2])
        chunks = (*leading, blocks.heights, blocks.widths)
        array = da.Array(graph, f"{name}-{token}", chunks, spec.dtype)
        arrays[name] = xr.DataArray(array, dims=spec.dims, attrs={"units": spec.units})
    return arrays


@dataclass(frozen=True)
class Blocks:
    """How a frame is cut: heights and widths of its blocks."""

    heights: tuple[int, ...]
    widths: tuple[int, ...]

    @classmethod
    def of(cls, ny: int, nx: int, integrations: int, groups: int) -> Blocks:
        """The blocks of an exposure."""
        heights = row_blocks(ny, crowded(integrations * groups, nx))
        return cls(heights, column_blocks(nx, max(heights), integrations, groups))

    def regions(self) -> dict[tuple[int, int], Region]:
        """The pixels of each block, by its place."""
        columns = _slices(self.widths)
        return {
            (i, j): (rows, each)
            for i, rows in enumerate(_slices(self.heights))
            for j, each in enumerate(columns)
        }

    def rows_only(self) -> Blocks:
        """The same blocks in one piece along the rows."""
        return Blocks(self.heights, (sum(self.widths),))


def _token(steps: Iterable[Bound], inputs: Sequence[Input], *more: Any) -> str:
    return tokenize(
        [
            (b.step.name, b.step.kernel, b.keywords, b.references, b.given and b.given.token)
            for b in steps
        ],
        [value.array if isinstance(value, Source) else value.name for value in inputs],
        *more,
    )


def _graph(
    chain: Chain, inputs: Sequence[Input], blocks: Blocks, specs: Sequence[Variable]
) -> tuple[HighLevelGraph, str]:
    """The layers of a chain: its blocks (with the gathering tasks) and one layer for each output."""
    token = _token(chain.steps, inputs, [b.survey for b in chain.steps], chain.outputs)
    name, regions = f"chain-{token}", blocks.regions()
    blocked, dependencies = _blocked(inputs, blocks, chain.halo)
    gathering = _Gathering(chain, inputs, blocks, [], {})
    layer = gathering.tasks()
    gathered = list(gathering.keys.values())
    for place, region in regions.items():
        operands = (_key(value, place) for value in blocked)
        layer[(name, *place)] = (partial(chain.block, region), *operands, *gathered)
    arrays = [*dependencies, *gathering.dependencies]
    graph = HighLevelGraph.from_collections(name, layer, arrays)
    layers, links = dict(graph.layers), dict(graph.dependencies)
    for k, (output, spec) in enumerate(zip(chain.outputs, specs, strict=True)):
        own, zeros = f"{output}-{token}", (0,) * (len(spec.dims) - 2)
        layers[own] = {(own, *zeros, *place): (getitem, (name, *place), k) for place in regions}
        links[own] = {name}
    return HighLevelGraph(layers, links), token


def _blocked(
    inputs: Sequence[Input], blocks: Blocks, halo: int
) -> tuple[list[Input], list[da.Array]]:
    """The inputs in blocks, and the arrays among them."""
    found = [v if isinstance(v, Source) else with_halo(v, blocks, halo) for v in inputs]
    return found, [value for value in found if isinstance(value, da.Array)]


@dataclass
class _Gathering:
    """The gathering tasks of a chain: ``keys`` of what each step gathers; arrays that they depend on."""

    chain: Chain
    inputs: Sequence[Input]
    blocks: Blocks
    dependencies: list[da.Array]
    keys: dict[str, Any]

    def tasks(self) -> dict[Any, Any]:
        """All tasks; fills ``keys`` and ``dependencies``."""
        layer: dict[Any, Any] = {}
        for bound in self.chain.gathering:
            if bound.given is not None:
                layer |= bound.given.tasks
                self.keys[bound.step.name] = list(bound.given.keys)
                self.dependencies += bound.given.arrays
                continue
            before = self.chain.before(bound)
            earlier = [self.keys[each.step.name] for each in before.gathering]
            surveys = [each.survey for each in before.steps]
            name = _token(before.steps, self.inputs, surveys, bound.survey, self.blocks.heights)
            gather = self._survey if bound.survey is not None else self._border
            if bound.survey is None:
                name = _token((*before.steps, bound), self.inputs, surveys)
            tasks, self.keys[bound.step.name] = gather(bound, earlier, name)
            layer |= tasks
        return layer

    def _border(
        self, bound: Bound, earlier: Sequence[Any], name: str
    ) -> tuple[dict[Any, Any], Any]:
        """The tasks on the frame's edges, integrations in as many pieces as memory asks for; what stands for all."""
        assert bound.step.border is not None
        layer: dict[Any, Any] = {}
        runs, names, pieces = self._runs(bound), bound.step.border.sides, []
        for k, run in enumerate(runs):
            sides: list[Any] = [
                (
                    partial(self.chain.side, bound, side, run),
                    *self._edge(bound, side, run),
                    *earlier,
                )
                for side in names
            ]
            if len(runs) == 1:
                # Of many pieces the sides stay within one task, that none waits in memory.
                keys = [(f"{side}-{bound.step.name}-{name}", k) for side in names]
                layer |= dict(zip(keys, sides, strict=True))
                sides = keys
            pieces.append((f"edges-{bound.step.name}-{name}", k))
            layer[pieces[-1]] = (partial(_reduced, bound, run, names), *sides)
        if len(pieces) == 1:
            return layer, pieces
        # One name for all pieces: graphs of many blocks stay small.
        together = (f"levels-{bound.step.name}-{name}", 0)
        return layer | {together: (list, pieces)}, together

    def _runs(self, bound: Bound) -> list[slice]:
        """The integrations whose edges are reduced together."""
        assert bound.step.border is not None
        count, groups = extent(self.inputs)
        sides = [
            pixels_of(self.chain.before(bound).around(self.chain.side_region(bound, side)))
            for side in bound.step.border.sides
        ]
        step = integrations_at_once(count, groups, sum(sides))
        return [slice(first, min(first + step, count)) for first in range(0, count, step)]

    def _edge(self, bound: Bound, side: str, run: slice) -> list[Any]:
        """The variables of some integrations on an edge: files, or the keys of what is there of an array."""
        before = self.chain.before(bound)
        region = before.around(self.chain.side_region(bound, side))
        operands: list[Any] = []
        for value in self.inputs:
            if isinstance(value, da.Array):
                cut = value[run] if value.ndim > 2 else value
                edge = cut[(..., *region)]
                value = edge.rechunk(edge.shape)
                self.dependencies.append(value)
            operands.append(_key(value, (0, 0)))
        return operands

    def _survey(
        self, bound: Bound, earlier: Sequence[Any], name: str
    ) -> tuple[dict[Any, Any], Any]:
        """The tasks of a survey, and the key of what it finds."""
        assert bound.survey is not None
        blocked, arrays = _blocked(self.inputs, self.blocks.rows_only(), self.chain.halo)
        self.dependencies += arrays
        layer: dict[Any, Any] = {}
        found: Any = None
        for number, this in enumerate(bound.survey.rounds):
            keys = []
            for i, rows in enumerate(_slices(self.blocks.heights)):
                keys.append((f"part-{number}-{name}", i))
                operands = (*(_key(value, (i, 0)) for value in blocked), *earlier)
                layer[keys[-1]] = (partial(self.chain.part, bound, number, rows), found, *operands)
            while len(keys) > FAN_IN:
                groups = [keys[first : first + FAN_IN] for first in range(0, len(keys), FAN_IN)]
                merged = [(f"merged-{len(groups)}-{number}-{name}", i) for i in range(len(groups))]
                for key, group in zip(merged, groups, strict=True):
                    layer[key] = (partial(_merged, this.merge), *group)
                keys = merged
            before, found = found, (f"found-{number}-{name}", 0)
            layer[found] = (partial(_finished, this), before, *keys)
        return layer, found


def _reduced(bound: Bound, run: slice, names: tuple[str, ...], *sides: State) -> Levels:
    """What a border step makes of the frame's edges."""
    border = bound.step.border
    assert border is not None
    edges = dict(zip(names, sides, strict=True))
    arrays = border.reduce(edges, *bound.references, **bound.keywords_from(run.start))
    return Levels(run.start, run.stop, tuple(packed(array) for array in arrays))


def _merged(merge: Callable[[Any, Any], Any], *parts: Any) -> Any:
    return reduce(merge, parts)


def _finished(this: Round, found: Any, *parts: Any) -> Any:
    return this.finish(() if found is None else found, reduce(this.merge, parts))


def _slices(sizes: tuple[int, ...]) -> list[slice]:
    return [slice(stop - size, stop) for size, stop in zip(sizes, accumulate(sizes), strict=True)]


def _key(value: Input, place: tuple[int, int]) -> Any:
    """What stands for a block of an input in a task."""
    if isinstance(value, Source):
        return value
    return (value.name, *(0,) * (value.ndim - 2), *place)


def with_halo(array: da.Array, blocks: Blocks, halo: int) -> da.Array:
    """One chunk for each block, widened by the neighbouring pixels that the steps look at."""
    leading = tuple((size,) for size in array.shape[:-2])
    blocked = array.rechunk((*leading, blocks.heights, blocks.widths))
    cut = {
        axis: halo
        for axis, sizes in ((array.ndim - 2, blocks.heights), (array.ndim - 1, blocks.widths))
        if halo and len(sizes) > 1
    }
    if not cut:
        return blocked
    return da.overlap.overlap(blocked, cut, dict.fromkeys(cut, "none"), allow_rechunk=False)


def as_mapping(arrays: Mapping[str, xr.DataArray], product: str) -> dict[str, xr.DataArray]:
    """The variables of one product of a chain, without its prefix."""
    prefix = f"{product}."
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
