"""Count rates of guide stars, from the difference of two groups (correlated double sampling).

Identification (``FGS_ID-*``) takes the smaller difference of its two integrations, which leaves cosmic rays out;
acquisition and track take the two groups of each integration; fine guiding the averages of the first and of the last
four groups. The Poisson variance is that of the JWST calibration pipeline 3.0.0: it takes the difference for the rate,
and so is too large by the group time in seconds.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from jwpipe.exposure import CUBE, ExposureError, Header, header
from jwpipe.refs import RefArray, References
from jwpipe.step import ExposureStep, Params

IDENTIFICATION = ("FGS_ID-IMAGE", "FGS_ID-STACK")
STACK, FINE_GUIDING = "FGS_ID-STACK", "FGS_FINEGUIDE"
AVERAGED = 4
ROWS = 256


class GuiderCdsParams(Params):
    """Parameters of the guider_cds step: none of its own."""


def guide_rates(
    sci: np.ndarray, gain: np.ndarray, readnoise: np.ndarray, *, kind: str, group_time: float
) -> tuple[np.ndarray, np.ndarray]:
    """Count rates and their errors.

    Parameters
    ----------
    sci
        Raw counts (i, g, y, x), DN.
    gain, readnoise
        Gain (y, x), electron/DN, and noise of a pair of frames (y, x), DN.
    kind
        Exposure type.
    group_time
        Seconds of a group.

    Returns
    -------
    rate, error
        DN/s, (i, y, x); one plane for identification.
    """
    counts = sci.astype(np.float32, copy=False)
    if kind == FINE_GUIDING:
        rise = counts[:, -AVERAGED:].mean(axis=1) - counts[:, :AVERAGED].mean(axis=1)
    else:
        rise = counts[:, 1] - counts[:, 0]
    if kind in IDENTIFICATION:
        rise = np.minimum(rise[1:2], rise[0:1])
    with np.errstate(divide="ignore", invalid="ignore"):
        photons = rise / (gain * np.float32(group_time))
        photons[photons < 0] = 0.0
        read = 2 * (readnoise / np.float32(group_time)) ** 2
        return rise / np.float32(group_time), np.sqrt(read + photons)


def apply_guider_cds(
    exposure: xr.Dataset, references: References, params: GuiderCdsParams
) -> xr.Dataset:
    """The lazy exposure with rates (integration, y, x) and errors in place of groups; its tables stay."""
    keywords = header(exposure)
    kind = str(keywords["EXP_TYPE"])
    _check_counts(exposure, kind)
    sci = da.asarray(exposure["sci"].data)
    rows = da.core.normalize_chunks(ROWS, (sci.shape[2],), dtype=sci.dtype)[0]
    ints = sci.shape[:1] if kind in IDENTIFICATION else sci.chunks[0]
    sci = sci.rechunk((ints, sci.shape[1:2], rows, sci.shape[3:]))
    both = sci.map_blocks(
        partial(_block, rates=partial(guide_rates, kind=kind, group_time=float(keywords["TGROUP"]))),
        *(_plane(references, each, sci.shape[2:], kind, keywords) for each in ("gain", "readnoise")),
        dtype=np.float32,
        chunks=((2,), (1,) if kind in IDENTIFICATION else ints, rows, sci.shape[3:]),
        meta=np.empty((0,) * 4, np.float32),
    )  # fmt: skip
    units = {"units": "DN/s"}
    planes = {name: xr.DataArray(both[k], dims=CUBE, attrs=units) for k, name in enumerate(("sci", "err"))}  # fmt: skip
    attrs = {**exposure.attrs, "sci": {**exposure.attrs.get("sci", {}), "BUNIT": "DN/s"}}
    flags = {"dq": exposure["dq"]} if "dq" in exposure else {}
    return xr.Dataset({**planes, **flags}, attrs=attrs)


def _check_counts(exposure: xr.Dataset, kind: str) -> None:
    sizes = exposure["sci"].sizes
    least = {"integration": 2 if kind in IDENTIFICATION else 1, "group": 2}
    for axis, number in least.items():
        if sizes.get(axis, 0) < number:
            raise ExposureError(
                f"{header(exposure).filename}: guider_cds: {sizes.get(axis, 0)} {axis}s found, {kind} has {number} "
                "at least; get the raw file again"
            )


def _block(
    sci: np.ndarray,
    gain: RefArray | float,
    readnoise: RefArray | float,
    rates: Any,
    block_info: Any = None,
) -> np.ndarray:
    """Rates and errors (2, i, y, x) of a block of rows."""
    rows = slice(*block_info[0]["array-location"][2]) if block_info else slice(0, 0)
    planes = [
        each.read(rows) if isinstance(each, RefArray) else np.full(sci.shape[2:], each, np.float32)
        for each in (gain, readnoise)
    ]
    return np.stack(rates(sci, *planes))


def _plane(
    references: References, kind: str, shape: tuple[int, ...], exp_type: str, keywords: Header
) -> RefArray | float:
    """The reference's pixels; of a stack of strips, which are no part of the detector, their mean."""
    file = references[kind]
    array = None if file is None else file.array("sci")
    assert array is not None, "the step runs with its references only"
    if array.shape == shape:
        return array
    if exp_type == STACK:
        return float(np.mean(array.read()))
    raise ExposureError(
        f"{keywords.filename}: guider_cds: {kind} reference of {array.shape} pixels, the exposure has {shape}; "
        "give a reference of the full frame"
    )


guider_cds = ExposureStep(
    "guider_cds", apply_guider_cds, refs=("gain", "readnoise"), params=GuiderCdsParams
)
