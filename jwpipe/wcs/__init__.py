"""From pixels to the sky: reference transforms to gwcs, FITS keywords, exact maps of tiles.

Each family of modes has a file that reads as the light's way. Names and units of frames are those of jwst 3.0.0.

===================  ========================================  ===================================================
file                 modes                                     frames, from the pixel to the sky
===================  ========================================  ===================================================
``imaging``          images, coronagraphs, AMI, targets of     detector, v2v3, v2v3vacorr, world
                     NIRCam, NIRISS, MIRI, FGS
``grism``            slitless spectra of NIRCam and NIRISS     grism_detector, detector, v2v3, v2v3vacorr, world
                     NIRCam's grism time series                grism_detector, direct_image, v2v3, ..., world
``dhs``              NIRCam's grism time series in stripes     grism_detector, direct_image, v2v3, ..., world
``soss``             NIRISS SOSS                               detector, world
``miri_lrs``         MIRI LRS with and without slit            detector, alpha_beta, v2v3, v2v3vacorr, world
``miri_mrs``         MIRI MRS                                  detector, alpha_beta, v2v3, v2v3vacorr, world
``miri_wfss``        MIRI WFSS                                 grism_detector, detector, v2v3, v2v3vacorr, world
``nirspec``          fixed slits, bright objects, MOS, lamps   detector, sca, gwa, slit_frame, msa_frame, oteip,
                                                               v2v3, v2v3vacorr, world; lamps end at msa_frame
``nirspec_ifu``      NIRSpec IFU                               coordinates, detector, slicer, msa_frame, oteip,
                                                               oteip_chromcorr, v2v3, v2v3vacorr, world
``nirspec_imaging``  NIRSpec through the mirror                detector, sca, gwa, msa, oteip, v2v3, ..., world
===================  ========================================  ===================================================

``modes`` says which family an exposure belongs to. What all share: ``pointing`` (from the telescope to the sky,
velocity aberration), ``spectra``, ``nirspec_optics``, ``fitswcs`` (keywords). What a WCS is used for: ``inspect`` (one
pixel), ``coordinates`` (all pixels), ``cutouts`` (where spectra lie), ``adjust`` (repair).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "pixel_map": "jwpipe.wcs.coordinates",
    "lazy_pixel_map": "jwpipe.wcs.coordinates",
    "map_of": "jwpipe.wcs.coordinates",
    "Choice": "jwpipe.wcs.inspect",
    "cutouts_of": "jwpipe.wcs.cutouts",
    "Cutout": "jwpipe.wcs.cutouts",
    "Ranges": "jwpipe.wcs.cutouts",
    "Wanted": "jwpipe.wcs.cutouts",
    "Catalogue": "jwpipe.wcs.catalogue",
}

__all__ = [
    "Catalogue",
    "Choice",
    "Cutout",
    "Ranges",
    "Wanted",
    "cutouts_of",
    "lazy_pixel_map",
    "map_of",
    "pixel_map",
]

if TYPE_CHECKING:
    from jwpipe.wcs.catalogue import Catalogue
    from jwpipe.wcs.coordinates import lazy_pixel_map, map_of, pixel_map
    from jwpipe.wcs.cutouts import Cutout, Ranges, Wanted, cutouts_of
    from jwpipe.wcs.inspect import Choice


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jwpipe.wcs' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
