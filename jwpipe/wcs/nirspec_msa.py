"""The MSA metadata file of a NIRSpec exposure: which shutters were open, and which source is in which slitlet.

Its table SHUTTER_INFO has a row for each open shutter of each configuration (``msa_metadata_id``) and dither point;
rows of one ``slitlet_id`` make a slitlet. SOURCE_INFO names the sources. A shutter is counted along the dispersion by
``shutter_row`` (1 to 365) and along the slit by ``shutter_column`` (1 to 171).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from stdatamodels.jwst.transforms.models import Slit

from jwpipe.exposure import ExposureError, Header
from jwpipe.wcs.nirspec_slits import FIXED_SLITS, fixed_slit

ROWS, COLUMNS, QUADRANTS = 365, 171, 4
PITCH = 1.15
"""Distance of shutters along the slit, in open heights of a shutter."""

MARGIN = 0.5
"""How far beyond its outer shutters a slitlet is followed, in open heights: over the bars."""

USUAL_SCALES = (1.35, 1.15)
COLUMNS_OF = {
    "SHUTTER_INFO": (
        "slitlet_id",
        "msa_metadata_id",
        "shutter_quadrant",
        "shutter_row",
        "shutter_column",
        "source_id",
        "background",
        "shutter_state",
        "estimated_source_in_shutter_x",
        "estimated_source_in_shutter_y",
        "dither_point_index",
        "primary_source",
    ),
    "SOURCE_INFO": ("source_id", "source_name", "alias", "ra", "dec", "stellarity"),
}
"""The tables of an MSA metadata file, and what is read of them."""

Limits = tuple[float, float]
Row = Any


class SlitletError(ValueError):
    """The rows of a slitlet do not make one; the message says why."""


@dataclass(frozen=True)
class MsaFile:
    """What an MSA metadata file says of one configuration and dither point.

    ``rows`` are those of SHUTTER_INFO, ``sources`` those of SOURCE_INFO by their number.
    """

    path: str
    rows: list[Row]
    sources: Mapping[int, Row]
    program: str
    dither: int

    @classmethod
    def read(cls, header: Header, folder: str) -> MsaFile:
        """Read the file that the header names, beside the exposure.

        Raises
        ------
        ExposureError
            Where the file or a keyword is missing, it is no MSA metadata file, or has no open shutter for this
            exposure.
        """
        path = _path(header, folder)
        configuration = _integer(header, "MSAMETID", "the configuration of the MSA")
        dither = _integer(header, "PATT_NUM", "the number of the dither point")
        shutters, sources = _tables(path, header)
        rows = [
            row
            for row in shutters
            if row["msa_metadata_id"] == configuration
            and row["dither_point_index"] == dither
            and str(row["shutter_state"]).strip().upper() != "CLOSED"
        ]
        if not rows:
            raise ExposureError(
                f"{header.filename}: assign_wcs: {path} has no open shutter with msa_metadata_id {configuration} "
                f"(MSAMETID) and dither_point_index {dither} (PATT_NUM); give the MSA file of this exposure"
            )
        # The first row of a source counts, as in the archive's products.
        named = {int(row["source_id"]): row for row in reversed(sources)}
        program = str(header.get("PROGRAM") or "").lstrip("0")
        return cls(path, rows, named, program, dither)

    def slitlets(self) -> dict[int | str, list[Row]]:
        """The rows of each slitlet, or fixed slit, in the order in which they are first named."""
        found: dict[int | str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(_fixed(row) or int(row["slitlet_id"]), []).append(row)
        return found


def _path(header: Header, folder: str) -> str:
    name = str(header.get("MSAMETFL") or "").strip()
    if name in ("", "N/A"):
        raise ExposureError(
            f"{header.filename}: assign_wcs: MSAMETFL does not name an MSA metadata file, which tells the open "
            "shutters; write the name of the _msa.fits file of this exposure into the primary header"
        )
    return str(Path(folder) / name)


def _integer(header: Header, keyword: str, meaning: str) -> int:
    value = header.get(keyword)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ExposureError(
            f"{header.filename}: assign_wcs: {keyword} is {'missing' if value is None else repr(value)}, expected "
            f"{meaning}, a whole number; take it from the archive's file"
        )
    return value


def _tables(path: str, header: Header) -> tuple[Any, ...]:
    """Read SHUTTER_INFO and SOURCE_INFO."""
    from astropy.io import fits

    try:
        with fits.open(path, memmap=False) as file:
            return tuple(_rows(file[name].data, name, COLUMNS_OF[name]) for name in COLUMNS_OF)
    except FileNotFoundError:
        problem, remedy = (
            "there is no such file",
            "put it beside the exposure, or its path into MSAMETFL",
        )
    except (OSError, KeyError) as error:
        problem, remedy = f"no MSA metadata file ({error})", "fetch it again"
    raise ExposureError(f"{header.filename}: assign_wcs: {path} (MSAMETFL): {problem}; {remedy}")


def _rows(table: Any, name: str, columns: tuple[str, ...]) -> Any:
    """A table that has all ``columns``."""
    found = getattr(getattr(table, "dtype", None), "names", None) or ()
    lacking = [column for column in columns if column not in found]
    if lacking:
        raise KeyError(f"{name} has no column {', '.join(lacking)}")
    return table


def msa_slits(header: Header, folder: str, msa: Mapping[str, Any], limits: Limits) -> list[Slit]:
    """The open slitlets of an exposure, and fixed slits that hold a source of its programme.

    ``msa`` is the tree of the MSA reference, ``limits`` (low, high) are those of y within a shutter. A slitlet whose
    rows contradict each other is left out with a warning.

    Raises
    ------
    ExposureError
        As ``MsaFile.read``, and where no slitlet is left.
    """
    file = MsaFile.read(header, folder)
    scales = _scales(msa)
    slits: list[Slit] = []
    for name, rows in file.slitlets().items():
        try:
            slits.append(_slit(file, name, rows, limits, scales))
        except SlitletError as problem:
            warnings.warn(
                f"{header.filename}: assign_wcs: {file.path}: slitlet {name} is left out: {problem}",
                stacklevel=2,
            )
    if not slits:
        raise ExposureError(
            f"{header.filename}: assign_wcs: {file.path} has no valid slitlet for this exposure; correct the file"
        )
    return slits


def _scales(msa: Mapping[str, Any]) -> dict[int, tuple[float, float]]:
    """Pitch of the shutters over their open size, (x, y), by quadrant."""
    scales = {}
    for quadrant in range(1, QUADRANTS + 1):
        data = msa[f"Q{quadrant}"]["data"]
        x = (data["XC"][1] - data["XC"][0]) / data["SIZEX"][0]
        scales[quadrant] = float(x), float(data["YC"][ROWS] / data["SIZEY"][0])
    return scales


def _slit(
    file: MsaFile,
    name: int | str,
    rows: list[Row],
    limits: Limits,
    scales: Mapping[int, tuple[float, float]],
) -> Slit:
    primary = [row for row in rows if row["primary_source"] == "Y"]
    if len(primary) > 1:
        raise SlitletError(f"{len(primary)} shutters hold the primary source, expected one")
    if isinstance(name, str):
        return _fixed_slit(file, name, rows, limits)
    if not primary:
        return _background(file, name, rows, limits, scales)
    return _with_source(file, name, rows, primary[0], limits, scales)


def _fixed(row: Row) -> str | None:
    """Name the fixed slit of a row; older files have no such column."""
    name = str(row["fixed_slit"]).strip() if "fixed_slit" in row.array.names else ""
    return name if name in FIXED_SLITS else None


def _fixed_slit(file: MsaFile, name: str, rows: list[Row], limits: Limits) -> Slit:
    """A fixed slit with the primary source of a dither point."""
    if len(rows) > 1:
        raise SlitletError(f"{len(rows)} rows for a fixed slit, expected one")
    row = rows[0]
    if row["primary_source"] != "Y":
        raise SlitletError("it does not hold the primary source")
    source = _source(file, name, row)
    scales = {"slit_xscale": USUAL_SCALES[0], "slit_yscale": USUAL_SCALES[1]}
    slit = fixed_slit(name, int(row["source_id"]), limits, shutter_state="x", **source, **scales)
    return slit._replace(dither_position=file.dither)


def _background(
    file: MsaFile,
    name: int,
    rows: list[Row],
    limits: Limits,
    scales: Mapping[int, tuple[float, float]],
) -> Slit:
    """A slitlet without a source, centred on its middle shutter; its number stands for the source's."""
    columns = [int(row["shutter_column"]) for row in rows]
    centre = min(columns) + (max(columns) - min(columns)) // 2
    source = {"source_name": f"{file.program}_BKG{name}", "source_alias": f"BKG{name}"}
    return _slitlet(file, name, rows, (rows[0], centre), limits, scales, source_id=name, **source)


