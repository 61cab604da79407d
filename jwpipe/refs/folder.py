"""References in a folder, selected by the keywords in the files themselves.

The rules are those of the JWST calibration data system: a reference matches where each of its
selection keywords equals the exposure's, or is a wildcard, or lists it (``A|B|``); of those not
newer than the observation the most specific wins, then the one with the latest USEAFTER.
"""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

from jwpipe.exposure import ExposureError, Header
from jwpipe.refs.content import ReferenceRefused, Stamp, keywords, stamp
from jwpipe.refs.files import CUT_TYPES
from jwpipe.refs.keywords import PATTERNS, normal_type, selection_keywords

SUFFIXES = (".fits", ".fits.gz", ".fits.fz", ".asdf", ".json")

WILDCARDS = frozenset({"ANY", "GENERIC", "N/A", "*", "", "UNDEFINED", "NONE"})
"""Values with which a reference says that a keyword does not matter."""

_WIDENED = {keyword: pattern for pattern, keyword in PATTERNS.items()}


@dataclass(frozen=True)
class Candidate:
    """A reference that matches: how many keywords agree, from when it is valid, its path."""

    agreeing: int
    useafter: datetime
    path: str


@lru_cache(maxsize=64)
def _index(listing: tuple[Stamp, ...]) -> Mapping[str, tuple[Stamp, ...]]:
    """The reference files among ``listing`` by type; files without REFTYPE are no references."""
    found: dict[str, list[Stamp]] = {}
    for file in listing:
        try:
            header = keywords(file)
        except ReferenceRefused as error:
            warnings.warn(f"left out of the folder of references: {error}", stacklevel=2)
            continue
        if "REFTYPE" in header:
            found.setdefault(normal_type(header["REFTYPE"]), []).append(file)
    return {kind: tuple(files) for kind, files in found.items()}


def _listing(folder: Path) -> Iterator[Stamp]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name.endswith(SUFFIXES) and (path := Path(parent, name)).is_file():
                yield stamp(path)


def references_in(folder: Path) -> Mapping[str, tuple[Stamp, ...]]:
    """The references in a folder and its subfolders by type; headers are read once per process.

    Raises
    ------
    ReferenceRefused
        Where there is no such folder.
    """
    if not folder.is_dir():
        raise ReferenceRefused(f"{folder}: no such folder of references; check --refs")
    return _index(tuple(_listing(folder)))


def best_of(files: Sequence[Stamp], reftype: str, exposure: Header) -> str | None:
    """The path of the best reference among ``files`` of a type, ``None`` where none matches."""
    date = observed(exposure)
    candidates = [
        each
        for file in files
        if (each := _candidate(file, reftype, exposure)) is not None and each.useafter <= date
    ]
    if not candidates:
        return None
    ranked = sorted(candidates, key=lambda each: (each.agreeing, each.useafter, each.path))
    best = ranked[-1]
    if len(ranked) > 1 and (ranked[-2].agreeing, ranked[-2].useafter) == (
        best.agreeing,
        best.useafter,
    ):
        warnings.warn(
            f"{exposure.filename}: {ranked[-2].path} and {best.path} are both {reftype} references "
            "for it, equally specific and of the same USEAFTER; the second is used",
            stacklevel=2,
        )
    return best.path


def _candidate(file: Stamp, reftype: str, exposure: Header) -> Candidate | None:
    reference = keywords(file)
    agreeing = 0
    for keyword in _compared(reftype, exposure):
        degree = agreement(reference, exposure, keyword, reftype)
        if degree is None:
            return None
        agreeing += degree
    return Candidate(agreeing, useafter(reference), file.path)


def _compared(reftype: str, exposure: Header) -> tuple[str, ...]:
    """The keywords compared; always SUBARRAY for detector pixels: a folder may hold cut ones."""
    names = selection_keywords(reftype, str(exposure.get("INSTRUME", "")))
    subarray = ("SUBARRAY",) if reftype in CUT_TYPES and "SUBARRAY" not in names else ()
    return ("INSTRUME", *names, *subarray)


def identity(reftype: str, exposure: Header) -> list[str]:
    """The keywords among INSTRUME and DETECTOR in which a reference of a type must agree."""
    compared = _compared(reftype, exposure)
    return [name for name in ("INSTRUME", "DETECTOR") if name in compared and name in exposure]


def agreement(
    reference: Mapping[str, Any], exposure: Header, keyword: str, reftype: str
) -> int | None:
    """1 where a reference has the exposure's value, 0 for a wildcard, ``None`` for a mismatch."""
    allowed = allowed_values(reference, keyword)
    value = normal(exposure.get(keyword, "UNDEFINED"))
    if any(fnmatchcase(value, each) for each in allowed - WILDCARDS):
        return 1
    full_frame = keyword == "SUBARRAY" and reftype in CUT_TYPES and "FULL" in allowed
    if full_frame or value == "N/A" or allowed & WILDCARDS:
        return 0
    return None


def allowed_values(reference: Mapping[str, Any], keyword: str) -> frozenset[str]:
    """The values that a reference is registered for; a ``P_`` pattern goes before the keyword."""
    plain = normal(reference.get(keyword, ""))
    pattern = normal(reference.get(_WIDENED.get(keyword, ""), ""))
    listed = [part.strip() for part in (pattern or plain).split("|")]
    return frozenset(part for part in listed if part) or frozenset({""})


def normal(value: Any) -> str:
    """A value as it is compared: upper case, ``T`` and ``F``, whole numbers without a point."""
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().upper()


def mismatches(file: Stamp, reftype: str, exposure: Header) -> str:
    """Why a reference does not match an exposure, in words."""
    reference = keywords(file)
    differing = [
        f"{keyword}={'|'.join(sorted(allowed_values(reference, keyword)))}"
        for keyword in _compared(reftype, exposure)
        if agreement(reference, exposure, keyword, reftype) is None
    ]
    if useafter(reference) > observed(exposure):
        differing.append(f"USEAFTER={reference['USEAFTER']}")
    return f"{Path(file.path).name} is for {' '.join(differing)}"


def observed(exposure: Header) -> datetime:
    """When the exposure was taken; where it does not say, the latest reference is taken.

    Raises
    ------
    ExposureError
        Where DATE-OBS or TIME-OBS make no date.
    """
    day, time = exposure.get("DATE-OBS"), exposure.get("TIME-OBS") or "00:00:00"
    if day is None:
        return datetime.max
    try:
        return datetime.fromisoformat(f"{day}T{time}")
    except ValueError as error:
        raise ExposureError(
            f"{exposure.filename}: DATE-OBS={day!r} TIME-OBS={time!r} make no date ({error}); "
            "expected YYYY-MM-DD and HH:MM:SS"
        ) from None


def useafter(reference: Mapping[str, Any]) -> datetime:
    """From when a reference is valid; always, where it does not say."""
    text = str(reference.get("USEAFTER", "")).strip()
    for form in (None, "%b %d %Y %H:%M:%S", "%b %d %Y"):
        try:
            return datetime.fromisoformat(text) if form is None else datetime.strptime(text, form)
        except ValueError:
            continue
    return datetime.min


def described(reftype: str, exposure: Header) -> str:
    """The keywords that select a type and the exposure's values, for messages."""
    names: Sequence[str] = _compared(reftype, exposure)
    values = " ".join(f"{name}={exposure.get(name, '(missing)')}" for name in names)
    return f"{values} USEAFTER<={exposure.get('DATE-OBS', '(no date)')}"
