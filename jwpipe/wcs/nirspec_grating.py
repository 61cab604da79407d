"""The grating wheel of NIRSpec: how far it is turned, and how it disperses.

The wheel does not come back to exactly the same angle: two sensors measure it (GWA_XTIL, GWA_YTIL), and the mean
direction of the disperser is corrected by what they say, relative to the reading at calibration. Wavelengths are in
metres, directions are cosines.

Source: Dorner et al. 2016, A&A 592, A113 (the parametric model of the spectrograph).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping as MappingType
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from astropy.modeling import Model
from astropy.modeling.models import Identity, Mapping, Scale, Tabular1D
from gwcs.spectroscopy import AnglesFromGratingEquation3D, WavelengthFromGratingEquation
from stdatamodels.jwst.transforms.models import RefractionIndexFromPrism, Rotation3DToGWA, Snell

from jwpipe.exposure import ExposureError, Header
from jwpipe.io.pickling import let_transforms_pickle
from jwpipe.wcs.spectra import to_barycentre

let_transforms_pickle()

LAMPS = frozenset({"NRS_LAMP", "NRS_AUTOWAVE", "NRS_AUTOFLAT"})
"""Exposure types of the internal lamps: light that never saw the sky."""

FILTERS = ("CLEAR", "F070LP", "F100LP", "F110W", "F140X", "F170LP", "F290LP", "OPAQUE")
GRATINGS = ("G140M", "G140H", "G235M", "G235H", "G395M", "G395H", "MIRROR", "PRISM")

FULL_RANGE = (0.6e-6, 5.3e-6)
GLASS = np.arange(0.3, 8.005, 0.005)[::-1] * 1e-6
"""Wavelengths at which the prism's refraction index is tabulated."""


def is_internal(header: Header) -> bool:
    """Whether the light comes from inside the instrument: its way begins at the MSA."""
    return header["FILTER"] == "OPAQUE" or header["EXP_TYPE"] in LAMPS


def number(header: Header, keyword: str, remedy: str) -> float:
    """Read a keyword that must be a finite number.

    Raises
    ------
    ExposureError
        Where it is missing or no finite number.
    """
    value = header.get(keyword)
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
        return float(value)
    found = "missing" if value is None else repr(value)
    raise ExposureError(
        f"{header.filename}: assign_wcs: {keyword} is {found}, expected a finite number; {remedy}"
    )


@dataclass(frozen=True)
class WaveRange:
    """The spectral order and the range of wavelengths (m) of a filter and a grating."""

    order: int
    start: float
    end: float

    @property
    def centre(self) -> float:
        """Middle of the range, in metres."""
        return 0.5 * (self.start + self.end)


def wave_range(header: Header, tree: MappingType[str, Any]) -> WaveRange:
    """Look up the range of an exposure in the tree of a wavelengthrange reference.

    Lamps stand in place of the filter. A combination that the reference does not list takes the first entry of its
    grating, or order -1 over all wavelengths, with a warning.

    Raises
    ------
    ExposureError
        For filters and gratings that NIRSpec does not have.
    """
    grating = _known(header, "GRATING", GRATINGS)
    source = header["LAMP"] if is_internal(header) else _known(header, "FILTER", FILTERS)
    names = list(tree["waverange_selector"])
    wanted = f"{source}_{grating}"
    alike = [name for name in names if name.split("_")[1] == grating]
    found = wanted if wanted in names else next(iter(alike), None)
    if found is None:
        order, limits = -1, FULL_RANGE
    else:
        index = names.index(found)
        order, limits = int(tree["order"][index]), tree["wavelengthrange"][index]
    if found != wanted:
        warnings.warn(
            f"{header.filename}: assign_wcs: no wavelength range for {wanted} in the reference; "
            f"took order {order} and {limits[0] * 1e6:g} to {limits[1] * 1e6:g} um",
            stacklevel=2,
        )
    return WaveRange(order, float(limits[0]), float(limits[1]))


