"""FITS files for the tests of reading and writing, made by astropy alone."""

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

DATA = Path(
    os.environ.get("JWPIPE_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)
OBSERVATIONS = DATA / "observations"
real_data = pytest.mark.skipif(not OBSERVATIONS.is_dir(), reason=f"no test data in {DATA}")

KEYWORDS = {
    "TELESCOP": "JWST",
    "INSTRUME": "NIRCAM",
    "DETECTOR": "NRCB1",
    "FILTER": "F200W",
    "PUPIL": "CLEAR",
    "EXP_TYPE": "NRC_IMAGE",
    "READPATT": "SHALLOW4",
    "PROGRAM": "01234",
    "EXPOSURE": "00001",
    "SUBARRAY": "SUB64P",
    "EFFEXPTM": 115.9368,
    "ZEROFRAM": True,
}
SCIENCE_KEYWORDS = {
    "RA_REF": 80.48,
    "VPARITY": -1,
    "S_REGION": "POLYGON ICRS " + "80.4816156 " * 12,
}


def table(name: str, rows: np.ndarray) -> fits.BinTableHDU:
    return fits.BinTableHDU(rows, name=name)


def int_times(first: int, count: int) -> np.ndarray:
    rows = np.zeros(count, [("integration_number", "i4"), ("int_start_MJD_UTC", "f8")])
    rows["integration_number"] = np.arange(first, first + count)
    rows["int_start_MJD_UTC"] = 61100 + 0.25 * rows["integration_number"]
    return rows


def uncal(
    path: Path,
    *,
    integrations: int = 2,
    groups: int = 4,
    size: tuple[int, int] = (20, 16),
    first: int = 1,
    segments: tuple[int, int] = (1, 1),
    total: int | None = None,
    seed: int = 0,
    **keywords: object,
) -> np.ndarray:
    """A raw ramp at ``path``; returns its pixels."""
    rng = np.random.default_rng(seed)
    shape = (integrations, groups, *size)
    ramp = rng.integers(0, 65536, shape, dtype=np.uint16)
    header = {
        **KEYWORDS,
        "DATAMODL": "Level1bModel",
        "NINTS": total or integrations,
        "NGROUPS": groups,
        "INTSTART": first,
        "INTEND": first + integrations - 1,
        "EXSEGNUM": segments[0],
        "EXSEGTOT": segments[1],
        **keywords,
    }
    primary = fits.PrimaryHDU(
        header=fits.Header({k: v for k, v in header.items() if v is not None})
    )
    primary.header["HISTORY"] = "made by hand"
    science = fits.ImageHDU(ramp, fits.Header(SCIENCE_KEYWORDS), name="SCI")
    zero = fits.ImageHDU(ramp[:, 0] // 4, name="ZEROFRAME")
    hdus = [primary, science, zero, table("INT_TIMES", int_times(first, integrations))]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return ramp


def rate(
    path: Path, *, size: tuple[int, int] = (20, 16), **keywords: object
) -> dict[str, np.ndarray]:
    """A count rate image at ``path``; returns its arrays."""
    rng = np.random.default_rng(1)
    arrays = {
        name: rng.normal(size=size).astype(np.float32) for name in ("SCI", "ERR", "VAR_POISSON")
    }
    arrays["SCI"][0, 0] = np.nan
    arrays["DQ"] = rng.integers(0, 2**32, size, dtype=np.uint32)
    header = fits.Header({**KEYWORDS, "DATAMODL": "ImageModel", **keywords})
    science = fits.Header({**SCIENCE_KEYWORDS, "BUNIT": "DN/s"})
    hdus = [fits.PrimaryHDU(header=header), fits.ImageHDU(arrays["SCI"], science, name="SCI")]
    hdus += [fits.ImageHDU(arrays[name], name=name) for name in ("ERR", "DQ", "VAR_POISSON")]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return arrays
