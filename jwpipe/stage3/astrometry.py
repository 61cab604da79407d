"""Catalogues of positions that alignment takes from outside: files of the user, or the GSSS web service (Gaia).

The service is found through the environment variable ``ASTROMETRIC_CATALOG_URL``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import numpy as np

from jwpipe.exposure import ExposureError

if TYPE_CHECKING:
    from astropy.table import Table

SERVICE_VARIABLE = "ASTROMETRIC_CATALOG_URL"
SERVICE = "https://gsss.stsci.edu/webservices"
SERVICE_CATALOGS = ("GAIAREFCAT", "GAIADR3", "GAIADR2", "GAIADR1")
SERVICE_COLUMNS = ("ra", "dec", "mag", "objID", "epoch")
TIMEOUT = 30.0


class CatalogError(ExposureError):
    """A catalogue of positions cannot be had or understood."""


def absolute_catalog(name: str, footprints: Sequence[np.ndarray], epoch: float | None) -> Table:
    """The absolute reference catalogue ``abs_refcat``, with columns ``RA`` and ``DEC`` in degrees.

    ``name`` is a file (ECSV, FITS, CSV) or a catalogue of the service, which is asked for the circle around the
    ``footprints`` ((n, 2) RA, Dec in degrees) with proper motions applied to ``epoch`` (decimal year).
    """
    if Path(name).is_file():
        table = named_positions(read_table(name, "abs_refcat"), name)
        table.meta["name"] = Path(name).name
        return table
    catalog = name.strip().upper()
    if catalog not in SERVICE_CATALOGS:
        raise CatalogError(
            f"tweakreg: abs_refcat is {name!r}, which is neither an existing file nor one of "
            f"{', '.join(SERVICE_CATALOGS)}; give the path of a table with columns RA and DEC"
        )
    ra, dec, radius = enclosing_circle(np.vstack(list(footprints)))
    table = query_service(catalog, ra, dec, radius, epoch)
    table.meta.update(catalog=catalog, name=catalog)
    return table


def read_table(path: str | Path, parameter: str) -> Table:
    """The table in a file; raises CatalogError naming the file and the parameter that named it."""
    from astropy.table import Table

    try:
        return Table.read(path)
    except FileNotFoundError:
        raise CatalogError(f"tweakreg: {parameter} names {path}, which does not exist") from None
    except Exception as error:
        raise CatalogError(
            f"tweakreg: {parameter} names {path}, which is not a table that can be read ({error}); "
            "write it as ECSV, FITS or CSV with the matching suffix"
        ) from error


def named_positions(table: Table, path: str) -> Table:
    """``table`` with positions in columns ``RA`` and ``DEC``; understands any case and ``sky_centroid``."""
    names = {name.lower(): name for name in table.colnames}
    if len(names) < len(table.colnames):
        raise CatalogError(f"{path}: columns differ only in case; keep one RA and one DEC column")
    if {"ra", "dec"} <= names.keys():
        table.rename_columns([names["ra"], names["dec"]], ["RA", "DEC"])
        return table
    if "sky_centroid" in names:
        positions = table[names["sky_centroid"]]
        table["RA"], table["DEC"] = positions.ra.deg, positions.dec.deg
        table.remove_column(names["sky_centroid"])
        return table
    raise CatalogError(
        f"{path}: found columns {', '.join(table.colnames)}, expected RA and DEC in degrees, "
        "or sky_centroid"
    )


def enclosing_circle(corners: np.ndarray) -> tuple[float, float, float]:
    """Centre (RA, Dec) and radius, in degrees, of the circle around the mean of ``corners`` (n, 2)."""
    ra, dec = np.radians(corners.T)
    vectors = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    centre = vectors.mean(axis=0)
    centre /= np.linalg.norm(centre)
    radius = np.degrees(np.arccos(np.clip(vectors @ centre, -1, 1)).max())
    longitude = np.degrees(np.arctan2(centre[1], centre[0])) % 360
    return float(longitude), float(np.degrees(np.arcsin(centre[2]))), float(radius)


def query_service(catalog: str, ra: float, dec: float, radius: float, epoch: float | None) -> Table:
    """Sources of a catalogue of the service within ``radius`` degrees, faint ones first.

    With an ``epoch`` the service moves the sources by their proper motion; those without one are left out.
    """
    from astropy.table import Table

    query: dict[str, Any] = {"RA": ra, "DEC": dec}
    if epoch is not None:
        query["EPOCH"] = epoch
    query |= {"SR": radius, "FORMAT": "CSV", "CAT": catalog}
    text = _fetch(f"{service()}/vo/CatalogSearch.aspx?{urlencode(query)}")
    if text.startswith("No data records"):
        return Table(names=("RA", "DEC", "mag", "objID", "epoch"))
    table = Table.read(text.splitlines(), format="ascii.csv", comment="#")
    if epoch is not None:
        table = table[~_without_motion(table)]
    table = table[list(SERVICE_COLUMNS)]
    table.rename_columns(["ra", "dec"], ["RA", "DEC"])
    table.sort("mag", reverse=True)
    return table


def service() -> str:
    """The address of the catalogue service."""
    return os.environ.get(SERVICE_VARIABLE, SERVICE)


def _fetch(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise CatalogError(f"{SERVICE_VARIABLE} is {service()!r}, expected an http address")
    request = Request(url, headers={"Content-Type": "text/csv"})
    try:
        with urlopen(request, timeout=TIMEOUT) as answer:
            text: str = answer.read().decode()
    except (URLError, TimeoutError, OSError) as error:
        raise CatalogError(
            f"tweakreg: the catalogue service {service()} does not answer ({error}); set "
            f"{SERVICE_VARIABLE} to a mirror, or save the catalogue as a file with columns RA and "
            "DEC and give its path as abs_refcat, or leave abs_refcat empty"
        ) from error
    return text


def _without_motion(table: Table) -> np.ndarray:
    missing = np.zeros(len(table), bool)
    for name in ("pmra", "pmdec"):
        if name in table.colnames:
            missing |= np.ma.getmaskarray(table[name])
    return missing


def listed_catalogs(path: str | Path) -> dict[str, Path | None]:
    """The ``catfile``: one exposure's file name a line, then its catalogue, relative to the file; ``#`` comments.

    ``None`` stands for an exposure without a catalogue: its sources are found as usual.
    """
    source = Path(path)
    if not source.is_file():
        raise CatalogError(f"tweakreg: catfile names {path}, which does not exist")
    listed: dict[str, Path | None] = {}
    for number, line in enumerate(source.read_text().splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) > 2:
            raise CatalogError(
                f"{path}: line {number} has {len(words)} columns, expected an exposure and a catalogue"
            )
        listed[words[0]] = source.parent / words[1] if len(words) == 2 else None
    return listed


def pixel_positions(table: Table, path: str | Path) -> Table:
    """``table`` with 0-based pixel positions in columns ``x``, ``y``; understands ``xcentroid``, ``x_centroid``."""
    for axis in ("x", "y"):
        names = [axis, f"{axis}centroid", f"{axis}_centroid"]
        found = next((name for name in names if name in table.colnames), None)
        if found is None:
            raise CatalogError(
                f"{path}: found columns {', '.join(table.colnames)}, expected one of {', '.join(names)}"
            )
        if found != axis:
            table.rename_column(found, axis)
    return table
