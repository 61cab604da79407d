"""A user's own functions and steps around the steps of a pipeline.

``pre_hooks`` and ``post_hooks`` of any step take functions (Dataset -> Dataset, or the name of one as
``package.module.function``) and values of `Step` or `ExposureStep`. As in the JWST calibration pipeline they run
whether or not the step itself is left out.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from jwpipe.params import ParameterError
from jwpipe.step import ExposureStep, Params, Step

ParamsLike = TypeVar("ParamsLike", bound=Params)


def steps_among(hooks: Sequence[Any]) -> list[Step | ExposureStep]:
    """The hooks that are steps and join the pipeline's list."""
    return [hook for hook in hooks if isinstance(hook, Step | ExposureStep)]


def without_steps(params: Params) -> Params:
    """The parameters with those hooks alone that are functions."""
    functions = {
        name: tuple(hook for hook in getattr(params, name) if not steps_among([hook]))
        for name in ("pre_hooks", "post_hooks")
    }
    return params.model_copy(update=functions)


def without_hooks(params: ParamsLike) -> ParamsLike:
    """The parameters as a step's own functions take them, plain data alone."""
    return params.model_copy(update={"pre_hooks": (), "post_hooks": ()})


def apply_hooks(exposure: Any, hooks: Sequence[Any]) -> Any:
    """``exposure`` after a user's functions; one that returns nothing leaves it as it is."""
    for hook in hooks:
        if steps_among([hook]):
            raise ParameterError(
                f"step {hook.name} as a hook: steps go between steps on single exposures; "
                "around those that combine exposures put a function Dataset -> Dataset"
            )
        function = import_function(hook) if isinstance(hook, str) else hook
        result = function(exposure)
        exposure = exposure if result is None else result
    return exposure


def import_function(name: str) -> Callable[..., Any]:
    """The function that a hook names as ``package.module.function``.

    Raises
    ------
    ParameterError
        Where there is no such function.
    """
    module, _, attribute = name.rpartition(".")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ParameterError(
            f"hook {name!r}: {error}; expected package.module.function, importable from here"
        ) from None
    return function
