"""The WCS of grism time series in stripes: NIRCam's Dispersed Hartmann Sensor (DHS), and the long channel beside it.

The sensor draws ten spectra of the star in the short channel, each on rows of its own; the readout takes some of them,
stripe by stripe. The long channel has one spectrum, which is read once for each stripe. Which stripe a pixel belongs to
says the regions reference; the dispersion of each stripe is in the specwcs reference.

===============  ===========================================  ==============================================
frame            coordinates                                  the way on
===============  ===========================================  ==============================================
grism_detector   x, y, order                                  stripe of the pixel -> its rows on the detector
                                                              -> offset along the dispersion -> wavelength
direct_image     x0, y0 (pixels), wavelength, order, stripe   distortion, with the offset of the filter
v2v3             V2, V3 (arcsec), wavelength, order, stripe   velocity aberration
v2v3vacorr       V2, V3 (arcsec), wavelength, order, stripe   pointing
world            right ascension, declination (deg),
                 wavelength (micron), order, stripe
===============  ===========================================  ==============================================

The star is where the aperture has it (XREF_SCI, YREF_SCI, less one). Each stripe has the trace that the specwcs
reference lists for it: jwst 3.0.0 takes traces in the order of a set instead, by which those of NRCA1 change places.
Backwards, the stripe must be given with the other coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from astropy.modeling import Model
from astropy.modeling.models import Const1D, Identity, Mapping, Shift
from gwcs import WCS, selector
from stdatamodels.jwst.transforms.models import (
    NIRCAMBackwardGrismDispersion,
    NIRCAMForwardRowGrismDispersion,
)

from jwpipe.exposure import ExposureError, Header, header
from jwpipe.refs import References
from jwpipe.refs.placement import science_placement
from jwpipe.wcs import grism, imaging
from jwpipe.wcs.modes import Solution
from jwpipe.wcs.soss import number
from jwpipe.wcs.spectra import reference, to_barycentre, tree_of

LONG_CHANNEL_ROW = -14.0
"""Rows from a stripe of the long channel to the cut-out of 64 rows in which its trace was measured."""

PIXEL = ("x", "y", "order")
TRACED = ("x0", "y0", "lam", "order", "stripe")
Tree = MappingType[str, Any]


@dataclass(frozen=True)
class Trace:
    """One stripe: its number, its rows and columns on the detector (what is added to y and x), its dispersion."""

    stripe: int
    x: float
    y: float
    dispersion: Model


def build(exposure: xr.Dataset, references: References, params: Any) -> Solution:
    """The WCS of an exposure in stripes.

    Raises
    ------
    ExposureError
        For another module, keywords that are missing or wrong (stripes, reference point, pointing), references that
        are missing or incomplete, and where no stripe of the exposure is in both references.
    """
    keywords = header(exposure)
    if keywords["MODULE"] != "A":
        raise ExposureError(
            f"{keywords.filename}: assign_wcs: MODULE is {keywords['MODULE']!r}, expected A for the stripes of "
            f"{keywords['SUBARRAY']}; correct the keyword"
        )
    rows = _rows(keywords)
    regions = _regions(references, keywords)
    shape = exposure["sci"].shape[-2:]
    labels = regions if regions.shape == shape else _read(regions, rows, keywords)
    tree = tree_of(references, "specwcs", keywords, ("orders", "displ", "dispx", "dispy"))
    long = "LONG" in str(keywords["DETECTOR"]).upper()
    traces = _long_traces(tree, keywords) if long else _traces(tree, regions, rows, keywords)
    to_direct = _by_stripe(labels, [_to_direct(each, keywords, long) for each in traces], traces)
    steps = imaging.build(grism.full_frame(exposure), references, params).pipeline
    onwards = [None if step.transform is None else step.transform & Identity(3) for step in steps]
    frames = (grism.pixels("grism_detector"), *grism.time_series_frames())
    wcs = WCS(list(zip(frames, [to_direct, *onwards], strict=True)))
    along_rows = keywords["PUPIL"] in ("GRISMR", "GDHS0")
    return Solution(wcs, {"DISPAXIS": grism.ROWS if along_rows else None, "SPECSYS": "BARYCENT"})


def _rows(keywords: Header) -> np.ndarray:
    """The row of the detector, from 0, of each row of the exposure."""
    place = science_placement(keywords)
    if place is None or place.stripes is None or place.stripes.axis != "y":
        raise ExposureError(
            f"{keywords.filename}: assign_wcs: SUBARRAY {keywords['SUBARRAY']} without stripes along y; expected "
            "SLOWAXIS 2 and MSTR_RD1, MSTR_SK1, MSTR_RD2, MSTR_SK2, MSTR_RPT, MSTR_ILV; correct the header"
        )
    return place.stripes.rows_of(0)


def _regions(references: References, keywords: Header) -> np.ndarray:
    """The stripe of each pixel of the detector, 0 for none."""
    tree = tree_of(references, "regions", keywords, ("regions",))
    regions = np.asarray(tree["regions"])
    if regions.ndim != 2:
        raise ExposureError(
            f"{keywords.filename}: assign_wcs: {reference(references, 'regions', keywords).path}: regions of shape "
            f"{regions.shape}, expected (y, x); give the regions of the DHS with --override regions=FILE"
        )
    return regions


def _read(regions: np.ndarray, rows: np.ndarray, keywords: Header) -> np.ndarray:
    """The stripe of each pixel of the exposure."""
    start, size = int(keywords["SUBSTRT1"]) - 1, int(keywords["SUBSIZE1"])
    columns = slice(start, start + size) if regions.shape[1] > size else slice(None)
    return np.ascontiguousarray(regions[rows, columns])


def _long_traces(tree: Tree, keywords: Header) -> list[Trace]:
    """The one trace of the long channel, once for each stripe in the name of the subarray (SUB164STRIPE4_DHS)."""
    name = str(keywords["SUBARRAY"])
    count = name.partition("STRIPE")[2][:1]
    if not count.isdigit():
        raise ExposureError(
            f"{keywords.filename}: assign_wcs: SUBARRAY is {name!r}, expected the number of its stripes in the name, "
            "as SUB164STRIPE4_DHS; correct the keyword"
        )
    dispersion = _dispersion(tree, tree["displ"], tree["dispx"], tree["dispy"], keywords)
    return [Trace(n + 1, 0.0, LONG_CHANNEL_ROW, dispersion) for n in range(int(count))]


def _traces(tree: Tree, regions: np.ndarray, rows: np.ndarray, keywords: Header) -> list[Trace]:
    """The traces of the short channel: stripes in both references, with the long channel's field point."""
    aperture = str(keywords["PPS_APER"])
    if missing := [name for name in ("stripes", "fieldpoints") if name not in tree]:
        raise ExposureError(
            f"{keywords.filename}: assign_wcs: the specwcs reference has no {', '.join(missing)}; expected that of the "
            "DHS; give one with --override specwcs=FILE"
        )
    read = {int(label) for label in np.unique(regions) if label}
    found = []
    listed = zip(tree["stripes"], tree["fieldpoints"], strict=True)
    for index, (stripe, point) in enumerate(listed):
        if point in aperture and int(stripe) in read:
            x, y = _place(regions == stripe, rows)
            displ, dispx, dispy = (tree[name][index] for name in ("displ", "dispx", "dispy"))
            dispersion = _dispersion(tree, displ, dispx, dispy, keywords)
            found.append(Trace(int(stripe), x, y, dispersion))
    if not found:
        raise ExposureError(
            f"{keywords.filename}: assign_wcs: no stripe in both references: regions has {sorted(read)}, specwcs has "
            f"{list(tree['stripes'])} of {sorted(set(tree['fieldpoints']))}, PPS_APER is {aperture}; give the "
            "references of this detector with --override"
        )
    return found


