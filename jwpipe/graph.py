"""Chains of pixel steps as lazy arrays.

Graph strategy: one layer per chain with one task per block of whole rows, which reads its rows (and the halo that
the steps need together) straight from the file where the exposure still is a file; one small task per border step
and exposure, which runs the preceding steps on the frame's edges alone; for each round of a survey one task per
block, and a tree of merges; one getitem per output and block. Blocks of consecutive chains line up, so that dask
fuses them with what follows, up to the write. What is gathered has the same name in all chains that begin alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, reduce
from operator import getitem
from typing import Any, TypeAlias

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from jwpipe.chain import Bound, Chain, Source, State, bare
from jwpipe.chunks import row_blocks
from jwpipe.exposure import RAMP_VARIABLES, RATE_VARIABLES, Variable
from jwpipe.io.fitsarray import FitsArray
from jwpipe.step import Round, Step

Input: TypeAlias = "Source | da.Array"

FAN_IN = 8
"""Parts of a survey that are merged at a time."""


def source_of(variable: xr.DataArray) -> Source | None:
    """The file behind a variable, where nothing has touched its pixels since it was opened."""
    handle = variable.encoding.get("handle")
    if isinstance(handle, FitsArray) and variable.data.name == handle_name(handle):
        return Source(handle)
    return None


def handle_name(handle: FitsArray) -> str:
    """The name of the dask array that stands for a file's pixels."""
    return f"pixels-{tokenize(handle)}"


def needed(steps: Iterable[Step], outputs: Iterable[str]) -> list[str]:
    """Variables that the steps take from the exposure, in order."""
    made: set[str] = set()
    wanted: dict[str, None] = {}
    for step in steps:
        wanted.update(dict.fromkeys(bare(n) for n in step.reads if bare(n) not in made))
        made.update(bare(name) for name in step.writes)
    wanted.update(dict.fromkeys(name for name in outputs if name not in made))
    return list(wanted)


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
    wanted = needed([b.step for b in steps], outputs)
    # Flags that the exposure does not carry yet are made in the shape of its pixels.
    names = [n for n in dict.fromkeys(["sci", *wanted]) if n in exposure]
    sizes = {str(dim): size for dim, size in exposure.sizes.items()}
    chain = Chain(tuple(steps), sizes["y"], sizes["x"], tuple(names), tuple(outputs))
    inputs: list[Input] = [source_of(exposure[n]) or da.asarray(exposure[n].data) for n in names]
    planes = sizes.get("integration", 1) * sizes.get("group", 1)
    heights = row_blocks(chain.ny, planes)
    specs = [variable_spec(name, exposure) for name in outputs]
    graph, token = _graph(chain, inputs, heights, specs)
    arrays = {}
    for name, spec in zip(outputs, specs, strict=True):
        chunks = (*((sizes[dim],) for dim in spec.dims[:-2]), heights, (chain.nx,))
        array = da.Array(graph, f"{name}-{token}", chunks, spec.dtype)
        arrays[name] = xr.DataArray(array, dims=spec.dims, attrs={"units": spec.units})
    return arrays


def _token(steps: Iterable[Bound], inputs: Sequence[Input], *more: Any) -> str:
    return tokenize(
        [(b.step.name, b.step.kernel, b.keywords, b.references) for b in steps],
        [value.array if isinstance(value, Source) else value.name for value in inputs],
        *more,
    )


def _graph(
    chain: Chain, inputs: Sequence[Input], heights: tuple[int, ...], specs: Sequence[Variable]
) -> tuple[HighLevelGraph, str]:
    """The layers of a chain: its blocks (with the gathering tasks) and one layer for each output."""
    token = _token(chain.steps, inputs, [b.survey for b in chain.steps], chain.outputs)
    dependencies: list[da.Array] = []
    blocks = f"chain-{token}"
    blocked = [
        value if isinstance(value, Source) else with_halo(value, heights, chain.halo)
        for value in inputs
    ]
    dependencies += [value for value in blocked if isinstance(value, da.Array)]
    layer, gathered = _gathering(chain, inputs, blocked, heights, dependencies)
    layer |= _blocks(chain, blocked, heights, list(gathered.values()), blocks)
    graph = HighLevelGraph.from_collections(blocks, layer, dependencies)
    layers, links = dict(graph.layers), dict(graph.dependencies)
    for k, (output, spec) in enumerate(zip(chain.outputs, specs, strict=True)):
        name = f"{output}-{token}"
        zeros = (0,) * (len(spec.dims) - 2)
        layers[name] = {
            (name, *zeros, i, 0): (getitem, (blocks, i), k) for i in range(len(heights))
        }
        links[name] = {blocks}
    return HighLevelGraph(layers, links), token


