"""Sky levels that make exposures agree where they overlap.

The plan comes first: which pixels of each exposure lie under which group, from footprints alone. Then the statistics,
one independent task per exposure (``sky_levels``). Then the solution (``match_levels``), from those few numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import xarray as xr
from pydantic import Field, field_validator, model_validator

from jwpipe.exposure import ExposureError, header
from jwpipe.stage3.groups import group_ids, members
from jwpipe.stage3.outlier_detection import bad_bits
from jwpipe.stage3.overlaps import Plan, gather, plan_overlaps, whole
from jwpipe.stage3.skystat import Statistic, sky_level
from jwpipe.step import CombiningStep, Params

Level = tuple[float, int]
"""A sky level (NaN where there is none) and the number of pixels it rests on."""
NOTHING: Level = (np.nan, 0)


class SkymatchParams(Params):
    """Parameters of skymatch."""

    skymethod: Literal["local", "global", "match", "global+match", "user"] = Field(
        "match",
        description="local: each its own level; global: the lowest of all; match: levels that make overlaps agree; "
        "global+match: both; user: the levels in skylist",
    )
    match_down: bool = Field(
        True, description="match to the exposure with the lowest level; else to the highest"
    )
    subtract: bool = Field(False, description="subtract the level; else it is only recorded")
    skylist: str | None = Field(
        None, description="text file of exposures and their levels, two columns (method user)"
    )
    stepsize: int | None = Field(
        None, ge=1, description="follow the borders in steps of so many pixels; none: corners only"
    )
    skystat: Statistic = Field("mode", description="how the level of a set of pixels is measured")
    dqbits: str | None = Field(
        "~DO_NOT_USE+NON_SCIENCE",
        description="DQ flags that do not matter, names joined by + (~: all but these); none: no flag matters",
    )
    lower: float | None = Field(None, description="lowest value used")
    upper: float | None = Field(None, description="highest value used")
    nclip: int = Field(5, ge=0, description="rounds of clipping")
    lsigma: float = Field(4.0, gt=0, description="clipping limit below the mean, in sigma")
    usigma: float = Field(4.0, gt=0, description="clipping limit above the mean, in sigma")
    binwidth: float = Field(
        0.1, gt=0, description="width of the histogram's bins for mode and midpt, in sigma"
    )
    in_memory: bool = Field(
        True, description="accepted for compatibility; memory is bounded anyway"
    )

    @field_validator("dqbits")
    @classmethod
    def _are_bits(cls, value: str | None) -> str | None:
        if value is not None:
            bad_bits(value)
        return value

    @model_validator(mode="after")
    def _have_room(self) -> Self:
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            raise ValueError(f"lower is {self.lower}, upper is {self.upper}: nothing lies between")
        return self


@dataclass(frozen=True)
class SkyReport:
    """The level found for each exposure, ``None`` where there is none, and what was amiss."""

    levels: tuple[float | None, ...]
    status: tuple[Literal["COMPLETE", "SKIPPED"], ...]
    warnings: tuple[str, ...] = ()


def overlap_statistic(
    sci: np.ndarray, good: np.ndarray, region: np.ndarray, params: SkymatchParams
) -> Level:
    """The sky level of the ``good`` (y, x) pixels of ``sci`` (y, x) in a ``region`` of runs (n, 3)."""
    return sky_level(
        gather(sci, good, region),
        skystat=params.skystat,
        lower=params.lower,
        upper=params.upper,
        nclip=params.nclip,
        lsigma=params.lsigma,
        usigma=params.usigma,
        binwidth=params.binwidth,
    )


def sky_levels(
    sci: np.ndarray,
    dq: np.ndarray | None,
    regions: dict[str, np.ndarray],
    params: SkymatchParams,
    offset: float = 0.0,
) -> dict[str, Level]:
    """The sky level of one exposure in each of its ``regions``, after subtracting ``offset``.

    ``sci`` (y, x) float, ``dq`` (y, x) uint32 or ``None``. Pixels that are not finite or have a DQ bit that matters are
    left out.
    """
    image = np.ascontiguousarray(sci, np.float32)
    good = np.isfinite(image)
    if dq is not None and params.dqbits is not None:
        good &= (dq & np.uint32(bad_bits(params.dqbits))) == 0
    if offset:
        image = image - np.float32(offset)
    return {
        group: overlap_statistic(image, good, region, params) for group, region in regions.items()
    }


def match_levels(
    plan: Plan, levels: Sequence[dict[str, Level]], match_down: bool = True
) -> tuple[dict[str, float], str]:
    """The level of each group above the reference that makes overlaps agree best, and a warning or ``""``.

    ``levels[i][group]`` is that of exposure i under ``group``. Each pair of overlapping groups i, j gives one equation
    ``w (s_i - s_j) = w (m_i - m_j)`` with the mean number of pixels as weight w; their least-squares solution of least
    norm is taken. Groups without a usable overlap are left out.
    """
    names = list(plan.groups)
    pairs = [
        (i, j, *_pair(plan, levels, names[i], names[j]))
        for i in range(len(names))
        for j in range(i + 1, len(names))
    ]
    usable = [(i, j, a, b) for i, j, a, b in pairs if a[1] > 0 and b[1] > 0]
    if not usable:
        return {}, "no overlap has usable pixels"
    matrix = np.zeros((len(usable), len(names)))
    excess = np.zeros(len(usable))
    for row, (i, j, here, there) in enumerate(usable):
        weight = 0.5 * (here[1] + there[1])
        matrix[row, i], matrix[row, j] = weight, -weight
        excess[row] = weight * (here[0] - there[0])
    solution, _, rank, _ = np.linalg.lstsq(matrix, excess, rcond=1e-12)
    used = sorted({index for i, j, _, _ in usable for index in (i, j)})
    reference = min(solution[used]) if match_down else max(solution[used])
    matched = {names[index]: float(solution[index] - reference) for index in used}
    warning = ""
    if rank < len(names) - 1:
        warning = (
            f"{len(names)} groups of exposures fall into {len(names) - rank} sets that do not overlap; "
            "levels agree within each set only"
        )
    return matched, warning


def _pair(plan: Plan, levels: Sequence[dict[str, Level]], a: str, b: str) -> tuple[Level, Level]:
    return _combined(plan, levels, a, b), _combined(plan, levels, b, a)


def _combined(plan: Plan, levels: Sequence[dict[str, Level]], group: str, other: str) -> Level:
    """The level of a group under another one: its exposures' mean, weighted by pixels."""
    found = [levels[index].get(other, NOTHING) for index in plan.groups[group]]
    total = sum(count for _, count in found)
    if not total:
        return NOTHING
    return sum(level * count for level, count in found if count) / total, total


