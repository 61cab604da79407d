"""The cleaning of one exposure put together: its rate, the mask made of that, the frames, and what comes out."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import xarray as xr
from dask import delayed

from jwpipe.again import again
from jwpipe.exposure import ExposureError, header
from jwpipe.exptypes import is_time_series
from jwpipe.refs import RefArray, References
from jwpipe.stage1.flicker.auto import AUTOMATIC, chosen
from jwpipe.stage1.flicker.background import filled_flat
from jwpipe.stage1.flicker.frame import Cleaning
from jwpipe.stage1.flicker.graph import (
    HELD,
    SAMPLE_BYTES,
    Job,
    accumulated,
    cleaned,
    cleaned_residuals,
    corrected,
    differences,
    images,
    residuals,
    scaled_medians,
)
from jwpipe.stage1.flicker.mask import as_frames, lazy_background_mask, user_mask
from jwpipe.stage1.flicker.regions import lazy_frame, science_regions

if TYPE_CHECKING:
    from jwpipe.stage1.clean_flicker_noise import CleanFlickerNoiseParams

BY_SOURCE = frozenset({"NIS_SOSS", "NRS_BRIGHTOBJ", "NRC_TSGRISM", "NRC_TSIMAGE"})
"""Time series whose integrations are scaled to one another by the light of their source."""

NONE = np.empty(0, np.float32)

CARRIED = ("sci", "groupdq", "pixeldq", "avdrkcur")
"""Variables that the steps before made of the pixels."""


@dataclass(frozen=True, eq=False)
class Work:
    """The cleaning of an exposure; ``scale`` (i) is that of the median of all integrations where it is left out."""

    exposure: xr.Dataset
    job: Job
    scale: da.Array | None

    def cleaned(self) -> xr.Dataset:
        """The exposure without the noise."""
        if 0 in self.job.frames.count:
            return self.exposure
        arrays = {n: da.asarray(self.exposure[n].data) for n in self._carried}
        found = self.job.found()
        if not self.job.frames.is_small:
            arrays = again(arrays, found)
        sci = _planes(arrays["sci"], self.exposure["sci"].dims)
        if self.scale is not None:
            result = corrected(cleaned_residuals, sci, found, self.job, (self.scale, "i"))
        else:
            function = accumulated if is_ramp(self.exposure) else cleaned
            result = corrected(function, sci, found, self.job)
        arrays["sci"] = _unplaned(result, self.exposure["sci"].dims)
        return self.exposure.assign(
            {n: self.exposure[n].copy(data=array) for n, array in arrays.items()}
        )

    @property
    def _carried(self) -> list[str]:
        names = CARRIED if is_ramp(self.exposure) else ("sci",)
        return [name for name in names if name in self.exposure]

    def mask(self) -> xr.DataArray:
        """The mask (y, x), or (integration, y, x): 1 where there is background."""
        dims = ("integration", "y", "x")[-self.job.scene.ndim :]
        return xr.DataArray(self.job.scene.astype(np.float32), dims=dims)

    def background(self) -> xr.DataArray:
        """What was left out of each frame, in the shape of the exposure; 0 for the first group of a ramp."""
        sci = self.exposure["sci"]
        if self.scale is not None:
            found = scaled_medians(_planes(da.asarray(sci.data), sci.dims), self.scale)
        else:
            found = self.job.backgrounds()
            if is_ramp(self.exposure):
                found = da.concatenate([da.zeros_like(found[:, :1]), found], axis=1)
        return sci.copy(data=_unplaned(found, sci.dims))


def is_ramp(exposure: xr.Dataset) -> bool:
    """Whether an exposure has groups."""
    return "group" in exposure["sci"].dims


def _planes(array: da.Array, dims: tuple[object, ...]) -> da.Array:
    """An exposure's pixels as (i, n, y, x)."""
    if "group" in dims:
        return array
    return array[:, None] if "integration" in dims else array[None, None]


def _unplaned(array: da.Array, dims: tuple[object, ...]) -> da.Array:
    if "group" in dims:
        return array
    return array[:, 0] if "integration" in dims else array[0, 0]


def work_of(
    exposure: xr.Dataset,
    references: References,
    params: CleanFlickerNoiseParams,
    how: Cleaning,
) -> Work:
    """Put together the cleaning of an exposure; ``how`` is what the parameters say.

    Raises
    ------
    ExposureError
        For masks of another shape, and a median of integrations where there are none.
    """
    keywords = header(exposure)
    flat = _flat(references, params, exposure)
    sci = _planes(da.asarray(exposure["sci"].data), exposure["sci"].dims)
    scale = None
    if params.background_method == "median_image":
        scale = _scale(rate_of(exposure, flat, single=False), exposure)
        frames = residuals(sci, scale)
    elif is_ramp(exposure):
        frames = differences(sci, da.asarray(exposure["groupdq"].data))
    else:
        frames = images(sci)
    choice = how
    if params.autoparam and (kind := keywords["EXP_TYPE"]) in AUTOMATIC:
        rate = rate_of(exposure, flat, single=True).rechunk(-1)
        choice = delayed(chosen, pure=True)(rate, how, kind, keywords["SUBARRAY"] == "FULL")
    scene = _scene(exposure, references, params, flat)
    return Work(exposure, Job(frames, scene, flat, how, choice), scale)


