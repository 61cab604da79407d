"""What is in a reference file: its keywords and where its arrays lie, read once per process."""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from jwpipe.exposure import ExposureError
from jwpipe.io.fitsarray import FitsArray
from jwpipe.refs.keywords import METADATA_PATHS, PATTERN_PATHS


class ReferenceRefused(ExposureError):  # noqa: N818
    """A reference file cannot be used; the message says which, what was found and what to do."""


@dataclass(frozen=True)
class Stamp:
    """A file at one moment: what is remembered about it is valid while this does not change."""

    path: str
    mtime_ns: int
    size: int


@dataclass(frozen=True)
class Extension:
    """One HDU: its place in the file, its pixels where they are neither compressed nor scaled."""

    index: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    pixels: FitsArray | None
    is_table: bool


def stamp(path: str | Path) -> Stamp:
    """The stamp of the file at ``path``; ``ReferenceRefused`` where there is none."""
    try:
        status = Path(path).stat()
    except OSError as error:
        raise ReferenceRefused(
            f"{path}: the reference file cannot be opened ({error.strerror}); check the path"
        ) from error
    return Stamp(str(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def sha256(file: Stamp) -> str:
    """SHA-256 of the file's bytes, in hexadecimal."""
    with Path(file.path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@lru_cache(maxsize=4096)
def keywords(file: Stamp) -> Mapping[str, Any]:
    """The keywords of a reference file under their FITS names, whatever its format.

    Metadata without a FITS name keep their path (``meta.input_units``).
    """
    readers = {".asdf": _asdf_keywords, ".json": _json_keywords}
    read = readers.get(Path(file.path).suffix.lower(), _fits_keywords)
    try:
        return MappingProxyType(read(file.path))
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ReferenceRefused(
            f"{file.path}: not a readable reference file ({error}); "
            "expected FITS, ASDF or JSON with the keywords REFTYPE and INSTRUME"
        ) from error


def _fits_keywords(path: str) -> dict[str, Any]:
    from astropy.io import fits

    with fits.open(path, memmap=False) as hdus:
        cards = hdus[0].header
        return {key: cards[key] for key in cards if key not in ("", "COMMENT", "HISTORY")}


def _asdf_keywords(path: str) -> dict[str, Any]:
    import asdf

    return _flat(asdf.util.load_yaml(path).get("meta", {}))


def _json_keywords(path: str) -> dict[str, Any]:
    tree = json.loads(Path(path).read_text())
    if not isinstance(tree, dict):
        return {}
    flat = {
        key.upper(): value for key, value in tree.items() if isinstance(value, str | int | float)
    }
    return flat | _flat(tree.get("meta", {}))


def _flat(meta: Mapping[str, Any]) -> dict[str, Any]:
    names = {path: key for key, path in (METADATA_PATHS | PATTERN_PATHS).items()}
    return {names.get(path, path): value for path, value in _leaves(meta, "meta")}


def _leaves(tree: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}.{key}")
        elif isinstance(value, str | int | float | bool):
            yield f"{path}.{key}", value
        elif not isinstance(value, list | tuple) and value is not None:
            yield f"{path}.{key}", str(value)


@lru_cache(maxsize=4096)
def extensions(file: Stamp) -> Mapping[tuple[str, int], Extension]:
    """The HDUs of a FITS file by (name in lower case, EXTVER)."""
    from astropy.io import fits

    found = {}
    try:
        with warnings.catch_warnings(), fits.open(file.path, memmap=False) as hdus:
            warnings.filterwarnings("ignore", "File may have been truncated")  # an error below
            for index, hdu in enumerate(hdus):
                if hasattr(hdu, "shape") or hasattr(hdu, "columns"):  # not the tree in an ASDF HDU
                    found[hdu.name.lower(), hdu.ver] = _extension(file.path, index, hdu)
    except (OSError, ValueError, EOFError) as error:
        raise ReferenceRefused(f"{file.path}: not a readable FITS file ({error})") from error
    ends = [each.pixels.offset + each.pixels.nbytes for each in found.values() if each.pixels]
    if max(ends, default=0) > file.size:
        raise ReferenceRefused(
            f"{file.path}: truncated, {file.size} bytes of at least {max(ends)}; fetch it again"
        )
    return MappingProxyType(found)


def _extension(path: str, index: int, hdu: Any) -> Extension:
    from astropy.io import fits

    compressed = hasattr(hdu, "compression_type")
    if isinstance(hdu, fits.BinTableHDU | fits.TableHDU) and not compressed:
        return Extension(index, (), np.dtype("V"), None, is_table=True)
    shape = tuple(hdu.shape)
    stored, native = _dtypes(hdu.header)
    if native is None:
        return Extension(index, shape, np.dtype(np.float32), None, is_table=False)
    pixels = None
    if not compressed and not path.endswith((".gz", ".fz")):
        pixels = FitsArray(path, hdu.fileinfo()["datLoc"], stored.str, native, shape)
    return Extension(index, shape, native, pixels, is_table=False)


def _dtypes(cards: Mapping[str, Any]) -> tuple[np.dtype[Any], np.dtype[Any] | None]:
    """The dtype of the pixels on disk, and that of their values (``None`` where they are scaled)."""
    from astropy.io import fits

    stored = np.dtype(fits.BITPIX2DTYPE[cards["BITPIX"]]).newbyteorder(">")
    scale, zero = cards.get("BSCALE", 1), cards.get("BZERO", 0)
    if scale == 1 and zero == 0:
        return stored, stored.newbyteorder("=")
    if scale == 1 and stored.kind == "i" and zero == 1 << (8 * stored.itemsize - 1):
        return stored, np.dtype(f"u{stored.itemsize}")
    return stored, None


def decoded(path: str, index: int) -> np.ndarray:
    """All pixels of an HDU that is compressed or scaled, native-endian."""
    from astropy.io import fits

    with fits.open(path, memmap=False) as hdus:
        values = np.asarray(hdus[index].data)
        return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))


def table(path: str, index: int) -> np.recarray[Any, Any]:
    """A table as native records: field names in lower case, text as ``str`` without padding."""
    from astropy.io import fits

    with fits.open(path, memmap=False) as hdus:
        data = hdus[index].data
        columns = [_column(data[name]) for name in data.names]
        names = [name.lower() for name in data.names]
        dtype = np.dtype([(n, c.dtype, c.shape[1:]) for n, c in zip(names, columns, strict=True)])
        records = np.empty(len(data), dtype)
        for name, column in zip(names, columns, strict=True):
            records[name] = column
    return records.view(np.recarray)


def _column(values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind in "SU":
        return np.char.strip(array.astype(str))
    return array.astype(array.dtype.newbyteorder("="))


@lru_cache(maxsize=32)
def tree(file: Stamp) -> Mapping[str, Any]:
    """The tree of an ASDF or JSON file, in memory, the file closed.

    All who ask share its models and arrays, and change none: making the models takes longer than all that is done
    with them.
    """
    if file.path.endswith(".json"):
        return MappingProxyType(json.loads(Path(file.path).read_text()))
    import asdf

    with asdf.open(file.path, lazy_load=False, memmap=False) as opened:
        return MappingProxyType(dict(opened.tree))
