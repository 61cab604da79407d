"""What a run works on: files, folders and associations sorted into exposures and mosaics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from glob import glob
from pathlib import Path

from jwpipe.exposure import ExposureError, Header, header
from jwpipe.io import (
    Association,
    association_of,
    read_association,
    write_association,
)
from jwpipe.io import open as open_exposure
from jwpipe.io.names import any_segment, split_suffix, stem, without_segment
from jwpipe.params import resolve
from jwpipe.request import Request

MOSAIC_KEYWORDS = ("INSTRUME", "FILTER", "PUPIL")
NO_ELEMENT = {"CLEAR", "N/A", "NONE", ""}


@dataclass(frozen=True)
class ExposureInput:
    """One exposure to process: its file, what its products are named after, and its background exposures."""

    name: str
    path: str
    backgrounds: tuple[str, ...] = ()


@dataclass(frozen=True)
class MosaicInput:
    """One mosaic to build: the paths of its exposures among those processed."""

    name: str
    asn_id: str
    members: tuple[str, ...]
    association: str = ""
    catalogs: dict[str, Path] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """All that a run has to do; ``problems`` are inputs that cannot be used, with the reason."""

    exposures: tuple[ExposureInput, ...]
    mosaics: tuple[MosaicInput, ...]
    problems: tuple[tuple[str, str], ...]


def collect(request: Request) -> Work:
    """Sort the inputs of a request; what cannot be used becomes a problem, the rest goes on."""
    units: list[ExposureInput] = []
    mosaics: list[MosaicInput] = []
    loose: list[ExposureInput] = []
    problems: list[tuple[str, str]] = []
    for name in request.inputs:
        try:
            if name.endswith(".json"):
                association = read_association(name, request.takes)
                of_stage_2 = association.asn_type.endswith("2")
                found = _members(association, named=of_stage_2 and not request.combines)
                mosaics += [] if of_stage_2 else _mosaics(association)
                loose += found if of_stage_2 else []
            else:
                found = [ExposureInput(_root(path), path) for path in _files(name, request.takes)]
                loose += found
            units += found
        except ExposureError as error:
            problems.append((name, str(error)))
    if request.whole:
        units, loose = _put_together(units, problems), _put_together(loose, [])
    exposures = _distinct(units, request.combines, problems)
    if request.combines:
        mosaics += _by_filter([each for each in exposures if each in loose], problems)
    bad = {name for name, _ in problems}
    usable = sorted((each for each in exposures if each.path not in bad), key=_detector)
    if _carries_state(request):
        usable.sort(key=lambda each: (_detector(each), _start(each)))
    return Work(tuple(usable), tuple(mosaics) if request.combines else (), tuple(problems))


def _detector(unit: ExposureInput) -> str:
    """The last part of an exposure's name: those of a detector go one after another, since they share references.

    Mosaics keep the order in which their exposures were given: it numbers them in the context.
    """
    return unit.name.rpartition("_")[2]


def _carries_state(request: Request) -> bool:
    """Whether exposures leave to the next one which pixels may glow: its file is read and written."""
    from jwpipe.stage1.persistence import persistence

    if "detector1" not in request.pipelines or request.single not in ("", persistence.name):
        return False
    given = resolve("detector1", (persistence,), request.settings.layers)[persistence.name].own()
    file = given["save_persistence"]
    return file is not None and given["persistence_array_file"] == file


def _start(unit: ExposureInput) -> tuple[float, int]:
    """When an exposure begins, and with which integration; what cannot be read is refused later on."""
    try:
        keywords = header(open_exposure(unit.path))
    except ExposureError:
        return 0.0, 0
    return float(keywords.get("EXPSTART") or 0.0), int(keywords.get("INTSTART") or 1)


def _root(path: str) -> str:
    """The exposure's name: the file's without its suffix."""
    return split_suffix(path)[0]


def _put_together(
    units: Sequence[ExposureInput], problems: list[tuple[str, str]]
) -> list[ExposureInput]:
    """The exposures, files of one's segments put together: their path is a pattern then.

    Where the pattern fits more files than are given that is a problem.
    """
    exposures: dict[str, list[ExposureInput]] = {}
    for unit in units:
        exposures.setdefault(without_segment(unit.path), []).append(unit)
    result = []
    for segments in exposures.values():
        first = segments[0]
        pattern = any_segment(first.path)
        given = {each.path for each in segments}
        if pattern == first.path:
            result += segments
            continue
        others = sorted({str(path) for path in glob(pattern)} - given)  # noqa: PTH207
        if others:
            reason = f"{len(given)} segments given, there is {', '.join(others)} besides; give all"
            problems.append((pattern, f"{first.path}: {reason}"))
            continue
        result.append(replace(first, name=without_segment(first.name), path=pattern))
    return result


def _distinct(
    units: Sequence[ExposureInput], combines: bool, problems: list[tuple[str, str]]
) -> list[ExposureInput]:
    """Each exposure once; of two files whose products would have the same names the first."""
    taken: dict[str, ExposureInput] = {}
    for unit in units:
        first = taken.setdefault(unit.name if combines else stem(unit.path), unit)
        if first.path != unit.path:
            reason = (
                f"{unit.path}: the same exposure as {first.path}; run one of them, or each apart"
            )
            problems.append((unit.path, reason))
    return list(taken.values())


def _files(name: str, suffixes: Sequence[str]) -> list[str]:
    """The file ``name``, or those of a folder with the first of ``suffixes`` that it has any of."""
    folder = Path(name)
    if not folder.is_dir() or name.rstrip("/").endswith(".zarr"):
        return [name]
    for suffix in suffixes:
        found = sorted(
            str(path)
            for ending in (".fits", ".fits.gz", ".zarr")
            for path in folder.glob(f"*_{suffix}{ending}")
        )
        if found:
            return found
    expected = " or ".join(f"*_{suffix}.fits" for suffix in suffixes)
    raise ExposureError(f"{folder}: no input in this folder; expected {expected}")


def _members(association: Association, *, named: bool) -> list[ExposureInput]:
    """The science exposures of an association; ``named``: their products have the association's names."""
    units = []
    for product in association.products:
        backgrounds = tuple(str(member.path) for member in product.of_type("background"))
        alone = named and len(product.science) == 1
        units += [
            ExposureInput(product.name if alone else _root(str(m.path)), str(m.path), backgrounds)
            for m in product.science
        ]
    return units


