"""Remove the picture frame of NIRSpec's full frames: a pattern of their edges that changes with temperature.

What each group adds to the first of its integration, or each count rate, holds the reference's pattern so strongly
that background pixels in the middle of the frame and those near its edges differ by as much as theirs do. Their
medians are exact, and are found without the ramps in memory: these are computed once for the draft rate behind the
mask of background, twice for the medians, and once for the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask import delayed
from dask.delayed import Delayed
from pydantic import Field

from jwpipe.again import again
from jwpipe.exposure import IMAGE, Header
from jwpipe.numerics.region_medians import (
    Tally,
    lower_tally,
    medians,
    merged,
    ranks,
    upper_tally,
)
from jwpipe.refs import RefArray, References
from jwpipe.stage1.flicker.mask import lazy_background_mask
from jwpipe.stage1.flicker.regions import region_references, science_regions
from jwpipe.stage1.ramp_fit import ramp_fit
from jwpipe.step import ExposureStep, Params
from jwpipe.wcs.modes import FAMILIES

MIDDLE, EDGE = 1, 2
INNER = slice(76, 1984)
OUTER = slice(4, 2043)
BELOW, ABOVE = slice(4, 75), slice(1985, 2043)
REGIONS = 2
FAN_IN = 8
REGION_TYPES = (
    *dict.fromkeys(kind for each in FAMILIES if each.name == "nirspec" for kind in each.refs),
    "msaoper",
)


class PictureFrameParams(Params):
    """Parameters of the picture_frame step."""

    skip: bool = Field(True, description="leave the step out")
    mask_science_regions: bool = Field(
        True,
        description="leave out pixels on which slits, slices or failed-open shutters are imaged",
    )
    n_sigma: float = Field(
        2.0, description="sigma above the background from which pixels show a source"
    )
    save_mask: bool = Field(False, description="save the mask of background pixels")
    save_correction: bool = Field(False, description="save what the step adds to the pixels")


def region_map(mask: np.ndarray) -> np.ndarray:
    """The region of each pixel (y, x), uint8: 1 in the middle, 2 near the edges, 0 where ``mask`` is False."""
    regions = np.zeros(mask.shape, np.uint8)
    for rows, columns in ((BELOW, OUTER), (ABOVE, OUTER), (OUTER, BELOW), (OUTER, ABOVE)):
        regions[rows, columns] = EDGE
    regions[INNER, INNER] = MIDDLE
    return np.where(mask, regions, np.uint8(0))


def without_frame(
    sci: np.ndarray, pattern: np.ndarray, levels: np.ndarray, reference: np.ndarray
) -> np.ndarray:
    """Subtract the scaled pattern from all groups but the first, or from rates.

    Parameters
    ----------
    sci
        Counts (i, g, y, x), DN, or rates (i, y, x) or (y, x), DN/s.
    pattern
        The reference (y, x).
    levels
        Medians (n, 2) in the middle and near the edges, of each frame in turn; where one of the two is without pixels
        nothing is subtracted.
    reference
        The same (2) of the pattern.
    """
    if np.isnan(reference).any():
        return sci
    scales = (levels[:, 0] - levels[:, 1]) / (reference[0] - reference[1])
    shape = pattern - reference[1]
    corrected = sci.copy()
    for n, (place, first) in enumerate(_frames(sci)):
        correction = scales[n] * shape + levels[n, 1]
        corrected[place] = (sci[place] - first) + (first - correction)
    return corrected


def _frames(sci: np.ndarray) -> Iterator[tuple[tuple[int, ...], Any]]:
    """The place of each frame that has a pattern, and what it starts from: the first group, or zero."""
    for place in np.ndindex(*sci.shape[:-2]):
        if sci.ndim < 4:
            yield place, np.float32(0)
        elif place[1] > 0:
            yield place, sci[place[0], 0].astype(np.float32, copy=False)


def frames_of(sci: np.ndarray) -> Iterator[np.ndarray]:
    """The frames (y, x) of which medians are taken: what groups add to the first, or rates as they are."""
    for place, first in _frames(sci):
        yield sci[place].astype(np.float32, copy=False) - first


def correct(exposure: xr.Dataset, references: References, params: PictureFrameParams) -> xr.Dataset:
    """The lazy exposure, a ramp or rates, without the picture frame."""
    mask = background(exposure, references, params)
    pattern = _pattern(references)
    rows = _rows(exposure)
    regions = mask.map_blocks(region_map, dtype=np.uint8)
    levels = _levels(exposure, regions, rows)
    (frame,) = regions.to_delayed(optimize_graph=False).ravel()
    reference = delayed(_reference_levels, pure=True)(pattern, frame)
    found = delayed(_both, pure=True)(levels, reference)
    # All that goes on is computed anew once the levels are known: nothing waits in memory for them.
    drafts = [name for name in exposure if "." in str(name)]
    ready = _after(exposure.drop_vars(drafts), found)
    sci = da.asarray(ready["sci"].data).astype(np.float32).rechunk(_blocks(exposure, rows))
    result = sci.map_blocks(_corrected, pattern=pattern, found=found, dtype=np.float32)
    return ready.assign(sci=exposure["sci"].copy(data=result))


def background(
    exposure: xr.Dataset, references: References, params: PictureFrameParams
) -> da.Array:
    """The mask (y, x) of background pixels, of all integrations together."""
    rate = exposure["rate.sci"] if "rate.sci" in exposure else exposure["sci"]
    science = science_regions(exposure, references) if params.mask_science_regions else None
    return lazy_background_mask(da.asarray(rate.data), science, n_sigma=params.n_sigma)


def _pattern(references: References) -> RefArray:
    file = references["pictureframe"]
    pattern = None if file is None else file.array("sci")
    assert pattern is not None, "the step runs with a pattern only"
    return pattern


def _rows(exposure: xr.Dataset) -> tuple[int, ...]:
    rows: tuple[int, ...] = da.asarray(exposure["sci"].data).chunks[-2]
    return rows


def _blocks(exposure: xr.Dataset, rows: tuple[int, ...]) -> tuple[Any, ...]:
    """Chunks of all leading axes and whole rows."""
    shape = exposure["sci"].shape
    return (*((size,) for size in shape[:-2]), rows, shape[-1:])


def _after(exposure: xr.Dataset, known: da.Array | Delayed) -> xr.Dataset:
    """The exposure with pixels that are computed once ``known`` is."""
    lazy = {str(n): v for n, v in exposure.data_vars.items() if isinstance(v.data, da.Array)}
    gate = known if isinstance(known, da.Array) else da.from_delayed(known, (), np.float64)
    copies = again({name: variable.data for name, variable in lazy.items()}, gate)
    return exposure.assign({name: v.copy(data=copies[name]) for name, v in lazy.items()})


def _levels(exposure: xr.Dataset, regions: da.Array, rows: tuple[int, ...]) -> Any:
    """The medians (n, 2) of the frames, to come."""
    regions = regions.rechunk((rows, regions.shape[1:]))
    upper = _tallied(exposure, regions, _upper, regions)
    found = delayed(ranks, pure=True)(upper)
    lower = _tallied(exposure, regions, _lower, found, found)
    return delayed(_medians, pure=True)(found, lower)


def _tallied(
    exposure: xr.Dataset, regions: da.Array, count: Callable[..., Tally], known: Any, *more: Any
) -> Any:
    """The counts of all blocks of rows together, which are computed once ``known`` is."""
    sci = da.asarray(_after(exposure[["sci"]], known)["sci"].data)
    sci = sci.rechunk(_blocks(exposure, regions.chunks[0]))
    pixels = sci.to_delayed(optimize_graph=False).ravel()
    parts = regions.to_delayed(optimize_graph=False).ravel()
    job = delayed(count, pure=True)
    counts = [job(*each, *more) for each in zip(pixels, parts, strict=True)]
    join = delayed(_joined, pure=True)
    while len(counts) > 1:
        groups = [counts[start : start + FAN_IN] for start in range(0, len(counts), FAN_IN)]
        counts = [join(group) for group in groups]
    return counts[0]


def _upper(sci: np.ndarray, regions: np.ndarray) -> Tally:
    return upper_tally(frames_of(sci), regions, REGIONS)


def _lower(sci: np.ndarray, regions: np.ndarray, found: Any) -> Tally:
    return lower_tally(frames_of(sci), regions, REGIONS, found)


def _joined(tallies: Sequence[Tally]) -> Tally:
    first, *rest = tallies
    for each in rest:
        first = merged(first, each)
    return first


def _medians(found: Any, tally: Tally) -> np.ndarray:
    return medians(found, tally).reshape(-1, REGIONS)


def _reference_levels(pattern: RefArray, regions: np.ndarray) -> np.ndarray:
    frame = pattern.read()[np.newaxis]
    found = ranks(upper_tally(frame, regions, REGIONS))
    return medians(found, lower_tally(frame, regions, REGIONS, found))


def _both(levels: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return levels, reference


def _corrected(
    sci: np.ndarray, pattern: RefArray, found: Any, block_info: Any = None
) -> np.ndarray:
    rows = slice(*block_info[0]["array-location"][-2]) if block_info else slice(0, 0)
    return without_frame(sci, pattern.read(rows), *found)


def further_products(
    exposure: xr.Dataset, references: References, params: PictureFrameParams
) -> dict[str, xr.Dataset]:
    """The mask, and what the step adds, where they are asked for."""
    products = {}
    if params.save_mask:
        mask = background(exposure, references, params).astype(np.float32)
        products["pctfrm_mask"] = _alone(exposure, xr.DataArray(mask, dims=IMAGE))
    if params.save_correction:
        change = correct(exposure, references, params)["sci"] - exposure["sci"]
        products["pctfrm_correction"] = _alone(exposure, change)
    return products


def _alone(exposure: xr.Dataset, pixels: xr.DataArray) -> xr.Dataset:
    kept = {k: v for k, v in exposure.attrs.items() if k not in ("wcs", "tables", "asdf")}
    return xr.Dataset({"sci": pixels}, attrs=kept)


def _needs(keywords: Header, params: PictureFrameParams) -> tuple[str, ...]:
    draft = () if _is_rate(keywords) else ("gain", "readnoise")
    regions = region_references(keywords) if params.mask_science_regions else ()
    return ("pictureframe", *draft, *regions)


def _is_rate(keywords: Header) -> bool:
    return "/s" in str(keywords.get("BUNIT"))


def _applies(keywords: Header, params: PictureFrameParams) -> str:
    if keywords["INSTRUME"] != "NIRSPEC" or str(keywords.get("SUBARRAY")).upper() != "FULL":
        return "only full frames of NIRSpec show it"
    if not _is_rate(keywords) and int(keywords["NGROUPS"]) == 1:
        return "nothing adds to the first group of one"
    return ""


picture_frame = ExposureStep(
    "picture_frame",
    correct,
    refs=("pictureframe", "gain", "readnoise", *REGION_TYPES),
    params=PictureFrameParams,
    applies=_applies,
    optional_types=frozenset({"msaoper"}),
    needs=_needs,
    draft=ramp_fit,
    extras=further_products,
)
