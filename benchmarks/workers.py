"""jwpipe beside itself: one worker and two, threads and processes.

    python benchmarks/workers.py --work DIR [--stages detector1,image2,image3] [--repeat N]

Runs with one and with two workers take turns; the table has the medians of the wall seconds of further exposures (of
the mosaic for image3) and the best pair. Other load on the machine lowers the ratio: the load average is printed.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from pathlib import Path

from inputs import Inputs, full_frames, names_of
from measure import print_table, run_jwpipe


def units(stage: str, inputs: Inputs, work: Path) -> list[Path]:
    """The files that a stage starts from; made where they are not there yet."""
    ramps = next(iter(inputs.uncal.values()))
    if stage == "detector1":
        return ramps
    suffix = "rate" if stage == "image2" else "cal"
    chosen = ramps if stage == "image2" else inputs.ramps
    files = [work / "jwpipe" / f"{name}_{suffix}.fits" for name in names_of(chosen)]
    if not all(path.exists() for path in files):
        pipeline = "detector1" if stage == "image2" else "detector1,image2"
        run_jwpipe(pipeline, chosen, work / "jwpipe", inputs.references)
    return files


def wall(
    stage: str, files: Sequence[Path], inputs: Inputs, work: Path, scheduler: str, n: int
) -> float:
    """Wall seconds of a further exposure, or of the mosaic."""
    costs = run_jwpipe(
        stage, files, work / "workers", inputs.references, scheduler=scheduler, workers=n
    )
    chosen = costs[-1:] if stage == "image3" else costs[1:]
    return statistics.median(cost.wall_s for cost in chosen)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for inputs and products")
    parser.add_argument("--stages", default="detector1,image2,image3")
    parser.add_argument("--schedulers", default="threads,local")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    inputs = full_frames(options.work)
    rows = []
    for stage in options.stages.split(","):
        files = units(stage, inputs, options.work)
        for scheduler in options.schedulers.split(","):
            pairs = [
                [wall(stage, files, inputs, options.work, scheduler, n) for n in (1, 2)]
                for _ in range(options.repeat)
            ]
            one, two = (statistics.median(pair[k] for pair in pairs) for k in (0, 1))
            best = max(a / b for a, b in pairs)
            rows.append(
                [stage, scheduler, f"{one:.2f}", f"{two:.2f}", f"{one / two:.2f}", f"{best:.2f}"]
            )
    print_table(
        f"one and two workers (load average {os.getloadavg()[0]:.1f})",
        ("", "scheduler", "1 worker, s", "2 workers, s", "medians' ratio", "best pair"),
        rows,
    )


if __name__ == "__main__":
    main()