def _mosaics(association: Association) -> list[MosaicInput]:
    """The mosaics that an association of stage 3 asks for."""
    return [
        MosaicInput(
            product.name,
            association.asn_id,
            tuple(str(m.path) for m in product.science),
            association.path.name if association.path else "",
            {str(m.path): m.tweakreg_catalog for m in product.science if m.tweakreg_catalog},
            {str(m.path): m.group_id for m in product.science if m.group_id},
        )
        for product in association.products
    ]


def _by_filter(
    exposures: Sequence[ExposureInput], problems: list[tuple[str, str]]
) -> list[MosaicInput]:
    """Files without an association: one mosaic for each instrument and filter, named as the archive would."""
    groups: dict[tuple[str, ...], list[tuple[ExposureInput, Header]]] = {}
    for each in exposures:
        try:
            keywords = header(open_exposure(each.path))
            key = tuple(str(keywords.get(keyword) or "") for keyword in MOSAIC_KEYWORDS)
        except ExposureError as error:
            problems.append((each.path, str(error)))
            continue
        groups.setdefault(key, []).append((each, keywords))
    return [
        MosaicInput(*mosaic_name([h for _, h in group]), tuple(e.path for e, _ in group))
        for group in groups.values()
    ]


def mosaic_name(headers: Sequence[Header]) -> tuple[str, str]:
    """The name of a mosaic and its association's id (``jw90001-o001_t001_nircam_f200w``, ``o001``)."""
    first = headers[0]
    observations = {str(h.get("OBSERVTN")) for h in headers}
    known = len(observations) == 1 and first.get("OBSERVTN")
    asn_id = f"o{int(str(first['OBSERVTN'])):03d}" if known else "a3001"
    elements = sorted(
        str(first.get(keyword) or "").lower()
        for keyword in ("FILTER", "PUPIL")
        if str(first.get(keyword) or "").upper() not in NO_ELEMENT
    )
    program = str(first.get("PROGRAM") or "00000").zfill(5)
    instrument = str(first.get("INSTRUME") or "jwst").lower()
    return f"jw{program}-{asn_id}_t001_{instrument}_{'-'.join(elements) or 'clear'}", asn_id


def make_association(
    files: Sequence[str], output: str, product_name: str | None, rule: str
) -> Path:
    """Write an association of ``files`` (rule ``image3`` or ``image2``); returns its path.

    Raises
    ------
    ExposureError
        Where a file cannot be read or does not lie below the association's folder.
    """
    if rule == "image2":
        association = association_of(files, product_name, rule="DMSLevel2bBase")
    else:
        name, asn_id = mosaic_name([header(open_exposure(path)) for path in files])
        association = association_of(files, product_name or name, asn_id=asn_id)
    return write_association(replace(association, asn_type=rule), output)
