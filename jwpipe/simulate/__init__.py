"""Small, honest raw exposures with known truth, and the reference files that match them.

NIRCam, NIRISS, NIRSpec (IRS2 too), MIRI and FGS: the tables of ``detectors.py`` and ``instruments.py`` say what they
are like, and ``INSTRUMENTS`` has the knobs.

>>> from jwpipe import simulate
>>> made = simulate.observation("field", detectors=("NRCB1", "NRCB2"), dithers=4, subarray="SUB320")
>>> made.uncal, made.references, made.sources
>>> simulate.observation("warm", detectors=("MIRIMAGE",), subarray="SUB256", readpatt="FASTR1", filter="F770W")
"""

from jwpipe.simulate.instruments import INSTRUMENTS, Instrument
from jwpipe.simulate.observation import Observation, observation, references
from jwpipe.simulate.ramps import Ramp, ramp
from jwpipe.simulate.sky import Scene
from jwpipe.simulate.truth import Truth

__all__ = [
    "INSTRUMENTS",
    "Instrument",
    "Observation",
    "Ramp",
    "Scene",
    "Truth",
    "observation",
    "ramp",
    "references",
]
