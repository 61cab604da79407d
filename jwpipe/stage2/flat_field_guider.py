"""Divide guide-star exposures by the flat field.

They have no variances: the flat's uncertainty is added to the error, which is not divided itself, as in the JWST
calibration pipeline 3.0.0. Their flags are one plane, so that flagged pixels keep their values.
"""

from __future__ import annotations

import dask.array as da
import numpy as np
import xarray as xr

from jwpipe.exposure import CUBE, IMAGE, ExposureError, Header, header
from jwpipe.refs import RefArray, References
from jwpipe.stage2.flat_field import BAD_FLAT, DO_NOT_USE, NO_FLAT_FIELD, FlatFieldParams
from jwpipe.step import ExposureStep


def usable_flat(flat: np.ndarray, flat_dq: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The flat (y, x) with 1 where it cannot be used, and its flags with NO_FLAT_FIELD and DO_NOT_USE there."""
    flags = np.zeros(flat.shape, np.uint32) if flat_dq is None else flat_dq.copy()
    flags[np.isnan(flat) | (flat == 0)] |= BAD_FLAT
    flags[flags & NO_FLAT_FIELD != 0] |= DO_NOT_USE
    return np.where(flags & DO_NOT_USE != 0, np.float32(1), flat), flags


def flatten_guide_rates(
    sci: np.ndarray, err: np.ndarray, flat: np.ndarray, flat_err: np.ndarray, *, inverse: bool
) -> np.ndarray:
    """Rates and errors (2, i, y, x): S / F, and the root of err^2 + (S / F)^2 (s / F)^2 with s the flat's error.

    ``inverse`` multiplies, and leaves errors as they are. Pixels that are NaN in either are so in both.
    """
    if inverse:
        result, error = sci * flat, err
    else:
        result = sci / flat
        error = np.sqrt(err**2 + result**2 / (flat * flat) * flat_err**2)
    invalid = np.isnan(result) | np.isnan(error)
    return np.where(invalid, np.float32(np.nan), np.stack([result, error]))


def apply_flat_field(
    exposure: xr.Dataset, references: References, params: FlatFieldParams
) -> xr.Dataset:
    """The lazy exposure with its rates flat-fielded and the flat's flags added.

    Raises
    ------
    ExposureError
        The exposure holds no rates.
    """
    missing = [name for name in ("sci", "err", "dq") if name not in exposure]
    if missing or exposure["sci"].dims != CUBE:
        raise ExposureError(
            f"{header(exposure).filename}: flat_field: {exposure['sci'].ndim} dimensions found, rates of integrations "
            "with errors and flags expected; run guider_cds first"
        )
    pixels, errors, dq = _arrays(references)
    flat, flags = usable_flat(pixels.read(), None if dq is None else dq.read())
    noise = np.zeros_like(flat) if errors is None else errors.read()
    sci, err = (da.asarray(exposure[name].data) for name in ("sci", "err"))
    rows = sci.chunks[1]
    flat, noise = (da.from_array(each, (rows, -1)) for each in (flat, noise))
    both = da.map_blocks(
        flatten_guide_rates,
        *(sci, err.rechunk(sci.chunks), flat, noise),
        inverse=params.inverse,
        dtype=np.float32,
        chunks=((2,), *sci.chunks),
        new_axis=0,
    )
    planes = {name: (CUBE, both[k], {"units": "DN/s"}) for k, name in enumerate(("sci", "err"))}
    after = da.asarray(exposure["dq"].data) | flags
    return exposure.assign(planes | {"dq": (IMAGE, after, {"units": ""})})


def _arrays(references: References) -> tuple[RefArray, RefArray | None, RefArray | None]:
    file = references["flat"]
    assert file is not None, "the step runs with a flat only"
    pixels = file.array("sci")
    assert pixels is not None, "a flat has pixels"
    return pixels, file.array("err"), file.array("dq")


def _supplied(params: FlatFieldParams) -> dict[str, str]:
    return {"flat": params.user_supplied_flat} if params.user_supplied_flat else {}


def _unsuitable(references: References, keywords: Header, params: FlatFieldParams) -> str:
    """Why the flat cannot be used; stacks of strips are larger than any flat of the detector."""
    shape = _arrays(references)[0].shape
    expected = int(keywords["SUBSIZE2"]), int(keywords["SUBSIZE1"])
    small = shape[0] < expected[0] or shape[1] < expected[1]
    return f"the flat of {shape} pixels is smaller than the exposure's {expected}" if small else ""


flat_field_guider = ExposureStep(
    "flat_field",
    apply_flat_field,
    refs=("flat",),
    params=FlatFieldParams,
    unsuitable=_unsuitable,
    supplied=_supplied,
)
