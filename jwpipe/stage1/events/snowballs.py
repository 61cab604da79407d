"""Flag snowballs: large cosmic-ray events of near-infrared detectors, with a saturated core in a wide halo.

Regions of touching jumps, and of pixels that saturate in the same or the next group, become ellipses. A jump ellipse
around a freshly saturated one is a snowball; it is enlarged and all of it flagged. Saturated cores grow as well, for
the rest of the integration, and leave their mark in the next.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jwpipe.dq import Group
from jwpipe.exposure import Header
from jwpipe.numerics.ellipses import Ellipse, ellipses, holding, pixels_inside
from jwpipe.numerics.regions import find_regions
from jwpipe.stage1.jump import JumpParams

JUMP = np.uint8(Group.JUMP_DET)
SATURATED = np.uint8(Group.SATURATED)


@dataclass(frozen=True)
class SnowballRules:
    """What makes a snowball and how far it reaches; lengths are full axes in pixels, areas pixels."""

    min_jump_area: float
    min_sat_area: float
    expand_factor: float
    sat_required: bool
    min_sat_axis: float
    sat_expand: float
    edge_size: int
    largest_axis: float
    next_groups: int


def snowball_rules(header: Header, params: JumpParams) -> dict[str, Any]:
    """Keyword arguments of ``flag_large_events`` for an exposure."""
    next_groups = int(params.snowball_time_masked_next_int // float(header["TGROUP"]))
    return {
        "rules": SnowballRules(
            params.min_jump_area,
            params.min_sat_area,
            params.expand_factor,
            params.sat_required_snowball,
            params.min_sat_radius_extend,
            2 * params.sat_expand,
            params.edge_size,
            2 * params.max_extended_radius,
            next_groups if params.mask_snowball_core_next_int else 0,
        )
    }


def flag_large_events(groupdq: np.ndarray, *, rules: SnowballRules) -> np.ndarray:
    """Flag the surroundings of snowballs.

    Parameters
    ----------
    groupdq
        Flags (i, g, y, x) of whole frames, jumps included.

    Returns
    -------
    np.ndarray
        Flags with the ellipses of snowballs JUMP_DET in their group; with enlarged saturated cores SATURATED, and
        nothing else, from their group on; with these cores JUMP_DET in the first ``next_groups`` groups of the next
        integration, the very first apart.
    """
    found = [flag_integration(ramp.copy(), rules=rules) for ramp in groupdq]
    for (ramp, _), (_, core) in zip(found[1:], found[:-1], strict=True):
        mark_cores(ramp, core, rules=rules)
    return np.stack([ramp for ramp, _ in found])


def flag_integration(ramp: np.ndarray, *, rules: SnowballRules) -> tuple[np.ndarray, np.ndarray]:
    """The flags (g, y, x) of one integration, written into, and its saturated cores (y, x) as JUMP_DET."""
    core = np.zeros(ramp.shape[1:], np.uint8)
    for group in range(1, ramp.shape[0]):
        _flag_group(ramp, group, rules, core)
    return ramp, core


def mark_cores(ramp: np.ndarray, cores: np.ndarray, *, rules: SnowballRules) -> None:
    """Flag the ``cores`` (y, x) of the integration before in the first groups (g, y, x), the very first apart."""
    ramp[1 : min(rules.next_groups, ramp.shape[0])] |= cores


def _flag_group(ramp: np.ndarray, group: int, rules: SnowballRules, core: np.ndarray) -> None:
    """Flag the snowballs of one group of a ramp (g, y, x) and mark their cores."""
    none = np.zeros_like(ramp[group])
    jumps = list(ellipses(find_regions(ramp[group], none, JUMP), rules.min_jump_area))
    if rules.sat_required:
        regions = find_regions(ramp[group], ramp[group - 1], SATURATED)
        fresh = list(ellipses(regions, rules.min_sat_area))
        later: list[Ellipse] = []
        if group + 1 < ramp.shape[0]:
            regions = find_regions(ramp[group + 1], ramp[group], SATURATED)
            later = list(ellipses(regions, rules.min_sat_area))
        jumps = [
            jump
            for jump, held in zip(jumps, holding(jumps, [*fresh, *later]), strict=True)
            if held or _near_edge(jump, rules.edge_size, ramp.shape[1])
        ]
        for each in fresh:
            if min(each.minor, each.major) > rules.min_sat_axis:
                _grow_core(ramp[group:], each, rules, core)
    for jump in jumps:
        _flag_ellipse(ramp[group], jump, rules)


def _near_edge(ellipse: Ellipse, margin: int, rows: int) -> bool:
    centre = ellipse.x, ellipse.y
    return min(centre) < margin or max(centre) > max(0, rows - margin)


def _grow_core(ramp: np.ndarray, core: Ellipse, rules: SnowballRules, marks: np.ndarray) -> None:
    """Saturate an enlarged core in all groups given; mark the core itself."""
    wide = core._replace(
        minor=min(core.minor + rules.sat_expand, rules.largest_axis),
        major=min(core.major + rules.sat_expand, rules.largest_axis),
    )
    rows, columns = pixels_inside(wide, marks.shape)
    ramp[:, rows, columns] = SATURATED
    rows, columns = pixels_inside(core, marks.shape)
    marks[rows, columns] = JUMP


def _flag_ellipse(plane: np.ndarray, ellipse: Ellipse, rules: SnowballRules) -> None:
    """Flag the unsaturated pixels of an enlarged snowball."""
    wide = ellipse.enlarged(rules.expand_factor, rules.largest_axis)
    rows, columns = pixels_inside(wide, plane.shape)
    free = plane[rows, columns] & SATURATED == 0
    plane[rows[free], columns[free]] |= JUMP
