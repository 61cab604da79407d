"""Exposures in segments: each is calibrated by itself, and the products are put together.

What integrations are compared with (jumps, the rate behind the Poisson variance) are those of their own segment, as
in the JWST calibration pipeline, which knows single segments only. A jump in the last group of a segment bears on
nothing in the next. The rate of the whole is the combination of those of the segments, weighted as ramp_fit weights
integrations; since the segments' rates are single-precision numbers it agrees to a few parts in 1e7 with sums over all
integrations, but for the Poisson variance, which comes from the rate of each segment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dask.array as da
import numpy as np
import xarray as xr

from jwpipe.dq import Pixel
from jwpipe.exposure import header
from jwpipe.io.segments import attributes_of_whole, whole_of
from jwpipe.stage1.ramp_fit import RampFitParams, read_times

UNUSABLE = np.uint32(Pixel.DO_NOT_USE)
RATE = ("sci", "err", "dq", "var_poisson", "var_rnoise")


def whole_products(
    parts: Sequence[dict[str, xr.Dataset]], exposure: xr.Dataset
) -> dict[str, xr.Dataset]:
    """The products of all segments of ``exposure`` by suffix, each put together."""
    return {
        suffix: whole_rate([part[suffix] for part in parts], exposure)
        if "integration" not in first["sci"].dims
        else whole_of([part[suffix] for part in parts], exposure)
        for suffix, first in parts[0].items()
    }


def whole_rate(rates: Sequence[xr.Dataset], exposure: xr.Dataset) -> xr.Dataset:
    """The rate of an exposure from those of its segments, lazily."""
    first = rates[0]
    pixels = {
        name: da.stack([da.asarray(rate[name].data) for rate in rates]).rechunk({0: len(rates)})
        for name in RATE
    }
    chunks = pixels["sci"].chunks[1:]
    inputs = [pixels[name].rechunk({1: chunks[0], 2: chunks[1]}) for name in RATE if name != "err"]
    found = da.map_blocks(
        _combined,
        *inputs,
        combine=weigh_rates if _by_full_variance(first) else combine_rates,
        dtype=np.float64,
        chunks=((len(RATE),), *chunks),
        meta=np.empty((0, 0, 0)),
    )
    made = {
        name: first[name].copy(data=found[k].astype(first[name].dtype))
        for k, name in enumerate(RATE)
    }
    return first.assign(made).assign_attrs(attributes_of_whole(first, exposure))


def _by_full_variance(rate: xr.Dataset) -> bool:
    """Whether ramp_fit weighted with all noise, by its record in the history."""
    records = [each for each in rate.attrs.get("history", ()) if each["step"] == "ramp_fit"]
    given = records[-1]["parameters"] if records else {}
    chosen = {name: given[name] for name in ("algorithm", "uncertainty") if name in given}
    params = RampFitParams.model_validate(chosen)
    return params.uncertainty == "covariance" or bool(read_times(header(rate), params))


def _combined(*arrays: np.ndarray, combine: Callable[..., tuple[np.ndarray, ...]]) -> np.ndarray:
    return np.stack([each.astype(np.float64) for each in combine(*arrays)])


def combine_rates(
    sci: np.ndarray, dq: np.ndarray, var_poisson: np.ndarray, var_rnoise: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Combine rates (n, y, x) weighted with their read variances, as ramp_fit combines integrations.

    Returns
    -------
    tuple
        Slope (DN/s), error, flags, Poisson and read variance (y, x). Where no rate is good the slope is NaN, the
        others are 0, and DO_NOT_USE is set.
    """
    read, photon = var_rnoise.astype(np.float64), var_poisson.astype(np.float64)
    good = np.isfinite(sci) & (read > 0)
    with np.errstate(divide="ignore"):
        weight = np.where(good, 1 / read, 0.0)
        precision = np.where(good & (photon > 0), 1 / photon, 0.0).sum(axis=0)
        total = weight.sum(axis=0)
        poisson = np.where(precision > 0, 1 / precision, 0.0)
        variance = np.where(total > 0, 1 / total, 0.0)
    fitted = (dq & UNUSABLE == 0).any(axis=0)
    slope = (np.where(good, sci, 0.0) * weight).sum(axis=0) * variance
    flags = np.bitwise_or.reduce(dq & ~UNUSABLE, axis=0) | np.where(fitted, np.uint32(0), UNUSABLE)
    none = ~fitted
    return (
        np.where(none, np.nan, slope),
        np.where(none, 0.0, np.sqrt(poisson + variance)),
        flags,
        np.where(none, 0.0, poisson),
        np.where(none, 0.0, variance),
    )


def weigh_rates(
    sci: np.ndarray, dq: np.ndarray, var_poisson: np.ndarray, var_rnoise: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Combine rates (n, y, x) weighted with all their variance, the photon noise taken at one rate for all.

    Returns
    -------
    tuple
        As `combine_rates`.
    """
    read = var_rnoise.astype(np.float64)
    fitted = (dq & UNUSABLE == 0).any(axis=0)
    good = np.isfinite(sci) & (read + var_poisson > 0)
    rates = np.where(good, sci, 0.0).astype(np.float64)
    photon = np.where(good, var_poisson, 0.0).astype(np.float64)
    slope = rates.sum(axis=0) / np.maximum(good.sum(axis=0), 1)
    light, weight = photon, np.where(good, 1.0, 0.0)
    for _ in range(2):
        same_sign = rates * slope > 0
        light = photon * np.divide(slope, rates, out=np.zeros_like(rates), where=same_sign)
        noise = np.where(good, light + read, np.inf)
        weight = np.divide(1.0, noise, out=np.zeros_like(noise), where=noise > 0)
        total = weight.sum(axis=0)
        weight = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)
        slope = (weight * rates).sum(axis=0)
    poisson, variance = (
        (weight**2 * np.where(good, part, 0.0)).sum(axis=0) for part in (light, read)
    )
    flags = np.bitwise_or.reduce(dq & ~UNUSABLE, axis=0) | np.where(fitted, np.uint32(0), UNUSABLE)
    none = ~fitted | ~good.any(axis=0)
    return (
        np.where(none, np.nan, slope),
        np.where(none, 0.0, np.sqrt(poisson + variance)),
        flags,
        np.where(none, 0.0, poisson),
        np.where(none, 0.0, variance),
    )
