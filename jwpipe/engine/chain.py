"""A run of pixel steps on one block of pixels: what one task does.

The task walks down its block strip by strip and calls each step's kernel in list order. The list of steps stays the
only truth: nothing is hand-fused, and scratch memory is a strip's, in cache. Of long series a strip is far larger than
that: there the first steps, as far as they treat integrations apart, run on some integrations at a time, and what
waits for all of them is what the following steps read. ``graph.py`` makes the tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

import numpy as np

from jwpipe.chunks import (
    Region,
    both_within,
    integrations_at_once,
    pixels_of,
    strip_rows,
    strips,
    widened,
    within,
)
from jwpipe.engine.borders import levels_on
from jwpipe.engine.state import (
    MEDIAN,
    RAMP,
    State,
    bare,
    cut,
    extent,
    forget,
    gather,
    operand,
    variable_on,
)
from jwpipe.numerics.memory import keep_freed_memory
from jwpipe.refs import RefArray
from jwpipe.step import Step, Survey

WORTH_CUTTING = 5
"""Rows of the halo are dropped once they make one in so many, or where a step drops them by the way."""


@dataclass(frozen=True, eq=False)
class Given:
    """What tasks of their own find for a step, as a border step finds levels: ``dims`` name the axes of the arrays.

    ``tasks`` are a graph, ``keys`` those of its ``Levels``; ``arrays`` are what the tasks depend on.
    """

    dims: tuple[tuple[str, ...], ...]
    tasks: Mapping[Any, Any]
    keys: Sequence[Any]
    arrays: Sequence[Any]
    token: str


@dataclass(frozen=True, eq=False)
class Bound:
    """A step with everything it needs for one exposure."""

    step: Step
    keywords: dict[str, Any]
    references: tuple[Any, ...]
    halo: int
    survey: Survey | None = None
    given: Given | None = None
    carried: tuple[str, ...] = ()

    @property
    def gathers(self) -> bool:
        """Whether the step must see more of the frame than a block before a block can be done."""
        return bool(self.step.border or self.survey or self.given)

    def keywords_from(self, first: int) -> dict[str, Any]:
        """The kernel's keyword arguments where the integrations at hand begin with number ``first``."""
        if not self.step.numbered:
            return self.keywords
        return {**self.keywords, "first": self.keywords.get("first", 0) + first}


def total_halo(steps: Iterable[Bound]) -> int:
    """Neighbouring rows that the steps need together."""
    return sum(bound.halo for bound in steps)


def run_step(
    bound: Bound,
    state: State,
    references: Sequence[Any],
    edges: Sequence[Any],
    first: int = 0,
    **rows: slice,
) -> None:
    """Call one kernel and put its results into ``state``; ``first`` is the first integration at hand."""
    operands = [operand(name, state) for name in bound.step.reads]
    keywords = bound.keywords_from(first) | rows
    results = bound.step.kernel(*operands, *references, *edges, **keywords)
    if not RAMP.isdisjoint(bound.step.writes):
        state.pop(MEDIAN, None)
    for name, result in zip(bound.step.writes, results, strict=True):
        if result is not None:
            state[bare(name)] = result


def _worth_cutting(outer: Region, inner: Region) -> bool:
    """Whether the pixels that nobody looks at any more are so many that leaving them out pays for the copy."""
    size = pixels_of(outer)
    return (size - pixels_of(inner)) * WORTH_CUTTING >= size


def _is_plane(reference: Any) -> bool:
    return isinstance(reference, RefArray) and reference.ndim == 2


@dataclass(frozen=True, eq=False)
class _Place:
    """A strip: what is asked for, and the pixels around it that the steps look at; the variables that are wanted."""

    strip: Region
    wanted: Sequence[str]
    outer: Region
    halo: int

    def after(self, halo: int, frame: tuple[int, int]) -> _Place:
        """The strip with those of its neighbours that steps of ``halo`` rows still look at."""
        rows, columns = self.strip
        outer = widened(rows, halo, frame[0]), widened(columns, halo, frame[1])
        return _Place(self.strip, self.wanted, outer, halo)


