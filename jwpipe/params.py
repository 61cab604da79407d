"""Parameters, resolved once: defaults < CRDS parameter files < user's file < command line.

Each layer is ``{step: {parameter: value}}``. A step may be named with its pipeline (``image3.resample``) where a
chain of pipelines has it twice. Unknown names are refused with the nearest valid one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from jwpipe.step import PEER, AnyStep, Params

Layer = Mapping[str, Mapping[str, Any]]


class ParameterError(ValueError):
    """A parameter or step is not known, or its value is not allowed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint: the valid name closest to ``name``, or all of them."""
    choices = sorted(set(known))
    close = get_close_matches(name, choices, 1, 0.5)
    return f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(choices)}"


def check_steps(layers: Sequence[Layer], known: Iterable[str]) -> None:
    """Refuse layers that name a step which no pipeline of the run has.

    Raises
    ------
    ParameterError
        Naming the step and the nearest valid one.
    """
    names = set(known)
    for layer in layers:
        for step in layer:
            if step not in names:
                raise ParameterError(f"no step {step!r} in this run; {nearest(step, names)}")


def resolve(pipeline: str, steps: Sequence[AnyStep], layers: Sequence[Layer]) -> dict[str, Params]:
    """The parameters of every step; later layers win.

    Raises
    ------
    ParameterError
        For an unknown parameter (with the nearest valid one) or a value that is not allowed.
    """
    return {step.name: _resolve_step(pipeline, step, layers) for step in steps}


def _resolve_step(pipeline: str, step: AnyStep, layers: Sequence[Layer]) -> Params:
    values: dict[str, Any] = {}
    for layer in layers:
        for name in (step.name, f"{pipeline}.{step.name}"):
            values.update(layer.get(name, {}))
    fields = step.params.model_fields
    for name in values:
        if name not in fields:
            hint = nearest(name, fields)
            raise ParameterError(f"step {step.name} has no parameter {name!r}; {hint}")
    try:
        return step.params(**{name: _listed(fields[name], values[name]) for name in values})
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}" for e in error.errors()
        )
        raise ParameterError(f"step {step.name}: {problems}") from None


def _listed(field: FieldInfo, value: Any) -> Any:
    """The value as a list, where the parameter is one: ``32,32`` and a single value are short for ``[32, 32]``."""
    kinds = (field.annotation, *get_args(field.annotation))
    if value is None or not any(get_origin(kind) is tuple for kind in kinds):
        return value
    if isinstance(value, str):
        return [part.strip() for part in value.strip("()[], ").split(",")]
    return [value] if isinstance(value, (int, float)) or callable(value) else value


def peer_layer(steps: Sequence[AnyStep]) -> dict[str, dict[str, Any]]:
    """What sets the steps to do as jwst 3.0.0 where their defaults are right and it is not."""
    layer: dict[str, dict[str, Any]] = {}
    for step in steps:
        for name, field in step.params.model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and PEER in extra:
                layer.setdefault(step.name, {})[name] = extra[PEER]
    return layer


def parse_setting(text: str) -> tuple[str, str, Any]:
    """``step.parameter=value`` as (step, parameter, value); TOML values, else the text itself.

    Raises
    ------
    ParameterError
        Where the text has not that form.
    """
    name, equals, value = text.partition("=")
    step, dot, parameter = name.strip().rpartition(".")
    if not (equals and dot and step and parameter):
        raise ParameterError(f"--set {text!r}: expected step.parameter=value")
    return step, parameter, _value(value.strip())


def _value(text: str) -> Any:
    if text in ("None", "none"):
        return None
    if text in ("True", "False"):
        return text == "True"
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def from_settings(settings: Iterable[str]) -> dict[str, dict[str, Any]]:
    """One layer from the command line's ``--set`` options."""
    layer: dict[str, dict[str, Any]] = {}
    for text in settings:
        step, parameter, value = parse_setting(text)
        layer.setdefault(step, {})[parameter] = value
    return layer


def from_file(path: Path) -> dict[str, dict[str, Any]]:
    """One layer from a TOML file of ``[step]`` tables or a CRDS ``pars-*`` ASDF file.

    Raises
    ------
    ParameterError
        Where the file cannot be read as parameters.
    """
    if path.suffix == ".asdf":
        return _from_pars(path)
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ParameterError(
            f"{path}: cannot be read as TOML parameters ({error}); "
            "expected [step] tables of parameter = value"
        ) from None
    return _flatten(path, tables)


def _from_pars(path: Path) -> dict[str, dict[str, Any]]:
    from jwpipe.refs import ReferenceRefused
    from jwpipe.refs.pars import read_pars

    try:
        return {step: dict(values) for step, values in read_pars(path).items()}
    except ReferenceRefused as error:
        raise ParameterError(str(error)) from None


def _flatten(path: Path, tables: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    layer: dict[str, dict[str, Any]] = {}
    for step, table in tables.items():
        if not isinstance(table, Mapping):
            raise ParameterError(f"{path}: {step!r} stands outside of a [step] table")
        for name, value in table.items():
            if isinstance(value, Mapping):
                layer.setdefault(f"{step}.{name}", {}).update(value)
            else:
                layer.setdefault(step, {})[name] = value
    return layer
