"""Small reference files for the tests of reference selection and reading."""

from pathlib import Path
from typing import Any

import asdf
import numpy as np
from astropy.io import fits

from jwpipe.exposure import Header

EXPOSURE = {
    "TELESCOP": "JWST",
    "INSTRUME": "NIRCAM",
    "DETECTOR": "NRCB1",
    "CHANNEL": "SHORT",
    "MODULE": "B",
    "FILTER": "F200W",
    "PUPIL": "CLEAR",
    "EXP_TYPE": "NRC_IMAGE",
    "READPATT": "SHALLOW4",
    "NOUTPUTS": 4,
    "SUBARRAY": "SUB8",
    "SUBSTRT1": 101,
    "SUBSTRT2": 201,
    "SUBSIZE1": 8,
    "SUBSIZE2": 6,
    "DATE-OBS": "2024-05-06",
    "TIME-OBS": "07:08:09.123",
    "TSOVISIT": False,
    "VISITYPE": "PRIME_TARGETED_FIXED",
}
"""Keywords of an exposure on 8 columns x 6 rows of detector NRCB1."""

CORNER = {"SUBSTRT1": 91, "SUBSTRT2": 191, "SUBSIZE1": 32, "SUBSIZE2": 24}
"""Place of a reference array of 32 x 24 pixels that covers that subarray, from its row 10 and column 10."""


def exposure(**changes: Any) -> Header:
    """The header of the exposure, with changed keywords (``DATE_OBS`` for ``DATE-OBS``)."""
    keywords = EXPOSURE | {key.replace("_OBS", "-OBS"): value for key, value in changes.items()}
    kept = {key: value for key, value in keywords.items() if value is not None}
    return Header({"primary": kept, "filename": "exposure_uncal.fits"})


def write(path: Path, reftype: str, *images: fits.ImageHDU, **keywords: Any) -> Path:
    """A FITS reference of ``images`` whose primary header has ``keywords``."""
    primary = fits.PrimaryHDU()
    head = {"REFTYPE": reftype, "TELESCOP": "JWST", "INSTRUME": "NIRCAM", "DETECTOR": "NRCB1"}
    for key, value in (head | keywords).items():
        if value is not None:
            primary.header[key] = value
    fits.HDUList([primary, *images]).writeto(path, overwrite=True)
    return path


def image(values: np.ndarray, name: str = "SCI") -> fits.ImageHDU:
    """An image extension."""
    return fits.ImageHDU(np.asarray(values), name=name)


def definitions(*rows: tuple[int, int, str]) -> fits.BinTableHDU:
    """A DQ_DEF table of rows (bit, value, name)."""
    dtype = [("BIT", "i4"), ("VALUE", "i4"), ("NAME", "S40"), ("DESCRIPTION", "S80")]
    return fits.BinTableHDU(np.array([(*row, "") for row in rows], dtype), name="DQ_DEF")


def write_asdf(path: Path, meta: dict[str, Any], **tree: Any) -> Path:
    """An ASDF file with ``meta`` and further branches."""
    asdf.AsdfFile({"meta": meta, **tree}).write_to(path)
    return path
