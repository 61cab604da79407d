"""One header from many: keywords of a combined product, and the table of the inputs' own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr

MULTIPLE = "MULTIPLE"
OUTSIDE, WITHIN = "outside calibration tolerance", "within commanded tolerance"
# Set by resampling itself, whatever the inputs say.
NOT_BLENDED = frozenset({"FILENAME", "PIXAR_SR", "PIXAR_A2"})


@dataclass(frozen=True)
class Blend:
    """How a keyword of header ``part`` (``primary`` or ``sci``) is combined, and whether the table has it."""

    part: str
    name: str
    rule: str
    tabled: bool


@lru_cache
def blends() -> tuple[Blend, ...]:
    """All keywords of images, in the order and by the rules of the published JWST data models."""
    from stdatamodels.jwst import datamodels

    return tuple(_walk(datamodels.ImageModel().schema))


def _walk(node: Mapping[str, Any]) -> Iterator[Blend]:
    name = node.get("fits_keyword")
    if name is not None:
        part = "sci" if node.get("fits_hdu") == "SCI" else "primary"
        if node.get("fits_hdu", "PRIMARY") in ("PRIMARY", "SCI"):
            yield Blend(part, name, node.get("blend_rule", "first"), bool(node.get("blend_table")))
        return
    for child in node.get("properties", {}).values():
        yield from _walk(child)


def blended(exposures: Sequence[xr.Dataset]) -> dict[str, dict[str, Any]]:
    """The ``primary`` and ``sci`` keywords of the first exposure, those with a rule combined."""
    headers = {part: dict(exposures[0].attrs.get(part, {})) for part in ("primary", "sci")}
    for blend in blends():
        if blend.rule == "first" or blend.name in NOT_BLENDED:
            continue
        found = [e.attrs.get(blend.part, {}).get(blend.name) for e in exposures]
        values = [value for value in found if value is not None]
        if values:
            headers[blend.part][blend.name] = _combined(blend.rule, values)
    return headers


def _combined(rule: str, values: Sequence[Any]) -> Any:
    if rule == "multi":
        return values[0] if all(value == values[0] for value in values) else MULTIPLE
    if rule == "wheeltol":
        return OUTSIDE if OUTSIDE in values else WITHIN
    functions: dict[str, Callable[[Sequence[Any]], Any]] = {
        "sum": sum,
        "mean": lambda numbers: sum(numbers) / len(numbers),
    }
    order = min if rule.startswith("min") else max
    return functions.get(rule, order)(values)


def header_table(exposures: Sequence[xr.Dataset]) -> np.ndarray:
    """One row of keywords for each exposure: the HDRTAB extension, a structured array.

    Columns are the keywords that the data models list for it and any exposure has.
    """
    columns: list[tuple[str, np.ndarray]] = []
    for blend in blends():
        values = [e.attrs.get(blend.part, {}).get(blend.name) for e in exposures]
        if blend.tabled and any(value is not None for value in values):
            columns.append((blend.name, _column(values)))
    table = np.empty(len(exposures), [(name, column.dtype) for name, column in columns])
    for name, column in columns:
        table[name] = column
    return table


def _column(values: Sequence[Any]) -> np.ndarray:
    """Values of one keyword; missing ones are NaN, or empty in text."""
    present = [value for value in values if value is not None]
    if any(isinstance(value, str) for value in present):
        text = ["" if value is None else str(value) for value in values]
        return np.array([t.encode("ascii", "replace") or b" " for t in text])
    if len(present) < len(values):
        return np.array([np.nan if value is None else float(value) for value in values])
    return np.array(values)
