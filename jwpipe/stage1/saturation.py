"""Flag groups at the full-well limit of their pixel, and groups at the floor of the A/D converter.

A pixel once at its limit stays ``SATURATED`` to the end of the integration, and so do the
neighbours that its charge spills into. A group that averages several frames can hide frames at the
limit: two tests with the read pattern find such groups and mark them ``DO_NOT_USE``.
"""

from typing import Any

import numpy as np
from pydantic import Field

from jwpipe.dq import Group, Pixel
from jwpipe.exposure import Header
from jwpipe.numerics.jit import kernel
from jwpipe.step import Params, Step, carries_zeroframe

SATURATED = np.uint8(Group.SATURATED)
UNUSABLE = np.uint8(Group.DO_NOT_USE)
FLOOR = np.uint8(Group.AD_FLOOR | Group.DO_NOT_USE)
NO_CHECK = np.uint32(Pixel.NO_SAT_CHECK)
BEYOND_CONVERTER = np.float32(65536.0)


class SaturationParams(Params):
    """Parameters of the saturation step."""

    n_pix_grow_sat: int = Field(
        1,
        ge=0,
        description="layers of pixels around a saturated pixel to flag as well",
    )
    use_readpatt: bool = Field(
        True, description="look for frames that saturated inside an averaged group"
    )


