"""Exposures to FITS files that the tools of JWST users take for their own.

Everything but the pixels is laid out at once: headers, tables, the ASDF extension, and room for the arrays. Then each
dask block goes to its place in the file by itself, from whatever thread or process computed it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import prod
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from jwpipe.exposure import header
from jwpipe.io.asdf_tree import Array, write_tree
from jwpipe.io.cards import format_card, header_block, padded
from jwpipe.io.checks import guides
from jwpipe.io.fits_target import FitsTarget
from jwpipe.io.keywords import header_cards
from jwpipe.io.product import Pending, temporary_name, writing
from jwpipe.io.tables import table_content

ORDER = (
    "SCI", "ERR", "DQ", "PIXELDQ", "GROUPDQ", "ZEROFRAME", "REFOUT", "AREA", "WAVELENGTH",
    "CON", "WHT", "AVDRKCUR", "GROUP", "INT_TIMES", "INT_TIMES_STRIPE", "VAR_POISSON",
    "VAR_RNOISE", "VAR_FLAT", "HDRTAB",
)  # fmt: skip
FLAG_TYPES = {"dq": "u4", "pixeldq": "u4", "mask": "u4", "groupdq": "u1", "con": "i4"}
RAW_VARIABLES = ("sci", "zeroframe", "refout")
MODELS = {
    "uncal": "Level1bModel",
    "ramp": "RampModel",
    "segm": "SegmentationMapModel",
    "fitopt": "RampFitOutputModel",
}
MODELS_BY_AXES = {2: "ImageModel", 3: "CubeModel", 4: "RampModel"}
ALSO_FITTING = {
    2: ("IFUImageModel", "SlitModel"),
    3: ("SlitModel", "IFUCubeModel"),
    4: ("SuperstripeRampModel",),
}
BITPIX = {"u1": 8, "i2": 16, "u2": 16, "i4": 32, "u4": 32, "i8": 64, "u8": 64, "f4": -32, "f8": -64}

Card = tuple[str, Any, str]
Headers = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Extension:
    """One extension of a product: an array still to come, or the rows of a table."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    structure: tuple[Card, ...]
    pixels: da.Array | None = None
    rows: bytes = b""

    @property
    def size(self) -> int:
        """Bytes of the data, without padding."""
        return len(self.rows) if self.pixels is None else prod(self.shape) * self.dtype.itemsize


def model_of(exposure: xr.Dataset) -> str:
    """The data model that users' tools open the product with: its own where that fits, else by its dimensions."""
    axes = exposure["sci"].ndim if "sci" in exposure else 0
    product = exposure.attrs.get("product", "")
    own = str(exposure.attrs.get("primary", {}).get("DATAMODL", ""))
    if guides(header(exposure)):
        return "GuiderCalModel" if axes == 3 else "GuiderRawModel"
    if product in MODELS:
        return MODELS[product]
    return own if own in ALSO_FITTING[axes] else MODELS_BY_AXES[axes]


def extensions(exposure: xr.Dataset) -> list[Extension]:
    """The arrays and tables of an exposure, in the order of its extensions."""
    product = str(exposure.attrs.get("product", ""))
    found = [_image(str(name), pixels, product) for name, pixels in exposure.data_vars.items()]
    if "sci" not in exposure:
        return [_header_alone("SCI"), *found]
    found += [
        table_extension(name, table) for name, table in exposure.attrs.get("tables", {}).items()
    ]
    places = {name: place for place, name in enumerate(ORDER)}
    return sorted(found, key=lambda extension: places.get(extension.name, len(places)))


def _image(name: str, variable: xr.DataArray, product: str) -> Extension:
    dtype = np.dtype(_file_type(name, variable.dtype, product))
    axes = variable.ndim
    structure: list[Card] = [
        ("XTENSION", "IMAGE", "Image extension"),
        ("BITPIX", BITPIX[dtype.str[1:]], "array data type"),
        ("NAXIS", axes, "number of array dimensions"),
        *((f"NAXIS{axes - n}", variable.shape[n], "") for n in range(axes - 1, -1, -1)),
        ("PCOUNT", 0, "number of parameters"),
        ("GCOUNT", 1, "number of groups"),
    ]
    if dtype.kind == "u" and dtype.itemsize > 1:
        structure += [("BSCALE", 1, ""), ("BZERO", 1 << (8 * dtype.itemsize - 1), "")]
    pixels = da.asarray(variable.data) if variable.size else None
    return Extension(name.upper(), variable.shape, dtype, tuple(structure), pixels)


def _header_alone(name: str) -> Extension:
    structure: list[Card] = [
        ("XTENSION", "IMAGE", "Image extension"),
        ("BITPIX", 8, "array data type"),
        ("NAXIS", 0, "number of array dimensions"),
        ("PCOUNT", 0, "number of parameters"),
        ("GCOUNT", 1, "number of groups"),
    ]
    return Extension(name, (0,), np.dtype(np.uint8), tuple(structure))


