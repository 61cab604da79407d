"""Segments of one exposure, put together, and taken apart again.

Long exposures come in several files, cut on integrations (``-seg001``, ``-seg002`` ...). An exposure put together
remembers them in ``attrs["segments"]``: of each the number of its integrations, its keywords, name and tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from jwpipe.exposure import ExposureError, header
from jwpipe.io.fits_read import lazy
from jwpipe.io.names import product_name, split_suffix, without_segment

SAME = (
    "INSTRUME", "DETECTOR", "EXP_TYPE", "SUBARRAY", "READPATT", "NGROUPS", "NINTS", "PROGRAM",
    "OBSERVTN", "VISIT", "VISITGRP", "ACT_ID", "EXPOSURE",
)  # fmt: skip
BY_INTEGRATION = ("INT_TIMES", "INT_TIMES_STRIPE", "GROUP")
SPAN = ("EXSEGNUM", "EXSEGTOT", "INTSTART", "INTEND")
NUMBERS = ("integration_number", "stripe_number", "group_number")


def join_segments(exposures: Sequence[xr.Dataset], names: Sequence[str]) -> xr.Dataset:
    """One exposure of its segments, in the order of their integrations.

    Raises
    ------
    ExposureError
        The files belong to different exposures, or integrations are missing or there twice.
    """
    pairs = sorted(zip(exposures, names, strict=True), key=lambda pair: _span(*pair))
    for exposure, name in pairs[1:]:
        _same_exposure(pairs[0][0], pairs[0][1], exposure, name)
    for (one, name), (other, following) in pairwise(pairs):
        last, start = _span(one, name)[1], _span(other, following)[0]
        if start != last + 1:
            raise ExposureError(
                f"{following}: starts with integration {start}, expected {last + 1} after {name}; "
                "give all segments of the exposure, each once"
            )
    parts = [exposure for exposure, _ in pairs]
    joined = xr.concat(
        parts,
        "integration",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        combine_attrs="override",
    )
    for key, variable in joined.variables.items():
        handles = [part.variables[key].encoding.get("handle") for part in parts]
        if "integration" in variable.dims and None not in handles:
            variable.encoding = {"handles": (variable.data.name, tuple(handles))}
    return joined.assign_attrs(_attributes(parts, _span(*pairs[-1])[1]))


def segments_of(exposure: xr.Dataset) -> list[xr.Dataset]:
    """The segments of an exposure that was put together, or of a product made of it; of any other the exposure itself.

    Each has its own keywords, and the name that it had as a file of its own. Pixels that nothing has touched are
    still in their files.
    """
    segments = exposure.attrs.get("segments") or ()
    counts = [each["integrations"] for each in segments]
    if len(segments) < 2 or sum(counts) != exposure.sizes.get("integration"):
        return [exposure]
    stops = np.cumsum(counts).tolist()
    return [
        _segment(exposure, number, slice(stop - counts[number], stop))
        for number, stop in enumerate(stops)
    ]


def _segment(exposure: xr.Dataset, number: int, integrations: slice) -> xr.Dataset:
    own: Any = exposure.attrs["segments"][number]
    part = exposure.isel(integration=integrations)
    for name, variable in exposure.variables.items():
        joined, handles = variable.encoding.get("handles", ("", ()))
        if handles and variable.data.name == joined:
            units = variable.attrs.get("units")
            part[name] = lazy(handles[number], tuple(map(str, variable.dims)), units, None)
    suffix = exposure.attrs.get("product") or split_suffix(own["filename"])[1]
    name = product_name(own["filename"], suffix)
    keywords = {key: own["primary"][key] for key in SPAN if key in own["primary"]}
    tables = {
        key: own["tables"].get(key, rows) for key, rows in exposure.attrs.get("tables", {}).items()
    }
    primary = {**exposure.attrs["primary"], **keywords, "FILENAME": name}
    return part.assign_attrs(filename=name, segments=(), tables=tables, primary=primary)


def whole_of(parts: Sequence[xr.Dataset], exposure: xr.Dataset) -> xr.Dataset:
    """A product with integrations, made of each segment of ``exposure``, put together.

    What has no integrations is joined as flags, or else that of the first segment.
    """
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    names = [name for name in first if "integration" in first[name].dims]
    joined = xr.concat([part[names] for part in parts], "integration", combine_attrs="override")
    for name in first:
        if name not in names:
            joined[name] = first[name]
            for part in parts[1:] if first[name].dtype.kind == "u" else ():
                joined[name] = joined[name] | part[name]
    return joined.assign_attrs(attributes_of_whole(first, exposure))


def attributes_of_whole(part: xr.Dataset, exposure: xr.Dataset) -> dict[str, Any]:
    """The attributes of a product of a segment as those of the same product of the whole ``exposure``."""
    whole = exposure.attrs
    keywords = {key: whole["primary"][key] for key in SPAN if key in whole["primary"]}
    tables = {key: whole["tables"][key] for key in part.attrs["tables"] if key in whole["tables"]}
    primary = {**part.attrs["primary"], **keywords, "FILENAME": whole["filename"]}
    own = {"primary": primary, "filename": whole["filename"], "segments": whole["segments"]}
    return {**part.attrs, **own, "tables": {**part.attrs["tables"], **tables}}


def _span(exposure: xr.Dataset, name: str) -> tuple[int, int]:
    keywords = header(exposure)
    first, last = keywords.get("INTSTART"), keywords.get("INTEND")
    if (
        not isinstance(first, int)
        or not isinstance(last, int)
        or "integration" not in exposure.dims
    ):
        raise ExposureError(
            f"{name}: INTSTART {first}, INTEND {last}; several files are opened together only as segments of one "
            "exposure, which have integrations and number them; open the files one by one"
        )
    return first, last


def _same_exposure(one: xr.Dataset, name: str, other: xr.Dataset, other_name: str) -> None:
    for keyword in SAME:
        found, expected = header(other).get(keyword), header(one).get(keyword)
        if found != expected:
            raise ExposureError(
                f"{other_name}: {keyword} is {found!r}, expected {expected!r} as in {name}; these are not segments of "
                "one exposure, open them one by one"
            )
    if set(one.data_vars) != set(other.data_vars) or one["sci"].shape[1:] != other["sci"].shape[1:]:
        raise ExposureError(
            f"{other_name}: arrays {dict(other.sizes)}, expected {dict(one.sizes)} as in {name} but for the number of "
            "integrations; these are not segments of one exposure"
        )


def _attributes(parts: Sequence[xr.Dataset], last: int) -> dict[str, Any]:
    first = parts[0].attrs
    tables = [part.attrs.get("tables", {}) for part in parts]
    whole = len(parts) == first["primary"].get("EXSEGTOT", len(parts))
    name = without_segment(str(first["filename"]))
    return {
        **first,
        "tables": {
            key: _rows(key, [own[key] for own in tables if key in own]) for key in tables[0]
        },
        "filename": name,
        "segments": tuple(
            {
                "integrations": part.sizes["integration"],
                "filename": part.attrs["filename"],
                "primary": part.attrs["primary"],
                "tables": part.attrs.get("tables", {}),
            }
            for part in parts
        ),
        "primary": {
            **first["primary"],
            **({"EXSEGNUM": 1, "EXSEGTOT": 1} if whole else {}),
            "INTEND": last,
            "FILENAME": name,
        },
    }


def _rows(name: str, tables: Sequence[np.ndarray]) -> np.ndarray:
    """The rows of all segments; some files repeat those of the whole exposure, which are kept once."""
    if name not in BY_INTEGRATION:
        return tables[0]
    rows = np.concatenate(tables)
    numbers = [key for key in NUMBERS if key in (rows.dtype.names or ())]
    if not numbers:
        return rows
    return rows[np.sort(np.unique(rows[numbers], return_index=True)[1])]
