"""A FITS file to a lazy exposure: headers are read, pixels stay in the file.

``scan`` walks the header blocks of a file and finds where each extension's data lie; ``read_exposure`` makes the
Dataset of it. Tables are read with the headers: they are small and most steps need them on the client.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from jwpipe.exposure import CUBE, IMAGE, RAMP, ExposureError
from jwpipe.io.asdf_tree import read_tree
from jwpipe.io.cards import BLOCK, END, padded, parse_cards
from jwpipe.io.checks import check_exposure
from jwpipe.io.chunking import Chunks, chunks_of
from jwpipe.io.fitsarray import FitsArray
from jwpipe.io.handles import handle_name
from jwpipe.io.names import product_of
from jwpipe.io.source import GZIP, LocalSource, Source, is_remote, remote_source, unpacked_source
from jwpipe.io.tables import read_table

STORED = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
STRUCTURAL = frozenset((
    "SIMPLE", "BITPIX", "NAXIS", "EXTEND", "XTENSION", "PCOUNT", "GCOUNT", "BSCALE", "BZERO",
    "EXTNAME", "EXTVER", "EXTLEVEL", "CHECKSUM", "DATASUM", "TFIELDS",
))  # fmt: skip
NUMBERED = re.compile(r"(NAXIS|T(TYPE|FORM|UNIT|NULL|SCAL|ZERO|DISP|DIM))\d+")
MAX_HEADER_BLOCKS = 2000
SCIENCE_DIMS = {2: IMAGE, 3: CUBE, 4: RAMP}
# Fits of segments of ramps come without an image: a SCI header stands alone.
SEGMENT_DIMS = {"pedestal": CUBE, "crmag": ("integration", "jump", "y", "x")}


@dataclass(frozen=True)
class Hdu:
    """One header-data unit: its keywords, and where its data lie."""

    name: str
    version: int
    header: dict[str, Any]
    offset: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data, slowest axis first."""
        axes = self.header.get("NAXIS", 0)
        return tuple(self.header[f"NAXIS{n}"] for n in range(axes, 0, -1))

    @property
    def size(self) -> int:
        """Bytes of the data, without padding."""
        shape = self.shape
        if not shape:
            return 0
        pixels = int(np.prod(shape, dtype=np.int64)) + self.header.get("PCOUNT", 0)
        return pixels * self.header.get("GCOUNT", 1) * abs(self.header["BITPIX"]) // 8

    @property
    def is_image(self) -> bool:
        """Whether the data are an array with pixels in it."""
        kind = self.header.get("XTENSION", "IMAGE")
        return kind == "IMAGE" and 0 not in self.shape and bool(self.shape)

    @property
    def is_table(self) -> bool:
        """Whether the data are a binary table."""
        return bool(self.header.get("XTENSION") == "BINTABLE")

    def keywords(self) -> dict[str, Any]:
        """The keywords that say something about the exposure, and not about the file."""
        return {
            name: value
            for name, value in self.header.items()
            if name not in STRUCTURAL and not NUMBERED.fullmatch(name)
        }


@contextmanager
def opened(path: str) -> Iterator[Source]:
    """The bytes of the file at ``path``; see `jwpipe.io.source`."""
    if is_remote(path):
        yield remote_source(path)
        return
    try:
        with Path(path).open("rb", buffering=0) as file:
            state = os.fstat(file.fileno())
            if file.read(2) == GZIP:
                yield unpacked_source(path, state.st_mtime_ns)
            else:
                yield LocalSource(file, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: str, error: OSError) -> ExposureError:
    """What to tell about a file that cannot be opened."""
    reasons = {
        errno.ENOENT: "no such file; check the name",
        errno.EISDIR: "a folder, expected a file; name the files in it",
        errno.EACCES: "no permission to read it; ask its owner or change its mode",
    }
    return ExposureError(f"{path}: {reasons.get(error.errno or 0, f'cannot be read ({error})')}")


def scan(source: Source, path: str) -> list[Hdu]:
    """All HDUs of a file, without touching their data.

    Raises
    ------
    ExposureError
        The file is empty, is not FITS, has a damaged header, or ends before its headers say.
    """
    if not source.size:
        raise ExposureError(f"{path}: the file is empty; fetch it again")
    if source.read(0, 9) != b"SIMPLE  =":
        raise ExposureError(
            f"{path}: not a FITS file (it does not begin with SIMPLE); give a FITS file or a zarr folder of jwpipe"
        )
    hdus: list[Hdu] = []
    position = 0
    while position < source.size:
        if hdus and source.read(position, position + 8) != b"XTENSION":
            break
        hdus.append(_next_hdu(source, position, path))
        position = hdus[-1].offset + padded(hdus[-1].size)
    return hdus


def _next_hdu(source: Source, position: int, path: str) -> Hdu:
    blocks = b""
    for _ in range(MAX_HEADER_BLOCKS):
        block = source.read(position, position + BLOCK)
        if len(block) < BLOCK:
            raise _cut_short(path, source.size, position + BLOCK)
        blocks += block
        position += BLOCK
        if END in block and _ends(block):
            break
    else:
        raise ExposureError(f"{path}: a header without END; the file is damaged, fetch it again")
    try:
        header = parse_cards(blocks)
        name = str(header.get("EXTNAME", "PRIMARY")).strip().upper()
        hdu = Hdu(name, int(header.get("EXTVER") or 1), header, position)
        end = position + padded(hdu.size)
    except (KeyError, TypeError, ValueError) as error:
        raise ExposureError(
            f"{path}: a header that does not describe its data ({error!r}); the file is damaged, fetch it again"
        ) from error
    if end > source.size:
        raise _cut_short(path, source.size, end)
    return hdu


def _ends(block: bytes) -> bool:
    return any(block.startswith(END, start) for start in range(0, BLOCK, 80))


