"""What makes raw data: a detector, the part of it that is read, when, and how well."""

from __future__ import annotations

from dataclasses import dataclass

from jwpipe.simulate.detectors import Detector, Subarray, is_irs2
from jwpipe.simulate.instruments import Instrument, Readout


@dataclass(frozen=True)
class Camera:
    """What makes raw data: a detector, the part that is read, when, and how well."""

    detector: Detector
    region: Subarray
    timing: Readout
    instrument: Instrument

    @property
    def outputs(self) -> int:
        """Amplifiers in use."""
        return self.detector.outputs(self.region)

    @property
    def irs2(self) -> bool:
        """Whether reference pixels are read between the others."""
        return is_irs2(self.timing.pattern)
