"""Exposures in zarr format 3: one folder, one array a variable, metadata as JSON.

Arrays are cut finer than dask chunks (few planes, the rows of a block) and compressed with blosc-lz4.
What JSON has no words for stands in objects of one key: ``{"$table": ...}`` the rows of a table,
``{"$bytes": ...}``, ``{"$float": "nan"}``.
"""

from __future__ import annotations

import base64
import errno
import io
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize

from jwpipe.exposure import ExposureError
from jwpipe.io.asdf_tree import dump, parse
from jwpipe.io.checks import check_exposure
from jwpipe.io.chunking import Chunks, chunks_of
from jwpipe.io.product import Pending, temporary_name, writing

FORMAT = "jwpipe exposure"
VERSION = 1
CHUNK_BYTES = 4 << 20
MAX_ROWS = 256
MIN_STEP = 16


def is_zarr(path: str) -> bool:
    """Whether ``path`` is a zarr folder (by its name, where it lies on another machine)."""
    return path.rstrip("/").endswith(".zarr") or Path(path, "zarr.json").is_file()


def prepare_zarr(exposure: xr.Dataset, path: Path) -> Pending:
    """Make the folder with everything but pixels, under a temporary name; see `prepare_fits`."""
    import zarr
    from zarr.codecs import BloscCodec

    temporary = temporary_name(path)
    attributes = {"format": FORMAT, "version": VERSION} | encode(_plain_attributes(exposure.attrs))
    arrays, targets = [], []
    with writing(temporary, path):
        group = zarr.open_group(temporary, mode="w", zarr_format=3, attributes=attributes)
        for name, variable in exposure.data_vars.items():
            pixels = _aligned(da.asarray(variable.data))
            target = group.create_array(
                str(name),
                shape=pixels.shape,
                dtype=pixels.dtype,
                chunks=_stored_chunks(pixels),
                dimension_names=[str(dim) for dim in variable.dims],
                attributes=encode(variable.attrs),
                compressors=BloscCodec(cname="lz4", typesize=pixels.dtype.itemsize),
            )
            arrays.append(pixels)
            targets.append(ZarrTarget(target, temporary.absolute()))
    sci = list(exposure.data_vars).index("sci") if "sci" in exposure else None
    return Pending(path, temporary, tuple(arrays), tuple(targets), sci=sci)


@dataclass(frozen=True)
class ZarrTarget:
    """A zarr array that takes blocks as long as its folder is there: after a failure none is made anew."""

    array: Any
    folder: Path

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of the stored chunks."""
        return tuple(self.array.chunks)

    def __setitem__(self, region: tuple[slice, ...], block: np.ndarray) -> None:
        if not (self.folder / "zarr.json").exists():
            raise FileNotFoundError(errno.ENOENT, "the folder is gone", os.fspath(self.folder))
        self.array[region] = block


def _plain_attributes(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Attributes with the gwcs as the bytes of a small ASDF file."""
    wcs = attrs.get("wcs")
    return {**attrs, "wcs": dump({"wcs": wcs})} if wcs is not None else dict(attrs)


def _boundary_step(sizes: tuple[int, ...]) -> int:
    """The largest step that meets every boundary between blocks."""
    return int(np.gcd.reduce(np.cumsum(sizes)[:-1])) if len(sizes) > 1 else sizes[0]


def _aligned(pixels: da.Array) -> da.Array:
    """``pixels`` in blocks that share no stored chunk with their neighbours, whatever way they were cut."""
    uneven = {
        axis: max(sizes)
        for axis, sizes in enumerate(pixels.chunks)
        if _boundary_step(sizes) < min(MIN_STEP, max(sizes))
    }
    return pixels.rechunk(uneven) if uneven else pixels


def _stored_chunks(pixels: da.Array) -> tuple[int, ...]:
    """The rows of a block, of as many planes as make a chunk worth a file."""
    steps = [_boundary_step(sizes) for sizes in pixels.chunks]
    chunks = [1] * (pixels.ndim - 2) + [min(MAX_ROWS, steps[-2]), steps[-1]]
    if len(pixels.chunks[-2]) > 1 and steps[-2] % chunks[-2]:
        chunks[-2] = steps[-2]
    size = chunks[-2] * chunks[-1] * pixels.dtype.itemsize
    for axis in reversed(range(pixels.ndim - 2)):
        chunks[axis] = max(1, min(steps[axis], CHUNK_BYTES // size))
        size *= chunks[axis]
        if chunks[axis] < pixels.shape[axis]:
            break
    return tuple(chunks)


def read_zarr(path: str, chunks: Chunks = None) -> xr.Dataset:
    """The lazy exposure in a zarr folder that `prepare_zarr` made.

    Raises
    ------
    ExposureError
        There is no such folder, or it holds something else.
    """
    import zarr

    try:
        group = zarr.open_group(path, mode="r", zarr_format=3)
        attributes = decode(dict(group.attrs))
    except (OSError, ValueError, KeyError) as error:
        raise ExposureError(
            f"{path}: not a readable zarr folder ({error}); expected one that jwpipe wrote"
        ) from error
    if attributes.pop("format", None) != FORMAT or attributes.pop("version", None) != VERSION:
        raise ExposureError(
            f"{path}: a zarr folder of another program or version; expected one that jwpipe wrote"
        )
    if "wcs" in attributes:
        attributes["wcs"] = parse(attributes["wcs"], path)["wcs"]
    variables = {name: _lazy(path, array, chunks) for name, array in sorted(group.arrays())}
    exposure = xr.Dataset(variables, attrs={**attributes, "filename": Path(path).name})
    if exposure.attrs.get("product") == "fitopt" and "slope" in variables:
        return exposure
    if "sci" not in variables:
        raise ExposureError(f"{path}: no array sci; the folder is incomplete, write it again")
    check_exposure(exposure, path)
    return exposure


def _lazy(path: str, array: Any, chunks: Chunks) -> xr.Variable:
    dims = tuple(array.metadata.dimension_names)
    name = f"{array.basename}-{tokenize(path, array.basename, _stamp(path))}"
    cut = chunks_of(dims, array.shape, chunks)
    pixels = da.from_array(array, cut, name=name, inline_array=True)
    return xr.Variable(dims, pixels, decode(dict(array.attrs)))


def _stamp(path: str) -> int:
    metadata = Path(path, "zarr.json")
    return metadata.stat().st_mtime_ns if metadata.is_file() else 0


def encode(value: Any) -> Any:
    """``value`` as JSON can hold it; see the module's docstring."""
    if isinstance(value, np.ndarray):
        return {"$table": base64.b64encode(_array_bytes(value)).decode()}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"attribute of type {type(value).__name__} cannot be kept as JSON: {value!r}")


def decode(value: Any) -> Any:
    """What `encode` was given; tuples come back as lists."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$table" in value:
        return np.load(io.BytesIO(base64.b64decode(value["$table"])), allow_pickle=False)
    if "$bytes" in value:
        return base64.b64decode(value["$bytes"])
    if "$float" in value:
        return float(value["$float"])
    return {key: decode(item) for key, item in value.items()}


def _array_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
