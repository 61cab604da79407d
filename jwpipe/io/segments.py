"""Segments of one exposure, put together again.

Long exposures come in several files, cut on integrations (``-seg001``, ``-seg002`` ...).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from jwpipe.exposure import ExposureError, header
from jwpipe.io.names import without_segment

SAME = (
    "INSTRUME", "DETECTOR", "EXP_TYPE", "SUBARRAY", "READPATT", "NGROUPS", "NINTS", "PROGRAM",
    "OBSERVTN", "VISIT", "VISITGRP", "ACT_ID", "EXPOSURE",
)  # fmt: skip
BY_INTEGRATION = ("INT_TIMES", "INT_TIMES_STRIPE", "GROUP")
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
    return joined.assign_attrs(_attributes(parts, _span(*pairs[-1])[1]))


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
