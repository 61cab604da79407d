"""Flag snowballs: large cosmic-ray events of near-infrared detectors, with a saturated core in a wide halo.

Regions of touching jumps, and of pixels that saturate in the same or the next group, become ellipses. A jump ellipse
around a freshly saturated one is a snowball; it is enlarged and all of it flagged. Saturated cores grow as well, for
the rest of the integration, and leave their mark in the next.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jwpipe.dq import Group
from jwpipe.exposure import Header
from jwpipe.numerics.regions import Regions, find_regions
from jwpipe.stage1.jump import JumpParams

JUMP = np.uint8(Group.JUMP_DET)
SATURATED = np.uint8(Group.SATURATED)
# A hole is closed by eight pixels at least.
SMALLEST_RING = 8


class Ellipse(NamedTuple):
    """Centre (pixels), full axes (pixels) and angle of the major axis from the row direction (degree)."""

    x: float
    y: float
    minor: float
    major: float
    angle: float

    def holds(self, x: float, y: float) -> bool:
        """Tell whether a point lies inside, the angle mirrored as in the JWST calibration pipeline."""
        angle = np.radians(180 - self.angle)
        along = (x - self.x) * np.cos(angle) - (y - self.y) * np.sin(angle)
        across = (x - self.x) * np.sin(angle) + (y - self.y) * np.cos(angle)
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = (
                along**2 / (0.5 * self.major) ** 2 + across**2 / np.float64(0.5 * self.minor) ** 2
            )
        return bool(distance <= 1)


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
    flags = groupdq.copy()
    cores = np.zeros((groupdq.shape[0], *groupdq.shape[2:]), np.uint8)
    for ramp, core in zip(flags, cores, strict=True):
        for group in range(1, ramp.shape[0]):
            _flag_group(ramp, group, rules, core)
    last = min(rules.next_groups, groupdq.shape[1])
    for ramp, core in zip(flags[1:], cores[:-1], strict=True):
        ramp[1:last] |= core
    return flags


def _flag_group(ramp: np.ndarray, group: int, rules: SnowballRules, core: np.ndarray) -> None:
    """Flag the snowballs of one group of a ramp (g, y, x) and mark their cores."""
    none = np.zeros_like(ramp[group])
    jumps = list(_ellipses(find_regions(ramp[group], none, JUMP), rules.min_jump_area))
    if rules.sat_required:
        regions = find_regions(ramp[group], ramp[group - 1], SATURATED)
        fresh = list(_ellipses(regions, rules.min_sat_area))
        later: list[Ellipse] = []
        if group + 1 < ramp.shape[0]:
            regions = find_regions(ramp[group + 1], ramp[group], SATURATED)
            later = list(_ellipses(regions, rules.min_sat_area))
        jumps = [
            jump
            for jump in jumps
            if _near_edge(jump, rules.edge_size, ramp.shape[1])
            or any(jump.holds(each.x, each.y) for each in (*fresh, *later))
        ]
        for each in fresh:
            if min(each.minor, each.major) > rules.min_sat_axis:
                _grow_core(ramp[group:], each, rules, core)
    for jump in jumps:
        _flag_ellipse(ramp[group], jump, rules)


def _ellipses(regions: Regions, least: float) -> Iterator[Ellipse]:
    """Ellipses of the regions whose area, holes filled, is ``least`` or more."""
    from skimage.measure import regionprops

    spans = (regions.box[:, 1] - regions.box[:, 0]) * (regions.box[:, 3] - regions.box[:, 2])
    holed = (regions.area >= SMALLEST_RING) & (spans >= least)
    order = np.argsort(regions.label, kind="stable")
    ends = np.cumsum(regions.area)
    for region in np.flatnonzero((regions.area >= least) | holed):
        pixels = order[ends[region] - regions.area[region] : ends[region]]
        top, bottom, left, right = (int(value) for value in regions.box[region])
        image = np.zeros((bottom - top, right - left), np.uint8)
        image[regions.y[pixels] - top, regions.x[pixels] - left] = 1
        (shape,) = regionprops(image)
        if shape.area_filled >= least:
            row, column = shape.centroid
            yield Ellipse(
                float(column) + left,
                float(row) + top,
                shape.axis_minor_length - 1,
                shape.axis_major_length - 1,
                float(np.degrees(shape.orientation)),
            )


def _near_edge(ellipse: Ellipse, margin: int, rows: int) -> bool:
    centre = ellipse.x, ellipse.y
    return min(centre) < margin or max(centre) > max(0, rows - margin)


def _grow_core(ramp: np.ndarray, core: Ellipse, rules: SnowballRules, marks: np.ndarray) -> None:
    """Saturate an enlarged core in all groups given; mark the core itself."""
    wide = core._replace(
        minor=min(core.minor + rules.sat_expand, rules.largest_axis),
        major=min(core.major + rules.sat_expand, rules.largest_axis),
    )
    rows, columns = _inside(wide, marks.shape)
    ramp[:, rows, columns] = SATURATED
    rows, columns = _inside(core, marks.shape)
    marks[rows, columns] = JUMP


def _flag_ellipse(plane: np.ndarray, ellipse: Ellipse, rules: SnowballRules) -> None:
    """Flag the unsaturated pixels of a snowball, both axes enlarged by what the minor axis gains."""
    gain = (rules.expand_factor - 1.0) * ellipse.minor
    axes = ellipse.minor * rules.expand_factor, ellipse.major + gain
    minor, major = (2 * round(min(axis, rules.largest_axis) / 2) for axis in axes)
    rows, columns = _inside(ellipse._replace(minor=minor, major=major), plane.shape)
    free = plane[rows, columns] & SATURATED == 0
    plane[rows[free], columns[free]] |= JUMP


def _inside(ellipse: Ellipse, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels inside an ellipse whose centre and semi-axes are rounded to pixels."""
    from skimage.draw import ellipse as draw

    minor, major = round(ellipse.minor / 2), round(ellipse.major / 2)
    if minor == 0 or major == 0:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    rows, columns = draw(
        round(ellipse.y), round(ellipse.x), major, minor, shape, np.radians(ellipse.angle)
    )
    return rows, columns
