"""Divide by the flat field, and add its uncertainty."""

from typing import Any

import numpy as np
from pydantic import Field

from jwpipe.dq import Pixel
from jwpipe.exposure import Header
from jwpipe.numerics.jit import kernel
from jwpipe.refs import RefArray, ReferenceRefused, References
from jwpipe.step import Params, Step

DO_NOT_USE = np.uint32(Pixel.DO_NOT_USE)
NO_FLAT_FIELD = np.uint32(Pixel.NO_FLAT_FIELD)
BAD_FLAT = np.uint32(Pixel.DO_NOT_USE | Pixel.NO_FLAT_FIELD)


class FlatFieldParams(Params):
    """Parameters of ``flat_field``."""

    save_interpolated_flat: bool = Field(
        False, description="save the flat interpolated in wavelength (NIRSpec spectra only)"
    )
    user_supplied_flat: str | None = Field(
        None, description="a flat of one's own, used instead of the reference file"
    )
    inverse: bool = Field(False, description="multiply by the flat: undo the step")


def apply_flat(
    sci: np.ndarray,
    dq: np.ndarray,
    var_poisson: np.ndarray,
    var_rnoise: np.ndarray,
    flat: np.ndarray,
    flat_err: np.ndarray | None,
    flat_dq: np.ndarray | None,
    *,
    inverse: bool,
) -> tuple[np.ndarray, ...]:
    """Flat-field an image (y, x) or integrations (integration, y, x).

    With F the flat and s its error: S / F, V_poisson / F^2, V_rnoise / F^2, V_flat = (S / F)^2 (s /
    F)^2, and ERR the root of the sum of the variances. Where F is NaN or 0 the pixel gets
    NO_FLAT_FIELD and DO_NOT_USE; where the flat says NO_FLAT_FIELD, DO_NOT_USE too; the flags of
    the flat are added. Pixels with DO_NOT_USE become NaN in all arrays, pixels that are NaN in any
    array get DO_NOT_USE. ``inverse`` multiplies instead, V_flat = 0.

    Returns
    -------
    sci, err, dq, var_poisson, var_rnoise, var_flat
    """
    ny, nx = flat.shape
    planes = [
        np.ascontiguousarray(array).reshape(-1, ny, nx)
        for array in (sci, dq, var_poisson, var_rnoise)
    ]
    err = np.zeros_like(flat) if flat_err is None else flat_err
    flags = np.zeros(flat.shape, np.uint32) if flat_dq is None else flat_dq
    results: tuple[np.ndarray, ...] = _flatten(*planes, flat, err, flags, inverse)
    return tuple(result.reshape(sci.shape) for result in results)


@kernel
def _flatten(
    sci: np.ndarray,
    dq: np.ndarray,
    var_poisson: np.ndarray,
    var_rnoise: np.ndarray,
    flat: np.ndarray,
    flat_err: np.ndarray,
    flat_dq: np.ndarray,
    inverse: bool,
) -> tuple[np.ndarray, ...]:
    """Loop over planes, rows and columns; all arithmetic in float32."""
    out_sci, out_err = np.empty_like(sci), np.empty_like(sci)
    out_poisson, out_rnoise = np.empty_like(sci), np.empty_like(sci)
    out_flat, out_dq = np.empty_like(sci), np.empty_like(dq)
    nan, zero, one = np.float32(np.nan), np.float32(0), np.float32(1)
    planes, ny, nx = sci.shape
    for i in range(planes):
        for y in range(ny):
            for x in range(nx):
                f = flat[y, x]
                flags = flat_dq[y, x]
                unknown = (f != f) or (f == zero) or (flags & NO_FLAT_FIELD) != 0
                flags |= BAD_FLAT if (f != f) or (f == zero) else np.uint32(0)
                flags |= DO_NOT_USE if unknown else np.uint32(0)
                f = one if (flags & DO_NOT_USE) != 0 else f
                square = f * f
                if inverse:
                    s = sci[i, y, x] * f
                    poisson, rnoise = var_poisson[i, y, x] * square, var_rnoise[i, y, x] * square
                    noise = zero
                else:
                    s = sci[i, y, x] / f
                    poisson, rnoise = var_poisson[i, y, x] / square, var_rnoise[i, y, x] / square
                    noise = s * s / square * (flat_err[y, x] * flat_err[y, x])
                error = np.sqrt(poisson + rnoise + noise)
                flags |= dq[i, y, x]
                invalid = (s != s) or (error != error) or (flags & DO_NOT_USE) != 0
                out_dq[i, y, x] = flags | (DO_NOT_USE if invalid else np.uint32(0))
                out_sci[i, y, x] = nan if invalid else s
                out_err[i, y, x] = nan if invalid else error
                out_poisson[i, y, x] = nan if invalid else poisson
                out_rnoise[i, y, x] = nan if invalid else rnoise
                out_flat[i, y, x] = nan if invalid else noise
    return out_sci, out_err, out_dq, out_poisson, out_rnoise, out_flat


def _flat(
    references: References, header: Header, params: FlatFieldParams
) -> tuple[RefArray | None, ...]:
    """The flat, its error and its flags."""
    file = references["flat"]
    if file is None or (flat := file.array("sci")) is None:
        name = file.path if file is not None else "flat"
        raise ReferenceRefused(
            f"{header.filename}: flat_field: {name} has no SCI extension; expected a flat field; "
            "give one with --override flat=FILE, or skip flat_field"
        )
    return flat, file.array("err"), file.array("dq")


def _keywords(header: Header, params: FlatFieldParams) -> dict[str, Any]:
    return {"inverse": params.inverse}


def _supplied(params: FlatFieldParams) -> dict[str, str]:
    return {"flat": params.user_supplied_flat} if params.user_supplied_flat else {}


flat_field = Step(
    "flat_field",
    apply_flat,
    reads=("sci", "dq", "var_poisson", "var_rnoise"),
    writes=("sci", "err", "dq", "var_poisson", "var_rnoise", "var_flat"),
    refs=("flat.sci", "flat.err?", "flat.dq?"),
    params=FlatFieldParams,
    keywords=_keywords,
    supplied=_supplied,
    prepare=_flat,
)
