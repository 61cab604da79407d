"""Where light is known to fall, or what is known not to be sky: pixels that tell nothing of the detector's noise.

Spectra of NIRSpec by their WCS, with those that come through failed-open shutters; the traces of NIRISS SOSS; with
MIRI what the flat calls no part of the image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask import delayed
from dask.base import tokenize

from jwpipe.dq import Pixel
from jwpipe.exposure import Header, header
from jwpipe.refs import RefArray, References
from jwpipe.wcs.modes import REFERENCE_TYPES, family_of

FIXED_SLITS = slice(922, 1116)
"""Rows of NIRSpec's full frame between the quadrants, on which the fixed slits lie."""

SLITS = frozenset({"NRS_FIXEDSLIT", "NRS_BRIGHTOBJ", "NRS_MSASPEC"})
SHUTTERS = frozenset({"NRS_MSASPEC", "NRS_IFU"})
NO_SCIENCE = np.uint32(Pixel.DO_NOT_USE | Pixel.NON_SCIENCE)
NOT_FLAT = np.uint32(Pixel.DO_NOT_USE | Pixel.NO_FLAT_FIELD)
REGION_TYPES = (*REFERENCE_TYPES, "msaoper", "pastasoss")
"""All reference types that `region_references` may name, besides the flat."""

SHUTTERS_IN_ROW = 365
STATES = ("Internal state", "TA state", "state")


def region_references(keywords: Header) -> tuple[str, ...]:
    """The reference types behind ``science_regions`` of an exposure."""
    kind = str(keywords["EXP_TYPE"])
    if kind in SLITS | SHUTTERS:
        shutters = ("msa", "msaoper") if kind in SHUTTERS else ()
        return tuple(dict.fromkeys((*family_of(keywords).refs, *shutters)))
    return {"MIR_IMAGE": ("flat",), "NIS_SOSS": ("pastasoss",)}.get(kind, ())


def science_regions(
    exposure: xr.Dataset, references: References, dq: da.Array | None = None
) -> da.Array | None:
    """Pixels (y, x) bool, lazily, that must not count as background; ``None`` where nothing is known.

    Of MIRI's images ``dq`` (y, x) or (integration, y, x) are the flags of the rate; the result has their shape.
    """
    keywords = header(exposure)
    kind, shape = keywords["EXP_TYPE"], (exposure.sizes["y"], exposure.sizes["x"])
    if kind == "MIR_IMAGE":
        flat = references["flat"]
        dq = da.zeros(shape, dtype=np.uint32) if dq is None else dq
        if flat is None:
            return dq & NO_SCIENCE != 0
        planes = lazy_frame(_flat_flags, shape, np.uint32, flat.array("sci"), flat.array("dq"))
        return (dq | planes) & NO_SCIENCE != 0
    if kind == "NIS_SOSS":
        return lazy_frame(_soss, shape, bool, keywords, references, shape)
    if kind in SLITS | SHUTTERS:
        bare = xr.Dataset(attrs=exposure.attrs)
        return lazy_frame(_nirspec, shape, bool, bare, references, shape, key=_key(exposure))
    return None


def lazy_frame(
    function: Callable[..., np.ndarray],
    shape: tuple[int, ...],
    dtype: Any,
    *operands: Any,
    key: Any = None,
) -> da.Array:
    """What ``function`` makes of ``operands``: one task, known by these or by ``key``."""
    name = f"{function.__name__.strip('_')}-{tokenize(key or operands)}"
    frame = delayed(function, pure=True)(*operands, dask_key_name=name)
    return da.from_delayed(frame, shape, dtype)


def _key(exposure: xr.Dataset) -> tuple[str, ...]:
    """What a WCS depends on, besides the references."""
    keywords = header(exposure)
    return (*(f"{name}={keywords[name]}" for name in keywords), str(exposure.attrs.get("folder")))


