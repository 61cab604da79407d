"""Flag showers: cosmic-ray events that spread faint light over wide areas of MIRI frames.

Three looks at the ramps. Strip by strip, next to the jumps, the pixels are marked around which differences lie high
(``mark_raised``). In whole frames of these marks, large connected areas become ellipses (``flag_showers``). Strip by
strip again, flags stay where the rate without the flagged groups is much the same (``settle_showers``).

Where snowballs are looked for as well, whole frames are looked at for them before: then the marks are a pass of their
own (``mark``), since no pixel of a snowball must raise those around it.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from jwpipe.dq import Group, Pixel
from jwpipe.exposure import Header
from jwpipe.numerics.ellipses import Ellipse, ellipses, pixels_inside
from jwpipe.numerics.planes import whole_planes
from jwpipe.numerics.regions import find_regions
from jwpipe.numerics.shower_signal import (
    Ring,
    flag_raised,
    medians_of_all,
    ring,
    scatter_of_integrations,
    settle_flags,
)
from jwpipe.numerics.views import read_only
from jwpipe.stage1.void_groups import void_groups
from jwpipe.step import Look, Step

JUMP = np.uint8(Group.JUMP_DET)
SATURATED = np.uint8(Group.SATURATED)
DO_NOT_USE = np.uint8(Group.DO_NOT_USE)
UNUSABLE = np.uint32(Pixel.DO_NOT_USE | Pixel.SATURATED | Pixel.JUMP_DET)
REFERENCE = np.uint32(Pixel.REFERENCE_PIXEL)
# A bit that no group flag uses: marks that are settled before any other step sees them.
MARK = np.uint8(1 << 4)
FEWEST_DIFFERENCES = 10
DEFAULT_AMPLITUDE = 4.0
# The JWST calibration pipeline 3.0.0 takes this, in electron/s, whatever the parameter says.
AMPLITUDE = 6.0


@dataclass(frozen=True, eq=False)
class ShowerRules:
    """What makes a shower and how far it reaches.

    ``nframes`` are averaged into a group; from ``clip`` integrations on the scatter is measured. ``ring`` is averaged
    over and compared with ``threshold``; ``least_area`` pixels together are a shower, enlarged by ``factor`` up to
    full axes of ``largest_axis`` pixels and flagged in ``later`` more groups.
    """

    nframes: int
    clip: int
    ring: Ring
    threshold: float
    least_area: int
    factor: float
    largest_axis: float
    later: int


def shower_rules(header: Header, params: Any) -> ShowerRules:
    """The rules that the parameters of the jump step set."""
    return ShowerRules(
        int(header["NFRAMES"]),
        params.minimum_sigclip_groups,
        ring(params.extend_inner_radius, params.extend_outer_radius),
        params.extend_snr_threshold,
        params.extend_min_area,
        params.extend_ellipse_expand_ratio,
        2 * params.max_extended_radius,
        int(params.time_masked_after_shower // float(header["TGROUP"])),
    )


def mark_raised(
    sci: np.ndarray,
    groupdq: np.ndarray,
    pixeldq: np.ndarray,
    gain: np.ndarray,
    readnoise: np.ndarray,
    void: np.ndarray | None,
    rules: ShowerRules,
) -> np.ndarray:
    """Flags (i, g, y, x) with ``MARK`` where the differences around a pixel lie high.

    ``groupdq`` holds the jumps; ``void`` (i, g) are groups that no pixel can use, told from the rows at hand if
    ``None``. Of fewer than ten differences in all nothing is marked.
    """
    planes = whole_planes(*read_only(groupdq), DO_NOT_USE) if void is None else void
    integrations, groups = groupdq.shape[:2]
    marked = groupdq.copy()
    if integrations * (groups - 1) - int(planes.sum()) < FEWEST_DIFFERENCES:
        return marked
    arrays = read_only(sci, groupdq, gain)
    if integrations >= rules.clip:
        medians, widths = scatter_of_integrations(*arrays)
    else:
        medians = medians_of_all(*arrays)[np.newaxis]
        noise = readnoise * gain
        widths = np.sqrt(np.abs(medians) + noise**2 / np.float32(rules.nframes))
    first = np.where(planes.all(axis=1), 0, planes.argmin(axis=1))
    flag_raised(
        *read_only(sci, groupdq, (pixeldq & UNUSABLE != 0) | (pixeldq == REFERENCE)),
        *read_only(gain, medians, widths, first, rules.ring.offsets),
        rules.ring.reach,
        rules.threshold,
        MARK,
        marked,
    )
    return marked


def flag_showers(groupdq: np.ndarray, *, rules: ShowerRules) -> np.ndarray:
    """Flags of whole frames (i, g, y, x), ``MARK`` not on the single pixels any more but on showers.

    A shower is marked in the group where it shows, and in those after it, but from where a pixel saturates on.
    """
    flags = groupdq & ~MARK
    none = np.zeros(groupdq.shape[2:], np.uint8)
    for marks, ramp in zip(groupdq, flags, strict=True):
        for group, plane in enumerate(marks):
            for found in list(ellipses(find_regions(plane, none, MARK), rules.least_area)):
                _mark_ellipse(ramp[group : group + 1 + rules.later], found, rules)
    return flags


def _mark_ellipse(ramp: np.ndarray, found: Ellipse, rules: ShowerRules) -> None:
    wide = found.enlarged(rules.factor, rules.largest_axis)
    rows, columns = pixels_inside(wide, ramp.shape[1:])
    for plane in ramp:
        free = plane[rows, columns] & SATURATED == 0
        rows, columns = rows[free], columns[free]
        plane[rows, columns] |= MARK


def settle_showers(
    sci: np.ndarray,
    groupdq: np.ndarray,
    pixeldq: np.ndarray,
    gain: np.ndarray,
    *,
    limit: float,
    in_counts: bool,
) -> tuple[np.ndarray]:
    """Flags (i, g, y, x) with JUMP_DET for ``MARK`` in pixels whose rate changes little without the marked groups.

    ``limit`` is in electrons a group, or in DN if ``in_counts``. Reference pixels keep no mark.
    """
    most = gain * np.float32(limit) if in_counts else np.full_like(gain, limit)
    excluded = pixeldq == REFERENCE
    return (settle_flags(*read_only(sci, groupdq, excluded, gain, most), MARK, JUMP),)


def _settle_keywords(header: Header, params: Any) -> dict[str, Any]:
    given = params.max_shower_amplitude != DEFAULT_AMPLITUDE
    amplitude = params.max_shower_amplitude if given else AMPLITUDE
    return {"limit": amplitude * float(header["TGROUP"]), "in_counts": given}


settle = Step(
    "showers",
    settle_showers,
    reads=("sci", "groupdq", "pixeldq"),
    writes=("groupdq",),
    refs=("gain.sci",),
    keywords=_settle_keywords,
)
"""What the jump step does last, once whole frames have been looked at; it takes the parameters of jump."""


def look_for_showers(header: Header, params: Any) -> Look:
    """A look at whole frames of marks."""
    return Look(partial(_find, shower_rules(header, params)))


def _find(rules: ShowerRules, flags: np.ndarray) -> tuple[np.ndarray, None]:
    return flag_showers(flags[np.newaxis], rules=rules)[0], None


def shower_halo(params: Any) -> int:
    """Rows that the ring around a pixel reaches."""
    return ring(params.extend_inner_radius, params.extend_outer_radius).reach


def mark_after_snowballs(
    sci: np.ndarray,
    groupdq: np.ndarray,
    pixeldq: np.ndarray,
    gain: np.ndarray,
    readnoise: np.ndarray,
    void: np.ndarray | None = None,
    *,
    rules: ShowerRules,
) -> tuple[np.ndarray]:
    """``mark_raised`` as a step; ``void`` is what the survey finds."""
    known = None if void is None else void[0]
    return (mark_raised(sci, groupdq, pixeldq, gain, readnoise, known, rules),)


mark = Step(
    "showers",
    mark_after_snowballs,
    reads=("sci", "groupdq", "pixeldq"),
    writes=("groupdq",),
    refs=("gain.sci", "readnoise.sci"),
    keywords=lambda header, params: {"rules": shower_rules(header, params)},
    halo=shower_halo,
    frames=look_for_showers,
    survey=lambda references, header, params: void_groups(header),
    settle=lambda header, params: settle,
)
"""What the jump step does once snowballs are flagged, where it looks for showers too."""