def _file_type(name: str, dtype: np.dtype[Any], product: str) -> Any:
    if product == "uncal" and name in RAW_VARIABLES:
        return np.uint16
    if product == "segm" and name == "sci":
        return np.uint32
    if name in FLAG_TYPES:
        return FLAG_TYPES[name]
    if dtype.kind == "f":
        return np.float32
    return np.uint8 if dtype.kind == "b" else dtype


def table_extension(name: str, table: np.ndarray) -> Extension:
    """A table as an extension, with its rows as bytes."""
    columns, rows, width = table_content(table)
    structure: list[Card] = [
        ("XTENSION", "BINTABLE", "binary table extension"),
        ("BITPIX", 8, "array data type"),
        ("NAXIS", 2, "number of array dimensions"),
        ("NAXIS1", width, "length of dimension 1"),
        ("NAXIS2", len(table), "length of dimension 2"),
        ("PCOUNT", 0, "number of group parameters"),
        ("GCOUNT", 1, "number of groups"),
        ("TFIELDS", len(table.dtype.names or ()), "number of table fields"),
        *((keyword, value, "") for keyword, value in columns),
    ]
    return Extension(name, table.shape, table.dtype, tuple(structure), rows=rows)


def prepare_fits(exposure: xr.Dataset, path: Path) -> Pending:
    """Lay out the product at ``path`` under a temporary name; its pixels are still to be stored.

    Raises
    ------
    ExposureError
        The folder is missing or not writable, or the disk has no room for the product.
    """
    model = model_of(exposure)
    headers = _headers(exposure, model, path.name)
    parts = extensions(exposure)
    parts.append(_tree(exposure, model, headers, parts))
    temporary = temporary_name(path)
    cards = header_cards(model, headers)
    pieces = [(0, primary_header(cards["PRIMARY"]))]
    position = len(pieces[0][1])
    arrays: list[da.Array] = []
    targets: list[FitsTarget] = []
    sci: int | None = None
    for part in parts:
        header = _extension_header(part, cards.get(part.name, []))
        pieces += [(position, header), (position + len(header), part.rows)]
        position += len(header)
        if part.pixels is not None:
            sci = len(arrays) if part.name == "SCI" else sci
            arrays.append(part.pixels)
            place = os.fspath(temporary.absolute())
            targets.append(FitsTarget(place, position, part.dtype, part.shape))
        position += padded(part.size)
    lay_out(temporary, path, position, pieces)
    return Pending(path, temporary, tuple(arrays), tuple(targets), sci=sci)


def _headers(exposure: xr.Dataset, model: str, filename: str) -> dict[str, dict[str, Any]]:
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
    primary = {"TELESCOP": "JWST"} | exposure.attrs.get("primary", {})
    primary |= {"DATE": now, "FILENAME": filename, "DATAMODL": model}
    sci = dict(exposure.attrs.get("sci", {}))
    own = exposure["sci"].attrs.get("units") if "sci" in exposure else ""
    unit = own or sci.get("BUNIT")
    if unit:
        sci["BUNIT"] = unit
    tables = exposure.attrs.get("tables", {})
    heads = exposure.attrs.get("table_keywords", {})
    return {
        "PRIMARY": primary,
        "SCI": sci,
        "ERR": {"BUNIT": unit} if unit and "err" in exposure else {},
        **{name: words for name, words in heads.items() if name in tables},
    }


def _tree(
    exposure: xr.Dataset, model: str, headers: Headers, parts: Sequence[Extension]
) -> Extension:
    """The ASDF extension: a table of one row with one column of bytes."""
    arrays = [Array(part.name, part.shape, part.dtype) for part in parts if part.size]
    content = np.frombuffer(write_tree(model, headers, exposure.attrs, arrays), np.uint8)
    return table_extension("ASDF", np.array([(content,)], [("ASDF_METADATA", "u1", content.shape)]))


def primary_header(cards: Sequence[str]) -> bytes:
    """The first header of a file, which has no data."""
    structure: list[Card] = [
        ("SIMPLE", True, "conforms to FITS standard"),
        ("BITPIX", 8, "array data type"),
        ("NAXIS", 0, "number of array dimensions"),
        ("EXTEND", True, ""),
    ]
    return header_block([*_formatted(structure), *cards])


def _extension_header(part: Extension, cards: Sequence[str]) -> bytes:
    first = [*part.structure, ("EXTNAME", part.name, "extension name")]
    last = [] if part.name == "ASDF" else [("EXTVER", 1, "extension value")]
    return header_block([*_formatted(first), *cards, *_formatted(last)])


def _formatted(cards: Sequence[Card]) -> Iterator[str]:
    for card in cards:
        yield from format_card(*card)


def lay_out(temporary: Path, path: Path, size: int, pieces: Sequence[tuple[int, bytes]]) -> None:
    """Make the file with everything but its pixels, and with its whole room reserved."""
    with writing(temporary, path), temporary.open("wb", buffering=0) as file:
        _reserve(file.fileno(), size)
        for position, content in pieces:
            file.seek(position)
            file.write(content)


def _reserve(file: int, size: int) -> None:
    # Reserving makes a full disk show before anything is computed, and writing several times cheaper.
    os.truncate(file, size)
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
