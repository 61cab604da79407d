"""The WCS of NIRISS single-object slitless spectra (SOSS): detector -> world.

The one star fills the detector with three orders, so the position on the sky is that of the target for every pixel, and
the order says which of three tables of wavelengths holds: (x, y, order) -> (right ascension and declination in deg,
wavelength in micron). ``one_order`` gives the WCS of a single order, (x, y) -> the same. Pixels of subarrays can be
given to that one only: where the order goes along, gwcs lends them a unit, which the shift to the full frame refuses.

========  ===================================================  ===========================================
frame     coordinates                                          how the light gets there
========  ===================================================  ===========================================
detector  x, y, order                                          pixels of the exposure, counted from 0
world     right ascension, declination (deg), wavelength (um)  the target; the order's table of wavelengths
========  ===================================================  ===========================================

The tables are of full-frame pixels, counted from 0, and of the pupil wheel's nominal angle: as in jwst 3.0.0 it is
the extraction of the spectra which turns traces and wavelengths by the angle of the exposure (PWCPOS). There is no way
back from a wavelength to a pixel.
"""

from __future__ import annotations

from math import isfinite
from numbers import Real
from typing import Any

import xarray as xr
from astropy import coordinates, units
from astropy.modeling import Model, bind_bounding_box
from astropy.modeling.models import Const1D, Identity, Mapping, Shift
from gwcs import WCS
from gwcs.coordinate_frames import CelestialFrame, CompositeFrame, Frame2D, SpectralFrame
from stdatamodels.jwst.transforms.models import NirissSOSSModel

from jwpipe.exposure import ExposureError, Header, header
from jwpipe.refs import References
from jwpipe.wcs.imaging import subarray_corner
from jwpipe.wcs.modes import Solution
from jwpipe.wcs.spectra import reference, to_barycentre

ORDERS = (1, 2, 3)


def build(exposure: xr.Dataset, references: References, params: Any) -> Solution:
    """The WCS of all orders.

    Raises
    ------
    ExposureError
        For a target without coordinates (TARG_RA, TARG_DEC), and references that are missing or lack an order.
    """
    keywords = header(exposure)
    shape = (exposure.sizes["y"], exposure.sizes["x"])
    tables = _wavelengths(references, keywords)
    models = [_order(keywords, shape, order, table) for order, table in tables.items()]
    model = NirissSOSSModel(list(ORDERS), models)
    model.name = "3-order SOSS Model"
    wcs = WCS([(_detector(), model), (_world(), None)])
    return Solution(wcs, {"DISPAXIS": 1, "SPECSYS": "BARYCENT"})


def one_order(wcs: WCS, order: int) -> WCS:
    """The WCS of one order, (x, y) -> (right ascension, declination, wavelength), with its bounding box.

    Raises
    ------
    ExposureError
        Where there is no such order.
    """
    if order not in ORDERS:
        raise ExposureError(f"SOSS has no order {order!r}; it has 1, 2 and 3")
    return WCS([(_detector(), wcs.forward_transform.get_model(order)), (_world(), None)])


def _order(header: Header, shape: tuple[int, int], order: int, table: Model) -> Model:
    """Go from a pixel of the subarray to the target and the wavelength there."""
    ra, dec = (Const1D(number(header, keyword)) for keyword in ("TARG_RA", "TARG_DEC"))
    stretch = to_barycentre(header)
    wavelength = table if stretch is None else table | stretch
    # Tables are indexed as arrays are: rows first.
    model = Mapping((0, 1, 1, 0)) | ra & dec & wavelength
    model.name = f"Order{order}"
    corner = subarray_corner(header)
    if not any(corner):
        return model
    shift = [Shift(start) if start else Identity(1) for start in corner]
    cut = shift[0] & shift[1] | model
    bind_bounding_box(cut, ((-0.5, shape[1] - 0.5), (-0.5, shape[0] - 0.5)), order="F")
    return cut


def _wavelengths(references: References, header: Header) -> dict[int, Model]:
    """The tables of wavelengths by order."""
    file = reference(references, "specwcs", header)
    tree: dict[Any, Any] = file.tree()
    if missing := [str(order) for order in ORDERS if order not in tree]:
        raise ExposureError(
            f"{header.filename}: assign_wcs: {file.path} has no order {', '.join(missing)}; expected an ASDF file "
            "with tables of the wavelengths of orders 1, 2 and 3; give one with --override specwcs=FILE"
        )
    return {order: tree[order] for order in ORDERS}


def number(header: Header, keyword: str) -> float:
    """A keyword's value as a number.

    Raises
    ------
    ExposureError
        Where it is missing, or no finite number.
    """
    value = header.get(keyword)
    if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
        found = "missing" if value is None else f"{value!r}"
        raise ExposureError(
            f"{header.filename}: assign_wcs: keyword {keyword} is {found}, expected a number; "
            "write it into the header, as the archive's files have it"
        )
    return float(value)


def _detector() -> Frame2D:
    return Frame2D(name="detector", axes_order=(0, 1), unit=(units.pix, units.pix))


def _world() -> CompositeFrame:
    sky = CelestialFrame(reference_frame=coordinates.ICRS(), axes_names=("ra", "dec"), name="sky")
    wavelength = SpectralFrame(
        name="spectral", axes_order=(2,), unit=(units.micron,), axes_names=("wavelength",)
    )
    return CompositeFrame([sky, wavelength], name="world")
