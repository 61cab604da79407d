"""A run of pixel steps on one block of rows: what one task does.

The task walks down its block strip by strip and calls each step's kernel in list order. The list of steps stays the
only truth: nothing is hand-fused, and scratch memory is a strip's, in cache. ``graph.py`` makes the tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from jwpipe.chunks import strip_rows, strips
from jwpipe.exposure import RAMP_VARIABLES, RATE_VARIABLES
from jwpipe.io.fitsarray import FitsArray
from jwpipe.numerics.memory import keep_freed_memory
from jwpipe.refs import RefArray
from jwpipe.step import Step, Survey

State = dict[str, Any]
WORTH_CUTTING = 10
"""Rows of the halo are dropped once they make one in so many."""
WHOLE = slice(None)


@dataclass(frozen=True, eq=False)
class Bound:
    """A step with everything it needs for one exposure."""

    step: Step
    keywords: dict[str, Any]
    references: tuple[Any, ...]
    halo: int
    survey: Survey | None = None

    @property
    def gathers(self) -> bool:
        """Whether the step must see more of the frame than a block before a block can be done."""
        return self.step.border is not None or self.survey is not None


@dataclass(frozen=True)
class Source:
    """Pixels still in a file, read by the task that needs them."""

    array: FitsArray

    def read(
        self, rows: slice, columns: slice, dtype: np.dtype[Any], integrations: slice = WHOLE
    ) -> np.ndarray:
        """The region, of some integrations or all, other leading axes whole."""
        whole = [slice(0, size) for size in self.shape[:-2]]
        if whole:
            whole[0] = slice(*integrations.indices(self.shape[0])[:2])
        return self.array.read((*whole, rows, columns), dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole array."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the pixels as they are opened."""
        return self.array.dtype


def bare(name: str) -> str:
    """The variable's name without the mark of an optional one."""
    return name.rstrip("?")


def total_halo(steps: Iterable[Bound]) -> int:
    """Neighbouring rows that the steps need together."""
    return sum(bound.halo for bound in steps)


def widened(region: slice, halo: int, size: int) -> slice:
    """``region`` with ``halo`` more on each side, as far as the frame goes."""
    return slice(max(0, region.start - halo), min(size, region.stop + halo))


def within(inner: slice, outer: slice) -> slice:
    """``inner`` counted from the start of ``outer``."""
    return slice(inner.start - outer.start, inner.stop - outer.start)


def _operand(name: str, state: State) -> Any:
    """A variable at this point; flags that the exposure does not carry yet start as zeros."""
    key = bare(name)
    if key not in state and not name.endswith("?") and key in ("groupdq", "pixeldq"):
        shape = state["sci"].shape
        state[key] = np.zeros(shape if key == "groupdq" else shape[-2:], RAMP_VARIABLES[key].dtype)
    return state.get(key) if name.endswith("?") else state[key]


def run_step(bound: Bound, state: State, references: Sequence[Any], edges: Sequence[Any]) -> None:
    """Call one kernel and put its results into ``state``."""
    operands = [_operand(name, state) for name in bound.step.reads]
    results = bound.step.kernel(*operands, *references, *edges, **bound.keywords)
    for name, result in zip(bound.step.writes, results, strict=True):
        if result is not None:
            state[bare(name)] = result


def _edges(bound: Bound, gathered: Mapping[str, Any], rows: slice, columns: slice) -> list[Any]:
    """What a step gathered: found in a survey, or arrays of the edges cut to the region along y and x."""
    if bound.survey is not None:
        return [gathered[bound.step.name]]
    border = bound.step.border
    if border is None:
        return []
    cuts = {"y": rows, "x": columns}
    return [
        np.ascontiguousarray(value[tuple(cuts.get(dim, WHOLE) for dim in dims)])
        for value, dims in zip(gathered[bound.step.name], border.dims, strict=True)
    ]


