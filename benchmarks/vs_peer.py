"""jwpipe beside jwst 3.0.0: the same files, the same references, default parameters, one run.

Full frames (2048 x 2048, SHALLOW4, 1 integration of 10 groups, a dark of single frames): stage 1 for the first and
for further exposures, image2, and image3 on 2 detectors x 4 dithers. CPU seconds include neither imports nor
compilation, for both; jwpipe runs with one worker here.

    python benchmarks/vs_peer.py --work DIR [--peer-env DIR] [--stages detector1,image2,image3] [--repeat N]
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from inputs import Inputs, full_frames, names_of
from measure import Cost, median_of, print_table, run_jwpipe, run_peer

COLUMNS = (
    "",
    "jwpipe CPU s",
    "jwst 3.0.0 CPU s",
    "ratio",
    "jwpipe MiB",
    "jwst MiB",
    "wall s (both)",
)


def row(name: str, ours: Cost, peers: Cost) -> list[str]:
    """One comparison as text."""
    return [
        name,
        f"{ours.cpu_s:.2f}",
        f"{peers.cpu_s:.1f}",
        f"{peers.cpu_s / ours.cpu_s:.0f}",
        f"{ours.peak_mib:.0f}",
        f"{peers.peak_mib:.0f}",
        f"{ours.wall_s:.1f} / {peers.wall_s:.1f}",
    ]


def step_rows(ours: Cost, peers: Cost) -> list[list[str]]:
    """CPU seconds of the steps that either noted, and of what remains (reading, writing, the engine)."""
    rows = []
    for name in [*peers.steps, *(n for n in ours.steps if n not in peers.steps)]:
        mine, its = ours.steps.get(name), peers.steps.get(name)
        if mine is not None:
            ratio = f"{its / mine:.0f}" if its is not None and mine > 0 else ""
            rows.append([name, f"{mine:.3f}", "" if its is None else f"{its:.2f}", ratio])
    rest = ours.cpu_s - sum(ours.steps.values()), peers.cpu_s - sum(peers.steps.values())
    return [*rows, ["the rest", f"{rest[0]:.3f}", f"{rest[1]:.2f}", ""]]


def detector1(inputs: Inputs, work: Path, python: Path, repeat: int) -> list[list[str]]:
    """Stage 1 of the exposures of one detector."""
    name, ramps = next(iter(inputs.uncal.items()))
    ours: list[list[Cost]] = []
    peers: list[list[Cost]] = []
    for _ in range(repeat):
        ours.append(run_jwpipe("detector1", ramps, work / "jwpipe", inputs.references))
        peers.append(
            run_peer(python, "Detector1Pipeline", ramps[:2], work / "peer", inputs.files[name])
        )
    further = median_of([c for run in ours for c in run[1:]]), median_of([r[1] for r in peers])
    print_table(
        "stage 1, a further exposure, by step",
        ("step", "jwpipe CPU s", "jwst 3.0.0 CPU s", "ratio"),
        step_rows(*further),
    )
    return [
        row(
            "detector1, first exposure",
            *(median_of([r[0] for r in runs]) for runs in (ours, peers)),
        ),
        row("detector1, each further exposure", *further),
    ]


def image2(inputs: Inputs, work: Path, python: Path, repeat: int) -> list[list[str]]:
    """image2 of the exposures of one detector."""
    name, ramps = next(iter(inputs.uncal.items()))
    rates = [work / "jwpipe" / f"{each}_rate.fits" for each in names_of(ramps)]
    if not all(path.exists() for path in rates):
        run_jwpipe("detector1", ramps, work / "jwpipe", inputs.references)
    ours: list[Cost] = []
    peers: list[Cost] = []
    for _ in range(repeat):
        ours += run_jwpipe("image2", rates, work / "jwpipe", inputs.references)[1:]
        peers += run_peer(python, "Image2Pipeline", rates[:2], work / "peer", inputs.files[name])[
            1:
        ]
    return [row("image2, each further exposure", median_of(ours), median_of(peers))]


def image3(inputs: Inputs, work: Path, python: Path, repeat: int) -> list[list[str]]:
    """image3 of all exposures, from the same calibrated files for both."""
    cals = [work / "jwpipe" / f"{each}_cal.fits" for each in names_of(inputs.ramps)]
    if not all(path.exists() for path in cals):
        run_jwpipe("detector1,image2", inputs.ramps, work / "jwpipe", inputs.references)
    association = _association(work, cals)
    ours: list[Cost] = []
    peers: list[Cost] = []
    overrides = next(iter(inputs.files.values()))
    for _ in range(repeat):
        ours.append(run_jwpipe("image3", [association], work / "jwpipe3", inputs.references)[-1])
        peers += run_peer(python, "Image3Pipeline", [association], work / "peer3", overrides)
    both = median_of(ours), median_of(peers)
    print_table(
        f"image3 of {len(cals)} exposures, by step",
        ("step", "jwpipe CPU s", "jwst 3.0.0 CPU s", "ratio"),
        step_rows(*both),
    )
    return [row(f"image3 of {len(cals)} exposures", *both)]


def _association(work: Path, cals: Sequence[Path]) -> Path:
    path = work / "jwpipe" / "image3_asn.json"
    members = [{"expname": cal.name, "exptype": "science"} for cal in cals]
    content = {
        "asn_id": "a3001",
        "asn_type": "image3",
        "asn_rule": "DMS_Level3_Base",
        "asn_pool": "none",
        "program": "90210",
        "products": [{"name": "benchmark", "members": members}],
    }
    path.write_text(json.dumps(content))
    return path


STAGES: dict[str, Callable[[Inputs, Path, Path, int], list[list[str]]]] = {
    "detector1": detector1,
    "image2": image2,
    "image3": image3,
}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for inputs and products")
    parser.add_argument("--peer-env", type=Path, default=os.environ.get("JWPIPE_PEER_ENV"))
    parser.add_argument("--stages", default="detector1,image2,image3")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    if options.peer_env is None:
        parser.error("give --peer-env, or JWPIPE_PEER_ENV: an environment with jwst 3.0.0")
    inputs = full_frames(options.work)
    python = Path(options.peer_env) / "bin" / "python"
    rows = []
    for stage in options.stages.split(","):
        rows += STAGES[stage](inputs, options.work, python, options.repeat)
    print_table("jwpipe beside jwst 3.0.0", COLUMNS, rows)


if __name__ == "__main__":
    main()
