"""Lazy arrays made once more: of tasks of their own, which wait for something else.

dask keeps what several tasks want until the last of them has run. Where pixels are wanted again much later, it is
better to compute them again. ``dask.graph_manipulation`` does so with the tasks that dask makes; here any will do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dask.array as da
from dask._task_spec import Alias, GraphNode, Task, TaskRef, convert_legacy_graph
from dask.base import tokenize
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph

Key = Any


def again(
    arrays: Mapping[str, da.Array], after: da.Array | None = None, kept: Sequence[da.Array] = ()
) -> dict[str, da.Array]:
    """The same arrays, of new tasks that start when ``after`` is computed; those behind ``kept`` are not made anew.

    The arrays share what they have in common, and all who ask for the same get the same tasks.
    """
    before = [] if after is None else [after]
    token = tokenize("again", *(array.name for array in (*arrays.values(), *before, *kept)))
    gate = f"gate-{token}"
    waited = {gate: (_done, [key for array in before for key in flatten(array.__dask_keys__())])}
    graph = HighLevelGraph.from_collections(gate, waited, dependencies=[*before, *kept])
    nodes = _nodes(arrays, kept)
    fresh = {key: _renamed(key, token) for key in nodes}
    rest = f"again-{token}"
    made = {key for key, node in nodes.items() if isinstance(node, Task)}
    copies = {
        fresh[key]: _copy(node, fresh, fresh[key], "" if node.dependencies & made else gate)
        for key, node in nodes.items()
    }
    layers, links = dict(graph.layers), dict(graph.dependencies)
    layers[rest], links[rest] = copies, {gate, *(array.name for array in kept)}
    for array in arrays.values():
        name = _name(array, token)
        keys = flatten(array.__dask_keys__())
        pairs = [((name, *key[1:]), fresh.get(key, key)) for key in keys]
        layers[name] = {key: Alias(key, target) for key, target in pairs}
        links[name] = {rest, *links[rest]}
    whole = HighLevelGraph(layers, links)
    return {
        label: da.Array(whole, _name(array, token), array.chunks, meta=array._meta)
        for label, array in arrays.items()
    }


def _name(array: da.Array, token: str) -> str:
    return f"{array.name}-again-{token}"


def _nodes(arrays: Mapping[str, da.Array], kept: Sequence[da.Array]) -> dict[Key, GraphNode]:
    """All tasks behind arrays, as far as those of ``kept``."""
    graph = HighLevelGraph.merge(*(array.__dask_graph__() for array in arrays.values()))
    waiting = [key for array in arrays.values() for key in flatten(array.__dask_keys__())]
    known = convert_legacy_graph(graph.cull(waiting).to_dict())
    seen = {key for array in kept for key in flatten(array.__dask_keys__())}
    found: dict[Key, GraphNode] = {}
    while waiting:
        key = waiting.pop()
        if key not in seen:
            seen.add(key)
            found[key] = known[key]
            waiting += known[key].dependencies
    return found


def _renamed(key: Key, token: str) -> Key:
    return (f"{key[0]}-{token}", *key[1:]) if isinstance(key, tuple) else f"{key}-{token}"


def _copy(node: GraphNode, fresh: Mapping[Key, Key], key: Key, gate: str) -> GraphNode:
    """The node under a new key, with new ones for what it takes; a task waits at the ``gate``, if there is one."""
    if not (gate and isinstance(node, Task)):
        return node.substitute(fresh, key=key)
    return Task(key, _second, TaskRef(gate), node.substitute(fresh, key=None))


def _done(*_: Any) -> None:
    """Nothing is taken along of what was waited for."""


def _second(_: None, result: Any) -> Any:
    return result