def _cut_short(path: str, found: int, expected: int) -> ExposureError:
    return ExposureError(
        f"{path}: the file is cut short: {found} bytes found, at least {expected} expected by its "
        "headers; fetch it again"
    )


def read_exposure(path: str, chunks: Chunks = None) -> xr.Dataset:
    """The lazy exposure in one FITS file; see `jwpipe.io.open`."""
    with opened(path) as source:
        hdus = scan(source, path)
        images = {h.name.lower(): h for h in hdus[1:] if h.is_image and h.version == 1}
        science = _science(hdus, path)
        rows = [hdu for hdu in hdus if hdu.is_table and hdu.name != "ASDF"]
        tables = {hdu.name: table_of(source, hdu, path) for hdu in rows}
        raw = next(
            (source.read(h.offset, h.offset + h.size) for h in hdus if h.name == "ASDF"), b""
        )
        arrays = {name: pixels_of(path, source, hdu) for name, hdu in images.items()}
    primary = hdus[0].keywords()
    product = product_of(path, primary, science.keywords())
    tree = read_tree(raw, path)
    dims = {name: dims_of(name, hdu.shape, science.shape) for name, hdu in images.items()}
    exposure = xr.Dataset(
        {
            name: lazy(array, dims[name], images[name].header.get("BUNIT"), chunks)
            for name, array in arrays.items()
        },
        attrs={
            "primary": primary,
            "sci": science.keywords(),
            "product": product,
            "filename": path.rpartition("/")[2],
            "folder": path.rpartition("/")[0],
            "history": tree.history,
            "tables": tables,
        },
    )
    if tree.wcs is not None:
        exposure.attrs["wcs"] = tree.wcs
    if tree.read_times:
        exposure.attrs["read_times"] = tree.read_times
    if raw:
        exposure.attrs["asdf"] = raw
    if heads := {hdu.name: words for hdu in rows if (words := hdu.keywords())}:
        exposure.attrs["table_keywords"] = heads
    if "sci" in exposure:
        check_exposure(exposure, path)
    return exposure


def _science(hdus: Iterable[Hdu], path: str) -> Hdu:
    found = [hdu for hdu in hdus if hdu.name == "SCI"]
    segments = any(hdu.name == "SLOPE" and hdu.is_image for hdu in hdus)
    if found and segments and not found[0].shape:
        return found[0]
    if not found or not found[0].is_image:
        names = ", ".join(hdu.name for hdu in hdus)
        raise ExposureError(
            f"{path}: no SCI image; found {names}; expected an exposure or image of JWST (uncal, rate, cal, i2d ...)"
        )
    if len(found) > 1:
        raise ExposureError(
            f"{path}: {len(found)} SCI extensions: a product of many slits or sources, expected one SCI image; open it "
            "with jwpipe.open_slits"
        )
    if found[0].header["NAXIS"] not in SCIENCE_DIMS:
        raise ExposureError(
            f"{path}: SCI has {found[0].header['NAXIS']} dimensions; expected 2, 3 or 4"
        )
    return found[0]


def table_of(source: Source, hdu: Hdu, path: str) -> np.ndarray:
    """Read the rows of a table; ``ExposureError`` for a compressed image."""
    where = f"{path}[{hdu.name}]"
    if hdu.header.get("ZIMAGE"):
        raise ExposureError(f"{where}: a tile-compressed image; unpack the file (funpack) first")
    return read_table(source.read(hdu.offset, hdu.offset + hdu.size), hdu.header, where)


def pixels_of(path: str, source: Source, hdu: Hdu) -> FitsArray:
    """Where the pixels of an array are in the file; ``ExposureError`` where they are scaled."""
    stored = STORED[hdu.header["BITPIX"]]
    kind = np.dtype(stored)
    scale, zero = hdu.header.get("BSCALE") or 1, hdu.header.get("BZERO") or 0
    unsigned = kind.kind == "i" and scale == 1 and zero == 1 << (8 * kind.itemsize - 1)
    if not unsigned and (scale != 1 or zero != 0):
        raise ExposureError(
            f"{path}[{hdu.name}]: pixels scaled by BSCALE={scale}, BZERO={zero}; expected plain or unsigned numbers"
        )
    native = np.dtype(f"u{kind.itemsize}") if unsigned else kind.newbyteorder("=")
    return FitsArray(path, hdu.offset, stored, native, hdu.shape, source.stamp, source.compressed)


def dims_of(name: str, shape: tuple[int, ...], science: tuple[int, ...]) -> tuple[str, ...]:
    """Names of the axes; an axis that is not as long as SCI's gets a name of its own (``x_refout``)."""
    if not science:
        return SEGMENT_DIMS.get(name, ("integration", "segment", "y", "x"))
    names = SCIENCE_DIMS.get(len(shape), tuple(f"axis{n}" for n in range(len(shape))))
    sizes = dict(zip(SCIENCE_DIMS[len(science)], science, strict=True))
    if names == CUBE and "integration" not in sizes:
        names = ("plane", "y", "x")
    return tuple(
        axis if sizes.get(axis, size) == size else f"{axis}_{name}"
        for axis, size in zip(names, shape, strict=True)
    )


def lazy(
    handle: FitsArray, dims: tuple[str, ...], units: str | None, chunks: Chunks
) -> xr.Variable:
    """The pixels behind ``handle`` as a lazy variable; ``encoding["handle"]`` tells where they are."""
    array = da.from_array(
        handle,
        chunks_of(dims, handle.shape, chunks),
        name=handle_name(handle),
        inline_array=True,
        meta=np.empty((0,) * handle.ndim, handle.dtype),
    )
    attrs = {"units": units} if units else {}
    return xr.Variable(dims, array, attrs, {"handle": handle})
