"""File names of products: the suffix that says what a file holds, and how one name is made of another.

Source: the naming scheme of JWST data products
(``jw<program><observation><visit>_<group>_<exposure>[-seg<nnn>]_<detector>_<suffix>``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

SUFFIXES = frozenset((
    "uncal", "ramp", "rate", "rateints", "dark", "fitopt", "likely_chisq", "cal", "calints", "bsub", "bsubints",
    "i2d", "s2d", "s3d", "x1d", "x1dints", "c1d", "crf", "crfints", "cat", "segm", "phot",
    "whtlt", "psfstack", "psfalign", "psfsub", "ami-oi", "aminorm-oi", "wfscmb", "mbsub",
    "blot", "median", "outlier_i2d", "outlier_s2d", "group_scale", "dq_init", "emicorr",
    "saturation", "ipc", "superbias", "refpix", "firstframe", "lastframe", "reset", "linearity",
    "rscd", "dark_current", "charge_migration", "jump", "picture_frame", "pctfrm_mask", "pctfrm_correction",
    "clean_flicker_noise",
    "flicker_bkg", "flicker_noise", "mask",
    "persistence", "ramp_fit", "gain_scale", "guider_cds", "bkg_subtract", "assign_wcs", "flat_field",
    "photom", "resample", "assign_mtwcs", "tweakreg", "skymatch", "outlier_detection", "source_catalog",
))  # fmt: skip
_EXTENSION = re.compile(r"\.(fits(\.gz)?|fit|fts|zarr|asdf|ecsv|json|png)$", re.IGNORECASE)
_SEGMENT = re.compile(r"-seg\d{3}(?=_|$)")
_BY_LONGEST = sorted(SUFFIXES, key=len, reverse=True)


def stem(path: str) -> str:
    """The name of a file without folder and extension."""
    return _EXTENSION.sub("", path.rstrip("/").replace("\\", "/").rpartition("/")[2])


def split_suffix(path: str) -> tuple[str, str]:
    """The root of a product's name and its suffix (``""`` where it has no known one)."""
    name = stem(path)
    for suffix in _BY_LONGEST:
        if name.endswith((f"_{suffix}", f"-{suffix}")):
            return name[: -len(suffix) - 1], suffix
    return name, ""


def product_of(path: str, primary: Mapping[str, Any], sci: Mapping[str, Any]) -> str:
    """What a file holds: its name's suffix, or else what its model and unit say."""
    suffix = split_suffix(path)[1]
    if suffix:
        return suffix
    model, unit = primary.get("DATAMODL"), str(sci.get("BUNIT", ""))
    if model == "Level1bModel":
        return "uncal"
    if model in ("RampModel", "SuperstripeRampModel"):
        return "ramp"
    if "NDRIZ" in primary or primary.get("S_RESAMP") == "COMPLETE":
        return "i2d"
    calibrated = "Jy" in unit
    if model == "CubeModel":
        return "calints" if calibrated else "rateints"
    if model == "ImageModel":
        return "cal" if calibrated else "rate"
    return ""


def product_name(source: str, suffix: str, *, asn_id: str = "", extension: str = ".fits") -> str:
    """The file name of a product made of ``source``: its suffix replaced, ``asn_id`` put before it where given.

    >>> product_name("jw01345001001_02201_00001_nrca1_cal.fits", "crf", asn_id="o001")
    'jw01345001001_02201_00001_nrca1_o001_crf.fits'
    """
    root = split_suffix(source)[0]
    middle = f"_{asn_id}" if asn_id and not root.endswith(f"_{asn_id}") else ""
    return f"{root}{middle}_{suffix}{extension}"


def any_segment(path: str) -> str:
    """A pattern for the files of all segments of an exposure; ``path`` itself where it is no segment's."""
    return _SEGMENT.sub("-seg[0-9][0-9][0-9]", path)


def without_segment(name: str) -> str:
    """The exposure's name of a segment's (``-seg001`` left out)."""
    return _SEGMENT.sub("", name)
