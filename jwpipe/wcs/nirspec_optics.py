"""The optics that all modes of NIRSpec share, and the frames between them.

=================  =====================================================  ==================
frame              what                                                   unit
=================  =====================================================  ==================
detector           pixels of the exposure, counted from 0                 pixel
sca                pixels of the sensor chip as the detector is built      pixel
gwa                directions at the grating wheel, towards the camera    cosines
slit_frame         place within a slit, shutter or slice, edges at 0.5    wavelength
wavecorr_frame     the same, wavelengths of a source beside the middle    wavelength
slicer             place on the image slicer (IFU)                        m, wavelength
msa_frame          place in the plane of the micro-shutter array          m, wavelength
oteip              place in the telescope's focus                         deg, wavelength
oteip_chromcorr    the same without the fore optics' colour (IFU)         deg, wavelength
v2v3, v2v3vacorr   telescope coordinates, without and with aberration     arcsec, um
world              right ascension, declination                           deg, um
=================  =====================================================  ==================

Wavelengths are in metres up to ``oteip`` and in micrometres beyond; where the light is internal, the way ends at the
MSA, and wavelengths are micrometres from ``slit_frame`` on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from astropy import coordinates, units
from astropy.modeling import Model
from astropy.modeling.models import Identity, Mapping, Scale, Shift
from gwcs.coordinate_frames import CelestialFrame, CompositeFrame, Frame2D, SpectralFrame
from stdatamodels.jwst.transforms.models import Unitless2DirCos

from jwpipe.exposure import ExposureError, Header
from jwpipe.refs import References
from jwpipe.wcs.nirspec_grating import Disperser, WaveRange, is_internal, wave_range
from jwpipe.wcs.pointing import Pointing

Steps = list[tuple[Any, Any]]
"""Frames with the transform from each to the next; the last has none."""
DETECTORS = ("NRS1", "NRS2")
LAST_PIXEL = 2047


class NoLightError(ExposureError):
    """Nothing of what was observed falls on this detector."""


def tree_of(references: References, kind: str, header: Header) -> dict[str, Any]:
    """Read the tree of a reference that the mode cannot do without.

    Raises
    ------
    ExposureError
        Where it was left out.
    """
    file = references[kind]
    if file is None:
        raise ExposureError(
            f"{header.filename}: assign_wcs: no {kind} reference, which the WCS of "
            f"{header['EXP_TYPE']} needs; give one with --override {kind}=FILE"
        )
    return file.tree()


def reverse(model: Model, inverse: Model, name: str) -> Model:
    """Give a model a name, and the way back."""
    model.inverse = inverse
    model.name = name
    return model


def named(model: Model, name: str, inputs: str, outputs: str) -> Model:
    """Name a transform and its coordinates (words separated by spaces)."""
    model.name, model.inputs, model.outputs = name, tuple(inputs.split()), tuple(outputs.split())
    return model


def colour_dependent(model: Model) -> Model:
    """Let the wavelength through a distortion (x, y, wavelength) -> (x, y), both ways."""
    forward = Mapping((0, 1, 2, 2)) | model & Identity(1)
    forward.inverse = Mapping((0, 1, 2, 2)) | model.inverse & Identity(1)
    return forward


@dataclass(frozen=True)
class Optics:
    """The spectrograph behind the slits: collimator, disperser, camera and detectors.

    ``to_sca`` goes from pixels of the exposure to those of the sensor chip, ``to_gwa`` from there to directions at the
    grating wheel, ``to_disperser`` from the plane of the slits to directions of incidence on the disperser.
    """

    waves: WaveRange
    disperser: Disperser
    collimator: Model
    to_sca: Model
    to_gwa: Model
    to_disperser: Model

    @classmethod
    def build(cls, header: Header, references: References) -> Optics:
        """Read the references of an exposure.

        Raises
        ------
        ExposureError
            For keywords that are missing, or unknown detectors, filters and gratings.
        """
        waves = wave_range(header, tree_of(references, "wavelengthrange", header))
        disperser = Disperser.build(header, tree_of(references, "disperser", header), waves.order)
        collimator = tree_of(references, "collimator", header)["model"]
        camera = tree_of(references, "camera", header)["model"]
        chip = tree_of(references, "fpa", header)[f"{detector(header).lower()}_model"]
        cosines = Unitless2DirCos(name="unitless2directional_cosines")
        to_gwa = named(
            chip | camera | cosines | disperser.rotation, "det2gwa", "x y", "angle1 angle2 angle3"
        )
        to_disperser = collimator.inverse | cosines | disperser.rotation
        return cls(waves, disperser, collimator, _to_sca(header), to_gwa, to_disperser)


def detector(header: Header) -> str:
    """Name the detector, NRS1 or NRS2; ``ExposureError`` for others."""
    name = str(header["DETECTOR"])
    if name not in DETECTORS:
        raise ExposureError(
            f"{header.filename}: assign_wcs: DETECTOR is {name!r}, expected NRS1 or NRS2; "
            "correct the keyword"
        )
    return name


def _to_sca(header: Header) -> Model:
    """Pixels of the exposure to pixels of the full chip; NRS2 is mounted upside down."""
    first = [header.get(keyword) or 1 for keyword in ("SUBSTRT1", "SUBSTRT2")]
    model = Shift(first[0] - 1) & Shift(first[1] - 1)
    if detector(header) == "NRS2":
        turned = Shift(-LAST_PIXEL) & Shift(-LAST_PIXEL) | Scale(-1) & Scale(-1)
        model = model | turned
    return named(model, "dms2sca", "x y", "x y")


def from_msa_to_sky(header: Header, references: References, between: Steps) -> Steps:
    """The steps from ``msa_frame`` to ``world``, for coordinates (x, y, wavelength, name).

    ``between`` are steps from ``oteip`` on, before the telescope's distortion. Internal light ends at the MSA.
    """
    if is_internal(header):
        return [(spectral("msa_frame"), None)]
    fore, ote = (tree_of(references, kind, header)["model"] for kind in ("fore", "ote"))
    pointing = Pointing.from_header(header)
    last = "oteip_chromcorr" if between else "oteip"
    return [
        (
            spectral("msa_frame"),
            carry(colour_dependent(fore), "msa2oteip", "x_msa y_msa", "x_ote y_ote"),
        ),
        *between,
        (spectral(last), carry(ote & Scale(1e6), "oteip2v23", "x_ote y_ote", "v2 v3")),
        (spectral("v2v3"), carry(pointing.aberration() & Identity(1), "va_corr", "v2 v3", "v2 v3")),
        (
            spectral("v2v3vacorr"),
            carry(pointing.to_sky() & Identity(1), "v2v3_to_sky", "v2 v3", "ra dec"),
        ),
        (spectral("world"), None),
    ]


def carry(model: Model, name: str, inputs: str, outputs: str) -> Model:
    """Let the name of the slit travel beside (x, y, wavelength); the inner model is named alike."""
    inner = named(model, name, f"{inputs} lam", f"{outputs} lam")
    return named(inner & Identity(1), name, f"{inputs} lam name", f"{outputs} lam name")


def detector_steps(optics: Optics) -> Steps:
    """The steps from ``detector`` to ``gwa``, with the name of the slit beside."""
    to_sca = named(optics.to_sca & Identity(1), "dms2sca", "x y name", "x y name")
    to_gwa = optics.to_gwa & Identity(1) | Mapping((3, 0, 1, 2))
    to_gwa = named(to_gwa, "det2gwa", "x y name", "name angle1 angle2 angle3")
    return [(plane("detector"), to_sca), (plane("sca"), to_gwa)]


_PLANES: dict[str, tuple[Any, tuple[str, str]]] = {
    "detector": (units.pix, ("x", "y")),
    "sca": (units.pix, ("x", "y")),
    "coordinates": (units.pix, ("x", "y")),
    "gwa": (units.rad, ("alpha_in", "beta_in")),
    "slit_frame": (units.dimensionless_unscaled, ("x_slit", "y_slit")),
    "wavecorr_frame": (units.dimensionless_unscaled, ("x_slit", "y_slit")),
    "slicer": (units.dimensionless_unscaled, ("x_slicer", "y_slicer")),
    "msa": (units.m, ("x_msa", "y_msa")),
    "msa_frame": (units.m, ("x_msa", "y_msa")),
    "oteip": (units.deg, ("x_oteip", "y_oteip")),
    "oteip_chromcorr": (units.deg, ("x_oteip", "y_oteip")),
    "v2v3": (units.arcsec, ("v2", "v3")),
    "v2v3vacorr": (units.arcsec, ("v2", "v3")),
}


def plane(name: str) -> Frame2D | CelestialFrame:
    """A frame of two coordinates."""
    if name == "world":
        return CelestialFrame(name=name, axes_order=(0, 1), reference_frame=coordinates.ICRS())
    unit, axes = _PLANES[name]
    return Frame2D(name=name, axes_order=(0, 1), unit=(unit, unit), axes_names=axes)


def spectral(name: str) -> CompositeFrame:
    """A frame of two coordinates and a wavelength."""
    spatial = plane(name)
    spatial.name = "sky" if name == "world" else f"{name.removesuffix('_frame')}_spatial"
    wavelength = SpectralFrame(
        name="spectral", axes_order=(2,), unit=(units.micron,), axes_names=("wavelength",)
    )
    return CompositeFrame([spatial, wavelength], name=name)
