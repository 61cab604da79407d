"""Products whose size only their pixels tell: they are lazy with the largest size that they may have.

``attrs["lengths"]`` then holds, by dimension, how much is in use, once it is computed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import xarray as xr

LENGTHS = "lengths"


def cut_to_lengths(exposure: xr.Dataset, compute: Callable[..., Sequence[Any]]) -> xr.Dataset:
    """The exposure with what is in use of each dimension; ``compute([values])`` gives the computed values."""
    lengths = exposure.attrs.get(LENGTHS)
    if not lengths:
        return exposure
    found = compute(list(lengths.values()))
    used = {name: slice(0, int(length)) for name, length in zip(lengths, found, strict=True)}
    return exposure.isel(used).assign_attrs({LENGTHS: {}})
