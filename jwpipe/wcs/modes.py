"""Which family of modes an exposure's WCS belongs to: one file a family.

Each family's module has ``build(exposure, references, params)``: the light's way from the detector's pixels to the sky
(and the wavelength), pure: headers and reference files in, a gwcs out, or a ``Solution`` where the product says more.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import xarray as xr

from jwpipe.exposure import ExposureError, Header
from jwpipe.exptypes import exposure_type

if TYPE_CHECKING:
    from gwcs import WCS

    from jwpipe.refs import References


@dataclass(frozen=True, eq=False)
class Solution:
    """The WCS of an exposure, with the keywords and the arrays that come with it.

    Of the SCI keywords ``None`` takes one out; ``primary`` are added to the primary header. ``image`` is the WCS of the
    direct image of slitless spectra, with its bounding box: the one that the header approximates.
    """

    wcs: WCS
    sci: Mapping[str, Any] = field(default_factory=dict)
    primary: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, xr.DataArray] = field(default_factory=dict)
    image: WCS | None = None


@dataclass(frozen=True)
class Family:
    """Modes whose WCS is built alike: the exposure types, their references, and the module that builds it.

    ``subarrays`` is what the names of the subarrays have in common, where not all belong to the family.
    """

    name: str
    types: frozenset[str]
    refs: tuple[str, ...]
    on_sky: bool = True
    subarrays: str = ""

    def has(self, kind: str, keywords: Header) -> bool:
        """Whether an exposure of type ``kind`` belongs to the family."""
        return kind in self.types and self.subarrays in str(keywords.get("SUBARRAY", "")).upper()

    def build(self, exposure: xr.Dataset, references: References, params: Any) -> Solution:
        """The WCS of an exposure, and what comes with it."""
        module = import_module(f"jwpipe.wcs.{self.name}")
        with _collection_paused():
            found = module.build(exposure, references, params)
        return found if isinstance(found, Solution) else Solution(found)


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Build transforms without looking for garbage among thousands of objects: a quarter of the time of an IFU."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _types(instrument: str, *modes: str) -> frozenset[str]:
    return frozenset(f"{instrument}_{mode}" for mode in modes)


NIRSPEC = ("camera", "collimator", "disperser", "fore", "fpa", "ote", "wavelengthrange")
NIRSPEC_IFU = ("ifufore", "ifupost", "ifuslicer")

FAMILIES = (
    Family(
        "imaging",
        _types("NRC", "IMAGE", "TACQ", "TACONFIRM", "CORON", "FOCUS", "TSIMAGE")
        | _types("NIS", "IMAGE", "AMI", "TACQ", "TACONFIRM", "FOCUS")
        | _types("MIR", "IMAGE", "TACQ", "TACONFIRM", "LYOT", "4QPM", "CORONCAL")
        | _types("FGS", "IMAGE", "FOCUS"),
        ("distortion", "filteroffset"),
    ),
    Family(
        "dhs",
        _types("NRC", "TSGRISM"),
        ("distortion", "filteroffset", "specwcs", "regions"),
        on_sky=False,
        subarrays="DHS",
    ),
    Family(
        "grism",
        _types("NRC", "WFSS", "TSGRISM") | _types("NIS", "WFSS"),
        ("distortion", "filteroffset", "specwcs"),
        on_sky=False,
    ),
    Family("soss", _types("NIS", "SOSS"), ("specwcs",), on_sky=False),
    Family(
        "nirspec",
        _types("NRS", "FIXEDSLIT", "BRIGHTOBJ", "MSASPEC", "AUTOFLAT"),
        (*NIRSPEC, "msa"),
        on_sky=False,
    ),
    Family("nirspec", _types("NRS", "IFU"), (*NIRSPEC, *NIRSPEC_IFU, "chromcorr"), on_sky=False),
    Family(
        "nirspec",
        _types(
            "NRS",
            "IMAGE",
            "CONFIRM",
            "FOCUS",
            "MIMF",
            "MSATA",
            "TACONFIRM",
            "TACQ",
            "TASLIT",
            "VERIFY",
            "WATA",
        ),
        NIRSPEC,
        on_sky=False,
    ),
    Family(
        "nirspec", _types("NRS", "LAMP", "AUTOWAVE"), (*NIRSPEC, "msa", *NIRSPEC_IFU), on_sky=False
    ),
    Family(
        "miri_lrs",
        _types("MIR", "LRS-FIXEDSLIT", "LRS-SLITLESS"),
        ("distortion", "specwcs"),
        on_sky=False,
    ),
    Family(
        "miri_mrs",
        _types("MIR", "MRS"),
        ("distortion", "specwcs", "regions", "wavelengthrange"),
        on_sky=False,
    ),
    Family(
        "miri_wfss", _types("MIR", "WFSS"), ("distortion", "filteroffset", "specwcs"), on_sky=False
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
        if family.has(kind, keywords):
            return family
    known = " ".join(sorted({kind for family in FAMILIES for kind in family.types}))
    raise ExposureError(
        f"{keywords.filename}: assign_wcs: EXP_TYPE {kind} has no WCS; expected one of {known}; "
        "skip assign_wcs for this exposure"
    )
