"""The slices of NIRSpec's IFU, and the WCS over all of them.

detector -> sca -> gwa -> slit_frame -> slicer -> msa_frame -> oteip -> oteip_chromcorr -> v2v3 -> v2v3vacorr -> world.

===============  ========================================  =====================================================
frame            coordinates                               the way on
===============  ========================================  =====================================================
coordinates      x, y                                      pixels as they are
detector         x, y                                      the map's slice; detector, grating, slice, all backwards
slicer           x, y on the slicer (m), wavelength (m)    fore optics of the IFU
msa_frame        x, y in the MSA (m), wavelength (m)       fore optics
oteip            x, y in the focus (deg), wavelength (m)   the fore optics' colour
oteip_chromcorr  x, y in the focus (deg), wavelength (m)   telescope
v2v3, ...        as for slits (``nirspec``)                velocity aberration, pointing
===============  ========================================  =====================================================

That WCS takes the number of a slice beside the pixel. The usual one needs no number: a map over the detector tells
which slice a pixel belongs to, and its frames are coordinates -> detector -> slicer -> msa_frame -> ... -> world.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.modeling import Model, bind_bounding_box
from astropy.modeling.models import Const1D, Identity, Mapping, Scale
from gwcs import WCS
from gwcs.selector import LabelMapperArray, LabelMapperDict, RegionsSelector
from gwcs.wcstools import grid_from_bounding_box

from jwpipe.exposure import Header
from jwpipe.refs import References
from jwpipe.wcs.direct import Direct
from jwpipe.wcs.nirspec_grating import is_internal
from jwpipe.wcs.nirspec_optics import (
    LAST_PIXEL,
    NoLightError,
    Optics,
    Steps,
    carry,
    colour_dependent,
    detector,
    detector_steps,
    from_msa_to_sky,
    named,
    plane,
    spectral,
    tree_of,
)
from jwpipe.wcs.nirspec_slits import (
    Aperture,
    Box,
    Projection,
    microns_or_metres,
    place,
    to_slit_and_plane,
)

SLICES = 30


@dataclass(frozen=True, eq=False)
class Slices:
    """The slices of an exposure: the steps of their WCS, and where they fall on the detector.

    ``regions`` (ny, nx) int32 is the map over the full detector: 1 to 30, 0 where no light falls. ``boxes`` are the
    bounding boxes of the slices, ``lit`` the smallest that hold all their pixels with light, where there are any.
    """

    steps: Steps
    apertures: list[Aperture]
    boxes: dict[int, Box]
    lit: dict[int, Box]
    regions: np.ndarray


def slices(
    header: Header, references: References, optics: Optics, limits: tuple[float, float]
) -> Slices:
    """Find the slices of an exposure, between ``limits`` (low, high) along each.

    Raises
    ------
    NoLightError
        Where the spectra do not reach this detector.
    """
    _check_light(header)
    apertures = _apertures(header, references, optics, limits)
    to_slit, to_slicer = to_slit_and_plane(
        range(SLICES), apertures, "slit2slicer", "x_slice y_slice"
    )
    ifufore = tree_of(references, "ifufore", header)["model"]
    to_msa = colour_dependent(ifufore)
    if is_internal(header):
        # Wavelengths are micrometres here, those of the reference metres; jwst 3.0.0 takes the one for the other.
        metres = Identity(2) & Scale(1e-6)
        to_msa = metres | to_msa | metres.inverse
    to_msa = carry(to_msa, "slicer2msa", "x_slice y_slice", "x_msa y_msa")
    steps = [
        *detector_steps(optics),
        (plane("gwa"), to_slit),
        (spectral("slit_frame"), to_slicer),
        (spectral("slicer"), to_msa),
        *from_msa_to_sky(header, references, _colour(header, references)),
    ]
    return Slices(
        steps, apertures, *_project(apertures, Projection(optics, microns_or_metres(header)))
    )


def _check_light(header: Header) -> None:
    grating = header["GRATING"]
    short = grating.endswith("M") or (grating == "G140H" and header["FILTER"] == "F070LP")
    if detector(header) == "NRS2" and short:
        raise NoLightError(
            f"{header.filename}: assign_wcs: the IFU's spectra of {header['FILTER']} and {grating} do not reach NRS2; "
            "leave this exposure out"
        )


def _colour(header: Header, references: References) -> Steps:
    """Correct for the colour of the fore optics, (x, y, wavelength) both ways; nothing where that was left out."""
    if is_internal(header):
        return []
    file = references["chromcorr"]
    model: Model = Identity(3) if file is None else copy(file.tree()["model"])
    return [(spectral("oteip"), carry(model, "chrom_corr", "x_ote y_ote", "x_ote y_ote"))]


def _apertures(
    header: Header, references: References, optics: Optics, limits: tuple[float, float]
) -> list[Aperture]:
    slicer = tree_of(references, "ifuslicer", header)
    post = tree_of(references, "ifupost", header)
    apertures = []
    for number in range(SLICES):
        to_slicer = place(slicer["data"][number]) | slicer["model"]
        behind = _post(post[f"slice_{number}"]) | optics.to_disperser
        middle = Mapping((0, 1, 1)) | to_slicer & Const1D(optics.waves.centre) | behind
        through = to_slicer & Identity(2) | behind & Identity(1)
        apertures.append(
            Aperture.build(
                number, limits, to_slicer, middle, through, optics, microns=is_internal(header)
            )
        )
    return apertures


def _post(slice_: MappingType[str, Any]) -> Model:
    """The way from a slice to the MSA, (x, y, wavelength) -> (x, y): polynomials that grow with the wavelength."""

    def polynomial(axis: str) -> Model:
        """One axis on the MSA: a polynomial of the place, and its growth with the wavelength."""
        position = Mapping((0, 1), n_inputs=3)
        growth = (position | slice_[f"{axis}poly_distortion"]) * Mapping((2,))
        return (position | slice_[f"{axis}poly"]) + growth

    return (
        slice_["linear"] & Identity(1)
        | Mapping((0, 1, 2, 0, 1, 2))
        | polynomial("x") & polynomial("y")
    )


def _project(
    apertures: list[Aperture], projection: Projection
) -> tuple[dict[int, Box], dict[int, Box], np.ndarray]:
    """Find each slice's bounding box, the box of its lit pixels, and the map of all; later slices win."""
    regions = np.zeros((LAST_PIXEL + 1, LAST_PIXEL + 1), np.int32)
    boxes, lit = {}, {}
    for aperture in apertures:
        boxes[aperture.id] = box = projection.refined(
            aperture, projection.box(projection.trace(aperture))
        )
        x, y = grid_from_bounding_box(box)
        # The grid is of whole pixels; those whose centre is outside the box have no coordinates.
        seen = projection.lit(aperture, x, y) & (x >= box[0][0]) & (x <= box[0][1])
        x, y = x[seen].astype(int), y[seen].astype(int)
        regions[y, x] = aperture.id + 1
        if x.size:
            lit[aperture.id] = _edges(x), _edges(y)
    return boxes, lit, regions