def rate_of(exposure: xr.Dataset, flat: da.Array | None, *, single: bool) -> da.Array:
    """The count rate of an exposure, or of its integrations, divided by the flat: drafted where it is a ramp."""
    rate = _drafted(exposure, "sci", single=single)
    return rate if flat is None else rate / flat


def _drafted(exposure: xr.Dataset, name: str, *, single: bool) -> da.Array:
    """A variable of the rate, or of the integrations unless ``single``; of exposures without groups their own."""
    if not is_ramp(exposure):
        return da.asarray(exposure[name].data)
    array = da.asarray(exposure[f"rate.{name}" if single else f"rateints.{name}"].data)
    if prod(exposure["sci"].shape) * SAMPLE_BYTES <= HELD:
        return array
    # Made of pixels of its own, which are not held until they are corrected.
    return again({name: array})[name]


def _flat(
    references: References, params: CleanFlickerNoiseParams, exposure: xr.Dataset
) -> da.Array | None:
    automatic = params.autoparam and header(exposure)["EXP_TYPE"] in AUTOMATIC
    if not (params.apply_flat_field or automatic) or references["flat"] is None:
        return None
    pixels = references["flat"].array("sci")
    return None if pixels is None else lazy_frame(_read_flat, pixels.shape, np.float32, pixels)


def _read_flat(flat: RefArray) -> np.ndarray:
    return filled_flat(flat.read())


def _scene(
    exposure: xr.Dataset,
    references: References,
    params: CleanFlickerNoiseParams,
    flat: da.Array | None,
) -> da.Array:
    """The mask of the background, True where there is some: the user's, or made of the rate."""
    sizes = exposure.sizes
    if params.user_mask is not None:
        return user_mask(params.user_mask, (sizes.get("integration", 1), sizes["y"], sizes["x"]))
    rate = rate_of(exposure, flat, single=params.one_mask)
    science = None
    if params.mask_science_regions:
        dq = None
        if header(exposure)["EXP_TYPE"] == "MIR_IMAGE":
            dq = _drafted(exposure, "dq", single=params.one_mask)
        science = science_regions(exposure, references, dq)
    return lazy_background_mask(
        rate,
        science,
        n_sigma=params.n_sigma,
        fit_histogram=params.fit_histogram,
        single=params.one_mask,
    )


def _scale(rates: da.Array, exposure: xr.Dataset) -> da.Array:
    """How bright each integration is (i), 1 in the middle: of time series by their source, else by the median."""
    keywords = header(exposure)
    if rates.ndim < 3 or rates.shape[0] < 2:
        raise ExposureError(
            f"{keywords.filename}: clean_flicker_noise: background_method median_image found one image, "
            "expected several integrations; give the ramp or the rateints product"
        )
    kind = keywords["EXP_TYPE"]
    if kind in BY_SOURCE or (kind == "MIR_IMAGE" and is_time_series(keywords)):
        levels = _source_light(rates)
    else:
        levels = da.map_blocks(
            _level, as_frames(rates), drop_axis=(1, 2), dtype=np.float32, meta=NONE
        )
    return da.map_blocks(_relative, levels.rechunk(-1), dtype=np.float32, meta=NONE)


def _source_light(rates: da.Array) -> da.Array:
    """The light of each integration (i) in pixels that are no background in their median, and never NaN."""
    rates = rates.rechunk({0: -1})
    middle = da.map_blocks(
        _middle, rates, drop_axis=0, dtype=np.float32, meta=np.empty((0, 0), np.float32)
    )
    source = ~lazy_background_mask(middle) & da.isfinite(rates).all(axis=0)
    return da.where(source, rates, np.float32(0)).sum(axis=(1, 2), dtype=np.float64)


def _middle(rates: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        middle: np.ndarray = np.nanmedian(rates, axis=0)
    return middle


def _level(rates: np.ndarray) -> np.ndarray:
    finite = rates[~np.isnan(rates)]
    return np.array([np.median(finite) if finite.size else np.nan], np.float32)


def _relative(levels: np.ndarray) -> np.ndarray:
    """Levels over their median; that median for integrations without one."""
    known = np.isfinite(levels)
    if not known.any():
        return np.ones_like(levels)
    scale = levels / np.median(levels[known])
    scale[~known] = np.median(scale[known])
    return scale.astype(np.float32)
