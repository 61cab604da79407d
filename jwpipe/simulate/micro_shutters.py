"""Files of NIRSpec's micro-shutter array: its metrology (reference ``msa``) and an observation's MSA metadata.

The metrology has the pitch, sizes and places of the four quadrants and the fixed slits that flight products carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.modeling.models import Rotation2D, Shift

ROWS, COLUMNS = 171, 365
"""Shutters of a quadrant."""
PITCH = (1.0498e-4, 2.0350e-4)
OPEN = (7.7e-5, 1.77e-4)
"""Distance and size (m) of shutters along x and y."""
QUADRANTS = {
    1: (0.0195, -0.04285, -0.04198),
    2: (-0.01731757, -0.04280757, 0.00725996),
    3: (0.0158, 0.00462, -0.04193),
    4: (-0.01337407, 0.00460352, 0.00724746),
}
"""Rotation (deg) and corner (m) of each quadrant."""
FIXED_SLITS = (
    (0.0269724, -0.0027167, 8.1e-5, 1.271e-3),
    (0.0347597, -0.0013129, 8.1e-5, 1.271e-3),
    (0.0296652, 0.0002414, 1.59e-4, 1.460e-3),
    (0.0286631, 0.0015605, 6.31e-4, 6.31e-4),
    (-0.0270050, -0.0031920, 7.9e-5, 1.271e-3),
)
"""Place and size (m) of S200A1, S200A2, S400A1, S1600A1 and S200B1."""
APERTURES = np.dtype(
    [("NO", ">i4"), ("XC", ">f4"), ("YC", ">f4"), ("SIZEX", ">f4"), ("SIZEY", ">f4")]
)
SHUTTERS = np.dtype(
    [
        ("slitlet_id", ">i2"),
        ("msa_metadata_id", ">i2"),
        ("shutter_quadrant", ">i2"),
        ("shutter_row", ">i2"),
        ("shutter_column", ">i2"),
        ("source_id", ">i4"),
        ("background", "S1"),
        ("shutter_state", "S6"),
        ("estimated_source_in_shutter_x", ">f4"),
        ("estimated_source_in_shutter_y", ">f4"),
        ("dither_point_index", ">i2"),
        ("primary_source", "S1"),
        ("fixed_slit", "S7"),
    ]
)
SOURCES = np.dtype(
    [
        ("program", ">i4"),
        ("source_id", ">i4"),
        ("source_name", "S20"),
        ("alias", "S31"),
        ("ra", ">f8"),
        ("dec", ">f8"),
        ("preimage_id", "S30"),
        ("stellarity", ">f8"),
    ]
)


def write_msa(path: Path) -> Path:
    """Write the metrology: for each quadrant its shutters (m), and how it lies; the fifth are the fixed slits."""
    import asdf

    meta = {
        "reftype": "MSA",
        "author": "jwpipe",
        "pedigree": "DUMMY",
        "description": "simulated micro-shutter array",
        "useafter": "2015-11-01T00:00:00",
        "telescope": "JWST",
        "instrument": {"name": "NIRSPEC", "p_detector": "NRS1|NRS2|"},
        "exposure": {"type": "N/A"},
    }
    slits = np.array([(number, *row) for number, row in enumerate(FIXED_SLITS, 1)], APERTURES)
    tree: dict[str, Any] = {"meta": meta}
    for number, (angle, x, y) in QUADRANTS.items():
        tree[f"Q{number}"] = {"model": _placed(number, angle, x, y), "data": _shutters()}
    tree["Q5"] = {"model": _placed(5, 0.0, 0.0, 0.0), "data": slits}
    asdf.AsdfFile(tree).write_to(path)
    return path


def _placed(number: int, angle: float, x: float, y: float) -> Any:
    name = f"msa_Q{number}"
    along, across = Shift(x, name=f"{name}_x"), Shift(y, name=f"{name}_y")
    return Rotation2D(angle, name=f"{name}_rot") | along & across


def _shutters() -> np.ndarray:
    table = np.zeros(ROWS * COLUMNS, APERTURES)
    y, x = np.divmod(np.arange(table.size), COLUMNS)
    table["NO"], table["XC"], table["YC"] = np.arange(1, table.size + 1), x * PITCH[0], y * PITCH[1]
    table["SIZEX"], table["SIZEY"] = OPEN
    return table


def write_msa_metadata(
    path: Path,
    shutters: Sequence[tuple[Any, ...]],
    sources: Sequence[tuple[Any, ...]],
    *,
    fixed_slits: bool = True,
) -> Path:
    """Write MSA metadata: rows of ``SHUTTERS`` and of ``SOURCES``; older files have no column ``fixed_slit``."""
    table = np.array(list(shutters), SHUTTERS)
    if not fixed_slits:
        names = [name for name in SHUTTERS.names or () if name != "fixed_slit"]
        kept = np.array(table[names].tolist(), [(name, SHUTTERS[name].str) for name in names])
        table = kept
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(np.zeros((2 * COLUMNS, 2 * ROWS), np.int16), name="SHUTTER_IMAGE"),
        fits.BinTableHDU(table, name="SHUTTER_INFO"),
        fits.BinTableHDU(np.array(list(sources), SOURCES), name="SOURCE_INFO"),
    ]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path
