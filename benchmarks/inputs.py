"""The exposures and references that the benchmarks work on, simulated once and kept in a folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

DETECTORS = ("NRCB1", "NRCB2")


@dataclass(frozen=True)
class Inputs:
    """Full frames of 2048 x 2048 pixels: raw files by detector, and the references of each detector by type."""

    uncal: dict[str, list[Path]]
    files: dict[str, dict[str, Path]]
    references: Path

    @property
    def ramps(self) -> list[Path]:
        """The raw files in order of dithers and detectors."""
        return [path for together in zip(*self.uncal.values(), strict=True) for path in together]


def full_frames(
    work: Path, *, ngroups: int = 10, nints: int = 1, dithers: int = 4, detectors: int = 2
) -> Inputs:
    """SHALLOW4 exposures with a dark of single frames; made where ``work`` has none of this kind yet."""
    folder = work / f"full_{nints}x{ngroups}"
    listing = folder / "files.json"
    if not listing.exists():
        _simulate(folder, listing, ngroups, nints, dithers, DETECTORS[:detectors])
    content = json.loads(listing.read_text())
    return Inputs(
        {name: [folder / path for path in paths] for name, paths in content["uncal"].items()},
        {
            name: {kind: folder / path for kind, path in paths.items()}
            for name, paths in content["files"].items()
        },
        folder / "refs",
    )


def _simulate(
    folder: Path, listing: Path, ngroups: int, nints: int, dithers: int, detectors: tuple[str, ...]
) -> None:
    from jwpipe import simulate

    print(f"simulating {nints} x {ngroups} full frames into {folder} ...", flush=True)
    made = simulate.observation(
        folder,
        detectors=detectors,
        dithers=dithers,
        subarray="FULL",
        ngroups=ngroups,
        nints=nints,
    )
    uncal = {
        name: [str(p.relative_to(folder)) for p in made.uncal if name.lower() in p.name]
        for name in detectors
    }
    files = {
        name: {kind: str(path.relative_to(folder)) for kind, path in kinds.items()}
        for name, kinds in made.files.items()
    }
    listing.write_text(json.dumps({"uncal": uncal, "files": files}, indent=1))


def names_of(paths: list[Path]) -> list[str]:
    """Names of exposures: file names up to the suffix."""
    return [path.name.rsplit("_", 1)[0] for path in paths]
