"""FITS and ASDF files as the archive and the calibration reference system have them, written directly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from jwpipe.dq import Pixel

BLOCK = 2880
Keywords = Mapping[str, Any]


def now() -> str:
    """The time of writing, as the DATE keyword has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]


def primary(keywords: Keywords) -> Any:
    """A primary HDU without data."""
    from astropy.io import fits

    return fits.PrimaryHDU(header=_header(keywords))


def _header(keywords: Keywords) -> Any:
    from astropy.io import fits

    header = fits.Header()
    for name, value in keywords.items():
        header[name] = value
    return header


def image(name: str, data: np.ndarray, keywords: Keywords | None = None) -> Any:
    """An image extension."""
    from astropy.io import fits

    return fits.ImageHDU(data, header=_header(keywords or {}), name=name, ver=1)


def table(name: str, rows: np.ndarray) -> Any:
    """A binary table extension of a structured array."""
    from astropy.io import fits

    return fits.BinTableHDU(rows, name=name, ver=1)


def flags(dq: np.ndarray, names: tuple[str, ...]) -> tuple[Any, Any]:
    """DQ and DQ_DEF extensions: the standard flags ``names`` of ``dq``, numbered anew as reference files do."""
    local = np.zeros(dq.shape, np.uint32)
    rows = []
    for bit, name in enumerate(names):
        local[(dq & np.uint32(Pixel[name])) > 0] |= np.uint32(1 << bit)
        rows.append((bit, 1 << bit, name, name.replace("_", " ").lower()))
    columns = [("BIT", "i4"), ("VALUE", "u4"), ("NAME", "S40"), ("DESCRIPTION", "S80")]
    return image("DQ", local), table("DQ_DEF", np.array(rows, columns))


def write(path: Path, hdus: Iterable[Any]) -> Path:
    """Write HDUs to ``path``, replacing what is there."""
    from astropy.io import fits

    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList(list(hdus)).writeto(path, overwrite=True)
    return path


def write_cube(
    path: Path,
    head: Any,
    name: str,
    frames: Iterable[np.ndarray],
    shape: tuple[int, ...],
    rest: Iterable[Any],
) -> Path:
    """Write a cube plane by plane, so that it is never whole in memory, then the extensions ``rest``."""
    from astropy.io import fits

    path.parent.mkdir(parents=True, exist_ok=True)
    cards: list[tuple[str, Any]] = [("BITPIX", -32), ("NAXIS", len(shape))]
    cards += [(f"NAXIS{k + 1}", n) for k, n in enumerate(reversed(shape))]
    cards += [("PCOUNT", 0), ("GCOUNT", 1), ("EXTNAME", name), ("EXTVER", 1)]
    header = fits.Header([("XTENSION", "IMAGE"), *cards])
    with path.open("wb") as file:
        file.write(head.header.tostring().encode("ascii"))
        file.write(header.tostring().encode("ascii"))
        for frame in frames:
            file.write(frame.astype(">f4").tobytes())
        file.write(b"\0" * (-file.tell() % BLOCK))
    with fits.open(path, mode="append") as hdus:
        for hdu in rest:
            hdus.append(hdu)
    return path


def write_asdf(path: Path, tree: dict[str, Any]) -> Path:
    """Write an ASDF file of ``tree``."""
    import asdf

    path.parent.mkdir(parents=True, exist_ok=True)
    asdf.AsdfFile(tree).write_to(path)
    return path
