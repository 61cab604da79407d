"""A time series of many short integrations, in one file and in segments."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits

from jwpipe.simulate import Observation
from jwpipe.simulate import observation as simulate
from jwpipe.simulate.sky import Scene

SEGMENTS = (104, 20, 8)
"""Integrations of each: jumps are told by their scatter in the first, by the noise expected in the others."""


def series(folder: Path) -> Observation:
    """132 integrations of 4 groups, 32 x 32 pixels."""
    return simulate(
        folder,
        detectors=("NRCB1",),
        dithers=1,
        subarray="SUB160P",
        size=32,
        ngroups=4,
        nints=sum(SEGMENTS),
        readpatt="RAPID",
        scene=Scene(star_density=3.0, bright_density=0.1, separation=0.3),
    )


def in_segments(path: Path, folder: Path, counts: Sequence[int] = SEGMENTS) -> list[Path]:
    """The exposure in files of so many integrations each, as the archive cuts long ones."""
    folder.mkdir(exist_ok=True)
    stops = np.cumsum(counts).tolist()
    paths = []
    for number, (count, stop) in enumerate(zip(counts, stops, strict=True), 1):
        root, _, rest = path.name.partition("_nrc")
        paths.append(folder / f"{root}-seg{number:03d}_nrc{rest}")
        with fits.open(path) as hdus:
            for hdu in hdus[1:]:
                if hdu.name in ("SCI", "ZEROFRAME") or hdu.name == "INT_TIMES":
                    hdu.data = hdu.data[stop - count : stop]
            span = {"INTSTART": stop - count + 1, "INTEND": stop}
            hdus[0].header.update(EXSEGNUM=number, EXSEGTOT=len(counts), **span)
            hdus[0].header["FILENAME"] = paths[-1].name
            hdus.writeto(paths[-1])
    return paths
