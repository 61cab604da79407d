"""Start the flags of a guide-star exposure from the mask of bad pixels: one plane for all of its groups."""

from __future__ import annotations

import dask.array as da
import numpy as np
import xarray as xr

from jwpipe.exposure import IMAGE, ExposureError, header
from jwpipe.refs import References
from jwpipe.stage1.dq_init import DqInitParams, masks
from jwpipe.step import ExposureStep


def start_guide_flags(
    exposure: xr.Dataset, references: References, params: DqInitParams
) -> xr.Dataset:
    """The exposure with the mask's flags and the user's added to ``dq`` (y, x), zeros where it has none yet.

    Raises
    ------
    ExposureError
        The mask has not the exposure's size.
    """
    shape = exposure["sci"].shape[-2:]
    mask, users = masks(references, header(exposure), params)
    if mask is None or mask.shape != shape:
        raise ExposureError(
            f"{header(exposure).filename}: dq_init: mask of {None if mask is None else mask.shape} pixels, expected "
            f"{shape} as SCI; give a mask of this exposure type or of the full frame"
        )
    flags = mask.read() if users is None else mask.read() | users.read()
    known = "dq" in exposure and exposure["dq"].shape == shape
    before = da.asarray(exposure["dq"].data).astype(np.uint32) if known else np.uint32(0)
    after = da.asarray(flags) | before
    rest = exposure.drop_vars("dq", errors="ignore")
    return rest.assign(dq=xr.DataArray(after, dims=IMAGE, attrs={"units": ""}))


dq_init_guider = ExposureStep("dq_init", start_guide_flags, refs=("mask",), params=DqInitParams)
