"""Convert count rates to surface brightness, and attach the map of pixel areas."""

from collections.abc import Mapping
from math import pi
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from pydantic import Field

from jwpipe.dq import Pixel
from jwpipe.exposure import ExposureError, Header, header
from jwpipe.numerics.jit import kernel
from jwpipe.refs import RefArray, References, RefFile
from jwpipe.refs.content import extensions
from jwpipe.step import ExposureStep, Params

MJY_PER_SR_IN_UJY_PER_ARCSEC2 = 1e12 * (pi / (180 * 3600)) ** 2
DAYS_PER_YEAR = 365.0
META = np.empty((0, 0), np.float32)
ARRAYS = ("sci", "err", "var_poisson", "var_rnoise", "var_flat")
WHEELS = {
    "NIRCAM": ("filter", "pupil"),
    "NIRISS": ("filter", "pupil"),
    "MIRI": ("filter", "subarray"),
    "FGS": (),
}


class PhotomParams(Params):
    """Parameters of ``photom``."""

    inverse: bool = Field(False, description="divide by the conversion: undo the step")
    source_type: str | None = Field(
        None, description="treat the target as POINT or EXTENDED (spectra only)"
    )
    apply_time_correction: bool = Field(
        True, description="correct for the change of throughput with time, where it is known"
    )


def calibrate(
    dq: np.ndarray, *arrays: np.ndarray, scales: tuple[float, ...], inverse: bool
) -> tuple[np.ndarray, ...]:
    """Multiply the arrays of a tile, all of one shape, by their scales (divide if ``inverse``).

    A pixel that is NaN in any array gets DO_NOT_USE, one with DO_NOT_USE becomes NaN in all.

    Returns
    -------
    dq, and the arrays in their order and type
    """
    invalid = (dq & Pixel.DO_NOT_USE) != 0
    results = []
    for array, scale in zip(arrays, scales, strict=True):
        result = np.empty(array.shape, array.dtype)
        _scale(np.ascontiguousarray(array).ravel(), scale, inverse, result.ravel(), invalid.ravel())
        results.append(result)
    for result in results:
        _blank(result.ravel(), invalid.ravel())
    return dq | invalid * np.uint32(Pixel.DO_NOT_USE), *results


@kernel
def _scale(
    values: np.ndarray, scale: float, inverse: bool, out: np.ndarray, invalid: np.ndarray
) -> None:
    """Fill ``out``, and mark what is NaN there in ``invalid``."""
    for i in range(values.size):
        value = np.float64(values[i])
        result = np.float32(value / scale if inverse else value * scale)
        out[i] = result
        invalid[i] |= result != result


@kernel
def _blank(values: np.ndarray, invalid: np.ndarray) -> None:
    nan = np.float32(np.nan)
    for i in range(values.size):
        values[i] = nan if invalid[i] else values[i]


def convert(exposure: xr.Dataset, references: References, params: PhotomParams) -> xr.Dataset:
    """Scale all pixels to MJy/sr, write the photometric keywords, attach ``area``.

    The conversion is the ``photmjsr`` of the reference's row for the exposure's filter, pupil or
    subarray, divided by the throughput at the time of the exposure relative to the reference day.

    Raises
    ------
    ExposureError
        Where the reference has no row, or several, for the exposure.
    """
    keywords = header(exposure)
    file = references["photom"]
    if file is None:
        raise ExposureError(
            f"{keywords.filename}: photom: no photom reference; give one with --override photom=FILE, "
            "or skip photom"
        )
    conversion = _conversion(keywords, file, params)
    unit = "DN/s" if params.inverse else "MJy/sr"
    calibrated = exposure.assign(_scaled(exposure, conversion, params.inverse, unit))
    area = references["area"]
    if area is not None and (pixels := _area(exposure, area)) is not None:
        calibrated = calibrated.assign(area=pixels)
    sci = {
        **exposure.attrs.get("sci", {}),
        **_pixel_area(file.header, {} if area is None else area.header),
        "PHOTMJSR": float(conversion),
        "PHOTUJA2": float(conversion * MJY_PER_SR_IN_UJY_PER_ARCSEC2),
        "BUNIT": unit,
    }
    return calibrated.assign_attrs(sci=sci)


def _scaled(
    exposure: xr.Dataset, conversion: np.floating, inverse: bool, unit: str
) -> dict[str, xr.DataArray]:
    """Scale what the exposure has of sci, err and variances; flag what is NaN."""
    names = [name for name in ARRAYS if name in exposure]
    power = {name: 2 if name.startswith("var_") else 1 for name in names}
    # The square is rounded as the conversion is, to float32 where the throughput is constant.
    scales = tuple(float(conversion if power[n] == 1 else conversion * conversion) for n in names)
    arrays = [exposure[name] for name in ("dq", *names)]
    results = xr.apply_ufunc(
        calibrate,
        *arrays,
        kwargs={"scales": scales, "inverse": inverse},
        output_core_dims=[[]] * len(arrays),
        output_dtypes=[array.dtype for array in arrays],
        dask="parallelized",
    )
    units = {"dq": "", **{name: unit if power[name] == 1 else f"({unit})^2" for name in names}}
    return {
        name: result.assign_attrs(units=units[name])
        for name, result in zip(units, results, strict=True)
    }


