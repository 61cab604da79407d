"""What spectroscopic modes share: frames of two coordinates and a wavelength, the way on to the sky.

The wavelength travels beside the coordinates, in the Sun's rest frame from the first step on.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from math import isfinite
from typing import Any

from astropy import coordinates, units
from astropy.constants import c
from astropy.modeling import Model
from astropy.modeling.models import Identity, Scale
from gwcs import WCS
from gwcs.coordinate_frames import CelestialFrame, CompositeFrame, Frame2D, SpectralFrame

from jwpipe.exposure import ExposureError, Header
from jwpipe.refs import References
from jwpipe.refs.files import RefFile
from jwpipe.wcs.pointing import Pointing

Steps = list[tuple[Frame2D | CompositeFrame, Any]]

KEYWORDS = {"SPECSYS": "BARYCENT", "DISPAXIS": 2}
"""What the headers of all spectra of MIRI say: wavelengths as the Sun sees them, dispersed along columns."""

_ARCSEC = (units.arcsec, units.arcsec)


def pixels() -> Frame2D:
    """The frame of the exposure's pixels, counted from 0."""
    return Frame2D(name="detector", axes_order=(0, 1), unit=(units.pix, units.pix))


def slit() -> CompositeFrame:
    """The frame of a slit or slice: alpha along it and beta across (arcsec), and the wavelength (micron)."""
    plane = Frame2D(
        name="alpha_beta_spatial", axes_order=(0, 1), unit=_ARCSEC, axes_names=("alpha", "beta")
    )
    return CompositeFrame([plane, wavelength("alpha_beta_spectral")], name="alpha_beta")


def wavelength(name: str) -> SpectralFrame:
    """The third axis, in micron."""
    return SpectralFrame(name=name, axes_order=(2,), unit=(units.micron,), axes_names=("lambda",))


def from_telescope(header: Header, spectral: SpectralFrame) -> Steps:
    """The steps v2v3 -> v2v3vacorr -> world, past which the wavelength goes unchanged."""
    pointing = Pointing.from_header(header)
    sky = CelestialFrame(
        name="icrs",
        reference_frame=coordinates.ICRS(),
        axes_order=(0, 1),
        unit=(units.deg, units.deg),
        axes_names=("RA", "DEC"),
    )
    return [
        (_telescope("v2v3", spectral), pointing.aberration() & Identity(1)),
        (_telescope("v2v3vacorr", spectral), pointing.to_sky() & Identity(1)),
        (CompositeFrame([sky, spectral], name="world"), None),
    ]


def _telescope(name: str, spectral: SpectralFrame) -> CompositeFrame:
    plane = Frame2D(
        name=f"{name}_spatial", axes_order=(0, 1), unit=_ARCSEC, axes_names=("v2", "v3")
    )
    return CompositeFrame([plane, spectral], name=name)


def to_barycentre(header: Header) -> Model | None:
    """Divide wavelengths by ``1 + VELOSYS / c``; ``None`` where the radial velocity (m/s) is not known.

    Raises
    ------
    ExposureError
        Where VELOSYS is no finite number.
    """
    speed = header.get("VELOSYS")
    if speed is None:
        return None
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not isfinite(speed):
        raise ExposureError(
            f"{header.filename}: assign_wcs: VELOSYS is {speed!r}, expected the radial velocity of the telescope "
            "towards the target in m/s; correct the keyword, or remove it to leave wavelengths uncorrected"
        )
    return Scale(1 / (1 + speed / c.value), name="velocity_correction")


def reference(references: References, kind: str, header: Header) -> RefFile:
    """The reference file of a type.

    Raises
    ------
    ExposureError
        Where there is none.
    """
    file = references[kind]
    if file is None:
        raise ExposureError(
            f"{header.filename}: assign_wcs: no {kind} reference; the WCS of {header['EXP_TYPE']} cannot be built "
            f"without; give one with --override {kind}=FILE"
        )
    return file


def tree_of(
    references: References, kind: str, header: Header, wanted: Sequence[str]
) -> dict[str, Any]:
    """The tree of an ASDF reference that holds all that is ``wanted``.

    Raises
    ------
    ExposureError
        Where there is no such reference, or it is one of another mode.
    """
    file = reference(references, kind, header)
    tree = file.tree()
    if missing := [name for name in wanted if name not in tree]:
        raise ExposureError(
            f"{header.filename}: assign_wcs: {file.path} has no {', '.join(missing)}; expected the {kind} reference "
            f"of {header['EXP_TYPE']}, with {', '.join(wanted)}; give one with --override {kind}=FILE"
        )
    return tree


def spectral(name: str, frame: Frame2D | CelestialFrame) -> CompositeFrame:
    """A frame of two coordinates with the wavelength (micron) beside them."""
    wavelength = SpectralFrame(
        name="spectral", axes_order=(2,), unit=(units.micron,), axes_names=("wavelength",)
    )
    return CompositeFrame([frame, wavelength], name=name)


def beside_wavelength(direct: WCS) -> list[tuple[CompositeFrame, Model | None]]:
    """The steps of a direct image, past which wavelength and order go unchanged."""
    steps = []
    for step in direct.pipeline:
        last, plane = step.transform is None, copy(step.frame)
        plane.name = "sky" if last else f"{step.frame.name}spatial"
        onwards = None if last else step.transform & Identity(2)
        steps.append((spectral(step.frame.name, plane), onwards))
    return steps
