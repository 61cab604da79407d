"""A catalogue of the direct image of slitless spectra, with the columns that extraction needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.table import QTable

SOURCES = 20


def write_catalogue(path: Path, exposure: xr.Dataset, seed: int = 7) -> None:
    """Sources all over the field and beyond its edges, some of them extended, some without a magnitude."""
    table(exposure, seed).write(path, format="ascii.ecsv", overwrite=True)


def table(exposure: xr.Dataset, seed: int = 7) -> QTable:
    """The catalogue as a table."""
    rng = np.random.default_rng(seed)
    ny, nx = exposure.sizes["y"], exposure.sizes["x"]
    x, y = (rng.uniform(-0.1 * size, 1.1 * size, SOURCES) for size in (nx, ny))
    half = rng.uniform(2, 25, (2, SOURCES))
    magnitudes = np.round(rng.uniform(18, 27, SOURCES), 2)
    magnitudes[[5, 11]] = np.nan
    found = QTable(
        {
            "label": np.arange(1, SOURCES + 1, dtype=np.int32),
            "xcentroid": x,
            "ycentroid": y,
            "sky_centroid": _sky(exposure, x, y),
            "isophotal_abmag": magnitudes,
            "isophotal_abmag_err": np.full(SOURCES, 0.1),
            "is_extended": rng.uniform(size=SOURCES) < 0.4,
        }
    )
    for name, left, low in (("ll", -1, -1), ("lr", 1, -1), ("ul", -1, 1), ("ur", 1, 1)):
        found[f"sky_bbox_{name}"] = _sky(exposure, x + left * half[0], y + low * half[1])
    return found


def _sky(exposure: xr.Dataset, x: np.ndarray, y: np.ndarray) -> SkyCoord:
    wcs = exposure.attrs["wcs"]
    ra, dec, *_ = wcs.get_transform("detector", "world")(x, y, np.ones_like(x), np.ones_like(x))
    return SkyCoord(ra, dec, unit="deg")
