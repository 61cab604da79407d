"""Products being written: under a temporary name until all their pixels are there.

``prepare`` puts down everything but the pixels and says which array goes where; ``store`` computes the pixels of any
number of products in one graph, so that products made of the same pixels (rate and rateints) share the work, and then
gives each its name. Whatever happens on the way, no half-written product is left under a product's name.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np

from jwpipe.exposure import ExposureError
from jwpipe.io.writing import Written, writing_of

_numbers = count(1)


@dataclass(frozen=True)
class Pending:
    """A product whose pixels are still to come.

    ``arrays[k]`` belongs into ``targets[k]``; number ``sci`` is the image.
    """

    path: Path
    temporary: Path
    arrays: tuple[da.Array, ...]
    targets: tuple[Any, ...]
    sci: int | None = field(default=None, kw_only=True)

    def finish(self) -> Path:
        """Give the complete product its name, in place of an older one."""
        try:
            if self.temporary.is_dir() and self.path.exists():
                remove(self.path)
            self.temporary.replace(self.path)
        except OSError as error:
            self.discard()
            raise unwritable(self.path, error) from error
        return self.path

    def discard(self) -> None:
        """Remove what was written so far."""
        remove(self.temporary)


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


@contextmanager
def writing(temporary: Path, path: Path) -> Iterator[None]:
    """Leave nothing of ``temporary`` behind where writing fails or is interrupted.

    Raises
    ------
    ExposureError
        ``path`` cannot be written.
    """
    try:
        yield
    except BaseException as error:
        remove(temporary)
        if isinstance(error, OSError):
            raise unwritable(path, error) from error
        raise


def temporary_name(path: Path) -> Path:
    """A name of its own in the same folder, under which ``path`` is written."""
    return path.with_name(f".{path.name}.tmp-{os.getpid()}-{next(_numbers)}")


def unwritable(path: Path, error: OSError) -> ExposureError:
    """What to tell about a product that cannot be written."""
    reasons = {
        errno.ENOSPC: "the disk is full; free space or choose another output folder",
        errno.EDQUOT: "the disk quota is used up; free space or choose another output folder",
        errno.EACCES: "no permission to write into this folder; choose another output folder",
        errno.EEXIST: "a file stands where the folder should be; choose another output folder",
        errno.ENOTDIR: "a file stands where a folder should be; choose another output folder",
        errno.EROFS: "the file system is read-only; choose another output folder",
        errno.ENOENT: "the folder does not exist on the machine that writes; all workers must share the output folder",
    }
    return ExposureError(f"{path}: cannot be written: {reasons.get(error.errno or 0, str(error))}")


def _compute(writing: da.Array) -> np.ndarray:
    return np.asarray(writing.compute())


def _let_pass(number: int) -> None:
    """An image without pixels is a product like others."""


def store(
    products: Sequence[Pending],
    compute: Callable[[da.Array], np.ndarray] = _compute,
    refuse_empty: Callable[[int], None] = _let_pass,
) -> list[Path]:
    """Compute the pixels of all ``products`` in one graph with ``compute``, then name them.

    ``refuse_empty`` gets the number of each whose image has no finite pixel.

    Raises
    ------
    ExposureError
        The disk is full, or a product cannot be written; none of ``products`` is left behind then, nor after any error
        that ``compute`` and ``refuse_empty`` raise.
    """
    written = [
        Written(array, target, place == product.sci)
        for product in products
        for place, (array, target) in enumerate(zip(product.arrays, product.targets, strict=True))
    ]
    images = [k for k, product in enumerate(products) if product.sci is not None]
    try:
        if written:
            finite = compute(writing_of(written))
            for number, seen in zip(images, finite[[e.looked for e in written]], strict=True):
                if not seen.any():
                    refuse_empty(number)
    except BaseException as error:
        for product in products:
            product.discard()
        if isinstance(error, OSError) and (failed := _failed(products, error)):
            raise unwritable(failed, error) from error
        raise
    return [product.finish() for product in products]


def _failed(products: Sequence[Pending], error: OSError) -> Path | None:
    """The product that an error in writing belongs to; ``None`` for an error elsewhere."""
    for product in products:
        if error.filename and str(error.filename).startswith(
            os.fspath(product.temporary.absolute())
        ):
            return product.path
    return products[0].path if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
