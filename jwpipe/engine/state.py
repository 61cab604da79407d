"""The variables of a strip while the steps run on it, and the sources that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jwpipe.chunks import Region, within
from jwpipe.exposure import RAMP_VARIABLES, RATE_VARIABLES
from jwpipe.io.fitsarray import FitsArray
from jwpipe.io.fitsrows import FitsRows

State = dict[str, Any]
WHOLE = slice(None)
FLAGS = ("groupdq", "pixeldq")
RAMP = frozenset({"sci", "groupdq"})
MEDIAN = "median_step"
"""What the jump step finds by the way and ramp_fit can use: not true any more once another step changed the ramp."""


@dataclass(frozen=True)
class Source:
    """Pixels still in a file, read by the task that needs them."""

    array: FitsArray | FitsRows

    def read(self, region: Region, dtype: np.dtype[Any], integrations: slice = WHOLE) -> np.ndarray:
        """The region, of some integrations or all, other leading axes whole."""
        whole = [slice(0, size) for size in self.shape[:-2]]
        if whole:
            whole[0] = slice(*integrations.indices(self.shape[0])[:2])
        return self.array.read((*whole, *region), dtype)

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


def extent(inputs: Sequence[Any]) -> tuple[int, int]:
    """Integrations and groups of the largest of the variables."""
    integrations = max((each.shape[0] for each in inputs if len(each.shape) > 2), default=1)
    groups = max((each.shape[1] for each in inputs if len(each.shape) > 3), default=1)
    return integrations, groups


def operand(name: str, state: State) -> Any:
    """A variable at this point; flags that the exposure does not carry yet start as zeros."""
    key = bare(name)
    if key not in state and not name.endswith("?") and key in FLAGS:
        shape = state["sci"].shape
        state[key] = np.zeros(shape if key == "groupdq" else shape[-2:], RAMP_VARIABLES[key].dtype)
    return state.get(key) if name.endswith("?") else state[key]


def variable_on(
    name: str, value: Any, region: Region, local: Region, integrations: slice = WHOLE
) -> Any:
    """A variable as kernels get it: ``region`` of a source, ``local`` of an array that covers less than the frame."""
    variable = RAMP_VARIABLES.get(name) or RATE_VARIABLES.get(name)
    dtype = np.dtype(variable.dtype if variable else value.dtype)
    if not isinstance(value, np.ndarray):
        return value.read(region, dtype, integrations)
    if value.ndim > 2:
        value = value[integrations]
    return np.ascontiguousarray(value[(..., *local)], dtype)


def cut(state: State, region: Region, done: frozenset[str] = frozenset()) -> None:
    """Leave out all but ``region``, of those ``done`` apart; one after the other: memory holds one of them twice."""
    for name in state.keys() - done:
        state[name] = np.ascontiguousarray(state[name][(..., *region)])


def forget(state: State, wanted: frozenset[str]) -> None:
    """Drop the variables that are not wanted any more; flags still to be made need the shape of the pixels."""
    if any(name in wanted and name not in state for name in FLAGS):
        wanted |= {"sci"}
    for name in [name for name in state if name not in wanted]:
        del state[name]


def gather(whole: State, part: State, run: slice, span: slice) -> None:
    """Put what the first steps made of the integrations ``run`` into that of all integrations."""
    for name, array in part.items():
        if array.ndim > 2:
            if name not in whole:
                whole[name] = np.empty((span.stop - span.start, *array.shape[1:]), array.dtype)
            whole[name][within(run, span)] = array
        elif name in whole and array.dtype.kind in "ui":
            whole[name] = whole[name] | array
        else:
            whole[name] = array
