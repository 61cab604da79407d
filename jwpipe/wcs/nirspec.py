"""The WCS of NIRSpec's spectra.

===========  ================================  ==================================================================
frame        coordinates                       the way on
===========  ================================  ==================================================================
detector     x, y, slit                        subarray; NRS2 is mounted upside down
sca          x, y, slit                        detector and camera, backwards
gwa          slit, three cosines               grating equation or prism: which wavelength came from the slit
slit_frame   x, y in the slit, wavelength      size and place of the slit
msa_frame    x, y in the MSA (m), wavelength   fore optics
oteip        x, y in the focus (deg), ...      telescope
v2v3         V2, V3 (arcsec), wavelength (um)  velocity aberration
v2v3vacorr   V2, V3 (arcsec), wavelength (um)  pointing
world        right ascension, declination, ...
===========  ================================  ==================================================================

``nirspec_optics`` has the units, and tells where the light of lamps ends. All slits of an exposure share one WCS: the
number of a slit goes in beside the pixel and travels on, (x, y, slit) -> (right ascension, declination, wavelength,
slit), and each has its own bounding box. ``one_slit`` gives the WCS of a single one, without the number. Modes through
the mirror are images (``nirspec_imaging``), the IFU is in ``nirspec_ifu``.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from typing import Any

import xarray as xr
from astropy.modeling import Model
from astropy.modeling.bounding_box import CompoundBoundingBox
from astropy.modeling.models import Identity
from gwcs import WCS
from stdatamodels.jwst.transforms.models import Slit

from jwpipe.exposure import ExposureError, Header, header
from jwpipe.refs import References
from jwpipe.wcs import nirspec_ifu, nirspec_imaging
from jwpipe.wcs.fitswcs import is_image, polygon, s_region
from jwpipe.wcs.modes import Solution
from jwpipe.wcs.nirspec_grating import LAMPS, is_internal
from jwpipe.wcs.nirspec_msa import msa_slits
from jwpipe.wcs.nirspec_optics import (
    Optics,
    Steps,
    detector_steps,
    from_msa_to_sky,
    plane,
    spectral,
    tree_of,
)
from jwpipe.wcs.nirspec_slits import (
    FIXED_SLITS,
    Box,
    fixed_slit,
    fixed_slit_id,
    fixed_slits,
    msa_apertures,
    on_detector,
    to_slit_and_plane,
)


def build(exposure: xr.Dataset, references: References, params: Any) -> Solution:
    """The WCS of an exposure with NIRSpec, its wavelength range, and for the IFU its footprint and map of slices.

    Raises
    ------
    ExposureError
        For keywords or references that are missing, unknown filters and gratings, and MSA files that are missing or
        wrong; ``NoLightError`` where nothing that was observed falls on the detector.
    """
    keywords = header(exposure)
    optics = Optics.build(keywords, references)
    sci = _keywords(keywords, optics)
    if keywords["GRATING"] == "MIRROR":
        shape = (exposure.sizes["y"], exposure.sizes["x"])
        image = nirspec_imaging.imaging_wcs(keywords, references, optics, shape)
        return Solution(image, sci | ({"S_REGION": s_region(image)} if is_image(image) else {}))
    limits = (params.slit_y_low, params.slit_y_high)
    if mode(keywords) == "IFU":
        return _ifu(keywords, references, optics, params)
    slits = open_slits(keywords, exposure.attrs.get("folder", ""), references, limits)
    return Solution(slits_wcs(slits, keywords, references, optics), sci)


def _keywords(header: Header, optics: Optics) -> dict[str, Any]:
    """Wavelength range (m), order and direction of dispersion; internal light has no place on the sky."""
    sci: dict[str, Any] = {
        "WAVSTART": optics.waves.start,
        "WAVEND": optics.waves.end,
        "SPORDER": optics.waves.order,
    }
    if header["GRATING"] != "MIRROR":
        sci |= {"SPECSYS": "BARYCENT", "DISPAXIS": 1}
    return sci | ({"S_REGION": None} if is_internal(header) else {})


def _ifu(header: Header, references: References, optics: Optics, params: Any) -> Solution:
    """The WCS of the IFU; lamps keep the one that is told the slice, and need no map."""
    slices = nirspec_ifu.slices(header, references, optics, (params.slit_y_low, params.slit_y_high))
    sci = _keywords(header, optics)
    by_slice = with_boxes(slices.steps, slices.boxes)
    if header["EXP_TYPE"] in LAMPS:
        return Solution(by_slice, sci)
    wcs = nirspec_ifu.by_coordinates(by_slice, slices)
    if not is_internal(header):
        sci["S_REGION"] = polygon(nirspec_ifu.footprint(wcs, slices.regions))
    regions = xr.DataArray(slices.regions, dims=("y", "x"))
    return Solution(
        by_slice if params.nrs_ifu_slice_wcs else wcs, sci, variables={"regions": regions}
    )


def mode(header: Header) -> str:
    """The optical mode of a spectrum: MSASPEC, FIXEDSLIT, BRIGHTOBJ or IFU; lamps say it in OPMODE.

    Raises
    ------
    ExposureError
        For lamps in other modes.
    """
    kind = header["EXP_TYPE"]
    if kind == "NRS_AUTOFLAT":
        return "MSASPEC"
    name = str(header.get("OPMODE")) if kind in LAMPS else kind.removeprefix("NRS_")
    if name not in ("MSASPEC", "FIXEDSLIT", "BRIGHTOBJ", "IFU"):
        raise ExposureError(
            f"{header.filename}: assign_wcs: OPMODE is {name!r}, expected MSASPEC, FIXEDSLIT, "
            f"BRIGHTOBJ or IFU for a {kind} with a disperser; correct the keyword"
        )
    return name


def open_slits(
    header: Header, folder: str, references: References, limits: tuple[float, float]
) -> list[Slit]:
    """The slits and slitlets that let light through, between ``limits`` (low, high) along each.

    ``folder`` is where the exposure lies: the MSA metadata file (MSAMETFL) is looked for there.
    """
    observed = mode(header)
    if observed == "MSASPEC":
        return msa_slits(header, folder, tree_of(references, "msa", header), limits)
    if header["EXP_TYPE"] == "NRS_BRIGHTOBJ":
        return [fixed_slit("S1600A1", 1, limits)]
    return fixed_slits(header, limits)


def slits_wcs(slits: list[Slit], header: Header, references: References, optics: Optics) -> WCS:
    """The WCS of open slits; those that miss the detector are left out."""
    pairs, boxes = on_detector(msa_apertures(slits, header, references, optics), header, optics)
    kept, apertures = [slit for slit, _ in pairs], [aperture for _, aperture in pairs]
    to_slit, to_msa = to_slit_and_plane(kept, apertures, "slit2msa", "x_msa y_msa")
    steps = [
        *detector_steps(optics),
        (plane("gwa"), to_slit),
        (spectral("slit_frame"), to_msa),
        *from_msa_to_sky(header, references, []),
    ]
    return with_boxes(steps, boxes)


def with_boxes(steps: Steps, boxes: MappingType[int, Box]) -> WCS:
    """A WCS whose bounding box depends on the slit."""
    wcs = WCS(steps)
    forward = wcs.forward_transform
    forward.inputs = ("x", "y", "name")
    wcs.bounding_box = CompoundBoundingBox.validate(
        forward, dict(boxes), selector_args=[("name", True)], order="F"
    )
    return wcs


def slit_names(wcs: WCS) -> list[str | int]:
    """The slits, slitlets or slices of a WCS, as ``one_slit`` takes them."""
    if "gwa" not in wcs.available_frames:
        return list(range(nirspec_ifu.SLICES))
    names = {fixed_slit_id(name): name for name in FIXED_SLITS}
    return [names.get(each, each) for each in wcs.get_transform("gwa", "slit_frame").slit_ids]


def one_slit(wcs: WCS, name: str | int) -> WCS:
    """The WCS of one slit, (x, y) -> (right ascension, declination, wavelength), with its bounding box.

    ``name`` is that of a fixed slit, or the number of a slitlet or slice.

    Raises
    ------
    ExposureError
        Where the WCS has no such slit.
    """
    names = slit_names(wcs)
    if name not in names:
        raise ExposureError(f"no slit {name!r} in this WCS; it has {', '.join(map(str, names))}")
    if "gwa" not in wcs.available_frames:
        return nirspec_ifu.one_slice(wcs, int(name))
    number = fixed_slit_id(name) if isinstance(name, str) else name
    single = WCS([(step.frame, _single(step.transform, number)) for step in wcs.pipeline])
    single.bounding_box = wcs.bounding_box[number]
    return single


def _single(transform: Model | None, number: int) -> Model | None:
    """Take the name of the slit out of a step: each is a transform beside which the name is carried."""
    if transform is None:
        return None
    if transform.name == "gwa2slit":
        return transform.get_model(number)
    inner = transform.left
    if transform.name in ("slit2msa", "slit2slicer"):
        return inner.left.get_model(number) & Identity(1)
    return inner.left if transform.name == "det2gwa" else inner
