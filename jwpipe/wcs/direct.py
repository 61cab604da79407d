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
    make = SIMPLE.get(type(model), _as_it_is)
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


SIMPLE: dict[type, Callable[[Any], Function]] = {
    Mapping: _mapping,
    Identity: lambda model: lambda *values: values,
    Shift: _shift,
    Scale: _scale,
    Const1D: _constant,
    Polynomial1D: _polynomial,
    Polynomial2D: _polynomial,
    Tabular1D: _table,
    Tabular2D: _table,
}
