"""Small, honest raw exposures with known truth, and the reference files that match them.

>>> from jwpipe import simulate
>>> made = simulate.observation("field", detectors=("NRCB1", "NRCB2"), dithers=4, subarray="SUB320")
>>> made.uncal, made.references, made.sources
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
