"""The exposures and references that the benchmarks work on, simulated once and kept in a folder.

    python benchmarks/inputs.py --work DIR [NAME ...]

Names are those of ``CASES``; all of them unless some are given.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DETECTORS = ("NRCB1", "NRCB2")

_NIRCAM = {"detectors": DETECTORS[:1], "subarray": "FULL", "dithers": 3}
CASES: dict[str, dict[str, Any]] = {
    "1x10": _NIRCAM | {"readpatt": "SHALLOW4", "ngroups": 10},
    "1x40": _NIRCAM | {"readpatt": "RAPID", "ngroups": 40, "dithers": 2},
    "10x10": _NIRCAM | {"readpatt": "RAPID", "ngroups": 10, "nints": 10, "dithers": 2},
    "series": _NIRCAM | {"subarray": "SUB64P", "readpatt": "RAPID", "ngroups": 12, "nints": 200},
    "miri": {"detectors": ("MIRIMAGE",), "subarray": "FULL", "dithers": 2, "readpatt": "FASTR1", "ngroups": 40,
             "filter": "F770W"},
    "slitless": {"detectors": ("MIRIMAGE",), "subarray": "SLITLESSPRISM", "dithers": 2, "readpatt": "FASTR1",
                 "ngroups": 40, "nints": 10, "filter": "P750L"},
    "irs2": {"detectors": ("NRS1",), "subarray": "FULL", "dithers": 2, "readpatt": "NRSIRS2RAPID", "ngroups": 10,
             "filter": "F100LP"},
}  # fmt: skip
"""Exposures of one detector by name, as arguments of ``simulate.observation``: integrations x groups of NIRCam's full
frame (2048 x 2048; SHALLOW4 averages four frames a group), a time series of 64 x 64 pixels in 200 integrations of 12
groups, MIRI's full frame (1032 x 1024, 40 groups), the subarray of its slitless prism, NIRSpec's full frame with IRS2
(2048 x 3200, 10 groups)."""


@dataclass(frozen=True)
class Inputs:
    """Raw files by detector, and the references of each detector by type."""

    uncal: dict[str, list[Path]]
    files: dict[str, dict[str, Path]]
    references: Path

    @property
    def ramps(self) -> list[Path]:
        """The raw files in order of dithers and detectors."""
        return [path for together in zip(*self.uncal.values(), strict=True) for path in together]


def inputs(work: Path, name: str) -> Inputs:
    """The exposures of one of ``CASES``; made where ``work`` has none of this name yet."""
    return _kept(work / name, CASES[name])


def full_frames(
    work: Path, *, ngroups: int = 10, nints: int = 1, dithers: int = 4, detectors: int = 2
) -> Inputs:
    """SHALLOW4 exposures with a dark of single frames; made where ``work`` has none of this kind yet."""
    wanted = {
        "detectors": DETECTORS[:detectors],
        "dithers": dithers,
        "subarray": "FULL",
        "ngroups": ngroups,
        "nints": nints,
    }
    return _kept(work / f"full_{nints}x{ngroups}", wanted)


def _kept(folder: Path, wanted: dict[str, Any]) -> Inputs:
    """What ``folder`` has, simulated first where it is empty or holds something else."""
    listing = folder / "files.json"
    content = json.loads(listing.read_text()) if listing.exists() else {}
    if content.get("made", _as_json(wanted)) != _as_json(wanted) or not content:
        content = _simulate(folder, listing, wanted)
    return Inputs(
        {name: [folder / path for path in paths] for name, paths in content["uncal"].items()},
        {
            name: {kind: folder / path for kind, path in paths.items()}
            for name, paths in content["files"].items()
        },
        folder / "refs",
    )


def _as_json(wanted: dict[str, Any]) -> Any:
    return json.loads(json.dumps(wanted))


def _simulate(folder: Path, listing: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    from jwpipe import simulate

    print(f"simulating into {folder} ...", flush=True)
    begun, cpu = time.perf_counter(), time.process_time()
    made = simulate.observation(folder, scene=_sparse(wanted), **wanted)
    seconds = time.perf_counter() - begun, time.process_time() - cpu
    print(f"  {seconds[0]:.0f} s, {seconds[1]:.0f} s of CPU", flush=True)
    uncal = {
        name: [str(p.relative_to(folder)) for p in made.uncal if name.lower() in p.name]
        for name in wanted["detectors"]
    }
    files = {
        name: {kind: str(path.relative_to(folder)) for kind, path in kinds.items()}
        for name, kinds in made.files.items()
    }
    content = {"made": _as_json(wanted), "uncal": uncal, "files": files}
    listing.write_text(json.dumps(content, indent=1))
    return content


def _sparse(wanted: dict[str, Any]) -> Any:
    """The default sky for NIRCam; fewer galaxies and MIRI's bright sky else: light is not what takes time here."""
    from jwpipe.simulate import Scene

    if wanted["detectors"][0].startswith("NRC"):
        return Scene()
    return Scene(background=12.0, star_density=0.02, galaxy_density=0.005)


def names_of(paths: list[Path]) -> list[str]:
    """Names of exposures: file names up to the suffix."""
    return [path.name.rsplit("_", 1)[0] for path in paths]


def main() -> None:
    """Simulate what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for the exposures")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(CASES)}")
    options = parser.parse_args()
    for name in options.names or CASES:
        inputs(options.work, name)


if __name__ == "__main__":
    main()
