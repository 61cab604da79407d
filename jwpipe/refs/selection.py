"""The references of an exposure: all are chosen before anything runs, or one error says why not."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from jwpipe.exposure import ExposureError, Header
from jwpipe.refs import crds as calibration_system
from jwpipe.refs import folder as in_folder
from jwpipe.refs.content import ReferenceRefused
from jwpipe.refs.files import RefFile
from jwpipe.refs.keywords import KNOWN_TYPES, normal_type
from jwpipe.refs.placement import science_placement

OPTIONAL_TYPES = frozenset(
    {"abvegaoffset", "area", "bkg", "filteroffset", "ipc", "refpix", "sirskernel"}
)
"""Types that not every exposure has: without them the step, or a part of it, is left out."""


class MissingReferences(ExposureError):  # noqa: N818
    """References that an exposure needs were not found; the message lists them all."""


@dataclass(frozen=True)
class References(Mapping[str, RefFile | None]):
    """The reference file of each type; ``None`` where there is none and the step leaves itself out.

    ``sources`` says for each type where the answer came from: ``override``, ``folder DIR``, ``crds
    CONTEXT`` or ``N/A``.
    """

    files: Mapping[str, RefFile | None]
    sources: Mapping[str, str]

    @classmethod
    def from_files(
        cls, files: Mapping[str, str | Path | None], header: Mapping[str, Any] | None = None
    ) -> "References":
        """References given by name, cut to the subarray of ``header`` where there is one."""
        science = science_placement(header) if header is not None else None
        chosen = {
            kind: None if _disabled(path) else RefFile(str(path), kind, "given", science)
            for kind, path in files.items()
        }
        return cls(chosen, {kind: file.source if file else "N/A" for kind, file in chosen.items()})

    def placed(self, header: Mapping[str, Any]) -> "References":
        """The same files, cut to where another header says that the exposure lies."""
        science = science_placement(header)
        files = {
            kind: None if file is None else replace(file, science=science)
            for kind, file in self.files.items()
        }
        return References(files, self.sources)

    def __getitem__(self, kind: str) -> RefFile | None:
        try:
            return self.files[kind]
        except KeyError:
            raise KeyError(
                f"no {kind} reference was selected for this exposure, only {sorted(self.files)}"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


@dataclass
class _Search:
    """The state of one selection: what was found, and what was said about types that were not."""

    exposure: Header
    found: dict[str, RefFile | None] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)

    def take(self, kind: str, path: str | None, source: str) -> None:
        """Settle a type."""
        science = science_placement(self.exposure)
        self.found[kind] = None if path is None else RefFile(path, kind, source, science)
        self.sources[kind] = source

    def blame(self, kind: str, problem: str) -> None:
        """Keep the reason why a source has no file of a type."""
        self.problems.setdefault(kind, []).append(problem)


def select(
    header: Header,
    types: Iterable[str],
    *,
    overrides: Mapping[str, str | Path] | None = None,
    folders: Sequence[Path] = (),
    crds: bool = True,
    optional: AbstractSet[str] = frozenset(),
) -> References:
    """Choose the reference files of an exposure: overrides, then folders in order, then CRDS.

    Parameters
    ----------
    header
        The exposure's keywords.
    types
        Reference types, as ``dark`` or ``pars-jumpstep``.
    overrides
        Files by type; ``N/A`` leaves the type out.
    folders
        Folders searched in this order, by the keywords in the files; the first with a match gives
        the file.
    crds
        Whether to ask the calibration data system, where its environment is set.
    optional
        Types that may be missing, beside ``OPTIONAL_TYPES``.

    Raises
    ------
    MissingReferences
        Once, listing every type that was not found, its selection keywords, and how to provide it.
    ReferenceRefused
        For a file of the wrong type, instrument, detector or shape.
    """
    wanted = list(dict.fromkeys(types))
    search = _Search(header)
    _take_overrides(search, wanted, overrides or {})
    for each in folders:
        _take_folder(search, _open(search, wanted), Path(each))
    if crds and calibration_system.configured() and (rest := _open(search, wanted)):
        _take_recommended(search, rest)
    _settle_missing(search, _open(search, wanted), OPTIONAL_TYPES | optional)
    for file in search.found.values():
        if file is not None:
            _check_identity(file, header)
            file.check()
    return References(
        {kind: search.found[kind] for kind in wanted},
        {kind: search.sources[kind] for kind in wanted},
    )


def _open(search: _Search, wanted: list[str]) -> list[str]:
    return [kind for kind in wanted if kind not in search.found]


def _disabled(path: str | Path | None) -> bool:
    return path is None or str(path).strip().upper() == "N/A"


def _take_overrides(
    search: _Search, wanted: list[str], overrides: Mapping[str, str | Path]
) -> None:
    for kind, path in overrides.items():
        if kind in wanted:
            search.take(
                kind,
                None if _disabled(path) else str(path),
                "N/A" if _disabled(path) else "override",
            )
        elif kind not in KNOWN_TYPES and not kind.startswith("pars-"):
            near = get_close_matches(kind, KNOWN_TYPES, 1)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(KNOWN_TYPES))}"
            )
            raise ReferenceRefused(f"override {kind}={path}: no such reference type; {hint}")


def _take_folder(search: _Search, kinds: list[str], folder: Path) -> None:
    references = in_folder.references_in(folder)
    for kind in kinds:
        others = references.get(kind, ())
        path = in_folder.best_of(others, kind, search.exposure)
        if path is not None:
            search.take(kind, path, f"folder {folder}")
            continue
        reasons = [in_folder.mismatches(file, kind, search.exposure) for file in others[:3]]
        search.blame(
            kind, f"{folder}: {len(others)} of this type; {'; '.join(reasons)}".strip("; ")
        )


def _take_recommended(search: _Search, kinds: list[str]) -> None:
    answers = calibration_system.recommend(search.exposure, kinds)
    for kind, answer in answers.types.items():
        if answer.problem:
            search.blame(kind, answer.problem)
        else:
            search.take(kind, answer.path, f"crds {answers.context}" if answer.applies else "N/A")


def _settle_missing(search: _Search, kinds: list[str], optional: AbstractSet[str]) -> None:
    for kind in kinds:
        if kind in optional:
            search.take(kind, None, "N/A")
    missing = [kind for kind in kinds if kind not in optional]
    if missing:
        raise MissingReferences(_missing(search, missing))


def _missing(search: _Search, kinds: list[str]) -> str:
    count = "1 reference is missing" if len(kinds) == 1 else f"{len(kinds)} references are missing"
    lines = [f"{search.exposure.filename}: {count}"]
    for kind in kinds:
        lines.append(f"  {kind}: {in_folder.described(kind, search.exposure)}")
        lines += [f"    {problem}" for problem in search.problems.get(kind, [])]
    if not calibration_system.configured():
        lines.append("  CRDS was not asked: CRDS_PATH and CRDS_SERVER_URL are not set")
    lines.append(
        f"give each with --override {kinds[0]}=FILE (N/A to do without), "
        "a folder of references with --refs DIR, or CRDS with CRDS_PATH and CRDS_SERVER_URL"
    )
    return "\n".join(lines)


def _check_identity(file: RefFile, exposure: Header) -> None:
    """Refuse an override of another type, instrument or detector; the rules vouch for other files."""
    if file.source != "override":
        return
    found = file.header.get("REFTYPE")
    if found is not None and normal_type(found) != file.type:
        raise ReferenceRefused(
            f"{file.path}: REFTYPE is {found!r}, expected {file.type.upper()}; "
            f"give a {file.type} reference"
        )
    for keyword in in_folder.identity(file.type, exposure):
        if in_folder.agreement(file.header, exposure, keyword, file.type) is None:
            raise ReferenceRefused(
                f"{file.path}: {file.type} reference for {keyword}={file.header[keyword]}, "
                f"{exposure.filename} has {keyword}={exposure[keyword]}; "
                f"give one for {exposure[keyword]}"
            )