def _gathering(
    chain: Chain,
    inputs: Sequence[Input],
    blocked: Sequence[Input],
    heights: tuple[int, ...],
    dependencies: list[da.Array],
) -> tuple[dict[Any, Any], dict[str, Any]]:
    """The gathering tasks, and by step the key of what it gathers."""
    layer: dict[Any, Any] = {}
    keys: dict[str, Any] = {}
    for bound in chain.gathering:
        before = chain.before(bound)
        earlier = [keys[each.step.name] for each in before.gathering]
        surveys = [each.survey for each in before.steps]
        if bound.survey is not None:
            # Steps that ask the same share the answer.
            name = _token(before.steps, inputs, surveys, bound.survey, heights)
            tasks, keys[bound.step.name] = _survey(chain, bound, blocked, heights, earlier, name)
            layer |= tasks
            continue
        name = f"{bound.step.name}-{_token((*before.steps, bound), inputs, surveys)}"
        assert bound.step.border is not None
        operands: list[Any] = []
        for value in inputs:
            if isinstance(value, da.Array):
                value = value.rechunk(value.shape)
                dependencies.append(value)
            operands.append(_key(value, 0))
        sides = {side: (f"{side}-{name}", 0) for side in bound.step.border.sides}
        for side, key in sides.items():
            layer[key] = (partial(chain.side, bound, side), *operands, *earlier)
        keys[bound.step.name] = key = (f"edges-{name}", 0)
        layer[key] = (partial(_reduced, bound, tuple(sides)), *sides.values())
    return layer, keys


def _reduced(bound: Bound, names: tuple[str, ...], *sides: State) -> tuple[np.ndarray, ...]:
    """What a border step makes of the frame's edges."""
    border = bound.step.border
    assert border is not None
    return border.reduce(dict(zip(names, sides, strict=True)), **bound.keywords)


def _survey(
    chain: Chain,
    bound: Bound,
    blocked: Sequence[Input],
    heights: tuple[int, ...],
    earlier: Sequence[Any],
    name: str,
) -> tuple[dict[Any, Any], Any]:
    """The tasks of a survey, and the key of what it finds."""
    assert bound.survey is not None
    layer: dict[Any, Any] = {}
    found: Any = None
    for number, this in enumerate(bound.survey.rounds):
        keys = []
        for i, rows in enumerate(_row_slices(heights)):
            keys.append((f"part-{number}-{name}", i))
            operands = (*(_key(value, i) for value in blocked), *earlier)
            layer[keys[-1]] = (partial(chain.part, bound, number, rows), found, *operands)
        while len(keys) > FAN_IN:
            groups = [keys[first : first + FAN_IN] for first in range(0, len(keys), FAN_IN)]
            merged = [(f"merged-{len(groups)}-{number}-{name}", i) for i in range(len(groups))]
            for key, group in zip(merged, groups, strict=True):
                layer[key] = (partial(_merged, this.merge), *group)
            keys = merged
        before, found = found, (f"found-{number}-{name}", 0)
        layer[found] = (partial(_finished, this), before, *keys)
    return layer, found


def _merged(merge: Callable[[Any, Any], Any], *parts: Any) -> Any:
    return reduce(merge, parts)


def _finished(this: Round, found: Any, *parts: Any) -> Any:
    return this.finish(() if found is None else found, reduce(this.merge, parts))


def _row_slices(heights: tuple[int, ...]) -> list[slice]:
    stops = np.cumsum(heights).tolist()
    return [slice(stop - height, stop) for height, stop in zip(heights, stops, strict=True)]


def _key(value: Input, i: int) -> Any:
    """What stands for the ``i``-th row block of an input in a task."""
    if isinstance(value, Source):
        return value
    return (value.name, *(0,) * (value.ndim - 2), i, 0)


def _blocks(
    chain: Chain,
    blocked: Sequence[Input],
    heights: tuple[int, ...],
    gathered: Sequence[Any],
    name: str,
) -> dict[Any, Any]:
    return {
        (name, i): (partial(chain.block, rows), *(_key(value, i) for value in blocked), *gathered)
        for i, rows in enumerate(_row_slices(heights))
    }


def with_halo(array: da.Array, heights: tuple[int, ...], halo: int) -> da.Array:
    """One chunk for each row block, widened by the neighbouring rows that the steps look at."""
    leading = tuple((size,) for size in array.shape[:-2])
    blocked = array.rechunk((*leading, heights, (array.shape[-1],)))
    if not halo or len(heights) == 1:
        return blocked
    axis = array.ndim - 2
    return da.overlap.overlap(blocked, {axis: halo}, {axis: "none"}, allow_rechunk=False)


def as_mapping(arrays: Mapping[str, xr.DataArray], product: str) -> dict[str, xr.DataArray]:
    """The variables of one product of a chain, without its prefix."""
    prefix = f"{product}."
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
