"""The WCS of NIRSpec's images, taken with the mirror in the grating wheel and the MSA in the way.

==========  ==================================  ===================================================
frame       coordinates                         the way on
==========  ==================================  ===================================================
detector    x, y                                subarray; NRS2 is mounted upside down
sca         x, y                                detector and camera, backwards
gwa         three cosines                       the mirror, and the collimator backwards
msa         x, y in the MSA (m)                 fore optics, for the middle of the filter's wavelengths
oteip       x, y in the focus (deg)             telescope
v2v3, ...   V2, V3 (arcsec)                     velocity aberration, pointing
world       right ascension, declination (deg)
==========  ==================================  ===================================================

Lamps and the closed filter end at the MSA.
"""

from __future__ import annotations

from copy import copy

from astropy.modeling import Model
from astropy.modeling.models import Const1D, Identity, Mapping, Scale
from gwcs import WCS
from stdatamodels.jwst.transforms.models import DirCos2Unitless

from jwpipe.exposure import Header
from jwpipe.refs import References
from jwpipe.wcs.nirspec_grating import LAMPS
from jwpipe.wcs.nirspec_optics import Optics, Steps, named, plane, tree_of
from jwpipe.wcs.pointing import Pointing


def imaging_wcs(
    header: Header, references: References, optics: Optics, shape: tuple[int, int]
) -> WCS:
    """Build the WCS of an image of ``shape`` (ny, nx).

    Distortion of the fore optics is that of the middle of the filter's wavelength range, on the way back as well: that
    is where jwst 3.0.0 goes wrong, by thousands of pixels.
    """
    closed = header["FILTER"] == "OPAQUE"
    steps: Steps = [
        (plane("detector"), optics.to_sca),
        (plane("sca"), optics.to_gwa),
        (plane("gwa"), _to_msa(optics, 1e6 if closed else 1.0)),
        (plane("msa"), None),
    ]
    if not closed:
        fore, ote = (tree_of(references, kind, header)["model"] for kind in ("fore", "ote"))
        steps = steps[:-1] + _to_sky(header, fore, ote, optics.waves.centre)
    wcs = WCS(steps)
    if header["EXP_TYPE"] not in LAMPS:
        wcs.bounding_box = ((-0.5, shape[1] - 0.5), (-0.5, shape[0] - 0.5))
    return wcs


def _to_msa(optics: Optics, unit: float) -> Model:
    """Reflect at the mirror, and go back through the collimator; the wavelength is put beside."""
    mirror = Scale(-1) & Scale(-1) & Identity(1)
    unturned = optics.disperser.rotation.inverse
    to_msa = (
        mirror | unturned | DirCos2Unitless(name="directional_cosines2unitless") | optics.collimator
    )
    model = to_msa | Mapping((0, 1, 1)) | Identity(2) & Const1D(optics.waves.centre * unit)
    model.inverse = optics.to_disperser | mirror
    return named(model, "gwa2msa", "angle1 angle2 angle3", "x_msa y_msa lam")


def _to_sky(header: Header, fore: Model, ote: Model, wavelength: float) -> Steps:
    pointing = Pointing.from_header(header)
    # Back to the MSA the wavelength is that of the middle: positions alone come from the sky.
    fixed = Mapping((0, 1, 1)) | Identity(2) & Const1D(wavelength)
    fore, ote = copy(fore), copy(ote)
    fore.inverse = fixed | fore.inverse
    return [
        (plane("msa"), named(fore, "msa2oteip", "x_msa y_msa lam", "x_ote y_ote")),
        (plane("oteip"), named(ote, "oteip2v23", "x_ote y_ote", "v2 v3")),
        (plane("v2v3"), named(pointing.aberration(), "va_corr", "v2 v3", "v2 v3")),
        (plane("v2v3vacorr"), named(pointing.to_sky(), "v2v3_to_sky", "v2 v3", "ra dec")),
        (plane("world"), None),
    ]
