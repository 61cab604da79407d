"""Flag the groups that a cosmic ray lifted, by two-point differences.

Three tests, chosen by the number of differences: with few, outliers are taken out one by one; with
``min_diffs_single_pass`` or more in an integration all are flagged at once; with ``minimum_sigclip_groups`` or more
integrations the scatter is measured by sigma clipping.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from pydantic import Field

from jwpipe.dq import Group
from jwpipe.exposure import ExposureError, Header
from jwpipe.numerics.clipped_ramps import detect_by_scatter
from jwpipe.numerics.jump_flags import clear_flagged_planes, without_gain, without_void_jumps
from jwpipe.numerics.jump_spread import fill_medians, flag_following, flag_neighbours
from jwpipe.numerics.planes import usable_windows, whole_planes
from jwpipe.numerics.two_point import detect
from jwpipe.numerics.views import read_only
from jwpipe.refs import RefArray, References
from jwpipe.stage1.events.showers import (
    ShowerRules,
    look_for_showers,
    mark,
    mark_raised,
    settle,
    shower_halo,
    shower_rules,
)
from jwpipe.stage1.void_groups import void_groups
from jwpipe.step import Look, Params, Step, Survey

DO_NOT_USE = np.uint8(Group.DO_NOT_USE)
MINIMUM_GROUPS = 3


class JumpParams(Params):
    """Parameters of the jump step; expand_large_events and after it: snowballs; find_showers and after it: MIRI."""

    rejection_threshold: float = Field(
        4.0, ge=0, description="standard deviations from the median that make a jump"
    )
    three_group_rejection_threshold: float = Field(
        6.0, ge=0, description="the same where a pixel has three usable groups (two differences)"
    )
    four_group_rejection_threshold: float = Field(
        5.0, ge=0, description="the same where a pixel has four usable groups (three differences)"
    )
    maximum_cores: str = Field("1", description="no effect: dask spreads the work over the cores")
    flag_4_neighbors: bool = Field(
        True, description="flag the four neighbours of a jump in the same group as well"
    )
    max_jump_to_flag_neighbors: float = Field(
        1000.0, description="largest jump, in standard deviations, whose neighbours are flagged"
    )
    min_jump_to_flag_neighbors: float = Field(
        10.0, description="smallest jump, in standard deviations, whose neighbours are flagged"
    )
    after_jump_flag_dn1: float = Field(
        0.0, description="jump in DN from which the groups that follow are flagged too, first pair"
    )
    after_jump_flag_time1: float = Field(
        0.0, description="seconds after such a jump whose groups are flagged, first pair"
    )
    after_jump_flag_dn2: float = Field(
        0.0, description="jump in DN from which the groups that follow are flagged too, second pair"
    )
    after_jump_flag_time2: float = Field(
        0.0, description="seconds after such a jump whose groups are flagged, second pair"
    )
    expand_large_events: bool = Field(
        False, description="find snowballs in near-infrared frames and flag their surroundings"
    )
    min_sat_area: float = Field(1.0, description="smallest saturated core of a snowball, in pixels")
    min_jump_area: float = Field(
        5.0,
        description="smallest area of touching jumps that is looked at as a snowball, in pixels",
    )
    expand_factor: float = Field(
        2.0, description="factor by which the ellipse of a snowball is enlarged before flagging"
    )
    use_ellipses: bool = Field(
        False, description="no effect: ellipses are always used; kept for old parameter files"
    )
    sat_required_snowball: bool = Field(
        True, description="a snowball must have a saturated core, but at the frame's edges"
    )
    min_sat_radius_extend: float = Field(
        2.5, description="cores whose minor axis exceeds this many pixels are themselves enlarged"
    )
    sat_expand: int = Field(
        2, description="pixels added to the radius of a saturated core of a snowball"
    )
    edge_size: int = Field(
        25, description="distance from the frame's edge, in pixels, where no core is required"
    )
    mask_snowball_core_next_int: bool = Field(
        True, description="flag the saturated cores as jumps in the next integration as well"
    )
    snowball_time_masked_next_int: int = Field(
        4000, description="seconds of the next integration over which cores are flagged"
    )
    find_showers: bool = Field(
        False, description="find cosmic-ray showers in MIRI frames and flag them"
    )
    max_shower_amplitude: float = Field(
        4.0,
        description="largest change of a pixel's rate by a shower, DN/s; the default stands for 6 electron/s, which "
        "the JWST calibration pipeline 3.0.0 takes whatever is set",
    )
    extend_snr_threshold: float = Field(
        1.2, description="smallest smoothed signal-to-noise ratio of a shower"
    )
    extend_min_area: int = Field(90, description="smallest area of a shower, in pixels")
    extend_inner_radius: float = Field(
        1.0,
        description="inner radius, in pixels, of the ring that smooths before showers are looked for",
    )
    extend_outer_radius: float = Field(2.6, description="width of that ring, in pixels")
    extend_ellipse_expand_ratio: float = Field(
        1.1, description="factor by which the ellipse of a shower is enlarged before flagging"
    )
    time_masked_after_shower: float = Field(
        15.0, description="seconds after a shower whose groups are flagged"
    )
    min_diffs_single_pass: int = Field(
        10, description="differences in an integration from which all jumps are flagged at once"
    )
    max_extended_radius: int = Field(
        200, description="largest radius of an enlarged snowball or shower, in pixels"
    )
    minimum_groups: int = Field(
        3,
        description="no effect, as in the JWST calibration pipeline on one core: three groups are needed",
    )
    minimum_sigclip_groups: int = Field(
        100, description="integrations (or usable groups) from which sigma clipping is used"
    )
    only_use_ints: bool = Field(
        True,
        description="clip each difference among the integrations only; otherwise all differences together",
    )


@dataclass(frozen=True)
class Detection:
    """How jumps are told from noise.

    ``thresholds`` are standard deviations for two, three and more differences; ``single_pass`` differences in an
    integration and ``clip`` integrations (or groups, unless ``only_integrations``) decide on the test.
    """

    nframes: int
    thresholds: tuple[float, float, float]
    single_pass: int
    clip: int
    only_integrations: bool

    def test(self, groupdq: np.ndarray, known: np.ndarray | None = None) -> str:
        """``scatter``, ``at once``, ``one by one`` or, with too few usable groups, ``none``; ``known`` (i, g): void."""
        integrations, groups = groupdq.shape[:2]
        void = whole_planes(*read_only(groupdq), DO_NOT_USE) if known is None else known
        usable = groups - int(void.sum(axis=1).max())
        samples = integrations if self.only_integrations else int(void.size - void.sum())
        if samples >= self.clip:
            return "scatter"
        if usable < MINIMUM_GROUPS:
            return "none"
        return "at once" if usable - 1 >= self.single_pass else "one by one"


def find_jumps(
    sci: np.ndarray,
    groupdq: np.ndarray,
    pixeldq: np.ndarray,
    gain: np.ndarray,
    readnoise: np.ndarray,
    median_gain: float,
    void: np.ndarray | None = None,
    *,
    detection: Detection,
    neighbours: tuple[float, float] | None,
    after_dn: tuple[float, float],
    after_groups: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Flag jumps, their neighbours and what follows them.

    Parameters
    ----------
    sci
        Linear counts (i, g, y, x), DN.
    groupdq, pixeldq
        Flags (i, g, y, x) and (y, x).
    gain, readnoise
        Gain (y, x), electron/DN, and noise of a pair of frames (y, x), DN.
    median_gain
        Median gain of the whole frame, which turns ``after_dn`` into electrons.
    void
        Groups that no pixel of the exposure can use, as ``void_groups`` finds them; they bear on the choice of the
        test. Told from the rows at hand if ``None``.
    neighbours
        Standard deviations between which the four neighbours of a jump are flagged; ``None``: never.
    after_dn, after_groups
        Jumps of at least so many DN flag so many groups after them.

    Returns
    -------
    groupdq, pixeldq
        With JUMP_DET; with NO_GAIN_VALUE and DO_NOT_USE where the gain is NaN or not positive.
    median_step
        Median difference (i, y, x), DN, of each ramp that lacks none among the groups that any pixel at hand can use,
        else NaN; ``None`` where the test does not tell.
    """
    sci, groupdq, gain, readnoise = read_only(sci, groupdq, gain, readnoise)
    new_pixeldq = without_gain(*read_only(pixeldq), gain)
    flags = without_void_jumps(groupdq)
    test = detection.test(groupdq, None if void is None else void[0])
    if test == "none":
        return flags, new_pixeldq, None
    medians = np.full(gain.shape, np.nan)
    middles = np.full((sci.shape[0], *gain.shape), np.nan)
    _detect(test, detection, sci, groupdq, gain, readnoise, flags, medians, middles)
    if neighbours is not None:
        detected, flags = flags, flags.copy()
        flag_neighbours(
            sci, groupdq, gain, readnoise, detection.nframes, medians, detected, neighbours, flags
        )
    if max(after_groups) > 0:
        fill_medians(sci, groupdq, gain, flags, medians)
        rises = (after_dn[0] * median_gain, after_dn[1] * median_gain)
        flag_following(sci, groupdq, gain, medians, rises, after_groups, flags)
    return flags, new_pixeldq, None if test == "scatter" else middles


