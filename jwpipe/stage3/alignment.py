"""Solving for the pointing errors of exposures from their catalogues of sources; no pixels needed.

Groups of exposures are fitted to one another (the first pair by overlap is the start), then, where there is an
absolute catalogue, all together to that. Matching and fitting are tweakwcs'. What a fit is worth is judged here:
an implausible one is applied, as in the JWST calibration pipeline, but not in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import pi, sqrt
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from jwpipe.exposure import ExposureError
from jwpipe.stage3.groups import members
from jwpipe.wcs.pointing import Pointing

if TYPE_CHECKING:
    from astropy.table import Table
    from gwcs import WCS

    from jwpipe.stage3.tweakreg import TweakregParams

MOST_RESIDUAL = 0.5
"""Root mean square residual, in pixels, above which matched sources cannot be the same sources."""
LEAST_KEPT = 0.5
"""Fraction of the matches that a sound fit keeps after clipping."""
CROWDED = 0.25
"""Chance partners of a source within the matching tolerance above which crowding explains false matches."""
FEW_BY_CHANCE = 0.05
"""Chance partners that are harmless."""
ABSOLUTE_GROUP = 987654
ONE_GROUP = "at least two groups of exposures are needed to align them with each other"


@dataclass(frozen=True)
class Pointed:
    """What alignment needs to know of an exposure."""

    name: str
    group: str
    wcs: WCS
    pointing: Pointing


@dataclass(frozen=True)
class GroupFit:
    """How a group was moved: shift in arcsec and rotation in degrees in the tangent plane along V2, V3."""

    group: str
    names: tuple[str, ...]
    status: Literal["aligned", "reference", "failed"]
    reason: str = ""
    shift: tuple[float, float] = (0.0, 0.0)
    rotation: float = 0.0
    scale: float = 1.0
    rms: float = 0.0
    matches: int = 0
    fitted: int = 0
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Alignment:
    """The corrected WCS of each exposure, and what was done.

    ``aligned`` says which exposures' WCS are new. ``status`` is COMPLETE, or FAILED for a ``reason``; then nothing
    was moved.
    """

    wcs: tuple[WCS, ...]
    aligned: tuple[bool, ...]
    status: Literal["COMPLETE", "FAILED"]
    reason: str = ""
    relative: tuple[GroupFit, ...] = ()
    absolute: tuple[GroupFit, ...] = ()
    warnings: tuple[str, ...] = field(default=())


class _NotAlignedError(Exception):
    """Alignment is not possible, for the reason given; nothing is moved."""


def align(
    catalogs: Sequence[Table],
    exposures: Sequence[Pointed],
    params: TweakregParams,
    absolute: Table | None = None,
) -> Alignment:
    """Correct the WCS of ``exposures`` so that the sources of their ``catalogs`` fall on one another.

    ``catalogs`` have columns ``x``, ``y`` in 0-based pixels; ``absolute`` has ``RA``, ``DEC`` in degrees. Inputs are
    not changed. Exposures of a group move together. Corrections larger than ``2 (searchrad + tolerance)`` are
    refused. A relative alignment that fails leaves the pointing as it was for the absolute one.
    """
    correctors = _correctors(catalogs, exposures)
    warnings: list[str] = []
    relative: tuple[GroupFit, ...] = ()
    reason = ONE_GROUP
    aligned = len({exposure.group for exposure in exposures}) > 1
    if aligned:
        try:
            relative = _align_relative(correctors, exposures, params, absolute is not None)
        except _NotAlignedError as error:
            aligned, reason = False, str(error)
            correctors = _correctors(catalogs, exposures)
            warnings.append(f"relative alignment: {reason}")
    fits: tuple[GroupFit, ...] = ()
    if absolute is not None:
        try:
            fits = _align_absolute(correctors, exposures, params, absolute)
        except _NotAlignedError as error:
            return skipped(exposures, str(error), relative, tuple(warnings))
    elif not aligned:
        return skipped(exposures, reason, relative, tuple(warnings))
    warnings += [f"{fit.group}: {doubt}" for fit in (*relative, *fits) for doubt in fit.doubts]
    warnings += [
        f"{fit.group}: not aligned, {fit.reason}"
        for fit in (*relative, *fits)
        if fit.status == "failed"
    ]
    return _finished(correctors, exposures, params, relative, fits, tuple(warnings))


def skipped(
    exposures: Sequence[Pointed],
    reason: str,
    relative: tuple[GroupFit, ...] = (),
    warnings: tuple[str, ...] = (),
) -> Alignment:
    """Nothing is moved, for a ``reason``."""
    wcs = tuple(exposure.wcs for exposure in exposures)
    return Alignment(wcs, (False,) * len(wcs), "FAILED", reason, relative, (), warnings)


def _finished(
    correctors: list[Any],
    exposures: Sequence[Pointed],
    params: TweakregParams,
    relative: tuple[GroupFit, ...],
    absolute: tuple[GroupFit, ...],
    warnings: tuple[str, ...],
) -> Alignment:
    aligned = tuple("SUCCESS" in _status(corrector) for corrector in correctors)
    wcs = tuple(
        corrector.wcs if moved else exposure.wcs
        for corrector, moved, exposure in zip(correctors, aligned, exposures, strict=True)
    )
    if absolute:
        for solution, moved in zip(wcs, aligned, strict=True):
            if moved:
                solution.name = f"FIT-LVL3-{params.abs_refcat}"
    return Alignment(wcs, aligned, "COMPLETE", "", relative, absolute, warnings)


def _correctors(catalogs: Sequence[Table], exposures: Sequence[Pointed]) -> list[Any]:
    return [_corrector(*item) for item in zip(catalogs, exposures, strict=True)]


def _corrector(catalog: Table, exposure: Pointed) -> Any:
    from tweakwcs.correctors import JWSTWCSCorrector

    place = exposure.pointing
    try:
        return JWSTWCSCorrector(
            exposure.wcs,
            {"roll_ref": place.roll, "v2_ref": place.v2, "v3_ref": place.v3},
            meta={"catalog": catalog.copy(), "name": exposure.name, "group_id": exposure.group},
        )
    except ValueError as error:
        raise ExposureError(
            f"{exposure.name}: tweakreg: its WCS cannot be corrected ({' '.join(map(str, error.args))}); "
            "expected the frames detector, v2v3 and world, as assign_wcs makes them"
        ) from error


def _align_relative(
    correctors: list[Any], exposures: Sequence[Pointed], params: TweakregParams, expand: bool
) -> tuple[GroupFit, ...]:
    """Align groups with each other in place; the new sources join the reference where an absolute fit follows."""
    _check_separation(params.separation, params.tolerance, "")
    match = {
        "searchrad": params.searchrad,
        "separation": params.separation,
        "use2dhist": params.use2dhist,
        "tolerance": params.tolerance,
        "xoffset": params.xoffset,
        "yoffset": params.yoffset,
    }
    _solve(
        correctors,
        None,
        match,
        enforce_user_order=params.enforce_user_order,
        expand_refcat=params.expand_refcat or expand,
        minobj=params.minobj,
        fitgeom=params.fitgeometry,
        nclip=params.nclip,
        sigma=(params.sigma, "rmse"),
    )
    _check_size(correctors, exposures, params)
    return _fits(correctors, exposures, params.tolerance)


def _align_absolute(
    correctors: list[Any], exposures: Sequence[Pointed], params: TweakregParams, absolute: Table
) -> tuple[GroupFit, ...]:
    """Align all exposures as one group with the ``absolute`` catalogue, in place."""
    _check_separation(params.abs_separation, params.abs_tolerance, "abs_")
    if len(absolute) < params.abs_minobj:
        raise _NotAlignedError(
            f"the absolute catalogue has {len(absolute)} sources, abs_minobj asks for "
            f"{params.abs_minobj}"
        )
    for corrector in correctors:
        corrector.meta["group_id"] = ABSOLUTE_GROUP
        corrector.meta.pop("fit_info", None)
    match = {
        "searchrad": params.abs_searchrad,
        "separation": params.abs_separation,
        "use2dhist": params.abs_use2dhist,
        "tolerance": params.abs_tolerance,
    }
    _solve(
        correctors,
        absolute,
        match,
        enforce_user_order=True,
        expand_refcat=False,
        minobj=params.abs_minobj,
        fitgeom=params.abs_fitgeometry,
        nclip=params.abs_nclip,
        sigma=(params.abs_sigma, "rmse"),
    )
    return _fits(correctors, exposures, params.abs_tolerance, "absolute")


def _check_separation(separation: float, tolerance: float, prefix: str) -> None:
    if separation <= sqrt(2) * tolerance:
        raise _NotAlignedError(
            f"{prefix}separation is {separation:g} arcsec; to tell sources apart it must exceed "
            f"{prefix}tolerance by the square root of two: {sqrt(2) * tolerance:.3g} arcsec"
        )


def _solve(
    correctors: list[Any], reference: Table | None, match: dict[str, Any], **options: Any
) -> None:
    from tweakwcs.imalign import NotEnoughCatalogs, align_wcs
    from tweakwcs.matchutils import MatchSourceConfusionError, XYXYMatch

    try:
        align_wcs(
            correctors, refcat=reference, match=XYXYMatch(**match), clip_accum=False, **options
        )
    except NotEnoughCatalogs:
        wanted = "one group" if reference is not None else "two groups"
        raise _NotAlignedError(
            f"fewer than {wanted} of exposures have any sources; lower snr_threshold"
        ) from None
    except MatchSourceConfusionError as error:
        raise _NotAlignedError(
            f"several sources match one reference source ({error}); "
            "lower the tolerance or raise the separation"
        ) from None
    except (ValueError, RuntimeError, ArithmeticError) as error:
        raise _NotAlignedError(f"matching or fitting failed: {error}") from error


def _status(corrector: Any) -> str:
    return str(corrector.meta.get("fit_info", {}).get("status", "FAILED: not attempted"))


def _check_size(
    correctors: list[Any], exposures: Sequence[Pointed], params: TweakregParams
) -> None:
    """Refuse corrections that the search could not have found: these come from false matches."""
    reach = params.searchrad if params.use2dhist else max(abs(params.xoffset), abs(params.yoffset))
    limit = 2 * (reach + params.tolerance)
    for corrector, exposure in zip(correctors, exposures, strict=True):
        moved = largest_move(exposure.wcs, corrector.wcs)
        if not moved < limit:
            raise _NotAlignedError(
                f"{exposure.name} would move by {moved:.2f} arcsec, more than "
                f"2 (search radius + tolerance) = {limit:.2f}: a false match"
            )


def largest_move(before: WCS, after: WCS) -> float:
    """The largest distance, in arcsec, that a corner of the footprint moves between two WCS."""
    from astropy.coordinates import angular_separation

    old = np.radians(before.footprint(axis_type="spatial"))
    new = np.radians(after.footprint(axis_type="spatial"))
    return float(np.degrees(angular_separation(*old.T, *new.T)).max() * 3600)


def _fits(
    correctors: list[Any], exposures: Sequence[Pointed], tolerance: float, name: str = ""
) -> tuple[GroupFit, ...]:
    groups = members([name or exposure.group for exposure in exposures])
    return tuple(
        _group_fit(
            group,
            tuple(exposures[index].name for index in indices),
            [correctors[index] for index in indices],
            tolerance,
        )
        for group, indices in groups.items()
    )


def _group_fit(
    group: str, names: tuple[str, ...], correctors: list[Any], tolerance: float
) -> GroupFit:
    status = _status(correctors[0])
    if status == "REFERENCE":
        return GroupFit(group, names, "reference")
    if status != "SUCCESS":
        return GroupFit(group, names, "failed", status.removeprefix("FAILED:").strip())
    info = correctors[0].meta["fit_info"]
    fitted = int(np.count_nonzero(info["fitmask"]))
    doubts = tuple(_doubts(info, fitted, correctors, tolerance))
    return GroupFit(
        group,
        names,
        "aligned",
        "",
        (float(info["shift"][0]), float(info["shift"][1])),
        float(info["proper_rot"]),
        float(info["<scale>"]),
        float(info["rmse"]),
        int(info["nmatches"]),
        fitted,
        doubts,
    )


def _doubts(
    info: dict[str, Any], fitted: int, correctors: list[Any], tolerance: float
) -> Iterator[str]:
    """What makes a fit implausible, in words, and how to mend it."""
    pixel = float(correctors[0].tanp_center_pixel_scale)
    residual = float(info["rmse"]) / pixel
    if residual > MOST_RESIDUAL:
        yield (
            f"sources differ by {residual:.2f} pixels after the fit, many matches are false"
            f"{_crowding(correctors, pixel, tolerance)}"
        )
    elif fitted < LEAST_KEPT * info["nmatches"] or fitted < info["eff_minobj"]:
        yield (
            f"only {fitted} of {info['nmatches']} matches agree with the fit"
            f"{_crowding(correctors, pixel, tolerance)}"
        )


def _crowding(correctors: list[Any], pixel: float, tolerance: float) -> str:
    """Where chance explains false matches, the tolerance that would mend it.

    ``density x pi tolerance^2`` sources lie within the tolerance of a place by chance. Sources closer than
    ``separation`` are thinned in each catalogue by itself, so that in a crowded field other ones survive in each.
    """
    density = max(_density(corrector, pixel) for corrector in correctors)
    if density * pi * tolerance**2 < CROWDED:
        return ""
    better = sqrt(FEW_BY_CHANCE / (pi * density))
    return (
        f": the field is crowded ({density * pi * tolerance**2:.1f} sources lie within the tolerance of "
        f"{tolerance:g} arcsec by chance); try tolerance={better:.2g}, separation={1.5 * better:.2g}"
    )


def _density(corrector: Any, pixel: float) -> float:
    """Sources per square arcsec."""
    (left, right), (bottom, top) = corrector.wcs.bounding_box
    area: float = (right - left) * (top - bottom) * pixel**2
    return len(corrector.meta["catalog"]) / area
