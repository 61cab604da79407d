"""Superstripes: integrations of parts of the field become integrations of the whole.

Raw superstripe exposures have one integration for each superstripe: (i superstripes, g, y, x). ``stack`` lays the
superstripes of an integration side by side, so that the steps up to the reference pixels see one frame, whose
references are cut likewise. ``assemble`` then puts the stripes where they belong on the detector, and leaves out the
rows of reference pixels; where a stripe is read several times in a frame, each time is a group of its own. Pixels that
are never read are NaN and flagged REFERENCE_PIXEL, as in the JWST calibration pipeline 3.0.0.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from jwpipe.dq import Pixel
from jwpipe.exposure import IMAGE, ExposureError, Header, header
from jwpipe.numerics.stripes import KEYWORDS, Stack, Stripes, read_times, runs, stripes_of
from jwpipe.refs import References
from jwpipe.step import ExposureStep, Params

STACKED = "stacked"
NEVER_READ = {"sci": np.nan, "zeroframe": np.nan, "groupdq": 0, "pixeldq": Pixel.REFERENCE_PIXEL}
BOUNDS = ("start", "mid", "end")
CLOCKS = ("MJD_UTC", "BJD_TDB")


class SuperstripesParams(Params):
    """Parameters of putting superstripes together: none of its own."""


def superstripes_of(keywords: Header) -> Stripes | None:
    """The stripes of an exposure with superstripes; ``None`` for others."""
    return stripes_of(keywords) if int(keywords.get("SSTR_NST") or 0) > 0 else None


def stack(exposure: xr.Dataset) -> xr.Dataset:
    """A raw exposure with its superstripes side by side; others, and stacked ones, as they are.

    Raises
    ------
    ExposureError
        Where superstripes are missing.
    """
    stripes = superstripes_of(header(exposure))
    if stripes is None or exposure.attrs.get(STACKED):
        return exposure
    count, found = len(stripes.frames), exposure["sci"].sizes["integration"]
    if found % count:
        raise ExposureError(
            f"{header(exposure).filename}: {found} integrations found, expected a multiple of the {count} superstripes "
            "of SSTR_NST; get the whole exposure"
        )
    variables = {
        name: (exposure[name].dims, _stacked(exposure[name].data, stripes), exposure[name].attrs)
        for name in ("sci", "groupdq", "zeroframe")
        if name in exposure
    }
    if "pixeldq" in exposure:
        flags = _stacked(exposure["pixeldq"].data, stripes)[0]
        variables["pixeldq"] = (IMAGE, flags, exposure["pixeldq"].attrs)
    rest = exposure.drop_vars(variables)
    return rest.assign(variables).assign_attrs({**exposure.attrs, STACKED: True})


def unstack(exposure: xr.Dataset) -> xr.Dataset:
    """A stacked exposure as it is stored, with an integration for each superstripe; others as they are."""
    if not exposure.attrs.get(STACKED):
        return exposure
    stripes = superstripes_of(header(exposure))
    assert stripes is not None
    variables = {}
    for name in ("sci", "groupdq", "zeroframe", "pixeldq"):
        if name in exposure:
            array = exposure[name].data
            dims = ("superstripe", *IMAGE) if name == "pixeldq" else exposure[name].dims
            variables[name] = (dims, _unstacked(array, stripes), exposure[name].attrs)
    attrs = {key: value for key, value in exposure.attrs.items() if key != STACKED}
    attrs["primary"] = {**attrs["primary"], "DATAMODL": "SuperstripeRampModel"}
    raw = exposure.drop_vars(variables).assign(variables)
    return raw.drop_attrs(deep=False).assign_attrs(attrs)


def _unstacked(array: da.Array, stripes: Stripes) -> da.Array:
    if array.ndim == 2:
        array = array[np.newaxis]
    count, axis = len(stripes.frames), _axis(stripes)
    whole = array.rechunk({0: 1} | dict.fromkeys(range(1, array.ndim), -1))
    chunks = [(count,) * array.shape[0], *((size,) for size in array.shape[1:])]
    chunks[axis] = (stripes.rows,)
    return whole.map_blocks(apart, stripes, chunks=tuple(chunks), dtype=array.dtype)


def apart(frame: np.ndarray, stripes: Stripes) -> np.ndarray:
    """A stacked frame (1, ..., y, x) as those of the superstripes (superstripe, ..., y, x)."""
    along = np.moveaxis(frame[0], _axis(stripes), 0)
    frames = along.reshape(len(stripes.frames), Stack(stripes).pitch, *along.shape[1:])
    return np.moveaxis(frames[:, : stripes.rows], 1, _axis(stripes))


def _stacked(array: da.Array, stripes: Stripes) -> da.Array:
    count, axis = len(stripes.frames), _axis(stripes)
    whole = array.rechunk({0: count} | dict.fromkeys(range(1, array.ndim), -1))
    integrations = array.shape[0] // count
    chunks = [(1,) * integrations, *((size,) for size in array.shape[1:])]
    chunks[axis] = (Stack(stripes).rows,)
    return whole.map_blocks(side_by_side, stripes, chunks=tuple(chunks), dtype=array.dtype)


def side_by_side(frames: np.ndarray, stripes: Stripes) -> np.ndarray:
    """Frames of all superstripes (superstripe, ..., y, x) as one frame (1, ..., y, x), empty rows between them 0."""
    axis, stacked = _axis(stripes), Stack(stripes)
    shape = list(frames.shape[1:])
    shape[axis] = stacked.rows
    result = np.zeros(shape, frames.dtype)
    along = np.moveaxis(result, axis, 0)
    for number, frame in enumerate(frames):
        start = number * stacked.pitch
        along[start : start + stripes.rows] = np.moveaxis(frame, axis, 0)
    return result[np.newaxis]


def _axis(stripes: Stripes) -> int:
    return -1 if stripes.axis == "x" else -2


def assemble(
    exposure: xr.Dataset, references: References, params: SuperstripesParams
) -> xr.Dataset:
    """Put the superstripes of a stacked ramp where they belong, with the header of the field that they make."""
    keywords = header(exposure)
    stripes = superstripes_of(keywords)
    assert stripes is not None
    variables = {
        name: (
            exposure[name].dims,
            _assembled(exposure[name].data, name, stripes),
            exposure[name].attrs,
        )
        for name in NEVER_READ
        if name in exposure
    }
    attrs = {key: value for key, value in exposure.attrs.items() if key != STACKED}
    attrs["tables"] = with_stripe_times(attrs.get("tables", {}), keywords, stripes)
    if stripes.turns > 1:
        attrs["read_times"] = read_times(keywords, stripes)
    attrs |= _headers(exposure.attrs, assembled_keywords(keywords))
    whole = exposure.drop_vars(variables).assign(variables)
    return whole.drop_attrs(deep=False).assign_attrs(attrs)


def _assembled(array: da.Array, name: str, stripes: Stripes) -> da.Array:
    axis = array.ndim + _axis(stripes)
    cut = {axis: -1} if axis == array.ndim - 1 else {axis: -1, 0: 1 if array.ndim > 2 else -1}
    if array.ndim == 4:
        cut[1] = -1
    whole = array.rechunk(cut)
    chunks = list(whole.chunks)
    chunks[axis] = (stripes.span[1],)
    if array.ndim == 4:
        chunks[1] = (array.shape[1] * stripes.turns,)
    kind = np.dtype(np.float32) if name in ("sci", "zeroframe") else array.dtype
    return whole.map_blocks(in_place, NEVER_READ[name], stripes, chunks=tuple(chunks), dtype=kind)


def in_place(frames: np.ndarray, missing: Any, stripes: Stripes) -> np.ndarray:
    """Stacked frames (..., y, x) as frames of the field; groups of ramps (i, g, y, x) once for each turn.

    Of what has no groups, the last of several turns counts.
    """
    axis, rows = _axis(stripes), Stack(stripes).sources()
    ramps = frames.ndim == 4
    turns = stripes.turns if ramps else 1
    shape = list(frames.shape)
    shape[axis] = stripes.span[1]
    if ramps:
        shape[1] *= turns
    kind = np.float32 if np.isnan(missing) else frames.dtype
    result = np.full(shape, missing, kind)
    source = np.moveaxis(frames, axis, -1)
    for turn, places in enumerate(rows):
        target = result[:, turn::turns] if ramps else result
        for run in runs(places):
            there = source[..., run.there : run.there + run.size]
            np.moveaxis(target, axis, -1)[..., run.here : run.here + run.size] = there
    return result


def assembled_keywords(keywords: Header) -> dict[str, Any]:
    """What keywords are after ``assemble``; ``None`` for those that go."""
    stripes = superstripes_of(keywords)
    if stripes is None:
        return {}
    count = len(stripes.frames)
    number = 1 if stripes.axis == "x" else 2
    start, size = stripes.span
    last = keywords.get("INTEND") or keywords["NINTS"]
    return {
        "DATAMODL": "RampModel",
        "INTSTART": ceil((keywords.get("INTSTART") or 1) / count),
        "INTEND": ceil(last / count),
        "NINTS": ceil(keywords["NINTS"] / count),
        "NGROUPS": keywords["NGROUPS"] * stripes.turns,
        f"SUBSTRT{number}": start + 1,
        f"SUBSIZE{number}": size,
    } | dict.fromkeys(KEYWORDS)


def assembled_header(keywords: Header) -> Header:
    """The header of an exposure after ``assemble``."""
    merged = dict(keywords) | assembled_keywords(keywords)
    attrs: dict[str, Any] = {"primary": merged, "filename": keywords.filename}
    stripes = superstripes_of(keywords)
    if stripes is not None and stripes.turns > 1:
        attrs["read_times"] = read_times(keywords, stripes)
    return Header(attrs)


def _headers(attrs: Any, changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Both headers with changes, each where the keyword stands."""
    headers = {}
    for name in ("primary", "sci"):
        old = dict(attrs.get(name, {}))
        headers[name] = {
            key: changes.get(key, value)
            for key, value in old.items()
            if changes.get(key, value) is not None
        }
    known = headers["primary"].keys() | headers["sci"].keys()
    headers["primary"] |= {
        key: value for key, value in changes.items() if value is not None and key not in known
    }
    return headers