def find_events(
    sci: np.ndarray,
    groupdq: np.ndarray,
    pixeldq: np.ndarray,
    gain: np.ndarray,
    readnoise: np.ndarray,
    median_gain: float,
    void: np.ndarray | None = None,
    *,
    showers: ShowerRules | None,
    **rules: Any,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Flag jumps (``find_jumps``), and mark where showers may be (``mark_raised``) if there are rules for them."""
    ramps = sci, groupdq, pixeldq, gain, readnoise
    flags, new_pixeldq, medians = find_jumps(*ramps, median_gain, void, **rules)
    if showers is not None:
        known = None if void is None else void[0]
        flags = mark_raised(sci, flags, new_pixeldq, gain, readnoise, known, showers)
    return flags, new_pixeldq, medians


def _detect(
    test: str,
    detection: Detection,
    sci: np.ndarray,
    groupdq: np.ndarray,
    gain: np.ndarray,
    readnoise: np.ndarray,
    flags: np.ndarray,
    medians: np.ndarray,
    middles: np.ndarray,
) -> None:
    """Run the test chosen; it writes into ``flags``, and what medians it found by the way into the last two."""
    thresholds, nframes = detection.thresholds, detection.nframes
    if test == "scatter":
        only_integrations = detection.only_integrations
        detect_by_scatter(sci, groupdq, gain, thresholds[2], only_integrations, flags)
        clear_flagged_planes(flags)
        return
    ramps, at_once = (sci, groupdq, usable_windows(groupdq)), test == "at once"
    detect(*ramps, gain, readnoise, nframes, thresholds, at_once, flags, medians, middles)


def _keywords(header: Header, params: JumpParams) -> dict[str, Any]:
    times = params.after_jump_flag_time1, params.after_jump_flag_time2
    group_time = float(header["TGROUP"])
    limits = params.min_jump_to_flag_neighbors, params.max_jump_to_flag_neighbors
    return {
        "showers": None if _showers_after(params) else _shower_rules(header, params),
        "detection": Detection(
            int(header["NFRAMES"]),
            (
                params.three_group_rejection_threshold,
                params.four_group_rejection_threshold,
                params.rejection_threshold,
            ),
            params.min_diffs_single_pass,
            params.minimum_sigclip_groups,
            params.only_use_ints,
        ),
        "neighbours": limits if params.flag_4_neighbors else None,
        "after_dn": (params.after_jump_flag_dn1, params.after_jump_flag_dn2),
        "after_groups": (int(times[0] // group_time), int(times[1] // group_time)),
    }


def _prepare(references: References, header: Header, params: JumpParams) -> tuple[Any, ...]:
    """Gain, read noise, and the frame's median gain where the flags after a jump need it."""
    gain, readnoise = (_pixels(references, kind) for kind in ("gain", "readnoise"))
    flags_after = max(params.after_jump_flag_time1, params.after_jump_flag_time2) > 0
    return gain, readnoise, float(np.nanmedian(gain.read())) if flags_after else 1.0


def _pixels(references: References, kind: str) -> RefArray:
    file = references[kind]
    pixels = None if file is None else file.array("sci")
    if pixels is None:
        raise ExposureError(f"jump: {file}: no SCI extension; give a {kind} reference with one")
    return pixels


def _applies(header: Header, params: JumpParams) -> str:
    groups = int(header["NGROUPS"])
    return "" if groups > 2 else f"jumps cannot be told with {groups} groups"


def _halo(params: JumpParams) -> int:
    reach = 0 if _showers_after(params) or not params.find_showers else shower_halo(params)
    return reach + (1 if params.flag_4_neighbors else 0)


def _showers_after(params: JumpParams) -> bool:
    """Whether showers are looked for once snowballs are flagged, for which there must be both."""
    return params.find_showers and params.expand_large_events


def _shower_rules(header: Header, params: JumpParams) -> ShowerRules | None:
    return shower_rules(header, params) if params.find_showers else None


def _frames(header: Header, params: JumpParams) -> Look | None:
    """Look at whole frames for snowballs; for showers where there are none of those to be flagged before."""
    from jwpipe.stage1.events.snowballs import flag_integration, mark_cores, snowball_rules

    if params.expand_large_events:
        snowballs = snowball_rules(header, params)
        return Look(partial(flag_integration, **snowballs), partial(mark_cores, **snowballs))
    return look_for_showers(header, params) if params.find_showers else None


def _settle(header: Header, params: JumpParams) -> Step | None:
    if _showers_after(params):
        return mark
    return settle if params.find_showers else None


def _survey(references: References, header: Header, params: JumpParams) -> Survey | None:
    return void_groups(header)


jump = Step(
    "jump",
    find_events,
    reads=("sci", "groupdq", "pixeldq"),
    writes=("groupdq", "pixeldq", "median_step?"),
    refs=("gain.sci", "readnoise.sci"),
    params=JumpParams,
    keywords=_keywords,
    applies=_applies,
    halo=_halo,
    prepare=_prepare,
    frames=_frames,
    survey=_survey,
    settle=_settle,
)