@dataclass(frozen=True, eq=False)
class _Task:
    """What a task has: the variables on the pixels ``reach``, what was gathered, references (y, x) on ``around``.

    ``planes`` are by ``id``: the hash of a reference goes through its file and all that was done with it.
    """

    inputs: Sequence[Any]
    gathered: Mapping[str, Any]
    reach: Region
    around: Region
    planes: Mapping[int, np.ndarray] = field(default_factory=dict)

    def reference(self, reference: Any, region: Region) -> Any:
        """A kernel's reference on a region."""
        if not isinstance(reference, RefArray):
            return reference
        plane = self.planes.get(id(reference))
        if plane is None:
            return reference.kept(*region)
        return np.ascontiguousarray(plane[both_within(region, self.around)])

    def edges(self, bound: Bound, run: slice, region: Region) -> Sequence[Any]:
        """What a step gathered: found in a survey, or levels of the edges cut to integrations and region."""
        if bound.survey is not None:
            return [self.gathered[bound.step.name]]
        levels = bound.given or bound.step.border
        if levels is None:
            return []
        return levels_on(self.gathered[bound.step.name], levels.dims, run, region)


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

    def around(self, region: Region) -> Region:
        """``region`` with the neighbours that the chain looks at."""
        rows, columns = region
        return widened(rows, self.halo, self.ny), widened(columns, self.halo, self.nx)

    def _operands(self, operands: Sequence[Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """The variables among a task's operands, and by step what was gathered before."""
        inputs, gathered = operands[: len(self.names)], operands[len(self.names) :]
        names = (bound.step.name for bound in self.gathering)
        return inputs, dict(zip(names, gathered, strict=True))

    def side_region(self, bound: Bound, name: str) -> Region:
        """Where the edge ``name`` of the frame lies that ``bound`` asks for."""
        border = bound.step.border
        assert border is not None
        whole_rows, whole_columns, width = slice(0, self.ny), slice(0, self.nx), border.width
        return {
            "bottom": (slice(0, width), whole_columns),
            "top": (slice(self.ny - width, self.ny), whole_columns),
            "left": (whole_rows, slice(0, width)),
            "right": (whole_rows, slice(self.nx - width, self.nx)),
        }[name]

    def side(self, bound: Bound, name: str, run: slice, *operands: Any) -> State:
        """Run the steps before ``bound`` on the integrations ``run`` of one edge of the frame.

        Arrays among the ``operands`` hold these integrations, and the edge with its neighbours; of surveys and borders
        there is what was gathered before.
        """
        before, region = self.before(bound), self.side_region(bound, name)
        inputs, gathered = before._operands(operands)
        place = _Place(region, (), before.around(region), before.halo)
        task = _Task(inputs, gathered, place.outer, place.outer)
        state, place = before._run(before.steps, task, place, run, first_at_hand=run.start)
        cut(state, both_within(region, place.outer))
        return state

    def part(self, bound: Bound, number: int, rows: slice, found: Any, *operands: Any) -> Any:
        """What a round of the survey of ``bound`` makes of ``rows``; ``operands`` as of ``block``."""
        assert bound.survey is not None
        survey, done = bound.survey, self.before(bound)
        this = survey.rounds[number]
        inputs, gathered = done._operands(operands)
        merged, region = None, (rows, slice(0, self.nx))
        task = done._task(inputs, gathered, region, self.around(region))
        wanted = tuple(map(bare, survey.reads))
        count = slice(*(this.integrations or (0, extent(inputs)[0])))
        for place, state in done.strips(task, region, count, wanted):
            inner = both_within(place.strip, place.outer)
            arrays = [np.ascontiguousarray(operand(n, state)[(..., *inner)]) for n in survey.reads]
            references = [
                r.kept(*place.strip) if isinstance(r, RefArray) else r for r in survey.references
            ]
            result = this.part(() if found is None else found, *arrays, *references)
            merged = result if merged is None else this.merge(merged, result)
        return merged

    def block(self, region: Region, *operands: Any) -> tuple[np.ndarray, ...]:
        """The outputs on ``region``.

        ``operands`` are the variables ``names`` (sources, or arrays that hold the halo's pixels), then what each
        step of ``gathering`` gathered.
        """
        inputs, gathered = self._operands(operands)
        results: list[np.ndarray] = []
        task = self._task(inputs, gathered, region, self.around(region))
        for place, state in self.strips(task, region, slice(0, extent(inputs)[0]), self.outputs):
            self._store(results, state, place, region)
        return tuple(results)

    def _task(
        self, inputs: Sequence[Any], gathered: Mapping[str, Any], region: Region, reach: Region
    ) -> _Task:
        """A task on ``region``; ``reach`` are the pixels that arrays among the inputs have.

        References (y, x) are read once a block: rows of theirs lie together in memory. Cubes are read strip by strip
        instead, since rows of theirs would have to be copied.
        """
        keep_freed_memory()
        wide = self.around(region)
        wanted = [r for bound in self.steps for r in bound.references if _is_plane(r)]
        once = {each: each.kept(*wide) for each in set(wanted)}
        return _Task(inputs, gathered, reach, wide, {id(each): once[each] for each in wanted})

    def strips(
        self, task: _Task, region: Region, span: slice, wanted: Sequence[str]
    ) -> Iterator[tuple[_Place, State]]:
        """The strips of ``region`` after all steps, with the ``wanted`` variables of the integrations ``span``."""
        rows, columns = region
        groups, frame = extent(task.inputs)[1], (self.ny, self.nx)
        depth = (span.stop - span.start) * groups
        for strip in strips(rows, strip_rows(depth, columns.stop - columns.start)):
            whole = _Place((strip, columns), wanted, region, 0).after(self.halo, frame)
            yield self._strip(task, whole, span, groups)

    def _strip(self, task: _Task, place: _Place, span: slice, groups: int) -> tuple[_Place, State]:
        """All steps on one strip: the first ones by some integrations at a time where all are too many."""
        count = span.stop - span.start
        step = integrations_at_once(count, groups, pixels_of(place.outer))
        head = tuple(takewhile(lambda bound: bound.step.apart, self.steps)) if step < count else ()
        if not head:
            state, place = self._run(self.steps, task, place, span)
            return place, state
        tail, inner = self.steps[len(head) :], place
        whole: State = {}
        later = _wanted_after(tail, place.wanted)
        for first in range(span.start, span.stop, step):
            run = slice(first, min(first + step, span.stop))
            state, outer = self._run(head, task, place, run, later)
            inner = outer.after(total_halo(tail), (self.ny, self.nx))
            cut(state, both_within(inner.outer, outer.outer))
            gather(whole, state, run, span)
        return self._advance(tail, task, inner, span, whole)[::-1]

    def _run(
        self,
        steps: Sequence[Bound],
        task: _Task,
        place: _Place,
        run: slice,
        later: frozenset[str] = frozenset(),
        first_at_hand: int = 0,
    ) -> tuple[State, _Place]:
        """Read the variables and call ``steps``; arrays begin with integration ``first_at_hand``."""
        local = both_within(place.outer, task.reach)
        counted = slice(run.start - first_at_hand, run.stop - first_at_hand)
        state = {
            name: variable_on(
                name, value, place.outer, local, counted if isinstance(value, np.ndarray) else run
            )
            for name, value in zip(self.names, task.inputs, strict=True)
        }
        return self._advance(steps, task, place, run, state, later)

    def _advance(
        self,
        steps: Sequence[Bound],
        task: _Task,
        place: _Place,
        run: slice,
        state: State,
        later: frozenset[str] = frozenset(),
    ) -> tuple[State, _Place]:
        """Call ``steps`` on the variables of the integrations ``run``; ``later`` is wanted of them besides."""
        for k, bound in enumerate(steps):
            outer, inner = place.outer, place.after(place.halo, (self.ny, self.nx))
            narrower, rows = both_within(inner.outer, outer), {}
            if bound.step.cuts and inner.outer[1] == outer[1]:
                place, rows = inner, {"rows": narrower[0]}
            elif _worth_cutting(outer, inner.outer):
                cut(state, narrower)
                place, outer = inner, inner.outer
            references = [task.reference(r, outer) for r in bound.references]
            run_step(bound, state, references, task.edges(bound, run, outer), run.start, **rows)
            if rows:
                cut(state, narrower, frozenset(map(bare, bound.step.writes)))
            if place.wanted:
                forget(state, later | _wanted_after(steps[k + 1 :], place.wanted))
            place = replace(place, halo=place.halo - bound.halo)
        return state, place

    def _store(
        self, results: list[np.ndarray], state: State, place: _Place, region: Region
    ) -> None:
        """Put the outputs of a strip in their place; those of a block's only strip are the block's."""
        inner = both_within(place.strip, place.outer)
        alone = place.strip == region
        for k, name in enumerate(self.outputs):
            part = operand(name, state)[(..., *inner)]
            if alone:
                results.append(np.ascontiguousarray(part))
                continue
            if len(results) == k:
                height = region[0].stop - region[0].start
                results.append(np.empty((*part.shape[:-2], height, part.shape[-1]), part.dtype))
            results[k][..., within(place.strip[0], region[0]), :] = part


def _wanted_after(steps: Sequence[Bound], outputs: Sequence[str]) -> frozenset[str]:
    """The variables that ``steps`` read, and ``outputs``."""
    return frozenset(outputs) | {bare(name) for bound in steps for name in bound.step.reads}