def match_sky(
    exposures: Sequence[xr.Dataset], params: SkymatchParams
) -> tuple[list[xr.Dataset], SkyReport]:
    """Lazy ``exposures`` with their sky level in BKGLEVEL, BKGSUB and BKGMETH, subtracted where asked for.

    The statistics are computed now, one task per exposure, by the scheduler in force.
    """
    if not exposures:
        raise ExposureError("skymatch: no exposures; give at least one calibrated image")
    if params.skymethod == "user":
        return _with_levels(exposures, _listed(exposures, params), params, ())
    start = np.array([_earlier_level(exposure, params) for exposure in exposures])
    groups = group_ids(exposures)
    matched: dict[str, float] = {}
    warnings: list[str] = []
    plan = Plan(members(groups), ({},) * len(exposures))
    if "match" in params.skymethod:
        plan = plan_overlaps(exposures, groups, params.stepsize)
        levels = _computed(exposures, plan.regions, params)
        matched, warning = match_levels(plan, levels, params.match_down)
        warnings += [warning] if warning else []
    delta: dict[str, float | None] = {name: matched.get(name) for name in plan.groups}
    if params.skymethod != "match":
        offsets = [matched.get(group, 0.0) for group in groups]
        baseline = _baseline(exposures, plan, offsets, params)
        delta = _raised(delta, baseline, params.skymethod)
    found = [
        None if (value := delta[group]) is None else float(start[index] + value)
        for index, group in enumerate(groups)
    ]
    warnings += [
        f"{header(exposure).filename}: no sky level: too few usable pixels, or no overlap"
        for exposure, level in zip(exposures, found, strict=True)
        if level is None
    ]
    return _with_levels(exposures, found, params, tuple(warnings), start)


def _computed(
    exposures: Sequence[xr.Dataset],
    regions: Sequence[dict[str, np.ndarray]],
    params: SkymatchParams,
    offsets: Sequence[float] | None = None,
) -> list[dict[str, Level]]:
    from dask.base import compute
    from dask.delayed import delayed

    measure = delayed(sky_levels)
    tasks: list[Any] = []
    for index, (exposure, wanted) in enumerate(zip(exposures, regions, strict=True)):
        if not wanted:
            tasks.append({})
            continue
        dq = exposure["dq"].data if "dq" in exposure else None
        offset = offsets[index] if offsets is not None else 0.0
        tasks.append(measure(exposure["sci"].data, dq, delayed(wanted), params, offset))
    return list(compute(*tasks))


