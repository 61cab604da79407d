"""Where the telescope points: from its own coordinates V2, V3 to the sky.

A detector's distortion ends in V2, V3 (arcsec, fixed to the telescope). The aperture's reference
point (V2_REF, V3_REF) is known on the sky (RA_REF, DEC_REF), and so is the roll there (ROLL_REF).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from numbers import Real

from astropy.modeling import Model
from astropy.modeling.models import Identity, RotationSequence3D, Scale, Shift
from gwcs.geometry import CartesianToSpherical, SphericalToCartesian

from jwpipe.exposure import ExposureError, Header

KEYWORDS = ("V2_REF", "V3_REF", "RA_REF", "DEC_REF", "ROLL_REF")


@dataclass(frozen=True)
class Pointing:
    """The reference point of an aperture on the telescope (arcsec) and on the sky (deg).

    ``roll`` is the position angle of V3 there, north to east; ``scale`` the apparent plate scale
    over the true one, from the differential velocity aberration.
    """

    v2: float
    v3: float
    ra: float
    dec: float
    roll: float
    scale: float = 1.0

    @classmethod
    def from_header(cls, header: Header) -> Pointing:
        """Read the pointing of an exposure.

        Raises
        ------
        ExposureError
            Naming every keyword that is missing, not a number, or not possible.
        """
        problems = list(_problems(header))
        if problems:
            raise ExposureError(
                f"{header.filename}: assign_wcs: no valid pointing: {', '.join(problems)}; "
                f"expected finite numbers for {' '.join(KEYWORDS)} in the SCI header, as the "
                "archive's files have them; get the file again, or write the pointing into it"
            )
        v2, v3, ra, dec, roll = (float(header[keyword]) for keyword in KEYWORDS)
        scale = header.get("VA_SCALE")
        return cls(v2, v3, ra, dec, roll, 1.0 if scale is None else float(scale))

    def aberration(self) -> Model:
        """Scale V2, V3 about the reference point by the differential velocity aberration."""
        if self.scale == 1.0:
            return Identity(2)
        scale = Scale(self.scale, name="dva_scale_v2") & Scale(self.scale, name="dva_scale_v3")
        if self.v2 == 0.0 and self.v3 == 0.0:
            return scale
        model = scale | (
            Shift((1.0 - self.scale) * self.v2, name="dva_v2_shift")
            & Shift((1.0 - self.scale) * self.v3, name="dva_v3_shift")
        )
        model.name = "DVA_Correction"
        return model

    def to_sky(self) -> Model:
        """Rotate V2, V3 (arcsec) to right ascension and declination (deg).

        The reference point is turned to the x axis, rolled, and turned to its place on the sky.
        """
        angles = [self.v2 / 3600, -self.v3 / 3600, self.roll, self.dec, -self.ra]
        model = (
            (Scale(1 / 3600) & Scale(1 / 3600))
            | SphericalToCartesian(wrap_lon_at=180)
            | RotationSequence3D(angles, axes_order="zyxyz")
            | CartesianToSpherical(wrap_lon_at=360)
        )
        model.name = "v23tosky"
        return model


def _problems(header: Header) -> Iterator[str]:
    """Say what is wrong with the pointing keywords."""
    for keyword in KEYWORDS:
        value = header.get(keyword)
        if value is None:
            yield f"{keyword} is missing"
        elif not _is_number(value):
            yield f"{keyword} = {value!r}"
    scale = header.get("VA_SCALE")
    if scale is not None and not (_is_number(scale) and scale > 0):
        yield f"VA_SCALE = {scale!r}"
    dec = header.get("DEC_REF")
    if _is_number(dec) and abs(dec) > 90:
        yield f"DEC_REF = {dec!r}"


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)