def _with_source(
    file: MsaFile,
    name: int,
    rows: list[Row],
    primary: Row,
    limits: Limits,
    scales: Mapping[int, tuple[float, float]],
) -> Slit:
    """A slitlet centred on the shutter with its source; sources numbered below 0 are virtual."""
    main = next((row for row in rows if row["background"] == "N"), primary)
    source = _source(file, name, primary) | dict(
        zip(("source_xpos", "source_ypos"), _position(main), strict=True)
    )
    centre = main, int(main["shutter_column"])
    return _slitlet(
        file, name, rows, centre, limits, scales, source_id=int(primary["source_id"]), **source
    )


def _slitlet(
    file: MsaFile,
    name: int,
    rows: list[Row],
    centre: tuple[Row, int],
    limits: Limits,
    scales: Mapping[int, tuple[float, float]],
    **source: Any,
) -> Slit:
    """A slitlet in units of its central shutter (a row, and the place along the slit)."""
    row, middle = centre
    x, quadrant = int(row["shutter_row"]), int(row["shutter_quadrant"])
    columns = [int(each["shutter_column"]) for each in rows]
    if not (
        1 <= quadrant <= QUADRANTS
        and 1 <= x <= ROWS
        and min(columns) >= 1
        and max(columns) <= COLUMNS
    ):
        raise SlitletError(
            f"shutter {quadrant}/{x}/{min(columns)} to {max(columns)} (quadrant/row/column) does not exist"
        )
    low = limits[0] - MARGIN + (min(columns) - middle) * PITCH
    high = limits[1] + MARGIN + (max(columns) - middle) * PITCH
    return Slit(
        name=name,
        shutter_id=x + (middle - 1) * ROWS,
        dither_position=file.dither,
        xcen=x,
        ycen=middle,
        ymin=low,
        ymax=high,
        quadrant=quadrant,
        shutter_state=_state(columns, middle),
        slit_xscale=scales[quadrant][0],
        slit_yscale=scales[quadrant][1],
        slit_id=name,
        **source,
    )


