"""Subtract the clipped mean of background exposures.

Two cases differ by default from jwst 3.0.0. A background subarray that begins inside the exposure is
put where it lies on the detector, not at the exposure's corner (``at_corner``). Where all integrations of
one background are NaN at a pixel, the mean is that of the other backgrounds; it does not count as zero
(``void_as_zero``).
"""

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
import xarray as xr
from pydantic import Field, field_validator

from jwpipe.exposure import ExposureError, Header, header
from jwpipe.io.open import open as open_exposure
from jwpipe.numerics.jit import kernel
from jwpipe.refs import References
from jwpipe.refs.placement import Placement, full_frame, placement
from jwpipe.step import PEER, ExposureStep, Params

OTHER_METHODS = frozenset({"NIS_WFSS", "NRC_WFSS", "NRC_GRISM", "MIR_WFSS", "NIS_SOSS"})
"""Exposure types whose background is a scaled reference image, not other exposures."""


class BackgroundParams(Params):
    """Parameters of ``bkg_subtract``."""

    bkg_list: tuple[Any, ...] | None = Field(
        None,
        description="background exposures: files (one text, separated by commas, or a list) or "
        "lazy exposures; the background members of an association take its place",
    )
    save_combined_background: bool = Field(
        False, description="save the mean background as a product of its own"
    )
    sigma: float = Field(3.0, gt=0, description="clipping threshold, in standard deviations")
    maxiters: int | None = Field(
        None, ge=1, description="most clipping rounds; none: until nothing more is clipped"
    )
    at_corner: bool = Field(
        False,
        description="put a background subarray that begins inside the exposure at its corner",
        json_schema_extra={PEER: True},
    )
    void_as_zero: bool = Field(
        False,
        description="a background without a value in any integration counts as zero there",
        json_schema_extra={PEER: True},
    )
    soss_source_percentile: float = Field(
        35.0, ge=0, le=100, description="pixels above this percentile are sources (SOSS only)"
    )
    soss_bkg_percentile: tuple[float, float] | None = Field(
        None, description="percentiles between which the background is scaled (SOSS only)"
    )
    wfss_mmag_extract: float | None = Field(
        None, description="faintest source that is masked, AB magnitude (slitless spectra only)"
    )
    wfss_mask: str | None = Field(None, description="file of a source mask (slitless spectra only)")
    wfss_maxiter: int = Field(
        5, ge=0, description="most rounds of outlier rejection (slitless spectra only)"
    )
    wfss_rms_stop: float = Field(
        0.0, ge=0, description="stop when the rms improves by less percent (slitless spectra only)"
    )
    wfss_outlier_percent: float = Field(
        1.0, ge=0, le=100, description="percent rejected in each round (slitless spectra only)"
    )

    @field_validator("bkg_list", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [name.strip() for name in value.split(",")]
        if value is None or not isinstance(value, list | tuple):
            return None if value is None else (value,)
        return tuple(item for item in value if not (isinstance(item, str) and not item))


@kernel
def clipped_mean(
    stack: np.ndarray, sigma: float, maxiters: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of what is left of ``stack`` (n, y, x) after clipping along its first axis.

    Values beyond ``sigma`` standard deviations from the median are dropped, and again from what is
    left, at most ``maxiters`` times (-1: until nothing changes). Values that are not finite never
    count.

    Returns
    -------
    mean, lowest and highest accepted value, each (y, x) float64; NaN where nothing is left
    """
    n, ny, nx = stack.shape
    mean = np.full((ny, nx), np.nan)
    low, high = np.full((ny, nx), np.nan), np.full((ny, nx), np.nan)
    values = np.empty(n, np.float64)
    for y in range(ny):
        for x in range(nx):
            count = 0
            for k in range(n):
                v = np.float64(stack[k, y, x])
                if np.isfinite(v):
                    at = count
                    while at > 0 and values[at - 1] > v:
                        values[at] = values[at - 1]
                        at -= 1
                    values[at] = v
                    count += 1
            if count == 0:
                continue
            first, last, rounds = 0, count, 0
            while True:
                size = last - first
                total, squares = 0.0, 0.0
                for k in range(first, last):
                    total += values[k]
                for k in range(first, last):
                    squares += (values[k] - total / size) ** 2
                spread = sigma * np.sqrt(squares / size)
                middle = 0.5 * (values[(first + last - 1) // 2] + values[(first + last) // 2])
                lower, upper = middle - spread, middle + spread
                while first < last and values[first] < lower:
                    first += 1
                while last > first and values[last - 1] > upper:
                    last -= 1
                rounds += 1
                if last - first in (size, 0) or rounds == maxiters:
                    break
            total, kept = 0.0, 0
            for k in range(count):
                if lower <= values[k] <= upper:
                    total += values[k]
                    kept += 1
            mean[y, x], low[y, x], high[y, x] = total / kept, lower, upper
    return mean, low, high


def mean_background(
    data: list[np.ndarray], sigma: float, maxiters: int, *, void_as_zero: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Average background exposures, (y, x) images or (integration, y, x), each averaged first.

    ``void_as_zero``: a mean of integrations without a value is 0.

    Returns
    -------
    mean (y, x) float64, NaN where there is no value, and accepted (exposure, y, x) bool
    """
    images = np.stack([_over_integrations(array, sigma, maxiters) for array in data])
    if void_as_zero:
        cubes = np.array([array.ndim > 2 for array in data])
        images[cubes] = np.nan_to_num(images[cubes])
    mean, low, high = clipped_mean(images, sigma, maxiters)
    return mean, (images >= low) & (images <= high)


def mean_error(
    err: list[np.ndarray], accepted: np.ndarray, sigma: float, maxiters: int
) -> np.ndarray:
    """Uncertainty of the mean background from the accepted exposures, (y, x) float64.

    The root of the summed variances over the number of exposures; the variance of an exposure of
    several integrations is the clipped mean of theirs.
    """
    variances = np.stack([_over_integrations(np.square(array), sigma, maxiters) for array in err])
    count = accepted.sum(axis=0)
    summed = np.where(accepted, variances, 0).sum(axis=0)
    return np.divide(np.sqrt(summed), count, out=np.zeros(count.shape), where=count > 0)


def _over_integrations(array: np.ndarray, sigma: float, maxiters: int) -> np.ndarray:
    if array.ndim == 2:
        return array.astype(np.float64)
    mean: np.ndarray = clipped_mean(np.ascontiguousarray(array), sigma, maxiters)[0]
    return mean


def subtract_tile(
    sci: np.ndarray,
    *backgrounds: np.ndarray,
    sigma: float,
    maxiters: int,
    void_as_zero: bool = False,
) -> np.ndarray:
    """Subtract the mean background where there is one; integrations are the last axis of these."""
    data = _integrations_first(backgrounds)
    mean, _ = mean_background(data, sigma, maxiters, void_as_zero=void_as_zero)
    return sci - np.where(np.isnan(mean), 0, mean).astype(sci.dtype)


def mean_tile(
    *arrays: np.ndarray, sigma: float, maxiters: int, void_as_zero: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Mean background and its error from all ``sci``, then all ``err``; 0 where there is none."""
    half = len(arrays) // 2
    data, err = _integrations_first(arrays[:half]), _integrations_first(arrays[half:])
    mean, accepted = mean_background(data, sigma, maxiters, void_as_zero=void_as_zero)
    error = mean_error(err, accepted, sigma, maxiters)
    return np.where(np.isnan(mean), 0, mean).astype(np.float32), error.astype(np.float32)


def _integrations_first(arrays: Iterable[np.ndarray]) -> list[np.ndarray]:
    return [array if array.ndim == 2 else np.moveaxis(array, -1, 0) for array in arrays]


def subtract(exposure: xr.Dataset, references: References, params: BackgroundParams) -> xr.Dataset:
    """Subtract the mean of the background exposures, lazily, and add their flags.

    Subarrays overlap where they lie on the detector; pixels without any background stay as they
    are. Errors are not changed: the uncertainty of the background is not propagated, as in the JWST
    calibration pipeline.

    Raises
    ------
    ExposureError
        For backgrounds of another detector or dimensionality, or without overlap, and for slitless
        spectra and SOSS, which need other methods.
    """
    backgrounds = _backgrounds(exposure, params)
    data = [_numbered(each["sci"], k) for k, each in enumerate(backgrounds)]
    sci = xr.apply_ufunc(
        subtract_tile,
        exposure["sci"],
        *data,
        kwargs=_clipping(params),
        input_core_dims=[[], *(_core(array) for array in data)],
        output_dtypes=[exposure["sci"].dtype],
        dask="parallelized",
        keep_attrs="override",
    )
    dq = (exposure["dq"] | _flags(backgrounds)).assign_attrs(exposure["dq"].attrs)
    return exposure.assign(sci=sci, dq=dq)


def combined_background(exposure: xr.Dataset, params: BackgroundParams) -> xr.Dataset:
    """Give the mean background as an exposure of its own, lazily: what ``save_combined_background`` saves."""
    backgrounds = _backgrounds(exposure, params)
    arrays = [
        _numbered(each[name], k) for name in ("sci", "err") for k, each in enumerate(backgrounds)
    ]
    sci, err = xr.apply_ufunc(
        mean_tile,
        *arrays,
        kwargs=_clipping(params),
        input_core_dims=[_core(array) for array in arrays],
        output_core_dims=[[], []],
        output_dtypes=[np.float32, np.float32],
        dask="parallelized",
    )
    variables = {"sci": sci, "err": err, "dq": _flags(backgrounds)}
    return xr.Dataset(variables, attrs={**exposure.attrs, "product": "combinedbackground"})


def _clipping(params: BackgroundParams) -> dict[str, Any]:
    maxiters = -1 if params.maxiters is None else params.maxiters
    return {"sigma": params.sigma, "maxiters": maxiters, "void_as_zero": params.void_as_zero}


def _numbered(array: xr.DataArray, k: int) -> xr.DataArray:
    """Name the integrations of the ``k``-th background apart from all others, in one chunk."""
    if "integration" not in array.dims:
        return array
    return array.rename(integration=f"integration_{k}").chunk({f"integration_{k}": -1})


def _core(array: xr.DataArray) -> list[str]:
    return [str(dim) for dim in array.dims if dim not in ("y", "x")]


def _flags(backgrounds: Iterable[xr.Dataset]) -> xr.DataArray:
    """Unite the flags of all exposures and integrations."""
    return reduce(or_, (_united(each["dq"]) for each in backgrounds))


def _united(dq: xr.DataArray) -> xr.DataArray:
    if "integration" not in dq.dims:
        return dq
    return xr.apply_ufunc(
        np.bitwise_or.reduce,
        dq.chunk(integration=-1),
        kwargs={"axis": -1},
        input_core_dims=[["integration"]],
        output_dtypes=[dq.dtype],
        dask="parallelized",
    )


def _backgrounds(exposure: xr.Dataset, params: BackgroundParams) -> list[xr.Dataset]:
    """Open the backgrounds and bring them to the pixels of the exposure."""
    keywords = header(exposure)
    if keywords["EXP_TYPE"] in OTHER_METHODS:
        raise ExposureError(
            f"{keywords.filename}: bkg_subtract: the background of EXP_TYPE {keywords['EXP_TYPE']} "
            "cannot be subtracted yet; expected an image; skip bkg_subtract"
        )
    opened = [
        item if isinstance(item, xr.Dataset) else open_exposure(item)
        for item in params.bkg_list or ()
    ]
    for each in opened:
        _check(each, exposure, keywords)
    aligned = [_aligned(each, exposure, at_corner=params.at_corner) for each in opened]
    found = [each for each in aligned if each is not None]
    if not found:
        raise ExposureError(
            f"{keywords.filename}: bkg_subtract: none of the {len(opened)} background exposures "
            "covers a pixel of the exposure; give backgrounds of the same subarray"
        )
    return found


def _check(background: xr.Dataset, exposure: xr.Dataset, keywords: Header) -> None:
    other = header(background)
    found = other.get("DETECTOR"), background["sci"].dims
    expected = keywords.get("DETECTOR"), exposure["sci"].dims
    if found != expected:
        raise ExposureError(
            f"{keywords.filename}: bkg_subtract: background {other.filename} has detector {found[0]} "
            f"and dimensions {found[1]}, expected {expected[0]} and {expected[1]}; give rate files "
            "for a rate file, rateints for rateints, of the same detector"
        )


def _place(exposure: xr.Dataset) -> Placement:
    keywords = header(exposure)
    place = placement(keywords)
    ny, nx = exposure.sizes["y"], exposure.sizes["x"]
    if place is None:
        place = full_frame(str(keywords.get("INSTRUME", "")))
    if (place.ny, place.nx) != (ny, nx):
        raise ExposureError(
            f"{keywords.filename}: bkg_subtract: array of {ny} x {nx} pixels, keywords say {place}; "
            "correct SUBSTRT1, SUBSTRT2, SUBSIZE1, SUBSIZE2"
        )
    return place


def _aligned(background: xr.Dataset, exposure: xr.Dataset, *, at_corner: bool) -> xr.Dataset | None:
    """Cut and pad a background to the pixels of the exposure; ``None`` where they do not overlap."""
    mine, other = _place(exposure), _place(background)
    y, x = mine.y - other.y, mine.x - other.x
    if at_corner:
        y, x = max(y, 0), max(x, 0)
    rows = max(y, 0), min(y + mine.ny, other.ny)
    columns = max(x, 0), min(x + mine.nx, other.nx)
    if rows[0] >= rows[1] or columns[0] >= columns[1]:
        return None
    margins = {
        "y": (rows[0] - y, y + mine.ny - rows[1]),
        "x": (columns[0] - x, x + mine.nx - columns[1]),
    }
    cut = background[["sci", "err", "dq"]].isel(y=slice(*rows), x=slice(*columns))
    if any(map(any, margins.values())):
        fill = {"sci": np.nan, "err": np.nan, "dq": 0}
        cut = cut.pad(margins, constant_values=fill)
    chunks = {dim: exposure.chunksizes[dim] for dim in ("y", "x") if dim in exposure.chunksizes}
    return cut.chunk(chunks) if chunks else cut


def _no_background(keywords: Header, params: BackgroundParams) -> str:
    if params.bkg_list or keywords.get("EXP_TYPE") in OTHER_METHODS:
        return ""
    return "no background exposures"


bkg_subtract = ExposureStep(
    "bkg_subtract", subtract, params=BackgroundParams, applies=_no_background
)
