"""FITS binary tables as numpy structured arrays, and back.

Rows are read whole: the tables of JWST exposures are small. Text stays bytes (``S``), logicals are ``bool``, unsigned
integers come back from their TZERO form. Columns of variable length are not understood; no JWST exposure has any.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jwpipe.exposure import ExposureError

_STORED = {
    "A": "S", "L": "S1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8",
    "E": ">f4", "D": ">f8", "C": ">c8", "M": ">c16",
}  # fmt: skip
_CODES = {
    "b1": "L", "u1": "B", "i2": "I", "i4": "J", "i8": "K", "u2": "I", "u4": "J", "u8": "K",
    "f4": "E", "f8": "D", "c8": "C", "c16": "M",
}  # fmt: skip
_FORMAT = re.compile(r"(\d*)([A-Z])")


@dataclass(frozen=True)
class Column:
    """One column: its FITS type code, cells' shape, and whether it holds unsigned integers stored with TZERO."""

    name: str
    code: str
    shape: tuple[int, ...]
    width: int = 0
    unsigned: bool = False

    @property
    def stored(self) -> np.dtype[Any]:
        """The type of a cell in the file."""
        text = f"S{self.width}" if self.code == "A" else _STORED[self.code]
        return np.dtype((text, self.shape))

    def from_stored(self, values: np.ndarray) -> np.ndarray:
        """Native values of what was read."""
        if self.code == "L":
            return values == b"T"
        if self.code == "A":
            return values
        native = values.astype(values.dtype.newbyteorder("="))
        return _flipped(native.view(f"u{native.itemsize}")) if self.unsigned else native

    def to_stored(self, values: np.ndarray) -> np.ndarray:
        """What to write for native ``values``."""
        if self.code == "L":
            return np.where(values, b"T", b"F")
        if self.unsigned:
            return _flipped(values).view(f"i{values.itemsize}")
        return values


def _flipped(unsigned: np.ndarray) -> np.ndarray:
    return unsigned ^ unsigned.dtype.type(1 << (8 * unsigned.itemsize - 1))


def _columns(header: Mapping[str, Any], where: str) -> Iterator[Column]:
    for n in range(1, header.get("TFIELDS", 0) + 1):
        name = str(header.get(f"TTYPE{n}") or f"col{n}")
        form = _FORMAT.match(str(header.get(f"TFORM{n}")))
        if not form or form[2] not in _STORED:
            raise ExposureError(
                f"{where}: column {name} has format {header.get(f'TFORM{n}')}; expected one of fixed length "
                f"({', '.join(_STORED)})"
            )
        count = int(form[1] or 1)
        if form[2] == "A":
            yield Column(name, "A", (), count)
        else:
            shape = _cell_shape(count, header.get(f"TDIM{n}"))
            unsigned = bool(header.get(f"TZERO{n}")) and form[2] in "IJK"
            yield Column(name, form[2], shape, unsigned=unsigned)


def _cell_shape(count: int, dimensions: str | None) -> tuple[int, ...]:
    if dimensions:
        return tuple(int(n) for n in dimensions.strip("() ").split(","))[::-1]
    return () if count == 1 else (count,)


def read_table(content: bytes, header: Mapping[str, Any], where: str) -> np.ndarray:
    """The rows of a table, native-endian; ``content`` is its data, ``where`` names it in errors."""
    columns = list(_columns(header, where))
    stored = np.dtype([(column.name, column.stored) for column in columns])
    if stored.itemsize != header["NAXIS1"]:
        raise ExposureError(
            f"{where}: its columns make rows of {stored.itemsize} bytes, NAXIS1 says {header['NAXIS1']}; "
            "the header is damaged, fetch the file again"
        )
    raw = np.frombuffer(content, stored, header["NAXIS2"])
    native = {column.name: column.from_stored(raw[column.name]) for column in columns}
    table = np.empty(len(raw), [(name, v.dtype, v.shape[1:]) for name, v in native.items()])
    for name, values in native.items():
        table[name] = values
    return table


def table_content(table: np.ndarray) -> tuple[list[tuple[str, Any]], bytes, int]:
    """The keywords that describe ``table``'s columns, its rows as they lie in a file, and the bytes of a row."""
    columns = [_column_of(name, table.dtype[name]) for name in table.dtype.names or ()]
    stored = np.empty(len(table), [(column.name, column.stored) for column in columns])
    cards: list[tuple[str, Any]] = []
    for n, column in enumerate(columns, 1):
        stored[column.name] = column.to_stored(table[column.name])
        cards += _describe(n, column)
    return cards, stored.tobytes(), stored.dtype.itemsize


def _column_of(name: str, dtype: np.dtype[Any]) -> Column:
    base, shape = dtype.base, dtype.shape
    if base.kind in "SU":
        return Column(name, "A", (), base.itemsize // (4 if base.kind == "U" else 1) or 1)
    unsigned = base.kind == "u" and base.itemsize > 1
    return Column(name, _CODES[f"{base.kind}{base.itemsize}"], shape, unsigned=unsigned)


def _describe(n: int, column: Column) -> Iterator[tuple[str, Any]]:
    count = column.width if column.code == "A" else int(np.prod(column.shape, dtype=int))
    yield f"TTYPE{n}", column.name
    yield f"TFORM{n}", f"{'' if count == 1 and column.code != 'A' else count}{column.code}"
    if column.unsigned:
        yield f"TSCAL{n}", 1
        yield f"TZERO{n}", 1 << (8 * column.stored.base.itemsize - 1)
    if len(column.shape) > 1:
        yield f"TDIM{n}", f"({','.join(str(size) for size in reversed(column.shape))})"
