"""Stage 1 of every kind of exposure beside jwst 3.0.0, in one run: the same files, the same references.

    python benchmarks/stage1.py --work DIR [--peer-env DIR] [--cases 1x10,...] [--options none]

The first table has default parameters, files to files, for a further exposure of a detector: CPU seconds, wall seconds
with one and two workers, the peak of two workers above the interpreter's own memory, the peak that ``jwpipe plan``
foretells for two workers beside the one measured, nanoseconds a sample, the floor (the bytes of ramp and products
over the bandwidth with which this machine copies from file to file), and how many times longer the wall seconds are
than what astropy takes to read the ramp and to write the products. The second one has the steps alone, arrays to
arrays; the third what options cost. Neither imports nor compilation count, for both.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from inputs import CASES, Inputs, inputs, names_of
from limit import floor, read_and_write
from measure import Cost, least_of, median_of, print_table, run_jwpipe, run_peer

MIB = 1 << 20
ROUNDS = 3
"""How often the exposures of a case are run: the first ones in a process meet memory that the system gave away."""
OPTIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "LIKELY": ("1x10", "ramp_fit", {"algorithm": "LIKELY"}),
    "snowballs": ("1x10", "jump", {"expand_large_events": True}),
    "showers": ("miri", "jump", {"find_showers": True}),
    "charge_migration": ("1x10", "charge_migration", {"skip": False, "signal_threshold": 20000.0}),
    "flicker noise (median)": ("1x10", "clean_flicker_noise", {"skip": False}),
    "flicker noise (fft)": (
        "irs2",
        "clean_flicker_noise",
        {"skip": False, "fit_method": "fft"},
    ),
    "emicorr": ("slitless", "emicorr", {"skip": False}),
    "IRS2 refpix": ("irs2", "refpix", {}),
}
"""Options by name: the case, the step that is timed, its parameters."""


def ours(made: Inputs, work: Path, workers: int = 1, **steps: Mapping[str, Any]) -> list[Cost]:
    """Further exposures of a detector: after one for which all was compiled and references prepared."""
    ramps = next(iter(made.uncal.values()))
    scheduler = "sync" if workers == 1 else "threads"
    return run_jwpipe(
        "detector1",
        ramps,
        work / "jwpipe",
        made.references,
        scheduler=scheduler,
        workers=workers,
        steps=steps,
        rounds=ROUNDS,
    )[1:]


def theirs(made: Inputs, work: Path, python: Path, **steps: Mapping[str, Any]) -> Cost:
    """The peer on the second exposure after a first one."""
    name, ramps = next(iter(made.uncal.items()))
    files = made.files[name]
    return run_peer(python, "Detector1Pipeline", ramps[:2], work / "peer", files, steps)[-1]


def foretold(made: Inputs, work: Path) -> float:
    """The peak that ``jwpipe plan`` tells for two threads, MiB."""
    from jwpipe.plan import plan_request
    from jwpipe.request import request_of

    ramp = str(next(iter(made.uncal.values()))[0])
    request = request_of("detector1", [ramp], output=work / "jwpipe", refs=[made.references])
    return plan_request(request, 2)[0].memory / MIB


def samples(made: Inputs) -> int:
    """Pixels times groups times integrations of an exposure."""
    from jwpipe.io import open as open_exposure

    return int(open_exposure(next(iter(made.uncal.values()))[0])["sci"].size)


def default_row(
    name: str, made: Inputs, work: Path, python: Path
) -> tuple[list[str], list[str], list[Cost]]:
    """A line of the first table and one of the second; the costs of either pipeline."""
    alone, two, peer = ours(made, work), ours(made, work, 2), theirs(made, work, python)
    one = median_of(alone)
    pair = median_of(two)
    ramp = next(iter(made.uncal.values()))[0]
    products = [
        work / "jwpipe" / f"{names_of([ramp])[0]}_{suffix}.fits" for suffix in ("rate", "rateints")
    ]
    least = min(floor(ramp, products, work / "floor.bin")[1] for _ in range(5))
    # In a process of its own: what starts from here begins with the peak memory that this one has had.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
        plain = apart.submit(read_and_write, ramp, products, work / "plain.fits", 5).result()
    quick = min(each.wall_s for each in two)
    peak = max(cost.peak_mib for cost in two)
    files = [
        name,
        f"{one.cpu_s:.2f}",
        f"{peer.cpu_s:.1f}",
        f"{peer.cpu_s / one.cpu_s:.0f}",
        f"{one.wall_s:.2f} / {quick:.2f}",
        f"{peak - pair.base_mib:.0f}",
        f"{foretold(made, work):.0f} / {peak:.0f}",
        f"{peer.peak_mib:.0f}",
        f"{one.cpu_s / samples(made) * 1e9:.1f}",
        f"{least:.3f}",
        f"{one.wall_s / plain:.1f} / {quick / plain:.1f}",
    ]
    mine, its = sum(one.steps.values()), sum(peer.steps.values())
    return files, [name, f"{mine:.2f}", f"{its:.1f}", f"{its / mine:.0f}"], [least_of(alone), peer]


def option_row(name: str, work: Path, python: Path, usual: Mapping[str, list[Cost]]) -> list[str]:
    """What an option costs: the step's CPU seconds without it, and how much more the whole takes with it.

    Of the least disturbed exposures: the difference is small beside what other work on the machine makes of it.
    """
    case, step, parameters = OPTIONS[name]
    made = inputs(work, case)
    mine, its = usual[case]
    if parameters:
        mine = least_of(ours(made, work, **{step: parameters}))
        its = theirs(made, work, python, **{step: parameters})
    before = usual[case][0]
    spent = max(before.steps.get(step, 0.0) + mine.cpu_s - before.cpu_s, 0.01)
    return [name, f"{spent:.2f}", f"{its.steps[step]:.1f}", f"{its.steps[step] / spent:.0f}"]


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for inputs and products")
    parser.add_argument("--peer-env", type=Path, default=os.environ.get("JWPIPE_PEER_ENV"))
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--options", default=",".join(OPTIONS))
    given = parser.parse_args()
    if given.peer_env is None:
        parser.error("give --peer-env, or JWPIPE_PEER_ENV: an environment with jwst 3.0.0")
    python = Path(given.peer_env) / "bin" / "python"
    begun = time.perf_counter()
    tables: tuple[list[list[str]], list[list[str]]] = [], []
    usual: dict[str, list[Cost]] = {}
    for name in given.cases.split(","):
        files, arrays, usual[name] = default_row(name, inputs(given.work, name), given.work, python)
        tables[0].append(files)
        tables[1].append(arrays)
    names = [name for name in given.options.split(",") if OPTIONS.get(name, [""])[0] in usual]
    options = [option_row(name, given.work, python, usual) for name in names]
    columns = ("", "jwpipe CPU s", "jwst CPU s", "ratio")
    print_table(
        "stage 1, files to files",
        (
            *columns,
            "wall s, 1 / 2 workers",
            "arrays MiB",
            "plan / peak MiB",
            "jwst MiB",
            "ns a sample",
            "floor s",
            "wall / astropy read and write",
        ),
        tables[0],
    )
    print_table("stage 1, arrays to arrays", columns, tables[1])
    print_table("options", columns, options)
    load = os.getloadavg()[0]
    print(f"\nload average {load:.1f}; {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
