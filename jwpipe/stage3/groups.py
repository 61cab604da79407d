"""Which exposures belong together: detectors that looked at the sky at the same time move and shine together."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr

from jwpipe.exposure import header

IDENTIFIERS = ("PROGRAM", "OBSERVTN", "VISIT", "VISITGRP", "SEQ_ID", "ACT_ID", "EXPOSURE")


def group_id(exposure: xr.Dataset, index: int = 0) -> str:
    """The group of ``exposure``: ``attrs["group_id"]`` where set, else from its identifiers.

    An exposure without them is a group of its own, named by its ``index`` in the list.
    """
    named = exposure.attrs.get("group_id")
    if named:
        return str(named)
    keywords = header(exposure)
    parts = [keywords.get(name) for name in IDENTIFIERS]
    if any(part is None for part in parts):
        return f"exposure{index + 1:04d}"
    program, observation, visit, visit_group, sequence, activity, number = parts
    return f"jw{program}{observation}{visit}_{visit_group}{sequence}{activity}_{number}"


def group_ids(exposures: Sequence[xr.Dataset]) -> tuple[str, ...]:
    """The group of each exposure."""
    return tuple(group_id(exposure, index) for index, exposure in enumerate(exposures))


def members(groups: Sequence[str]) -> dict[str, list[int]]:
    """The indices of each group's exposures, groups in order of first appearance."""
    found: dict[str, list[int]] = {}
    for index, name in enumerate(groups):
        found.setdefault(name, []).append(index)
    return found