def _region(
    name: str,
    value: Any,
    region: tuple[slice, slice],
    local: tuple[slice, slice],
    integrations: slice = WHOLE,
) -> Any:
    """A variable as kernels get it: ``region`` of a source, ``local`` of an array that covers less than the frame."""
    variable = RAMP_VARIABLES.get(name) or RATE_VARIABLES.get(name)
    dtype = np.dtype(variable.dtype if variable else value.dtype)
    if isinstance(value, Source):
        return value.read(*region, dtype, integrations)
    if value.ndim > 2:
        value = value[integrations]
    return np.ascontiguousarray(value[(..., *local)], dtype)


def _worth_cutting(outer: slice, inner: slice) -> bool:
    """Whether the rows that nobody looks at any more are so many that leaving them out pays for the copy."""
    size = outer.stop - outer.start
    return (size - (inner.stop - inner.start)) * WORTH_CUTTING >= size


def _cut_rows(state: State, rows: slice) -> State:
    return {name: np.ascontiguousarray(value[..., rows, :]) for name, value in state.items()}


def _is_plane(reference: Any) -> bool:
    return isinstance(reference, RefArray) and reference.ndim == 2


def _read(value: Any, rows: slice, columns: slice) -> Any:
    return value.kept(rows, columns) if isinstance(value, RefArray) else value


