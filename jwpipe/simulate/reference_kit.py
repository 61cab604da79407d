"""What every reference file of a detector shares: names, keywords, and the pixels that a file does not know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jwpipe.dq import Pixel
from jwpipe.simulate.camera import Camera
from jwpipe.simulate.detectors import Subarray, subarray
from jwpipe.simulate.geometry import Optics
from jwpipe.simulate.irs2 import laid_out
from jwpipe.simulate.pixels import Pixels, fields
from jwpipe.simulate.shared_references import reference_keywords

_DARKS = {
    "NIRCAM": ("NRC_DARK", "DarkModel"),
    "NIRISS": ("NIS_DARK", "DarkModel"),
    "NIRSPEC": ("NRS_DARK", "DarkNirspecModel"),
    "FGS": ("FGS_DARK", "DarkModel"),
    "MIRI": ("MIR_DARKIMG", "DarkMIRIModel"),
}


@dataclass(frozen=True)
class Kit:
    """What the reference files of one detector are made from; ``full`` asks for full-frame ones."""

    folder: Path
    optics: Optics
    camera: Camera
    full: bool

    @property
    def covered(self) -> Subarray:
        """The part of the detector that pixel references cover."""
        return subarray(self.optics.detector, "FULL") if self.full else self.camera.region

    def path(self, kind: str, suffix: str = "fits") -> Path:
        """The name of the file of type ``kind``."""
        detector = self.optics.detector
        return self.folder / f"jwst_{detector.instrument}_{kind}_{detector.name}.{suffix}".lower()

    @property
    def dark_type(self) -> str:
        """The exposure type of darks."""
        return _DARKS[self.optics.detector.instrument][0]

    @property
    def dark_model(self) -> str:
        """The data model of darks."""
        return _DARKS[self.optics.detector.instrument][1]

    def odd(self, kind: str) -> np.ndarray:
        """The few pixels that the file of type ``kind`` does not know, boolean (ny, nx)."""
        lot = fields(self.optics.detector.name, self.covered).uniform(f"odd {kind}")
        return lot < self.camera.instrument.odd_reference_fraction

    def unknown(self, kind: str, true: Pixels, flag: Pixel) -> tuple[np.ndarray, np.ndarray]:
        """The pixels that the file does not know, and their flags."""
        odd = self.odd(kind) & true.sensitive
        return odd, np.where(odd, np.uint32(flag), np.uint32(0))

    def keywords(self, kind: str, model: str, *groups: dict[str, Any]) -> dict[str, Any]:
        """The primary header of the file of type ``kind``."""
        detector = self.optics.detector
        words = reference_keywords(self.path(kind), kind, model, detector.instrument)
        words["DETECTOR"] = detector.name
        if detector.module:
            words |= {"MODULE": detector.module, "CHANNEL": detector.channel}
        for group in groups:
            words |= group
        return words

    def place(self, region: Subarray | None = None) -> dict[str, Any]:
        """Keywords that say which pixels a file covers; a full-frame one serves any subarray."""
        region = region or self.covered
        detector = self.optics.detector
        return {
            "SUBARRAY": region.name if region.name != "FULL" else "GENERIC",
            "SUBSTRT1": region.x0 + 1,
            "SUBSTRT2": region.y0 + 1,
            "SUBSIZE1": region.nx,
            "SUBSIZE2": region.ny,
            "FASTAXIS": detector.fast_axis,
            "SLOWAXIS": detector.slow_axis,
        }

    def raw(self, image: np.ndarray, between: float = 0) -> np.ndarray:
        """``image`` (ny, nx) in the layout of raw data, as files have it that serve before refpix."""
        return laid_out(image, self.camera, between) if self.camera.irs2 else image
