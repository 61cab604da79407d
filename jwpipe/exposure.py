"""What an exposure is: the variables of its Dataset, and how its header is read.

An exposure is an ``xarray.Dataset``. Variables are named as the FITS extensions, in lower case; dimensions are
``integration group y x``. ``attrs`` hold plain data that survive pickling, zarr and FITS:

* ``primary`` and ``sci``: the keywords of the two headers, ``{KEYWORD: value}``;
* ``product``: the suffix that says what the exposure is (``uncal``, ``rate``, ``cal``, ``i2d`` ...);
* ``history``: the provenance records (see ``provenance.py``);
* ``wcs``: the gwcs object, where there is one;
* ``read_times``: the seconds at which the reads of each group were made, where no keyword tells;
* ``filename``: the name of the file it came from, for messages and for naming products.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr


class ExposureError(ValueError):
    """An exposure cannot be processed; the message names file, step, what was found and what to do."""


class MissingKeyword(ExposureError):  # noqa: N818
    """A keyword that a step needs is in neither header."""

    def __init__(self, filename: str, keyword: str, step: str = "") -> None:
        self.filename, self.keyword = filename, keyword
        where = f"{filename}: {step}" if step else filename
        super().__init__(
            f"{where}: keyword {keyword} is missing from the headers; "
            "add it to the primary or SCI header, as the archive's files have it"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.filename, self.keyword)


@dataclass(frozen=True)
class Variable:
    """One array of an exposure: its dimensions, type on disk, unit and meaning."""

    dims: tuple[str, ...]
    dtype: type
    units: str
    doc: str


RAMP = ("integration", "group", "y", "x")
CUBE = ("integration", "y", "x")
IMAGE = ("y", "x")

RAMP_VARIABLES = {
    "sci": Variable(RAMP, np.float32, "DN", "accumulated counts of each group"),
    "groupdq": Variable(RAMP, np.uint8, "", "flags of each group"),
    "pixeldq": Variable(IMAGE, np.uint32, "", "flags of each pixel, the same for all groups"),
    "zeroframe": Variable(CUBE, np.float32, "DN", "first frame of each integration"),
    "avdrkcur": Variable(IMAGE, np.float32, "electron/s", "average dark current"),
    "refout": Variable(
        ("integration", "group", "y", "x_refout"), np.float32, "DN", "reference output (MIRI)"
    ),
}

RATE_VARIABLES = {
    "sci": Variable(IMAGE, np.float32, "DN/s", "count rate, or surface brightness after photom"),
    "err": Variable(IMAGE, np.float32, "DN/s", "total standard deviation"),
    "dq": Variable(IMAGE, np.uint32, "", "flags of each pixel"),
    "var_poisson": Variable(IMAGE, np.float32, "(DN/s)^2", "variance from photon noise"),
    "var_rnoise": Variable(IMAGE, np.float32, "(DN/s)^2", "variance from read noise"),
    "var_flat": Variable(IMAGE, np.float32, "(DN/s)^2", "variance from the flat field"),
    "area": Variable(
        IMAGE, np.float32, "", "area of a pixel on the sky, relative to the nominal one"
    ),
}


class Header(Mapping[str, Any]):
    """The keywords of an exposure, SCI header before primary; missing keywords give ``None`` from ``get``.

    ``read_times`` are the seconds after the reset of the reads in each group, where they are not evenly spaced.
    """

    def __init__(self, attrs: Mapping[str, Any]) -> None:
        self._primary: Mapping[str, Any] = attrs.get("primary", {})
        self._sci: Mapping[str, Any] = attrs.get("sci", {})
        self.read_times: tuple[tuple[float, ...], ...] = attrs.get("read_times") or ()
        self.filename: str = attrs.get("filename") or self._primary.get(
            "FILENAME", "exposure in memory"
        )

    def __getitem__(self, keyword: str) -> Any:
        if keyword in self._sci:
            return self._sci[keyword]
        if keyword in self._primary:
            return self._primary[keyword]
        raise MissingKeyword(self.filename, keyword)

    def __contains__(self, keyword: object) -> bool:
        return keyword in self._sci or keyword in self._primary

    def get(self, keyword: str, default: Any = None) -> Any:
        """The value of ``keyword``, or ``default`` where neither header has it."""
        return self._sci.get(keyword, self._primary.get(keyword, default))

    def __iter__(self) -> Iterator[str]:
        yield from self._sci
        yield from (keyword for keyword in self._primary if keyword not in self._sci)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def header(exposure: xr.Dataset) -> Header:
    """The header of an exposure."""
    return Header(exposure.attrs)
