"""The WCS of every mode beside jwst 3.0.0: built, and evaluated for every pixel of a full frame, slit by slit.

jwpipe evaluates with its maps of coordinates, jwst with the gwcs itself. CPU seconds include neither imports nor
compilation; memory is the peak beyond what the process held before. References are those of the tests. jwpipe keeps
what it read of them for the further exposures of a process: both these and the first are measured.

    python benchmarks/wcs.py --work DIR [--peer-env DIR] [MODE ...]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests" / "steps"))
sys.path.append(str(Path(__file__).parents[1] / "tests" / "parity"))

import xarray as xr
from measure import print_table
from wcs_modes import SCI, Mode, modes

from jwpipe.refs.content import tree
from jwpipe.stage2.assign_wcs import AssignWcsParams, tie_to_sky
from jwpipe.wcs import Choice, map_of
from jwpipe.wcs.cutouts import cutouts_of

TESTS = Path(__file__).parents[1] / "tests"
COLUMNS = (
    "",
    "first: build jwpipe s",
    "further: build jwpipe s",
    "build jwst s",
    "evaluate jwpipe s",
    "evaluate jwst s",
    "ratio, first",
    "ratio, further",
    "jwpipe MiB",
    "jwst MiB",
)
TITLE = "The WCS of a frame"
SOURCES = {"nircam": [[500.0, 600.0], [1500.0, 300.0]], "niriss": [[500.0, 600.0], [1500.0, 300.0]]}
ORDERS = {"nircam": (1, 2), "niriss": (1, 2, 3, -1), "miri": (1,)}


@dataclass(frozen=True)
class Cost:
    """CPU seconds to build a WCS and to evaluate it for a frame, and the memory for the latter."""

    build_s: float
    frame_s: float
    mib: float


def ours(mode: Mode, folder: Path) -> list[Cost]:
    """Build and evaluate a mode, once to compile: for the first exposure with its references, and a further one."""
    found = []
    for kept in (False, False, True):
        if not kept:
            tree.cache_clear()
        given, files = mode.exposure(folder), mode.files()
        began = time.process_time()
        exposure = tie_to_sky(given, files, AssignWcsParams(**mode.params))
        built = time.process_time()
        before = peak_mib(reset=True)
        for choice, rows, columns in parts(mode, exposure):
            map_of(exposure, choice).planes(rows, columns)
        frame_s = time.process_time() - built
        found.append(Cost(built - began, frame_s, peak_mib() - before))
    return found[1:]


def parts(mode: Mode, exposure: xr.Dataset) -> Iterator[tuple[Choice, slice, slice]]:
    """Each slit and order with its pixels; slices of an IFU are in the map of the whole frame."""
    everything = slice(None), slice(None)
    instrument = mode.name.split()[0]
    if "wfss" in mode.name:
        for x, y in SOURCES.get(instrument, [[500.0, 600.0]]):
            for order in ORDERS[instrument]:
                yield Choice(order=order, source=(x, y)), *everything
    elif "gwa" in exposure.attrs["wcs"].available_frames and "image" not in mode.name:
        by_slice = "slicer" in exposure.attrs["wcs"].available_frames
        for cutout in cutouts_of(exposure):
            name = cutout.name
            choice = Choice(slice=int(name)) if by_slice else Choice(slit=name)
            yield choice, cutout.rows, cutout.columns
    elif "soss" in mode.name:
        yield from ((Choice(order=order), *everything) for order in (1, 2, 3))
    else:
        yield Choice(order=1) if "tsgrism" in mode.name else Choice(), *everything


def peak_mib(*, reset: bool = False) -> float:
    """Peak resident memory of this process, from now on."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def theirs(found: Sequence[Mode], folder: Path, python: Path) -> dict[str, Cost]:
    """The peer's costs; the first mode is solved once before, with all imports."""
    cases = [
        {
            "name": mode.name,
            "primary": {key: value for key, value in mode.keywords.items() if key not in SCI},
            "sci": {key: value for key, value in mode.keywords.items() if key in SCI},
            "shape": mode.shape,
            "references": {kind: path and str(path) for kind, path in mode.references.items()},
            "params": mode.params,
            "folder": str(folder),
            "sources": SOURCES.get(mode.name.split()[0], [[500.0, 600.0]])
            if "wfss" in mode.name
            else None,
            "measure": True,
        }
        for mode in (found[0], *found)
    ]
    listing = folder / "cases.json"
    listing.write_text(json.dumps(cases))
    command = [str(python), str(TESTS / "parity" / "peer_wcs.py"), str(listing)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    costs = {}
    for line in printed.splitlines():
        cost = json.loads(line)
        peak, before = (value / 1024 for value in cost["peak_mib"])
        costs[cost["name"]] = Cost(cost["build_s"], cost["frame_s"], peak - before)
    return costs


def row(name: str, mine: Sequence[Cost], its: Cost) -> list[str]:
    """One mode as text."""
    ratios = [(its.build_s + its.frame_s) / (each.build_s + each.frame_s) for each in mine]
    return [
        name,
        *(f"{each.build_s:.3f}" for each in mine),
        f"{its.build_s:.3f}",
        f"{mine[-1].frame_s:.3f}",
        f"{its.frame_s:.3f}",
        *(f"{ratio:.1f}" for ratio in ratios),
        f"{mine[-1].mib:.0f}",
        f"{its.mib:.0f}",
    ]


def main() -> None:
    """Compare the modes of the command line, or all."""
    from peer import environment_folder, installed

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--peer-env", type=Path)
    parser.add_argument("mode", nargs="*")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    if given.peer_env:
        os.environ["JWPIPE_PEER_ENV"] = str(given.peer_env)
    found = list(modes(given.work, *given.mode))
    mine = {mode.name: ours(mode, given.work) for mode in found}
    its = theirs(found, given.work, installed(environment_folder()))
    print_table(TITLE, COLUMNS, [row(mode.name, mine[mode.name], its[mode.name]) for mode in found])


if __name__ == "__main__":
    main()