def with_stripe_times(
    tables: dict[str, np.ndarray], keywords: Header, stripes: Stripes
) -> dict[str, np.ndarray]:
    """Tables whose INT_TIMES are of whole integrations; those of the superstripes move to INT_TIMES_STRIPE.

    An integration lasts from the start of its first superstripe to the end of its last, its middle is between.
    """
    rows = tables.get("INT_TIMES")
    if rows is None or not len(rows):
        return tables
    count = len(stripes.frames)
    whole = len(rows) // count
    first = ceil((keywords.get("INTSTART") or 1) / count)
    name = {field.lower(): field for field in rows.dtype.names or ()}
    number = name["integration_number"]
    times = np.zeros(whole, rows.dtype)
    times[number] = np.arange(whole) + first
    for clock in CLOCKS:
        start, mid, end = (name[f"int_{bound}_{clock}".lower()] for bound in BOUNDS)
        times[start] = rows[start][: whole * count : count]
        times[end] = rows[end][count - 1 : whole * count : count]
        times[mid] = (times[end] - times[start]) / 2 + times[start]
    columns = [(number, rows.dtype[number]), ("stripe_number", rows.dtype[number])]
    columns += [(each, rows.dtype[each]) for each in rows.dtype.names or () if each != number]
    stripe_times = np.zeros(len(rows), columns)
    for each in rows.dtype.names or ():
        stripe_times[each] = rows[each]
    stripe_times[number] = np.arange(len(rows)) // count + first
    stripe_times["stripe_number"] = np.arange(len(rows)) % count + 1
    return {**tables, "INT_TIMES": times, "INT_TIMES_STRIPE": stripe_times}


superstripes = ExposureStep(
    "superstripes",
    assemble,
    params=SuperstripesParams,
    applies=lambda keywords, params: (
        "" if superstripes_of(keywords) else "the readout has no superstripes"
    ),
    becomes=assembled_header,
)
