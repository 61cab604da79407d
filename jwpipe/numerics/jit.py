"""The one place that decides how kernels are compiled.

Kernels are single-threaded (dask owns the parallelism), release the GIL, and are cached on disk so that they compile
once per installation. ``njit`` writes its cache files atomically; ``guvectorize(cache=True)`` does not (numba issue
10128), therefore kernels are plain ``njit`` functions on whole arrays.

numba takes a cached kernel for valid while the file that defines it is unchanged, whatever became of the functions it
calls. The cache folder therefore carries a digest of that file and of all files whose kernels it uses: changed code
never meets old machine code.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
from numba.core import event

ROOT = Path(__file__).parents[1]
SETTINGS: Any = numba.config
logger = logging.getLogger("jwpipe")
_IMPORT = re.compile(r"^from jwpipe\.([\w.]+) import", re.MULTILINE)


class _Announcer(event.Listener):
    """Says once that this process compiles: what was compiled before is loaded, and raises no event."""

    said = False

    def on_start(self, event: Any) -> None:
        """Numba begins to compile a function."""
        if not self.said:
            self.said = True
            logger.warning("kernels are compiled for this machine: up to a minute, once")

    def on_end(self, event: Any) -> None:
        """Nothing to say."""


ANNOUNCER = _Announcer()
event.register("numba:compile", ANNOUNCER)


@cache
def cache_folder(source: str) -> str:
    """Where the compiled kernels of a file are kept; ``""`` (numba's default) where no folder can be made."""
    digest = sha256()
    for path in sorted(_with_kernels_used(Path(source))):
        digest.update(path.read_bytes())
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "jwpipe" / f"kernels-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return ""
    return str(folder) if os.access(folder, os.W_OK) else ""


def _with_kernels_used(source: Path) -> set[Path]:
    """``source`` and the files with kernels that it imports, directly or not."""
    found, waiting = set(), [source]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for module in _IMPORT.findall(path.read_text()):
            other = ROOT.joinpath(*module.split(".")).with_suffix(".py")
            if other.exists() and "jwpipe.numerics.jit" in other.read_text():
                waiting.append(other)
    return found


@contextmanager
def _own_cache(source: str) -> Iterator[None]:
    """Numba looks where to cache a function when it is decorated: for ours, in our folder."""
    before = SETTINGS.CACHE_DIR
    SETTINGS.CACHE_DIR = cache_folder(source) or before
    try:
        yield
    finally:
        SETTINGS.CACHE_DIR = before


def _compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    with _own_cache(function.__code__.co_filename):
        compiled: Callable[..., Any] = numba.njit(
            nogil=True, cache=True, error_model="numpy", **options
        )(function)
    return compiled


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function``: C-contiguous arrays in, new arrays out, IEEE arithmetic (NaN respected)."""
    return _compiled(function)


def inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a small helper that kernels call in their inner loops."""
    return _compiled(function, inline="always")
