"""Small exposures of every kind of detector, under many cosmic rays."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from jwpipe import simulate
from jwpipe.simulate import INSTRUMENTS, Observation, Scene

# Some of the stars saturate.
CROWDED = Scene(
    star_density=1.5,
    star_magnitudes=(18.5, 23.0),
    bright_density=0.05,
    bright_magnitudes=(15.2, 17.0),
    separation=0.4,
    background=0.6,
)
# The sky and the stars are brighter for MIRI.
WARM = Scene(star_density=1.0, star_magnitudes=(14.0, 17.0), separation=0.5, background=12.0)
SUBARRAYS_DRIFT = {"amplifier_drift": 0.0, "odd_even_drift": 0.0}

EXAMPLES: dict[str, dict[str, Any]] = {
    "NIRISS": {"detectors": ("NIS",), "subarray": "SUB128", "readpatt": "NIS", "ngroups": 8, "nints": 2,
               "filter": "F200W", "scene": CROWDED,
               "knobs": {"cosmic_ray_rate": 150.0, "ipc": 0.004, "inverse_linearity": True}},
    "NIRSpec": {"detectors": ("NRS1",), "subarray": "SUBS200A1", "readpatt": "NRSRAPID", "ngroups": 7, "nints": 1,
                "filter": "F100LP", "knobs": {"cosmic_ray_rate": 40.0, "one_over_f": 1.0}},
    "NIRSpec 2": {"detectors": ("NRS2",), "subarray": "SUB512", "readpatt": "NRS", "ngroups": 6, "nints": 2,
                  "filter": "CLEAR", "knobs": {"cosmic_ray_rate": 100.0, "one_over_f": 1.0}},
    "FGS": {"detectors": ("GUIDER1",), "subarray": "FULL", "size": 128, "readpatt": "FGS", "ngroups": 8, "nints": 2,
            "filter": "OPEN", "scene": CROWDED, "knobs": {"cosmic_ray_rate": 150.0}},
    "MIRI": {"detectors": ("MIRIMAGE",), "subarray": "SUB128", "readpatt": "FASTR1", "ngroups": 20, "nints": 3,
             "filter": "F770W", "scene": WARM, "knobs": {"cosmic_ray_rate": 60.0, "ipc": 0.004, **SUBARRAYS_DRIFT}},
}  # fmt: skip
"""Arguments of ``simulate.observation``; ``knobs`` change the instrument's row of ``INSTRUMENTS``."""


def simulated(name: str, folder: Path) -> Observation:
    """The example of this name in ``folder``."""
    example = dict(EXAMPLES[name])
    knobs = replace(INSTRUMENTS[name.split()[0].upper()], **example.pop("knobs"))
    return simulate.observation(folder, dithers=1, instrument=knobs, **example)


DATA = Path(os.environ.get("JWPIPE_TEST_DATA") or Path(__file__).parents[1] / "../shared/data")
INTERFEROGRAM = DATA / "ramps" / "niriss_ami_sub80" / "jw00793001001_01101_00001_nis_uncal.fits"
"""Another simulator's ramp through NIRISS' mask of seven holes: 5 integrations of 6 groups, SUB80."""


def references_of_interferogram(folder: Path) -> dict[str, Path]:
    """References for ``INTERFEROGRAM``, with its own bias: the first group less what gathers until then."""
    counts = fits.getdata(INTERFEROGRAM, "SCI").mean(axis=0)
    light = np.maximum((counts[-1] - counts[0]) / (len(counts) - 1), 0.0)
    return simulate.references(
        folder,
        detector="NIS",
        subarray="SUB80",
        readpatt="NISRAPID",
        ngroups=6,
        nints=5,
        filter="NRM",
        bias=counts[0] - np.where(light > 50.0, light, 0.0),
    )