def _edges(pixels: np.ndarray) -> tuple[float, float]:
    return float(pixels.min()) - 0.5, float(pixels.max()) + 0.5


def footprint(wcs: WCS, regions: np.ndarray) -> np.ndarray:
    """Corners (4, 2) in degrees of the box in right ascension and declination that holds all slices.

    Coordinates change monotonically along a slice and hardly across: pixels at the edge of a slice decide.
    """
    inside = np.zeros_like(regions, bool)
    inner = regions[1:-1, 1:-1]
    sides = (regions[:-2, 1:-1], regions[2:, 1:-1], regions[1:-1, :-2], regions[1:-1, 2:])
    inside[1:-1, 1:-1] = np.logical_and.reduce([inner == side for side in sides])
    y, x = np.nonzero((regions > 0) & ~inside)
    ra, dec = _on_sky(wcs, x, y, regions[y, x])
    middle = np.nanmedian(ra)
    ra = middle + (ra - middle + 180) % 360 - 180
    west, east, south, north = np.nanmin(ra), np.nanmax(ra), np.nanmin(dec), np.nanmax(dec)
    return np.array([[west, south], [east, south], [east, north], [west, north]])


def _on_sky(wcs: WCS, x: np.ndarray, y: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Right ascension and declination (2, n) of pixels of the slices that ``labels`` say."""
    steps = [step.transform for step in wcs.pipeline[1:-1]]
    found = np.full((2, x.size), np.nan)
    for label, way in steps[0].selector.items():
        mine = labels == label
        found[:, mine] = Direct((way, *steps[1:]))(x[mine].astype(float), y[mine].astype(float))[:2]
    return found


def by_coordinates(wcs: WCS, slices: Slices) -> WCS:
    """The WCS that finds the slice of a pixel by itself, from the one that is told its number."""
    to_sca, to_gwa = (step.transform for step in wcs.pipeline[:2])
    start = to_sca.left | to_gwa.left.left
    lit = [each for each in slices.apertures if each.id in slices.lit]
    way = {each.id + 1: start | each.to_slit | each.to_plane & Identity(1) for each in lit}
    for label, transform in way.items():
        bind_bounding_box(transform, slices.lit[label - 1], order="F")
    to_slicer = RegionsSelector(
        ("x", "y"),
        ("x_slice", "y_slice", "lam"),
        selector=way,
        label_mapper=_labels(slices),
        name="det2slicer",
    )
    rest = wcs.pipeline[wcs.available_frames.index("slicer") :]
    unchanged = named(Identity(2), "coord2det", "x y", "x y")
    steps: Steps = [(plane("coordinates"), unchanged), (plane("detector"), to_slicer)]
    steps += [
        (step.frame, None if step.transform is None else step.transform.left) for step in rest
    ]
    return WCS(steps)


def _labels(slices: Slices) -> LabelMapperArray:
    """The slice of a pixel, and back: slices are told apart by their x on the slicer."""
    labels = LabelMapperArray(slices.regions)
    x = {round(float(each.to_plane(0.0, 0.0)[0]), 5): each.id + 1 for each in slices.apertures}
    labels.inverse = LabelMapperDict(
        inputs=("x_slice", "y_slice", "lam"),
        mapper={value: Mapping((0,), n_inputs=3) | Const1D(label) for value, label in x.items()},
        inputs_mapping=Mapping((0,), n_inputs=3),
        atol=1e-4,
    )
    return labels


def one_slice(wcs: WCS, number: int) -> WCS:
    """The WCS of one slice, taken out of the one that finds slices by itself."""
    way = wcs.pipeline[1].transform.selector[number + 1]
    # An identity is its own inverse, which has no bounding box: a mapping keeps its own.
    first, second, *rest = wcs.pipeline
    steps: Steps = [
        (first.frame, named(Mapping((0, 1)), "coord2det", "x y", "x y")),
        (second.frame, way),
    ]
    single = WCS(steps + [(step.frame, step.transform) for step in rest])
    single.bounding_box = way.bounding_box
    return single
