"""``open``: files to lazy exposures."""

from __future__ import annotations

from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path

import xarray as xr

from jwpipe.exposure import ExposureError
from jwpipe.io.chunking import Chunks
from jwpipe.io.fits_read import read_exposure
from jwpipe.io.segments import join_segments
from jwpipe.io.source import is_remote, local_path

Name = str | Path


def open(path: Name | Sequence[Name], *, chunks: Chunks = None) -> xr.Dataset:
    """Open one exposure lazily: headers and tables are read, pixels when they are computed.

    Parameters
    ----------
    path
        A FITS file (plain or gzip, on this machine or behind any address that fsspec understands), a zarr folder that
        jwpipe wrote, a pattern (``*-seg*_nrca1_uncal.fits``), or a list: several segments of one exposure become one
        array over ``integration``.
    chunks
        Sizes of dask chunks by dimension, or one number for rows and columns; blocks of whole rows where not given.

    Returns
    -------
    xarray.Dataset
        See `jwpipe.exposure`. The names of variables are those of the extensions, in lower case. Beyond what stands
        there, ``attrs`` hold ``tables`` (structured arrays by extension name) and ``asdf`` (the bytes of the ASDF
        extension, of which only the gwcs and the provenance are parsed).

    Raises
    ------
    ExposureError
        The file is missing, damaged or no JWST exposure, its keywords contradict its pixels, or several files do not
        make one exposure.
    """
    names = _names(path)
    exposures = [_open_one(name, chunks) for name in names]
    return exposures[0] if len(names) == 1 else join_segments(exposures, names)


def _names(path: Name | Sequence[Name]) -> list[str]:
    given = [path] if isinstance(path, str | Path) else list(path)
    names = [name for item in given for name in _matching(local_path(item))]
    if not names:
        raise ExposureError("no file was given; expected at least one")
    return names


def _matching(name: str) -> list[str]:
    if not has_magic(name) or Path(name).exists():
        return [name]
    if is_remote(name):
        from fsspec import open_files

        found = [file.full_name for file in open_files(name)]
    else:
        found = sorted(glob(name))  # noqa: PTH207  the pattern may be absolute
    if not found:
        raise ExposureError(f"{name}: no file matches this pattern; check the name")
    return found


def _open_one(name: str, chunks: Chunks) -> xr.Dataset:
    from jwpipe.io.zarr import is_zarr, read_zarr

    if is_zarr(name):
        return read_zarr(name, chunks)
    return read_exposure(name, chunks)