def _place(where: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
    """What is to be added to a pixel's x and y in a stripe to be on the detector, as jwst 3.0.0 has it."""
    along, across = (np.flatnonzero(where.any(axis=axis)) for axis in (1, 0))
    first = along[0]
    seen = np.flatnonzero(rows == first)
    return float(across[0]), float(first - seen[0]) if len(seen) else 0.0


def _dispersion(tree: Tree, displ: Any, dispx: Any, dispy: Any, keywords: Header) -> Model:
    """Go from (x, y, x0, y0, order) to (x0, y0, wavelength, order)."""
    models = {"lmodels": displ, "xmodels": dispx, "ymodels": dispy}
    inverse = dict.fromkeys(("inv_lmodels", "inv_xmodels", "inv_ymodels"))
    model = NIRCAMForwardRowGrismDispersion(tree["orders"], **models, **inverse)
    model.inverse = NIRCAMBackwardGrismDispersion(tree["orders"], **models, **inverse)
    stretch = to_barycentre(keywords)
    return model if stretch is None else model | Identity(2) & stretch & Identity(1)


def _to_direct(trace: Trace, keywords: Header, long: bool) -> Model:
    """Go from (x, y, order) in one stripe to (x0, y0, wavelength, order, stripe).

    Traces of the short channel are of detector pixels, whatever the star's; that of the long one is about the star.
    """
    star = [number(keywords, name) - 1 for name in ("XREF_SCI", "YREF_SCI")]
    before = [_fixed(value if long else 0.0, value if long else 0.0) for value in star]
    after = [_fixed(value, value if long else 0.0) for value in star]
    stripe = _fixed(trace.stripe, trace.stripe)
    shift = [Shift(by) if by else Identity(1) for by in (trace.x, trace.y)]
    return (
        shift[0] & shift[1] & Identity(1)
        | Mapping((0, 1, 0, 1, 2, 2))
        | Identity(2) & before[0] & before[1] & Identity(2)
        | trace.dispersion & stripe
        | after[0] & after[1] & Identity(3)
    )


def _by_stripe(labels: np.ndarray, models: list[Model], traces: list[Trace]) -> Model:
    """The model of the stripe that each pixel lies in; backwards that of the stripe given."""
    mapper = selector.LabelMapperArray(
        labels, inputs_mapping=Mapping((0, 1), n_inputs=3), inputs=PIXEL
    )
    mapper.inverse = selector.LabelMapper(
        inputs=TRACED, mapper=Identity(1), inputs_mapping=Mapping((4,))
    )
    numbers = [trace.stripe for trace in traces]
    return selector.RegionsSelector(
        inputs=list(PIXEL),
        outputs=list(TRACED),
        label_mapper=mapper,
        selector=dict(zip(numbers, models, strict=True)),
    )


def _fixed(value: float, back: float) -> Model:
    """Put a constant in the place of a coordinate, and another one backwards."""
    model = Const1D(value)
    model.inverse = Const1D(back)
    return model
