"""The machine's own floor beside stage 1: read the ramp once, write the products once, and nothing else.

    python benchmarks/limit.py --work DIR [--ngroups 10] [--nints 1] [--repeat N]

Both start from files in the operating system's cache. The floor's buffers are touched before; one thread.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from inputs import full_frames, names_of
from measure import print_table, run_jwpipe

PIECE = 4 << 20


def floor(ramp: Path, products: list[Path], scratch: Path) -> tuple[float, float]:
    """CPU and wall seconds to read ``ramp`` and to write as many bytes as ``products`` have."""
    buffer = np.ones(PIECE, np.uint8).data
    cpu, wall = time.process_time(), time.perf_counter()
    with ramp.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    for product in products:
        _write(scratch, product.stat().st_size, buffer)
    return time.process_time() - cpu, time.perf_counter() - wall


def read_and_write(ramp: Path, products: list[Path], scratch: Path, repeat: int) -> float:
    """Wall seconds that astropy takes to read the counts of ``ramp`` as single precision and to write ``products``."""
    loaded = [fits.open(product, memmap=False, lazy_load_hdus=False) for product in products]
    for product in loaded:
        for extension in product:
            _ = extension.data
    spent = []
    for _ in range(repeat):
        begun = time.perf_counter()
        with fits.open(ramp, memmap=False) as file:
            file["SCI"].data.astype(np.float32)
        for product in loaded:
            product.writeto(scratch, overwrite=True)
        spent.append(time.perf_counter() - begun)
    scratch.unlink()
    return min(spent)


def _write(path: Path, size: int, buffer: memoryview) -> None:
    with path.open("wb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, size)
        for start in range(0, size, PIECE):
            file.write(buffer[: min(PIECE, size - start)])
    path.unlink()


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for inputs and products")
    parser.add_argument("--ngroups", type=int, default=10)
    parser.add_argument("--nints", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    detectors, dithers = (2, 4) if (options.nints, options.ngroups) == (1, 10) else (1, 3)
    inputs = full_frames(
        options.work,
        ngroups=options.ngroups,
        nints=options.nints,
        dithers=dithers,
        detectors=detectors,
    )
    ramps = next(iter(inputs.uncal.values()))
    output = options.work / "limit"
    costs = run_jwpipe("detector1", ramps, output, inputs.references)[1:]
    products = [output / f"{names_of(ramps)[0]}_{suffix}.fits" for suffix in ("rate", "rateints")]
    floors = [floor(ramps[0], products, output / "floor.bin") for _ in range(options.repeat)]
    rows = []
    for label, ours, least in (
        ("CPU s", [c.cpu_s for c in costs], [f[0] for f in floors]),
        ("wall s", [c.wall_s for c in costs], [f[1] for f in floors]),
    ):
        mine, bound = statistics.median(ours), statistics.median(least)
        rows.append([label, f"{bound:.3f}", f"{mine:.3f}", f"{mine / bound:.1f}"])
    sizes = f"{options.nints} x {options.ngroups} full frame"
    print_table(
        f"stage 1 of a further exposure, {sizes}, beside reading and writing alone",
        ("", "floor", "jwpipe", "ratio"),
        rows,
    )


if __name__ == "__main__":
    main()
