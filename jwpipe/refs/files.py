"""One reference file as a step sees it: keywords, arrays cut to the exposure, tables, trees."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from jwpipe.refs import content
from jwpipe.refs.array import DecodedPixels, FilePixels, RefArray, Source, StandardFlags
from jwpipe.refs.content import Extension, ReferenceRefused, Stamp
from jwpipe.refs.placement import Placement, Rows, assembled, cut, striped
from jwpipe.refs.quality import Translation, translation

CUT_TYPES = frozenset(
    {
        "area",
        "bkg",
        "flat",
        "fringe",
        "gain",
        "linearity",
        "mask",
        "persat",
        "pictureframe",
        "readnoise",
        "saturation",
        "superbias",
        "trapdensity",
    }
)
"""Types on the detector's pixels, cut to the exposure's subarray."""

WHOLE_TYPES = frozenset({"dark", "reset"})
"""Types taken as they are, one file for each subarray: they must have the exposure's shape.

That of superstripes is known when they are put together.
"""

PIXEL_EXTENSIONS = frozenset({"sci", "dq", "err", "coeffs", "inv_coeffs"})
"""Extensions on the detector's pixels."""


@dataclass(frozen=True)
class RefFile:
    """A reference file chosen for an exposure.

    ``source`` says where it came from; ``science`` is the exposure's place on the detector, to
    which arrays are cut (``None``: not cut).
    """

    path: str
    type: str
    source: str = ""
    science: Placement | None = None

    @property
    def stamp(self) -> Stamp:
        """The file as it is now."""
        return content.stamp(self.path)

    @property
    def header(self) -> Mapping[str, Any]:
        """The keywords of the file by their FITS names, for ASDF and JSON as well."""
        return content.keywords(self.stamp)

    @property
    def sha256(self) -> str:
        """SHA-256 of the file in hexadecimal, computed once per process."""
        return content.sha256(self.stamp)

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return Path(self.path).name

    def array(self, name: str, version: int = 1, dtype: Any = None) -> RefArray | None:
        """The pixels of extension ``name`` (``sci dq err coeffs ...``), ``None`` where there is none.

        Floats come as float32 unless ``dtype`` says otherwise; ``dq`` as standard uint32 flags.
        Detector pixels are cut to the exposure's subarray; ``ReferenceRefused`` where that is
        impossible.
        """
        extension = self._extension(name, version)
        if extension is None or extension.is_table or not extension.shape:
            return None
        array = _whole(self.stamp, name, extension, dtype)
        region = self._region(name, extension.shape)
        if isinstance(region, Rows):
            (ny, nx), (start, size) = array.shape[-2:], region.across
            along_y = region.axis == "y"
            array = array.cut(0, start, ny, size) if along_y else array.cut(start, 0, size, nx)
            return array.striped(region.axis, region.along, region.size)
        return array if region is None else array.cut(region.y, region.x, region.ny, region.nx)

    def table(self, name: str, version: int = 1) -> np.recarray[Any, Any]:
        """The rows of a table as native records: names in lower case, text as ``str``."""
        extension = self._extension(name, version)
        if extension is None or not extension.is_table:
            tables = [key.upper() for (key, _), each in self._extensions.items() if each.is_table]
            raise ReferenceRefused(
                f"{self.path}: {self.type} reference without a table {name.upper()}; "
                f"it has {tables}"
            )
        return _table(self.stamp, extension.index)

    def tree(self) -> dict[str, Any]:
        """The tree of an ASDF or JSON file, in memory: its models and arrays are shared, copy what is to be changed."""
        try:
            return dict(content.tree(self.stamp))
        except (OSError, ValueError) as error:
            raise ReferenceRefused(
                f"{self.path}: not a readable ASDF or JSON file ({error})"
            ) from error

    def check(self) -> None:
        """Raise ``ReferenceRefused`` where a pixel array does not fit the exposure.

        One of superstripes may fit the stripes, or the field that they make together.
        """
        try:
            self._check()
        except ReferenceRefused:
            if (
                self.science is None
                or self.science.stripes is None
                or not self.science.stripes.superstripes
            ):
                raise
            replace(self, science=assembled(self.science))._check()

    def _check(self) -> None:
        if self.type in CUT_TYPES | WHOLE_TYPES and not self.path.endswith((".asdf", ".json")):
            for (name, _), extension in self._extensions.items():
                self._region(name, extension.shape)

    @property
    def _extensions(self) -> Mapping[tuple[str, int], Extension]:
        return content.extensions(self.stamp)

    def _extension(self, name: str, version: int) -> Extension | None:
        return self._extensions.get((name.lower(), version))

    def _region(self, name: str, shape: tuple[int, ...]) -> Placement | Rows | None:
        if self.science is None or name.lower() not in PIXEL_EXTENSIONS or len(shape) < 2:
            return None
        stripes = self.science.stripes
        if stripes is not None and stripes.superstripes and self.type in WHOLE_TYPES:
            return None
        if self.type in WHOLE_TYPES and shape[-2:] != (self.science.ny, self.science.nx):
            raise ReferenceRefused(
                f"{self.path}: {self.type} reference of {shape[-2]} x {shape[-1]} pixels, "
                f"the exposure has {self.science.ny} x {self.science.nx}; "
                f"{self.type} references are not cut: give the one of this subarray"
            )
        if self.type not in CUT_TYPES:
            return None
        part = cut if stripes is None else striped
        return part(self.science, self.header, shape, f"{self.path}: {self.type} reference")


def _whole(file: Stamp, name: str, extension: Extension, dtype: Any) -> RefArray:
    source: Source = DecodedPixels(file, extension.index)
    if extension.pixels is not None:
        source = FilePixels(file, extension.pixels)
    flags = name.lower() == "dq"
    if flags and (pairs := _translation(file)) is not None:
        source = StandardFlags(source, pairs)
    kind = np.dtype(np.float32) if extension.dtype.kind == "f" else extension.dtype
    kind = np.dtype(np.uint32) if flags else kind
    return RefArray(source, extension.shape, np.dtype(dtype or kind))


@lru_cache(maxsize=1024)
def _translation(file: Stamp) -> Translation | None:
    definitions = content.extensions(file).get(("dq_def", 1))
    if definitions is None:
        return None
    rows = _table(file, definitions.index)
    return translation([(row.value, row.name) for row in rows], file.path) if len(rows) else None


@lru_cache(maxsize=64)
def _table(file: Stamp, index: int) -> np.recarray[Any, Any]:
    return content.table(file.path, index)