def _flat_flags(flat: RefArray, flags: RefArray | None) -> np.ndarray:
    """The flags that flat fielding adds."""
    values = flat.read()
    found = np.zeros(values.shape, np.uint32) if flags is None else flags.read()
    found = found | np.where((values == 0) | np.isnan(values), NOT_FLAT, np.uint32(0))
    unknown = found & np.uint32(Pixel.NO_FLAT_FIELD) != 0
    return found | np.where(unknown, np.uint32(Pixel.DO_NOT_USE), np.uint32(0))


def _soss(keywords: Header, references: References, shape: tuple[int, int]) -> np.ndarray:
    from jwpipe.wcs.soss_traces import near_traces, traces

    return near_traces(traces(keywords, references), shape)


def _nirspec(exposure: xr.Dataset, references: References, shape: tuple[int, int]) -> np.ndarray:
    """Pixels that see slits or slices, or failed-open shutters."""
    from jwpipe.stage2.assign_wcs import AssignWcsParams
    from jwpipe.wcs.nirspec import build

    keywords = header(exposure)
    lit = np.zeros(shape, bool)
    pixels = xr.DataArray(np.broadcast_to(np.float32(0), shape), dims=("y", "x"))
    bare = exposure.assign(sci=pixels)
    solution = None
    if keywords["EXP_TYPE"] == "NRS_IFU" or "wcs" not in exposure.attrs:
        solution = build(bare, references, AssignWcsParams())
    if keywords["EXP_TYPE"] == "NRS_IFU":
        assert solution is not None
        lit |= solution.variables["regions"].values > 0
        lit[FIXED_SLITS] = True
    else:
        wcs = exposure.attrs["wcs"] if solution is None else solution.wcs
        slits = wcs.get_transform("gwa", "slit_frame")
        for each in slits.slit_ids:
            lit[_pixels(wcs.bounding_box[each])] = True
        fixed = any(slit.quadrant == 5 for slit in slits.slits)
        if keywords["EXP_TYPE"] == "NRS_MSASPEC" and not fixed:
            lit[FIXED_SLITS] = True
    if keywords["EXP_TYPE"] in SHUTTERS:
        lit |= failed_open(keywords, references, shape)
    return lit


def _pixels(box: Any) -> tuple[slice, slice]:
    """Rows and columns of a bounding box (x, x), (y, y) of pixel edges."""
    columns, rows = (
        slice(*(int(np.floor(edge + 0.5)) for edge in axis)) for axis in (box[0], box[1])
    )
    return rows, columns


def failed_open(header: Header, references: References, shape: tuple[int, int]) -> np.ndarray:
    """Pixels (y, x) that see a shutter which does not close (reference ``msaoper``)."""
    from gwcs.wcstools import grid_from_bounding_box
    from stdatamodels.jwst.transforms.models import Slit

    from jwpipe.wcs.nirspec_optics import NoLightError, Optics
    from jwpipe.wcs.nirspec_slits import Projection, microns_or_metres, msa_apertures, on_detector

    seen = np.zeros(shape, bool)
    file = references["msaoper"]
    shutters = file.tree()["msaoper"] if file is not None else []
    failed = [each for each in shutters if any(each[state] == "open" for state in STATES)]
    slits = []
    for count, each in enumerate(failed, 1):
        x, y = int(each["x"]), int(each["y"])
        place = x + (y - 1) * SHUTTERS_IN_ROW
        slits.append(Slit(count, place, 0, x, y, -0.5, 0.5, int(each["Q"]), 0, "x", slit_id=count))
    optics = Optics.build(header, references)
    projection = Projection(optics, microns_or_metres(header))
    try:
        pairs, boxes = on_detector(msa_apertures(slits, header, references, optics), header, optics)
    except NoLightError:
        return seen
    for _, aperture in pairs:
        (left, right), (bottom, top) = boxes[aperture.id]
        x, y = grid_from_bounding_box(((left, right), (bottom, top)))
        # The grid is of whole pixels; those whose centre is outside the box see nothing.
        inside = (x >= max(left, 0)) & (x <= min(right, shape[1] - 1))
        inside &= (y >= max(bottom, 0)) & (y <= min(top, shape[0] - 1))
        lit = projection.lit(aperture, x, y) & inside
        seen[y[lit].astype(int), x[lit].astype(int)] = True
    return seen