def flag_saturated(
    sci: np.ndarray,
    groupdq: np.ndarray,
    pixeldq: np.ndarray,
    zeroframe: np.ndarray | None,
    limit: np.ndarray,
    limit_dq: np.ndarray,
    bias: np.ndarray | None,
    *,
    n_pix_grow_sat: int,
    use_readpatt: bool,
    nframes: int,
    interleaved: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Flag saturated groups; zero the unusable pixels of the zero frame.

    Parameters
    ----------
    sci
        Raw counts (i, g, y, x), DN.
    groupdq, pixeldq
        Flags (i, g, y, x) and (y, x).
    zeroframe
        First frames (i, y, x), DN; 0 means "no data" from here on.
    limit, limit_dq
        Full-well limit (y, x) in raw DN and its flags. Pixels with a limit of NaN or with
        ``NO_SAT_CHECK`` are never saturated.
    bias
        Superbias (y, x), DN, for the test of the second group; ``None`` counts as zero.
    nframes
        Frames averaged into a group.
    interleaved
        True of NIRSpec's IRS2 frames: the second group gets SATURATED, which grows, and no group is looked at for
        dilution, as in jwst 3.0.0.

    Returns
    -------
    groupdq, pixeldq, zeroframe
        With SATURATED, AD_FLOOR, DO_NOT_USE and NO_SAT_CHECK added.
    """
    usable_limit, unchecked, new_pixeldq = _usable_limit(limit, limit_dq, pixeldq)
    flags = _flag_ramps(sci, groupdq, usable_limit, n_pix_grow_sat)
    if use_readpatt:
        if nframes > 1 and not interleaved:
            _flag_diluted(sci, flags, usable_limit, unchecked, n_pix_grow_sat, nframes)
        if sci.shape[1] > 2:
            level = np.zeros_like(limit) if bias is None else bias
            second = _saturate_second_group if interleaved else _flag_second_group
            second(sci, flags, usable_limit, level, nframes, n_pix_grow_sat)
    return flags, new_pixeldq, _blank_zeroframe(zeroframe, usable_limit, n_pix_grow_sat)


def _blank_zeroframe(
    zeroframe: np.ndarray | None, limit: np.ndarray, reach: int
) -> np.ndarray | None:
    if zeroframe is None:
        return None
    frames = zeroframe[:, np.newaxis]
    flags = _flag_ramps(frames, np.zeros(frames.shape, np.uint8), limit, reach)
    return np.where(flags[:, 0] != 0, np.float32(0.0), zeroframe)


@kernel
def _usable_limit(
    limit: np.ndarray, limit_dq: np.ndarray, pixeldq: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the limit to apply, where there is none (bool), and the pixel flags with its own."""
    usable = np.empty_like(limit)
    unchecked = np.empty(limit.shape, np.bool_)
    flags = np.empty_like(pixeldq)
    rows, columns = limit.shape
    for y in range(rows):
        for x in range(columns):
            value = limit[y, x]
            flag = limit_dq[y, x] | (NO_CHECK if value != value else np.uint32(0))
            without = (flag & NO_CHECK) != 0
            unchecked[y, x] = without
            usable[y, x] = BEYOND_CONVERTER if without else value
            flags[y, x] = pixeldq[y, x] | flag
    return usable, unchecked, flags


@kernel
def _flag_ramps(sci: np.ndarray, groupdq: np.ndarray, limit: np.ndarray, reach: int) -> np.ndarray:
    """Flag saturation from its first group on and grow it; flag the floor group by group."""
    integrations, groups, rows, columns = sci.shape
    flags = np.empty_like(groupdq)
    seeds = np.empty((rows, columns), np.uint8)
    hit = np.empty(rows, np.bool_)
    for i in range(integrations):
        saturated = np.zeros((rows, columns), np.uint8)
        for g in range(groups):
            for y in range(rows):
                hit[y] = _flag_row(
                    sci[i, g, y], groupdq[i, g, y], limit[y], saturated[y], seeds[y], flags[i, g, y]
                )
            _grow(seeds, hit, reach, flags[i, g])
    return flags


@kernel
def _flag_row(
    values: np.ndarray,
    given: np.ndarray,
    limit: np.ndarray,
    saturated: np.ndarray,
    seeds: np.ndarray,
    flags: np.ndarray,
) -> bool:
    """Flag one row of one group; tell whether any is saturated (``saturated``: ramps so far)."""
    found = np.uint8(0)
    for x in range(values.size):
        value = values[x]
        above = SATURATED if value >= limit[x] else np.uint8(0)
        floor = FLOOR if value <= 0 else np.uint8(0)
        since = np.uint8(saturated[x] | above)
        flag = np.uint8(given[x] | since | floor)
        saturated[x], flags[x] = since, flag
        seeds[x] = flag & SATURATED
        found = np.uint8(found | flag)
    return (found & SATURATED) != 0


@kernel
def _grow(seeds: np.ndarray, hit: np.ndarray, reach: int, flags: np.ndarray) -> None:
    """Add the non-zero ``seeds`` to ``flags`` in the square of ``reach`` pixels around each."""
    rows, columns = seeds.shape
    spread = np.zeros(columns + 2 * reach, np.uint8)
    for y in range(rows):
        first, stop = max(y - reach, 0), min(y + reach + 1, rows)
        if not np.any(hit[first:stop]):
            continue
        spread[:] = 0
        for near in range(first, stop):
            if hit[near]:
                _merge(spread[reach : reach + columns], seeds[near])
        for shift in range(2 * reach + 1):
            _merge(flags[y], spread[shift : shift + columns])


@kernel
def _merge(flags: np.ndarray, more: np.ndarray) -> None:
    for x in range(flags.size):
        flags[x] |= more[x]


@kernel
def _turns_saturated(now: np.ndarray, later: np.ndarray, clear: np.uint8) -> bool:
    """Tell whether a pixel of the row has none of the ``clear`` flags now and saturates later."""
    found = np.uint8(0)
    for x in range(now.size):
        before, after = now[x] & clear, np.uint8(later[x] & SATURATED)
        found = np.uint8(found | (after if before == 0 else np.uint8(0)))
    return found != 0


@kernel
def _flag_diluted(
    sci: np.ndarray,
    flags: np.ndarray,
    limit: np.ndarray,
    unchecked: np.ndarray,
    reach: int,
    nframes: int,
) -> None:
    """Mark a group DO_NOT_USE whose value allows that some of its frames were at the limit.

    A pixel that reaches its limit in the last frame of a group has the average
    ``limit * mean(frame) / last(frame)`` at most; it counts if it is saturated in the next group.
    """
    integrations, groups, rows, columns = sci.shape
    clear = SATURATED | UNUSABLE
    seeds = np.zeros((rows, columns), np.uint8)
    hit = np.empty(rows, np.bool_)
    for i in range(integrations):
        for g in range(groups - 1):
            last = (g + 1) * nframes
            dilution = (g * nframes + (nframes + 1) / 2) / last
            for y in range(rows):
                now, later = flags[i, g, y], flags[i, g + 1, y]
                hit[y] = _turns_saturated(now, later, clear) and _dilute_row(
                    sci[i, g, y], limit[y], unchecked[y], dilution, now, later, seeds[y]
                )
            _grow(seeds, hit, reach, flags[i, g])


@kernel
def _dilute_row(
    values: np.ndarray,
    limit: np.ndarray,
    unchecked: np.ndarray,
    dilution: float,
    now: np.ndarray,
    later: np.ndarray,
    seeds: np.ndarray,
) -> bool:
    """Mark the pixels of a row in ``seeds`` that the dilution test finds; tell whether any."""
    clear = SATURATED | UNUSABLE
    found = np.uint8(0)
    for x in range(values.size):
        least = limit[x] * (1.0 if unchecked[x] else dilution)
        turns = ((now[x] & clear) == 0) & ((later[x] & SATURATED) != 0)
        seeds[x] = UNUSABLE if turns & (values[x] >= least) else np.uint8(0)
        found = np.uint8(found | seeds[x])
    return found != 0


@kernel
def _flag_second_group(
    sci: np.ndarray,
    flags: np.ndarray,
    limit: np.ndarray,
    bias: np.ndarray,
    nframes: int,
    reach: int,
) -> None:
    """Mark the second group DO_NOT_USE where a hit in its last frames explains the saturated third.

    The first group's rate must not saturate the third group, and the second must have risen by
    more than one frame at the limit adds to the average.
    """
    integrations, _, rows, columns = sci.shape
    for i in range(integrations):
        for y in range(rows):
            if not _turns_saturated(flags[i, 1, y], flags[i, 2, y], SATURATED):
                continue
            for x in range(columns):
                turns = (flags[i, 1, y, x] & SATURATED) == 0 and (
                    flags[i, 2, y, x] & SATURATED
                ) != 0
                if not turns:
                    continue
                if _hit_in_second(
                    sci[i, 0, y, x], sci[i, 1, y, x], limit[y, x], bias[y, x], nframes
                ):
                    flags[i, 1, y, x] |= UNUSABLE


@kernel
def _hit_in_second(
    first: np.float32, second: np.float32, limit: np.float32, bias: np.float32, nframes: int
) -> bool:
    """Tell whether the rate of the first group does not explain the second one, were the third saturated."""
    expected = (first - bias) / ((nframes + 1) / 2) * (3 * nframes) + bias
    return bool(expected < limit and second - first > (limit - first) / np.float32(nframes))


@kernel
def _saturate_second_group(
    sci: np.ndarray,
    flags: np.ndarray,
    limit: np.ndarray,
    bias: np.ndarray,
    nframes: int,
    reach: int,
) -> None:
    """Mark the second group SATURATED where a hit in it explains that the third is above its limit, and around."""
    integrations, _, rows, columns = sci.shape
    seeds = np.empty((rows, columns), np.uint8)
    hit = np.empty(rows, np.bool_)
    for i in range(integrations):
        for y in range(rows):
            hit[y] = False
            for x in range(columns):
                found = sci[i, 2, y, x] >= limit[y, x] and _hit_in_second(
                    sci[i, 0, y, x], sci[i, 1, y, x], limit[y, x], bias[y, x], nframes
                )
                seeds[y, x] = SATURATED if found else np.uint8(0)
                hit[y] |= found
        _grow(seeds, hit, reach, flags[i, 1])


def _keywords(header: Header, params: SaturationParams) -> dict[str, Any]:
    nframes = int(header["NFRAMES"]) if params.use_readpatt else 1
    interleaved = header.get("INSTRUME") == "NIRSPEC" and "IRS2" in str(header.get("READPATT", ""))
    return params.own() | {"nframes": nframes, "interleaved": interleaved}


def _halo(params: SaturationParams) -> int:
    """Twice the growth: the dilution test looks at grown flags and its own flags grow again."""
    return params.n_pix_grow_sat * (2 if params.use_readpatt else 1)


saturation = Step(
    "saturation",
    flag_saturated,
    reads=("sci", "groupdq", "pixeldq", "zeroframe?"),
    writes=("groupdq", "pixeldq", "zeroframe?"),
    refs=("saturation.sci", "saturation.dq", "superbias.sci?"),
    params=SaturationParams,
    keywords=_keywords,
    halo=_halo,
    carries=carries_zeroframe,
    apart=True,
)