def _conversion(keywords: Header, file: RefFile, params: PhotomParams) -> np.floating:
    """Find MJy/sr for one DN/s at the time of the exposure."""
    table = file.table("photom")
    row = _row(keywords, file, table)
    conversion = np.float32(table["photmjsr"][row])
    throughput = _throughput(keywords, file, row) if params.apply_time_correction else 1.0
    return conversion if throughput == 1.0 else conversion / np.float64(throughput)


def _row(keywords: Header, file: RefFile, table: np.ndarray) -> int:
    """Find the one row of the table for the exposure; FGS has a single one for all."""
    instrument = keywords["INSTRUME"]
    if instrument not in WHEELS:
        raise ExposureError(
            f"{keywords.filename}: photom: images of {instrument} cannot be calibrated; "
            f"expected one of {' '.join(WHEELS)}; skip photom"
        )
    columns = WHEELS[instrument]
    if not columns:
        return 0
    if instrument == "NIRCAM" and "subarray" in (table.dtype.names or ()):
        columns = (*columns, "subarray")
    wanted = {column: str(keywords.get(column.upper())).upper() for column in columns}
    found = _matches(table, wanted)
    if instrument == "MIRI" and not found.size:
        found = _matches(table, wanted | {"subarray": "GENERIC"})
    if found.size != 1:
        names = ", ".join(f"{name.upper()}={value}" for name, value in wanted.items())
        raise ExposureError(
            f"{keywords.filename}: photom: {file.path} has {found.size} rows for {names}, expected "
            "one; give another reference with --override photom=FILE, or skip photom"
        )
    return int(found[0])


def _matches(table: np.ndarray, wanted: Mapping[str, str]) -> np.ndarray:
    agree = [np.char.upper(table[column].astype(str)) == value for column, value in wanted.items()]
    return np.flatnonzero(np.logical_and.reduce(agree))


def _throughput(keywords: Header, file: RefFile, row: int) -> float:
    """Multiply the changes of throughput since their reference days that the reference knows of."""
    terms = {name: term for name, term in TERMS.items() if (name, 1) in extensions(file.stamp)}
    if not terms:
        return 1.0
    time = keywords.get("EXPMID", keywords.get("MJD-AVG"))
    if time is None:
        raise ExposureError(
            f"{keywords.filename}: photom: keyword EXPMID is missing, {file.path} depends on time; "
            "add it, or set photom.apply_time_correction=false"
        )
    throughput = 1.0
    for name, term in terms.items():
        coefficients = file.table(name)
        if row >= len(coefficients):
            raise ExposureError(
                f"{keywords.filename}: photom: {file.path}: {name.upper()} has {len(coefficients)} "
                "rows, expected as many as PHOTOM; give another reference"
            )
        throughput *= float(term(float(time), coefficients[row]))
    return throughput


def _linear(time: float, row: Any) -> float:
    return 1.0 - row["lossperyear"] * (time - row["t0"]) / DAYS_PER_YEAR


def _exponential(time: float, row: Any) -> float:
    return row["amplitude"] * np.exp(-(time - row["t0"]) / row["tau"]) + row["const"]


def _powerlaw(time: float, row: Any) -> float:
    """Scale so that the throughput is ``year1value`` a year after the reference day."""
    soft = row["tsoft"]
    ratio = (time - row["t0"] + soft) / (DAYS_PER_YEAR + soft)
    return row["year1value"] * ratio ** row["alpha"]


TERMS = {
    "timecoeff_linear": _linear,
    "timecoeff_exponential": _exponential,
    "timecoeff_powerlaw": _powerlaw,
}


def _pixel_area(photom: Mapping[str, Any], area: Mapping[str, Any]) -> dict[str, float]:
    """Take the nominal area of a pixel from the area reference, or else from the photom reference."""
    found = {name: area.get(name, photom.get(name)) for name in ("PIXAR_SR", "PIXAR_A2")}
    return {name: float(value) for name, value in found.items() if value is not None}


def _area(exposure: xr.Dataset, file: RefFile) -> xr.DataArray | None:
    """Give the map of relative pixel areas, lazily, in the row blocks of the exposure."""
    array = file.array("sci")
    if array is None:
        return None
    chunks = tuple(exposure.chunksizes.get(dim, (exposure.sizes[dim],)) for dim in ("y", "x"))
    pixels = da.map_blocks(_read_block, array, chunks=chunks, dtype=array.dtype, meta=META)
    return xr.DataArray(pixels, dims=("y", "x"))


def _read_block(array: RefArray, block_info: Mapping[Any, Any]) -> np.ndarray:
    rows, columns = block_info[None]["array-location"]
    return array.read(slice(*rows), slice(*columns))


def _unsupported(keywords: Header, params: PhotomParams) -> str:
    """Leave NIRISS integrations in DN/s, as the JWST calibration pipeline does."""
    model = keywords.get("DATAMODL")
    # Integrations of interferometry come straight from stage 1 where no file says what they are.
    is_cube = model == "CubeModel" or (
        keywords.get("EXP_TYPE") == "NIS_AMI" and model != "ImageModel"
    )
    is_niriss = keywords.get("INSTRUME") == "NIRISS"
    return "NIRISS integrations are not converted" if is_niriss and is_cube else ""


photom = ExposureStep(
    "photom",
    convert,
    refs=("photom", "area"),
    params=PhotomParams,
    applies=_unsupported,
    optional_types=frozenset({"area"}),
)