def _known(header: Header, keyword: str, names: tuple[str, ...]) -> str:
    value = str(header[keyword])
    if value not in names:
        raise ExposureError(
            f"{header.filename}: assign_wcs: {keyword} is {value!r}, which NIRSpec does not have; "
            f"expected one of {' '.join(names)}; correct the keyword"
        )
    return value


@dataclass(frozen=True)
class Disperser:
    """The element in the grating wheel, turned as the sensors say.

    ``rotation`` turns directions into its frame; ``wavelength`` gives (alpha_in, beta_in, alpha_out) -> wavelength,
    and ``directions`` (wavelength, alpha_in, beta_in, gamma_in) -> (alpha, beta, gamma) of the dispersed light.
    Wavelengths are as seen from the barycentre where the header says how fast the telescope moves.
    """

    rotation: Model
    wavelength: Model | None
    directions: Model | None

    @classmethod
    def build(cls, header: Header, tree: MappingType[str, Any], order: int) -> Disperser:
        """Read a disperser reference for an exposure.

        Raises
        ------
        ExposureError
            Where the wheel's sensors, or the temperature of the prism, are missing from the header.
        """
        rotation = Rotation3DToGWA(_angles(header, tree), axes_order="xyzy", name="rotation")
        grating = header["GRATING"]
        if grating == "MIRROR":
            return cls(rotation, None, None)
        wavelength, directions = (
            _prism(header, tree) if grating == "PRISM" else _grating(tree, order)
        )
        if (stretch := to_barycentre(header)) is not None:
            wavelength = wavelength | stretch
            directions = stretch.inverse & Identity(3) | directions
        return cls(rotation, wavelength, directions)


def _angles(header: Header, tree: MappingType[str, Any]) -> list[float]:
    """Angles of the disperser in degrees, about x, y, z and y; each sensor corrects the other axis."""
    remedy = "it tells how the grating wheel is turned; take it from the archive's file"
    x_tilt, y_tilt = (number(header, keyword, remedy) for keyword in ("GWA_XTIL", "GWA_YTIL"))
    theta_x = tree["theta_x"] + _correction(tree["gwa_tilty"], y_tilt)
    theta_y = tree["theta_y"] + _correction(tree["gwa_tiltx"], x_tilt)
    return [theta_x, theta_y, tree["theta_z"], tree["tilt_y"]]


def _correction(sensor: MappingType[str, Any], reading: float) -> float:
    """Half of the change of the reflected direction since calibration, from arcsec to degrees."""
    model = sensor["tilt_model"]
    return float(0.5 * (model(reading) - model(sensor["zeroreadings"][0])) / 3600)


def _grating(tree: MappingType[str, Any], order: int) -> tuple[Model, Model]:
    """The grating equation both ways; gwcs counts the angles of incidence with the other sign."""
    density = tree["groovedensity"]
    wavelength = (
        Mapping((0, 2), n_inputs=3)
        | WavelengthFromGratingEquation(density, order, name="lambda_from_gratingeq")
        | Scale(-1)
    )
    directions = (
        Mapping((0, 1, 2), n_inputs=4)
        | Identity(1) & Scale(-1) & Identity(1)
        | AnglesFromGratingEquation3D(density, order, name="alpha_from_greq")
    )
    return wavelength, directions


def _prism(header: Header, tree: MappingType[str, Any]) -> tuple[Model, Model]:
    """Refraction through the prism and back; the way back looks the wavelength up by refraction index."""
    temperature = number(
        header,
        "GWA_TILT",
        "it is the temperature (K) of the prism; take it from the archive's file",
    )
    coefficients = [np.array(tree[name], dtype=float) for name in ("kcoef", "lcoef", "tcoef")]
    t_ref, p_ref, angle = tree["tref"], tree["pref"], tree["angle"]
    index = Snell.compute_refraction_index(GLASS, temperature, t_ref, p_ref, p_ref, *coefficients)
    table = Tabular1D(points=(index,), lookup_table=GLASS, bounds_error=False)
    wavelength = RefractionIndexFromPrism(angle, name="n_prism") | table
    return wavelength, Snell(
        angle, *coefficients, t_ref, p_ref, temperature, p_ref, name="snell_law"
    )