def _baseline(
    exposures: Sequence[xr.Dataset], plan: Plan, offsets: Sequence[float], params: SkymatchParams
) -> dict[str, float]:
    """The lowest level of each group's exposures over whole frames, ``offsets`` subtracted; those with one."""
    frames = [{"": whole((exposure.sizes["y"], exposure.sizes["x"]))} for exposure in exposures]
    measured = _computed(exposures, frames, params, offsets if params.subtract else None)
    lowest: dict[str, float] = {}
    for name, indices in plan.groups.items():
        # Without subtraction the offset is taken from the level, not from the pixels.
        values = [
            measured[index][""][0] - (0.0 if params.subtract else offsets[index])
            for index in indices
            if measured[index][""][1] > 0
        ]
        if values:
            lowest[name] = min(values)
    return lowest


def _raised(
    delta: dict[str, float | None], baseline: dict[str, float], method: str
) -> dict[str, float | None]:
    """The levels of groups above zero: matched ones above the lowest baseline of all, others their own."""
    if method == "local":
        return {name: baseline.get(name) for name in delta}
    if not baseline:
        return delta
    lowest = min(baseline.values())
    return {name: (value or 0.0) + lowest for name, value in delta.items()}


def _earlier_level(exposure: xr.Dataset, params: SkymatchParams) -> float:
    """The level subtracted by an earlier run; raises where it contradicts the present parameters."""
    keywords = header(exposure)
    subtracted, level = keywords.get("BKGSUB"), keywords.get("BKGLEVEL")
    if (subtracted is None) != (level is None):
        raise ExposureError(
            f"{keywords.filename}: skymatch: BKGSUB is {subtracted} and BKGLEVEL is {level}; both or none must "
            "be set, take the exposure as it was before skymatch"
        )
    if subtracted is not None and bool(subtracted) != params.subtract:
        raise ExposureError(
            f"{keywords.filename}: skymatch ran before with subtract={bool(subtracted)}; run it with the same "
            "value, or take the exposure as it was before"
        )
    return float(level) if params.subtract and level is not None else 0.0


def _listed(exposures: Sequence[xr.Dataset], params: SkymatchParams) -> list[float | None]:
    """The levels in the user's list, exposures named with or without suffix."""
    if params.skylist is None or not Path(params.skylist).is_file():
        raise ExposureError(
            f"skymatch: skymethod is user and skylist names {params.skylist!r}, which is not a file; give a "
            "text file of exposures and levels, two columns"
        )
    listed: dict[str, list[float]] = {}
    for number, line in enumerate(Path(params.skylist).read_text().splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        try:
            name, value = words
            listed.setdefault(_bare(name), []).append(float(value))
        except ValueError:
            raise ExposureError(
                f"{params.skylist}: line {number} is {line!r}, expected an exposure and a level"
            ) from None
    return [_level_in(listed, header(exposure).filename, params.skylist) for exposure in exposures]


def _level_in(listed: dict[str, list[float]], filename: str, path: str) -> float:
    values = listed.get(_bare(filename), [])
    if len(values) != 1:
        raise ExposureError(f"{path}: found {len(values)} levels for {filename}, expected one")
    return values[0]


def _bare(name: str) -> str:
    """The stem of a file name without its product suffix."""
    stem = Path(name).stem
    return stem.rsplit("_", 1)[0] if "_" in stem else stem


def _with_levels(
    exposures: Sequence[xr.Dataset],
    levels: Sequence[float | None],
    params: SkymatchParams,
    warnings: tuple[str, ...],
    earlier: np.ndarray | None = None,
) -> tuple[list[xr.Dataset], SkyReport]:
    start = np.zeros(len(exposures)) if earlier is None else earlier
    new = [
        exposure if level is None else _with_level(exposure, level, level - float(before), params)
        for exposure, level, before in zip(exposures, levels, start, strict=True)
    ]
    status: list[Literal["COMPLETE", "SKIPPED"]] = [
        "SKIPPED" if level is None else "COMPLETE" for level in levels
    ]
    return new, SkyReport(tuple(levels), tuple(status), warnings)


def _with_level(
    exposure: xr.Dataset, level: float, change: float, params: SkymatchParams
) -> xr.Dataset:
    keywords = {"BKGLEVEL": level, "BKGSUB": params.subtract, "BKGMETH": params.skymethod}
    primary = {**exposure.attrs.get("primary", {}), **keywords}
    new = exposure.assign_attrs(primary=primary)
    if not params.subtract:
        return new
    sci = exposure["sci"]
    return new.assign(sci=(sci - np.float32(change)).astype(sci.dtype).assign_attrs(sci.attrs))


skymatch = CombiningStep("skymatch", SkymatchParams)
