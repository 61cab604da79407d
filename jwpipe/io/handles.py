"""Which variables are still what a file holds: their pixels are read where they are wanted, not passed on."""

import xarray as xr
from dask.base import tokenize

from jwpipe.io.fitsarray import FitsArray
from jwpipe.io.fitsrows import FitsRows


def handle_name(handle: FitsArray | FitsRows) -> str:
    """The name of the dask array that stands for a file's pixels."""
    return f"pixels-{tokenize(handle)}"


def handle_of(variable: xr.DataArray) -> FitsArray | FitsRows | None:
    """The file behind a variable, where nothing has touched its pixels since it was opened."""
    handle = variable.encoding.get("handle")
    if isinstance(handle, FitsArray | FitsRows) and variable.data.name == handle_name(handle):
        return handle
    return None
