"""``save``: exposures to files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import xarray as xr
from dask.base import compute as dask_compute

from jwpipe.exposure import ExposureError
from jwpipe.io.fits_write import prepare_fits
from jwpipe.io.lengths import cut_to_lengths
from jwpipe.io.names import product_name
from jwpipe.io.persistence_file import STATE_PRODUCT, prepare_state
from jwpipe.io.product import Pending, store, unwritable
from jwpipe.io.waves_file import WAVES_PRODUCT, prepare_waves

Format = Literal["fits", "zarr"]


def save(exposure: xr.Dataset, path: str | Path, *, format: Format = "fits") -> Path:
    """Compute an exposure and write it to ``path``, a file name or a folder; returns the product's path.

    Nothing stands under the product's name until it is complete.

    Parameters
    ----------
    exposure
        See `jwpipe.exposure`.
    path
        The product, or the folder for it; there it is named after the exposure (``filename`` and ``product``).
    format
        ``fits``, or ``zarr`` for a folder in zarr format 3.

    Raises
    ------
    ExposureError
        The folder cannot be made or written to, or its disk is full; the name is one of zarr, the format is not.
    """
    whole = cut_to_lengths(exposure, lambda values: dask_compute(*values))
    return store([prepare(whole, path, format=format)])[0]


def prepare(exposure: xr.Dataset, path: str | Path, *, format: Format = "fits") -> Pending:
    """The product of ``save`` with everything but its pixels; `store` computes several of them in one graph."""
    state = exposure.attrs.get("product") == STATE_PRODUCT
    target = Path(path) if state else product_path(exposure, path, format=format)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(target, error) from error
    if state:
        return prepare_state(exposure, target)
    if exposure.attrs.get("product") == WAVES_PRODUCT:
        return prepare_waves(exposure, target)
    if format == "zarr":
        from jwpipe.io.zarr import prepare_zarr

        return prepare_zarr(exposure, target)
    return prepare_fits(exposure, target)


def product_path(exposure: xr.Dataset, path: str | Path, *, format: Format = "fits") -> Path:
    """Where ``save`` puts an exposure: ``path`` itself, or a name of the exposure's in that folder."""
    if "://" in str(path):
        raise ExposureError(
            f"{path}: products are written to local or shared folders; copy them from there"
        )
    path = Path(path)
    if path.suffix.lower() == ".zarr" and format != "zarr":
        raise ExposureError(f"{path}: a FITS product cannot be a .zarr; save it with format='zarr'")
    if path.suffix.lower() in (".fits", ".zarr") and not (path.is_dir() and path.suffix != ".zarr"):
        return path
    source = str(
        exposure.attrs.get("filename")
        or exposure.attrs.get("primary", {}).get("FILENAME")
        or "exposure"
    )
    return path / product_name(
        source, exposure.attrs.get("product") or "cal", extension=f".{format}"
    )
