"""Blocks on their way to files: one task writes all that there is of a block.

The products of an exposure are many arrays cut alike: pixels, errors, flags and variances of rate and rateints. A task
for each of them takes longer to schedule than to run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate, groupby, product
from operator import getitem
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

Region = tuple[slice, ...]


class Written(NamedTuple):
    """An array, what takes its blocks as ``target[region] = block``, and whether its pixels are looked at."""

    array: da.Array
    target: Any
    looked: bool = False


def writing_of(given: Sequence[Written]) -> da.Array:
    """Write all arrays once this one is computed: whether a block has a finite pixel (array, block).

    Of arrays that are not looked at it says that none has.
    """
    layer: dict[Any, Any] = {}
    name = f"written-{tokenize([(each.array.name, repr(each.target)) for each in given])}"
    cut = [_cut(each.array) for each in given]
    order = sorted(range(len(given)), key=lambda k: str(cut[k]))
    for _, numbers in groupby(order, key=lambda k: cut[k]):
        together = list(numbers)
        for regions, keys in _blocks([given[k].array for k in together]):
            parts = [(k, given[k].target, given[k].looked) for k in together]
            task = (partial(_write, len(given), parts, regions), *keys)
            layer[(name, 0, len(layer))] = task
    layers, links = _below([each.array for each in given])
    for array in (each.array for each in given):
        picked = _picks(array) is not None and array.name in layers
        if picked and not any(array.name in below for below in links.values()):
            del layers[array.name], links[array.name]
    graph = HighLevelGraph({**layers, name: layer}, {**links, name: set(layers)})
    return da.Array(graph, name, ((len(given),), (1,) * len(layer)), np.bool_)


def _cut(array: da.Array) -> tuple[Any, ...]:
    """Arrays for which this is the same are written by the same tasks."""
    if all(count == 1 for count in array.numblocks[:-2]):
        return array.chunks[-2:]
    return array.chunks


def _blocks(arrays: Sequence[da.Array]) -> Iterator[tuple[list[Region], list[Any]]]:
    """The regions of each block of arrays that are cut alike, and what stands for their pixels."""
    axes = max(array.ndim for array in arrays)
    places = next(array.numblocks for array in arrays if array.ndim == axes)
    for place in product(*map(range, places)):
        own = [place[axes - array.ndim :] for array in arrays]
        yield (
            [_region(array, at) for array, at in zip(arrays, own, strict=True)],
            [_key(array, at) for array, at in zip(arrays, own, strict=True)],
        )


def _region(array: da.Array, place: Sequence[int]) -> Region:
    stops = (list(accumulate(sizes))[at] for sizes, at in zip(array.chunks, place, strict=True))
    sizes = (sizes[at] for sizes, at in zip(array.chunks, place, strict=True))
    return tuple(slice(stop - size, stop) for stop, size in zip(stops, sizes, strict=True))


def _key(array: da.Array, place: Sequence[int]) -> Any:
    """What stands for a block in a task: the output of another task is picked in the task itself."""
    key, picks = (array.name, *place), _picks(array)
    return key if picks is None else picks[key]


def _picks(array: da.Array) -> Mapping[Any, Any] | None:
    """The tasks of an array all of whose blocks are outputs of other tasks."""
    layer = array.dask.layers.get(array.name)
    tasks = layer.mapping if isinstance(layer, MaterializedLayer) else {}
    picks = [isinstance(task, tuple) and task[0] is getitem for task in tasks.values()]
    return tasks if picks and all(picks) else None


def _below(arrays: Iterable[da.Array]) -> tuple[dict[str, Any], dict[str, set[str]]]:
    """The layers of all arrays, and what they depend on."""
    layers: dict[str, Any] = {}
    links: dict[str, set[str]] = {}
    for array in arrays:
        layers |= array.dask.layers
        links |= array.dask.dependencies
    return layers, links


def _write(
    count: int,
    parts: Sequence[tuple[int, Any, bool]],
    regions: Sequence[Region],
    *blocks: np.ndarray,
) -> np.ndarray:
    finite = np.zeros((count, 1), np.bool_)
    for (number, target, looked), region, block in zip(parts, regions, blocks, strict=True):
        if block.size:
            target[region] = block
            finite[number] = looked and _any_finite(block)
    return finite


def _any_finite(block: np.ndarray) -> bool:
    """Row by row, since the first one tells, but for blocks that are to be refused."""
    return any(np.isfinite(row).any() for row in block.reshape(-1, block.shape[-1]))
