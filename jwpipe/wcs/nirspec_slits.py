"""The open slits of NIRSpec: fixed slits, slitlets of the micro-shutter array, slices; and their place on the detector.

A slit is known by a number through the whole WCS: a slitlet by its own, the fixed slits by -101 to -105, slices by
0 to 29. Within a slit x runs along the dispersion and y along the slit; the edges of the open area are at -0.5 and 0.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from astropy.modeling import Model
from astropy.modeling.models import Identity, Mapping, Scale, Shift, Tabular1D
from gwcs.wcstools import grid_from_bounding_box
from stdatamodels.jwst.transforms.models import Gwa2Slit, Slit, Slit2Msa

from jwpipe.exposure import Header
from jwpipe.refs import References
from jwpipe.wcs.direct import Direct
from jwpipe.wcs.nirspec_grating import is_internal
from jwpipe.wcs.nirspec_optics import LAST_PIXEL, NoLightError, Optics, detector, named, tree_of

Box = tuple[tuple[float, float], tuple[float, float]]

FIXED_SLITS = ("S200A1", "S200A2", "S400A1", "S1600A1", "S200B1")
FIXED_QUADRANT = 5
TABLE_LENGTH = 1000
TRACE_LENGTH = 1001

_SUBARRAYS = {f"SUB{name}": (name,) for name in FIXED_SLITS} | dict.fromkeys(
    ("SUB2048", "SUB512", "SUB512S", "SUB1024A", "SUB1024B"), ("S1600A1",)
)


def fixed_slit_id(name: str) -> int:
    """Number a fixed slit: -101 for S200A1 to -105 for S200B1."""
    return -101 - FIXED_SLITS.index(name)


def fixed_slit(name: str, source_id: int, limits: tuple[float, float], **source: Any) -> Slit:
    """A fixed slit between ``limits`` (low, high) along the slit."""
    number = FIXED_SLITS.index(name)
    return Slit(
        name,
        number,
        0,
        0,
        0,
        *limits,
        FIXED_QUADRANT,
        source_id,
        slit_id=fixed_slit_id(name),
        **source,
    )


def fixed_slits(header: Header, limits: tuple[float, float]) -> list[Slit]:
    """The fixed slits seen in a subarray, all five where it is no slit's own.

    The target is in the slit named by FXD_SLIT, source 1; sources of the others are numbered by the two slits.
    """
    target = header.get("FXD_SLIT") or "NONE"
    primary = 1 + FIXED_SLITS.index(target) if target in FIXED_SLITS else 0
    names = _SUBARRAYS.get(str(header["SUBARRAY"]).upper(), FIXED_SLITS)
    source = {
        name: 1 if name == target else 10 * primary + 1 + FIXED_SLITS.index(name) for name in names
    }
    return [fixed_slit(name, source[name], limits) for name in names]


def place(row: Any) -> Model:
    """From relative places within a shutter, slit or slice (a row NO XC YC SIZEX SIZEY) to metres."""
    _, x, y, width, height = (float(value) for value in row)
    return Scale(width) & Scale(height) | Shift(x) & Shift(y)


@dataclass(frozen=True, eq=False)
class Aperture:
    """One slit on its way to the detector.

    ``to_plane`` goes from places in the slit to the plane behind it (MSA or slicer), ``to_slit`` from directions at the
    grating wheel to the slit (x, y, wavelength), its inverse back; ``along`` are the limits of y, and ``span`` those of
    the direction cosine beta that fall between them.
    """

    id: int
    to_plane: Model
    to_slit: Model
    along: tuple[float, float]
    span: tuple[float, float]

    @classmethod
    def build(
        cls,
        id_: int,
        along: tuple[float, float],
        to_plane: Model,
        middle: Model,
        through: Model,
        optics: Optics,
        *,
        microns: bool,
    ) -> Aperture:
        """Find where light from the grating wheel passed the slit, and its wavelength.

        ``middle`` (x, y) and ``through`` (x, y, wavelength, wavelength) go from the slit to directions of incidence,
        the first at the middle of the wavelength range, the second passing the last wavelength on. Incidence along the
        slit is tabulated: it hardly depends on the wavelength. ``microns``: wavelengths in micrometres, not metres.
        """
        assert optics.disperser.wavelength is not None  # slits are not seen through the mirror
        y = np.linspace(*along, TABLE_LENGTH)
        beta = Direct((middle,))(np.zeros_like(y), y)[1]
        table = Tabular1D(points=(beta,), lookup_table=y, bounds_error=False, name="tabular")
        unit = Scale(1e6)
        wavelength = optics.disperser.wavelength | unit if microns else optics.disperser.wavelength
        to_slit = (
            Mapping((0, 1, 0), n_inputs=3)
            | Scale(0) & (Scale(-1) | table) & Identity(1)
            | Mapping((0, 1, 0, 1, 2))
            | Identity(2) & middle & Identity(1)
            | Mapping((0, 1, 2, 3, 5), n_inputs=6)
            | Identity(2) & wavelength
        )
        back = Mapping((0, 1, 2, 2)) | through | Mapping((3, 0, 1, 2)) | optics.disperser.directions
        to_slit.inverse = Identity(2) & unit.inverse | back if microns else back
        return cls(id_, to_plane, to_slit, along, (float(beta.min()), float(beta.max())))


@dataclass(frozen=True, eq=False)
class Projection:
    """Where apertures fall on the detector of an exposure."""

    optics: Optics
    scale: float

    @cached_property
    def to_gwa(self) -> Direct:
        """Pixels of the exposure to directions at the grating wheel."""
        return Direct((self.optics.to_sca, self.optics.to_gwa))

    @cached_property
    def from_gwa(self) -> Direct:
        """The way back."""
        return Direct((self.optics.to_gwa.inverse, self.optics.to_sca.inverse))

    def trace(self, aperture: Aperture) -> np.ndarray:
        """Pixels (x, y) of the slit's two ends at wavelengths over the whole range: (2, 2 n)."""
        waves = self.optics.waves
        wavelength = np.linspace(waves.start, waves.end, TRACE_LENGTH) * self.scale
        y = np.repeat(aperture.along, TRACE_LENGTH)
        back = Direct((aperture.to_slit.inverse,))
        directions = back(np.zeros_like(y), y, np.tile(wavelength, 2))
        return np.array(self.from_gwa(*directions))

    def lit(self, aperture: Aperture, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Which pixels see light that passed between the ends of the slit."""
        beta = -self.to_gwa(x.astype(float), y.astype(float))[1]
        lit: np.ndarray = (beta >= aperture.span[0]) & (beta <= aperture.span[1])
        return lit

    def box(self, trace: np.ndarray) -> Box:
        """The bounding box (x, x), (y, y) of a trace: 10 pixels wider, and 2 higher, within the detector."""
        (left, bottom), (right, top) = trace.min(axis=1), trace.max(axis=1)
        return _padded(left, right, 10), _padded(bottom, top, 2)

    def refined(self, aperture: Aperture, box: Box) -> Box:
        """Limit the rows of a box to those with light, and 2 more; rows are tried from the edges inwards."""
        if box[0][0] > box[0][1] or box[1][0] > box[1][1]:
            return box
        x, y = grid_from_bounding_box(box)
        rows = [
            next((k for k in order if self.lit(aperture, x[k], y[k]).any()), None)
            for order in _inwards(len(y))
        ]
        if None in rows:
            return box
        return box[0], _padded(y[rows[0], 0], y[rows[1], 0], 2)


def _padded(low: float, high: float, margin: int) -> tuple[float, float]:
    """Widen a range and cut it to the detector; comparisons with NaN leave the detector's edge.

    The corner is counted from 1 where the trace is counted from 0, a convention of the products.
    """
    return float(max(0, low - 1 - margin)) - 0.5, float(min(LAST_PIXEL, high - 1 + margin)) + 0.5


def _inwards(n: int) -> tuple[range, range]:
    return range(n), range(n - 1, -1, -1)


def falls_on_detector(box: Box) -> bool:
    """Whether a bounding box holds any pixels of a detector."""
    (left, right), (bottom, top) = box
    outside = left > LAST_PIXEL or bottom > LAST_PIXEL or right <= 0 or top <= 0
    return not outside and right - left >= 2 and top - bottom >= 1


def msa_apertures(
    slits: Sequence[Slit], header: Header, references: References, optics: Optics
) -> list[tuple[Slit, Aperture]]:
    """The slits of the MSA with their optics, by quadrant; fixed slits are quadrant 5."""
    tree = tree_of(references, "msa", header)
    found = []
    for slit in sorted(slits, key=lambda slit: slit.quadrant):
        quadrant = tree[f"Q{slit.quadrant}"]
        row = slit.shutter_id - (slit.quadrant != FIXED_QUADRANT)
        to_msa = place(quadrant["data"][row]) | quadrant["model"]
        incidence = to_msa | optics.to_disperser
        limits = (slit.ymin, slit.ymax)
        # The MSA is in the focus of mirrors: incidence does not depend on the wavelength.
        through = Mapping((0, 1, 3)) | incidence & Identity(1)
        aperture = Aperture.build(
            slit.slit_id, limits, to_msa, incidence, through, optics, microns=is_internal(header)
        )
        found.append((slit, aperture))
    return found


def on_detector(
    pairs: Iterable[tuple[Slit, Aperture]], header: Header, optics: Optics
) -> tuple[list[tuple[Slit, Aperture]], dict[int, Box]]:
    """The slits that fall on the detector, and their bounding boxes.

    Raises
    ------
    NoLightError
        Where none does.
    """
    projection = Projection(optics, microns_or_metres(header))
    kept, boxes = [], {}
    for slit, aperture in pairs:
        box = projection.box(projection.trace(aperture))
        if falls_on_detector(box):
            kept.append((slit, aperture))
            boxes[aperture.id] = projection.refined(aperture, box)
    if not kept:
        raise NoLightError(
            f"{header.filename}: assign_wcs: none of the open slits falls on {detector(header)}; "
            "leave this exposure out"
        )
    return kept, boxes


def microns_or_metres(header: Header) -> float:
    """The factor from metres to the wavelengths of ``slit_frame``."""
    return 1e6 if is_internal(header) else 1.0


def to_slit_and_plane(
    slits: Sequence[Any], apertures: Sequence[Aperture], plane: str, axes: str
) -> tuple[Model, Model]:
    """The transforms of all slits by their names: from the grating wheel to the slit, and to the plane behind it.

    ``slits`` are ``Slit`` or plain numbers; ``plane`` names the second transform and ``axes`` its coordinates.
    """
    to_slit = Gwa2Slit(slits, [each.to_slit for each in apertures])
    to_slit = named(to_slit, "gwa2slit", "name angle1 angle2 angle3", "name x_slit y_slit lam")
    to_plane = Slit2Msa(slits, [each.to_plane for each in apertures]) & Identity(1) | Mapping(
        (0, 1, 3, 2)
    )
    return to_slit, named(to_plane, plane, "name x_slit y_slit lam", f"{axes} lam name")
