"""Does an exposure agree with itself? Keywords against pixels and against what JWST has."""

from __future__ import annotations

from typing import Any

import xarray as xr

from jwpipe.exposure import ExposureError, Header, header

DETECTORS = {
    "NIRCAM": (
        "NRCA1", "NRCA2", "NRCA3", "NRCA4", "NRCALONG", "NRCB1", "NRCB2", "NRCB3", "NRCB4", "NRCBLONG",
    ),
    "NIRISS": ("NIS",),
    "NIRSPEC": ("NRS1", "NRS2"),
    "MIRI": ("MIRIMAGE", "MIRIFULONG", "MIRIFUSHORT"),
    "FGS": ("GUIDER1", "GUIDER2"),
}  # fmt: skip
EXPOSURE_TYPES = {
    "NIRCAM": (
        "NRC_",
        "CORON DARK FLAT FOCUS GRISM IMAGE LED TACONFIRM TACQ TSGRISM TSIMAGE WFSC WFSS",
    ),
    "NIRISS": ("NIS_", "AMI DARK EXTCAL FOCUS IMAGE LAMP SOSS TACONFIRM TACQ WFSS"),
    "NIRSPEC": (
        "NRS_",
        "AUTOFLAT AUTOWAVE BRIGHTOBJ CONFIRM DARK FIXEDSLIT FOCUS IFU IMAGE LAMP MIMF MSASPEC "
        "MSATA TACONFIRM TACQ TASLIT VERIFY WATA",
    ),
    "MIRI": (
        "MIR_",
        "4QPM CORONCAL DARKALL DARKIMG DARKMRS FLATIMAGE FLATIMAGE-EXT FLATMRS FLATMRS-EXT IMAGE "
        "LRS-FIXEDSLIT LRS-SLITLESS LYOT MRS TACONFIRM TACQ WFSS",
    ),
    "FGS": (
        "FGS_",
        "ACQ1 ACQ2 DARK FINEGUIDE FOCUS ID-IMAGE ID-STACK IMAGE INTFLAT SKYFLAT TRACK",
    ),
}
AXES = {
    "uncal": (4,),
    "ramp": (4,),
    "rate": (2,),
    "rateints": (3,),
    "cal": (2,),
    "calints": (3,),
    "crf": (2,),
    "crfints": (3,),
    "i2d": (2,),
}
COMBINED = "MULTIPLE"
GUIDE_STARS = ("FGS_ID", "FGS_ACQ", "FGS_TRACK", "FGS_FINEGUIDE")


def check_exposure(exposure: xr.Dataset, path: str) -> None:
    """Compare an exposure's keywords with its pixels and with the instruments of JWST.

    Raises
    ------
    ExposureError
        SCI has not the dimensions of the product, NGROUPS or the integrations do not fit it, arrays differ in
        size, or instrument, detector or exposure type are unknown or do not belong together.
    """
    keywords = header(exposure)
    _check_axes(exposure, path)
    _check_counts(exposure, keywords, path)
    _check_frames(exposure, path)
    _check_names(keywords, path)


def _check_axes(exposure: xr.Dataset, path: str) -> None:
    product = exposure.attrs["product"]
    expected = (3,) if product == "cal" and guides(header(exposure)) else AXES.get(product)
    shape = exposure["sci"].shape
    if expected and len(shape) not in expected:
        raise ExposureError(
            f"{path}: SCI of a {product} has {len(shape)} dimensions {shape}, expected {expected[0]}; "
            "give the file the suffix of what it holds"
        )


def _check_counts(exposure: xr.Dataset, keywords: Header, path: str) -> None:
    """NGROUPS and the integrations of a ramp; later products are not computed with them."""
    sizes = exposure["sci"].sizes
    if "group" not in sizes or guides(keywords):
        return
    _agree(path, "NGROUPS", keywords.get("NGROUPS"), "groups", sizes["group"])
    first, last = keywords.get("INTSTART"), keywords.get("INTEND")
    if isinstance(first, int) and isinstance(last, int) and keywords.get("EXSEGTOT", 1) > 1:
        _agree(
            path, "INTEND - INTSTART + 1", last - first + 1, "integrations", sizes["integration"]
        )
    else:
        _agree(path, "NINTS", keywords.get("NINTS"), "integrations", sizes["integration"])


def guides(keywords: Header) -> bool:
    """Whether an exposure is one of guide stars, which have integrations in all products."""
    return str(keywords.get("EXP_TYPE")).startswith(GUIDE_STARS)


def _agree(path: str, keyword: str, value: Any, what: str, found: int) -> None:
    if value is not None and value != found:
        raise ExposureError(
            f"{path}: {keyword} is {value}, but SCI has {found} {what}; correct the keyword or fetch the file again"
        )


def _check_frames(exposure: xr.Dataset, path: str) -> None:
    """Every array of the exposure's own kind is as wide and high as SCI."""
    height, width = exposure["sci"].shape[-2:]
    for name in (
        "err",
        "dq",
        "groupdq",
        "pixeldq",
        "zeroframe",
        "var_poisson",
        "var_rnoise",
        "var_flat",
    ):
        if name in exposure and exposure[name].shape[-2:] != (height, width):
            raise ExposureError(
                f"{path}: {name.upper()} is {exposure[name].shape[-2:]}, expected {(height, width)} as SCI; "
                "the file is not one exposure, make it anew"
            )


def _check_names(keywords: Header, path: str) -> None:
    instrument = keywords.get("INSTRUME")
    if instrument is None:
        return
    if instrument not in DETECTORS:
        raise _unknown(path, "INSTRUME", instrument, ", ".join(DETECTORS))
    detector = keywords.get("DETECTOR")
    if detector is not None and detector not in (*DETECTORS[instrument], COMBINED):
        raise _unknown(
            path, "DETECTOR", detector, f"one of {instrument}: {', '.join(DETECTORS[instrument])}"
        )
    kind = keywords.get("EXP_TYPE")
    prefix, names = EXPOSURE_TYPES[instrument]
    known = [prefix + name for name in names.split()]
    if kind is not None and kind not in known:
        raise _unknown(path, "EXP_TYPE", kind, f"one of {instrument}: {', '.join(known)}")


def _unknown(path: str, keyword: str, found: Any, expected: str) -> ExposureError:
    return ExposureError(
        f"{path}: {keyword} is {found!r}, expected {expected}; correct the keyword"
    )