@dataclass(frozen=True, eq=False)
class Chain:
    """Steps bound to one exposure and the size of its frame.

    ``names`` are the variables that the steps take from the exposure, ``outputs`` those they give back.
    ``gathering`` names the steps with a border or survey, whose results a block receives after its variables.
    """

    steps: tuple[Bound, ...]
    ny: int
    nx: int
    names: tuple[str, ...]
    outputs: tuple[str, ...] = ()

    @property
    def halo(self) -> int:
        """Neighbouring rows and columns that the whole chain looks at."""
        return total_halo(self.steps)

    @property
    def gathering(self) -> tuple[Bound, ...]:
        """The steps that must see more of the frame than a block."""
        return tuple(bound for bound in self.steps if bound.gathers)

    def before(self, bound: Bound) -> Chain:
        """What must run before ``bound`` can gather."""
        without = bound.survey.without if bound.survey else ()
        steps = self.steps[: self.steps.index(bound)]
        kept = tuple(each for each in steps if each.step.name not in without)
        return Chain(kept, self.ny, self.nx, self.names)

    def _operands(self, operands: Sequence[Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """The variables among a task's operands, and by step what was gathered before."""
        inputs, gathered = operands[: len(self.names)], operands[len(self.names) :]
        names = (bound.step.name for bound in self.gathering)
        return inputs, dict(zip(names, gathered, strict=True))

    def region(self, operands: Sequence[Any], rows: slice, columns: slice) -> State:
        """All variables after the steps on a region.

        ``operands`` are whole arrays or sources, then what each step of ``gathering`` gathered.
        """
        inputs, gathered = self._operands(operands)
        wide = widened(rows, self.halo, self.ny), widened(columns, self.halo, self.nx)
        state: State = {
            name: _region(name, value, wide, wide)
            for name, value in zip(self.names, inputs, strict=True)
        }
        for bound in self.steps:
            references = [_read(r, *wide) for r in bound.references]
            run_step(bound, state, references, _edges(bound, gathered, *wide))
        inner = within(rows, wide[0]), within(columns, wide[1])
        return {name: array[(..., *inner)] for name, array in state.items()}

    def side(self, bound: Bound, name: str, *operands: Any) -> State:
        """Run the steps before ``bound`` on one edge of the frame."""
        border = bound.step.border
        assert border is not None
        whole_rows, whole_columns = slice(0, self.ny), slice(0, self.nx)
        width = border.width
        regions = {
            "bottom": (slice(0, width), whole_columns),
            "top": (slice(self.ny - width, self.ny), whole_columns),
            "left": (whole_rows, slice(0, width)),
            "right": (whole_rows, slice(self.nx - width, self.nx)),
        }
        return self.before(bound).region(operands, *regions[name])

    def part(self, bound: Bound, number: int, rows: slice, found: Any, *operands: Any) -> Any:
        """What a round of the survey of ``bound`` makes of ``rows``; ``operands`` as of ``block``."""
        assert bound.survey is not None
        survey, done = bound.survey, self.before(bound)
        this = survey.rounds[number]
        integrations = slice(*this.integrations) if this.integrations else WHOLE
        merged = None
        wide = widened(rows, self.halo, self.ny)
        for strip, outer, state in done.strips(rows, operands, wide, integrations):
            inner = within(strip, outer)
            arrays = [
                np.ascontiguousarray(_operand(name, state)[..., inner, :]) for name in survey.reads
            ]
            references = [_read(r, strip, slice(0, self.nx)) for r in survey.references]
            result = this.part(() if found is None else found, *arrays, *references)
            merged = result if merged is None else this.merge(merged, result)
        return merged

    def block(self, rows: slice, *operands: Any) -> tuple[np.ndarray, ...]:
        """The outputs on ``rows``.

        ``operands`` are the variables ``names`` (sources, or arrays that hold the halo's rows), then what each
        step of ``gathering`` gathered.
        """
        results: list[np.ndarray] = []
        wide = widened(rows, self.halo, self.ny)
        for strip, outer, state in self.strips(rows, operands, wide):
            self._store(results, state, within(strip, rows), rows, within(strip, outer))
        return tuple(results)

    def strips(
        self, rows: slice, operands: Sequence[Any], wide: slice, integrations: slice = WHOLE
    ) -> Iterator[tuple[slice, slice, State]]:
        """The strips of ``rows`` after all steps: the strip, the rows that its variables have, the variables.

        ``wide`` are the rows that arrays among the operands have.
        """
        keep_freed_memory()
        inputs, gathered = self._operands(operands)
        columns = slice(0, self.nx)
        reach = widened(rows, self.halo, self.ny)
        planes = self._planes(reach)
        depth = max(prod(each.shape[:-2]) for each in inputs)
        for strip in strips(rows, strip_rows(depth, self.nx)):
            halo = self.halo
            outer = widened(strip, halo, self.ny)
            state = self._state(inputs, outer, within(outer, wide), integrations)
            for bound in self.steps:
                references = [self._cut(r, planes, outer, reach) for r in bound.references]
                run_step(bound, state, references, _edges(bound, gathered, outer, columns))
                halo -= bound.halo
                inner = widened(strip, halo, self.ny)
                if _worth_cutting(outer, inner):
                    state, outer = _cut_rows(state, within(inner, outer)), inner
            yield strip, outer, state

    def _planes(self, rows: slice) -> dict[RefArray, np.ndarray]:
        """The references (y, x), each read once a block: rows of theirs lie together in memory.

        Cubes are read strip by strip instead, since rows of theirs would have to be copied.
        """
        wanted = {r for bound in self.steps for r in bound.references if _is_plane(r)}
        return {each: each.kept(rows, slice(0, self.nx)) for each in wanted}

    def _state(
        self, inputs: Sequence[Any], rows: slice, local: slice, integrations: slice
    ) -> State:
        """The variables on ``rows`` before the first step: read, or ``local`` rows of arrays."""
        columns = slice(0, self.nx)
        return {
            name: _region(name, value, (rows, columns), (local, columns), integrations)
            for name, value in zip(self.names, inputs, strict=True)
        }

    def _cut(
        self, reference: Any, planes: Mapping[RefArray, np.ndarray], rows: slice, wide: slice
    ) -> Any:
        """A kernel's reference on ``rows``; ``planes`` hold the rows ``wide``."""
        if _is_plane(reference):
            return planes[reference][within(rows, wide)]
        return _read(reference, rows, slice(0, self.nx))

    def _store(
        self, results: list[np.ndarray], state: State, target: slice, rows: slice, inner: slice
    ) -> None:
        if not results:
            height = rows.stop - rows.start
            for name in self.outputs:
                part = _operand(name, state)
                results.append(np.empty((*part.shape[:-2], height, self.nx), part.dtype))
        for name, result in zip(self.outputs, results, strict=True):
            result[..., target, :] = _operand(name, state)[..., inner, :]