def _state(columns: list[int], middle: int) -> str:
    """Draw the shutters of a slitlet: 1 open, 0 closed, x the central one."""
    states = ("1" if column in columns else "0" for column in range(min(columns), max(columns) + 1))
    return "".join(
        "x" if column == middle else state for column, state in enumerate(states, min(columns))
    )


def _position(row: Row) -> Iterator[float]:
    """Where the source is in its shutter, from the middle, in pitches; the middle where it is not known."""
    for axis in "xy":
        value = row[f"estimated_source_in_shutter_{axis}"]
        yield float((value if np.isfinite(value) else type(value)(0.5)) - 0.5)


def _source(file: MsaFile, name: int | str, row: Row) -> dict[str, Any]:
    """What is known of a source, by the names of ``Slit``; unknown ones are called virtual."""
    x, y = _position(row)
    place = {"source_xpos": x, "source_ypos": y}
    found = file.sources.get(int(row["source_id"]))
    if found is None:
        return place | {"source_name": f"{file.program}_VRT{name}", "source_alias": f"VRT{name}"}
    return place | {
        "source_name": str(found["source_name"]),
        "source_alias": str(found["alias"]),
        "stellarity": float(found["stellarity"]),
        "source_ra": float(found["ra"]),
        "source_dec": float(found["dec"]),
    }
