"""``open``: files to lazy exposures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from jwpipe.io.chunking import Chunks
from jwpipe.io.fits_read import read_exposure
from jwpipe.io.source import local_path


def open(path: str | Path | Sequence[str | Path], *, chunks: Chunks = None) -> xr.Dataset:  # noqa: A001
    """The lazy exposure in ``path``."""
    return read_exposure(local_path(path), chunks)
