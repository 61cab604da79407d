"""The WCS of MIRI's slitless spectra of whole fields: grism_detector -> detector -> v2v3 -> v2v3vacorr -> world.

The prism without slit draws every source out along a trace. A pixel has a place on the sky only together with the
source that its light is from, which is given by its pixel (x0, y0) in a direct image, and the order, which is always 1.

=============== =============================== ===================================================================
frame           coordinates                     how the light gets there
=============== =============================== ===================================================================
grism_detector  x, y, x0, y0, order             pixel of the spectra, pixel of the source, counted from 0
detector        x0, y0, wavelength, order       how far up the trace of that source the pixel is
v2v3            v2, v3, wavelength, order       arcsec: the source through the filter's offset and the distortion
v2v3vacorr      v2, v3, wavelength, order       the same, free from velocity aberration
world           RA, Dec, wavelength, order      degrees, micron
=============== =============================== ===================================================================

There is no bounding box. Backwards, (RA, Dec, wavelength, order) gives the pixel where that light falls, and the source
and order again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr
from astropy import units
from astropy.modeling import Model
from astropy.modeling.models import Identity
from gwcs import WCS
from gwcs.coordinate_frames import Frame2D
from stdatamodels.jwst.transforms.models import (
    MIRIWFSSBackwardDispersion,
    MIRIWFSSForwardDispersion,
)

from jwpipe.exposure import Header, header
from jwpipe.refs import References
from jwpipe.wcs import imaging
from jwpipe.wcs.modes import Solution
from jwpipe.wcs.spectra import KEYWORDS, beside_wavelength, to_barycentre, tree_of

TRACES = ("displ", "dispx", "dispy", "invdispl", "orders")


def build(exposure: xr.Dataset, references: References, params: Any) -> Solution:
    """The WCS of a field of spectra, with that of the direct image which the header's keywords approximate.

    Raises
    ------
    ExposureError
        For pointing keywords that are missing or not finite, and references that are missing or of another mode.
    """
    keywords = header(exposure)
    tree_of(references, "distortion", keywords, ["model"])
    dispersion = _disperse(tree_of(references, "specwcs", keywords, TRACES), keywords)
    direct = imaging.build(exposure, references, params)
    pixels = Frame2D(
        name="grism_detector",
        axes_order=(0, 1),
        axes_names=("x_dispersed", "y_dispersed"),
        unit=(units.pix, units.pix),
    )
    steps = [(pixels, dispersion), *beside_wavelength(direct)]
    direct.bounding_box = (-0.5, exposure.sizes["x"] - 0.5), (-0.5, exposure.sizes["y"] - 0.5)
    return Solution(WCS(steps), sci=KEYWORDS, image=direct)


def _disperse(tree: Mapping[str, Any], header: Header) -> Model:
    """(x, y, x0, y0, order) -> (x0, y0, wavelength, order), and back to (x, y, x0, y0, order)."""
    traces = {"xmodels": tree["dispx"], "ymodels": tree["dispy"]}
    model = MIRIWFSSForwardDispersion(tree["orders"], lmodels=tree["displ"], **traces)
    model.inverse = MIRIWFSSBackwardDispersion(tree["orders"], lmodels=tree["invdispl"], **traces)
    velocity = to_barycentre(header)
    return model if velocity is None else model | Identity(2) & velocity & Identity(1)
