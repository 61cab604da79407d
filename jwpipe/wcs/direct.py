"""Transforms evaluated directly: the arithmetic of astropy's models without the checks that each call repeats.

A WCS is a chain of a hundred or more simple models. Each call of each of them checks inputs, units, shapes and bounding
boxes, which takes a hundred times longer than the arithmetic when there are few points. ``Direct`` walks the chain
itself, and calls models that it does not know as they are; results are the same to the last bit.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from astropy.modeling import CompoundModel, Model
from astropy.modeling.models import (
    Const1D,
    Identity,
    Mapping,
    Polynomial1D,
    Polynomial2D,
    Scale,
    Shift,
)
from astropy.modeling.tabular import Tabular1D, Tabular2D

from jwpipe.numerics.jit import kernel

Values = tuple[Any, ...]
Function = Callable[..., Values]
OPERATORS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
}


@dataclass(frozen=True, eq=False)
class Direct:
    """Transforms one after another, of arrays of one shape; bounding boxes are ignored. Pickles as the models do."""

    models: tuple[Model, ...]

    def __call__(self, *values: Any) -> Values:
        """The outputs of the transform, a tuple even if it is one."""
        for function in self._functions:
            values = function(*values)
        return values

    @cached_property
    def _functions(self) -> tuple[Function, ...]:
        return tuple(direct(model) for model in self.models)

    def __reduce__(self) -> tuple[Any, ...]:
        return Direct, (self.models,)


def direct(model: Model) -> Function:
    """A function that evaluates ``model``."""
    if isinstance(model, CompoundModel) and isinstance(model.right, Model):
        return _compound(model)
    make = SIMPLE.get(type(model), _plain if type(model).__name__ in PLAIN else _as_it_is)
    return make(model)


def _compound(model: CompoundModel) -> Function:
    left, right = direct(model.left), direct(model.right)
    if model.op == "|":
        return lambda *values: right(*left(*values))
    if model.op == "&":
        n = model.left.n_inputs
        return lambda *values: left(*values[:n]) + right(*values[n:])
    if model.op in OPERATORS:
        combine = OPERATORS[model.op]
        return lambda *values: tuple(map(combine, left(*values), right(*values)))
    return _as_it_is(model)


def _as_it_is(model: Model) -> Function:
    single = model.n_outputs == 1

    def function(*values: Any) -> Values:
        """Evaluate the model itself; always a tuple."""
        found = model(*values)
        return (found,) if single else tuple(found)

    return function


def _mapping(model: Mapping) -> Function:
    order = tuple(model.mapping)
    return lambda *values: tuple(values[n] for n in order)


def _shift(model: Shift) -> Function:
    offset = float(model.offset.value)
    return lambda x: (x + offset,)


def _scale(model: Scale) -> Function:
    factor = float(model.factor.value)
    return lambda x: (factor * x,)


def _constant(model: Const1D) -> Function:
    amplitude = float(model.amplitude.value)
    return lambda x: (np.full(np.shape(x), amplitude),)


def _polynomial(model: Model) -> Function:
    coefficients = model.parameters[:, np.newaxis]
    return lambda *values: (model.evaluate(*values, *coefficients),)


def _table(model: Model) -> Function:
    return lambda *values: (model.evaluate(*values),)


def _plain(model: Model) -> Function:
    """A model whose outputs are the values of ``evaluate``, with parameters as numbers."""
    parameters = tuple(model.param_sets)
    if model.n_outputs == 1:
        return lambda *values: (model.evaluate(*values, *parameters),)
    return lambda *values: tuple(model.evaluate(*values, *parameters))


def _plane_table(model: Tabular2D) -> Function:
    """A table of two inputs: those of a grid, (n, 1) and (1, m), are looked up once for each row and column."""
    filled = not model.bounds_error and model.fill_value is not None
    linear = filled and np.isnan(model.fill_value) and model.method == "linear"
    table = np.ascontiguousarray(model.lookup_table, dtype=float)
    points = [np.asarray(each, dtype=float) for each in model.points]

    def function(first: Any, second: Any) -> Values:
        """Interpolate in the table; on the grid of a row and a column axis by axis."""
        shapes = np.shape(first), np.shape(second)
        if not linear or len(shapes[0]) != 2 or (shapes[0][1], shapes[1][0]) != (1, 1):
            return (model.evaluate(first, second),)
        found = np.empty((shapes[0][0], shapes[1][1]))
        rows, columns = (
            _places(each, np.ravel(at)) for each, at in zip(points, (first, second), strict=True)
        )
        _look_up(table, *rows, *columns, found)
        return (found,)

    return function


def _places(points: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The interval that each value is in, -1 where in none, and how far it is in it, from 0 to 1."""
    n = np.clip(np.searchsorted(points, at, side="right") - 1, 0, len(points) - 2)
    part = (at - points[n]) / (points[n + 1] - points[n])
    n[~((at >= points[0]) & (at <= points[-1]))] = -1
    return n, part


@kernel
def _look_up(
    table: np.ndarray, rows: np.ndarray, u: np.ndarray, columns: np.ndarray, v: np.ndarray, out: np.ndarray
) -> None:  # fmt: skip
    """Interpolate linearly between the rows and columns of a table, ``u`` and ``v`` past each; NaN where -1."""
    for j in range(len(rows)):
        y = rows[j]
        if y < 0:
            out[j] = np.nan
            continue
        for i in range(len(columns)):
            x = columns[i]
            if x < 0:
                out[j, i] = np.nan
                continue
            out[j, i] = (
                table[y, x] * (1 - u[j]) * (1 - v[i])
                + table[y, x + 1] * (1 - u[j]) * v[i]
                + table[y + 1, x] * u[j] * (1 - v[i])
                + table[y + 1, x + 1] * u[j] * v[i]
            )


PLAIN = frozenset(
    {
        "AnglesFromGratingEquation3D",
        "CartesianToSpherical",
        "DirCos2Unitless",
        "Snell",
        "SphericalToCartesian",
        "Unitless2DirCos",
        "WavelengthFromGratingEquation",
    }
)
"""Names of transforms evaluated as they are written, which are not imported for it."""

SIMPLE: dict[type, Callable[[Any], Function]] = {
    Mapping: _mapping,
    Identity: lambda model: lambda *values: values,
    Shift: _shift,
    Scale: _scale,
    Const1D: _constant,
    Polynomial1D: _polynomial,
    Polynomial2D: _polynomial,
    Tabular1D: _table,
    Tabular2D: _plane_table,
}
