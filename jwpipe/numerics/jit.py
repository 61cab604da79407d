"""The one place that decides how kernels are compiled.

Kernels are single-threaded (dask owns the parallelism), release the GIL, and are cached on disk so that they
compile once per installation. ``njit`` writes its cache files atomically; ``guvectorize(cache=True)`` does not
(numba issue 10128), therefore kernels are plain ``njit`` functions on whole arrays.
"""

from collections.abc import Callable
from typing import Any

from numba import njit


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function``: C-contiguous arrays in, new arrays out, IEEE arithmetic (NaN respected)."""
    compiled: Callable[..., Any] = njit(nogil=True, cache=True, error_model="numpy")(function)
    return compiled


def inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a small helper that kernels call in their inner loops."""
    compiled: Callable[..., Any] = njit(
        nogil=True, cache=True, error_model="numpy", inline="always"
    )(function)
    return compiled
