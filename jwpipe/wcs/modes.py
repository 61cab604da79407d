"""Which family of modes an exposure's WCS belongs to: one file a family.

Each family's module has ``build(exposure, references, params) -> WCS``: the light's way from the detector's pixels to
the sky (and the wavelength), pure: headers and reference files in, a gwcs out.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import xarray as xr

from jwpipe.exposure import ExposureError, Header
from jwpipe.exptypes import exposure_type

if TYPE_CHECKING:
    from gwcs import WCS

    from jwpipe.refs import References


@dataclass(frozen=True)
class Family:
    """Modes whose WCS is built alike: the exposure types, their references, and the module that builds it."""

    name: str
    types: frozenset[str]
    refs: tuple[str, ...]
    on_sky: bool = True

    def build(self, exposure: xr.Dataset, references: References, params: Any) -> WCS:
        """The WCS of an exposure."""
        module = import_module(f"jwpipe.wcs.{self.name}")
        wcs: WCS = module.build(exposure, references, params)
        return wcs


def _types(instrument: str, *modes: str) -> frozenset[str]:
    return frozenset(f"{instrument}_{mode}" for mode in modes)


FAMILIES = (
    Family(
        "imaging",
        _types("NRC", "IMAGE", "TACQ", "TACONFIRM", "CORON", "FOCUS", "TSIMAGE")
        | _types("NIS", "IMAGE", "AMI", "TACQ", "TACONFIRM", "FOCUS")
        | _types("MIR", "IMAGE", "TACQ", "TACONFIRM", "LYOT", "4QPM", "CORONCAL")
        | _types("FGS", "IMAGE", "FOCUS"),
        ("distortion", "filteroffset"),
    ),
)

REFERENCE_TYPES = tuple(dict.fromkeys(kind for family in FAMILIES for kind in family.refs))


def family_of(keywords: Header) -> Family:
    """The family of an exposure.

    Raises
    ------
    ExposureError
        For exposure types that have no WCS.
    """
    kind = exposure_type(keywords)
    for family in FAMILIES:
        if kind in family.types:
            return family
    known = " ".join(sorted(kind for family in FAMILIES for kind in family.types))
    raise ExposureError(
        f"{keywords.filename}: assign_wcs: EXP_TYPE {kind} has no WCS; expected one of {known}; "
        "skip assign_wcs for this exposure"
    )
